"""Countersign as a Python developer meets it: stubs that grpcio-tools generates from proto/, and nothing else of ours."""

import os
import stat
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc
from agent import Denied, ask
from countersign.v1 import decision_point_pb2 as pb
from countersign.v1 import decision_point_pb2_grpc, query_pb2
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from served import Served

CALL_SECONDS = 30
STREAM_QUERIES = 1_000
CANCELLED_CALLS = 1_000
# The server takes 256 calls of one connection at a time.
CALLS_AT_A_TIME = 200


class Life(Served):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.people = {name: cls.server.person(name) for name in ("alice", "bob", "erin")}

    def test_the_loop_returns_once_two_people_have_countersigned(self):
        query = export("s3://loop")
        with ThreadPoolExecutor(1) as pool, self.following() as events:
            asking = pool.submit(ask, self.channel, self.agent, query, 1)
            approval = next(decided.approval_id for decided in decisions(events, query))
            self.decide("alice", approval)
            # Not before the agent has gone round its loop: the first call is over, the second is held.
            again = next(decided for decided in decisions(events, query))
            self.assertEqual(again.approval_id, approval)
            self.decide("bob", approval)
            answer = asking.result(CALL_SECONDS)
        self.assertEqual(answer.reason, "granted")
        self.assertEqual(answer.approval.state, pb.APPROVAL_STATE_CONSUMED)
        with self.assertRaisesRegex(Denied, "grant_consumed"):
            ask(self.channel, self.agent, query)

    def test_the_loop_ends_when_somebody_rejects(self):
        query = export("s3://rejected")
        with ThreadPoolExecutor(1) as pool, self.following() as events:
            asking = pool.submit(ask, self.channel, self.agent, query)
            approval = next(decided.approval_id for decided in decisions(events, query))
            self.decide("alice", approval, query_pb2.VERDICT_REJECT)
            with self.assertRaisesRegex(Denied, "approval_rejected"):
                asking.result(CALL_SECONDS)

    def test_a_stream_answers_a_thousand_queries_by_their_correlation_ids(self):
        outcomes = {"read": query_pb2.OUTCOME_ALLOW, "drop": query_pb2.OUTCOME_DENY}
        asked = {number: ("drop" if number % 3 == 0 else "read") for number in range(1, STREAM_QUERIES + 1)}
        resources = {"read": ("Dataset", "weather"), "drop": ("Database", "warehouse")}
        queries = (
            pb.AuthorizeStreamRequest(correlation_id=number, query=simple(action, *resources[action]))
            for number, action in asked.items()
        )
        started = time.monotonic()
        answers = list(self.service.AuthorizeStream(queries, metadata=bearer(self.agent), timeout=CALL_SECONDS))
        print(f"{len(answers)} answers over one stream in {time.monotonic() - started:.2f} s")
        answered = {answer.correlation_id: answer.result.response.outcome for answer in answers}
        self.assertEqual(len(answers), STREAM_QUERIES)
        self.assertEqual(answered, {number: outcomes[action] for number, action in asked.items()})

    def test_a_query_of_a_stream_fails_alone(self):
        broken = pb.AuthorizeRequest(action=uid("Action", "read"))
        queries = [broken, simple("read", "Dataset", "weather")]
        stream = (pb.AuthorizeStreamRequest(correlation_id=i, query=query) for i, query in enumerate(queries))
        answers = self.service.AuthorizeStream(stream, metadata=bearer(self.agent), timeout=CALL_SECONDS)
        results = {answer.correlation_id: answer.result for answer in answers}
        self.assertEqual((results[0].error.reason, results[0].error.field), ("invalid_argument", "resource"))
        self.assertEqual(results[1].response.outcome, query_pb2.OUTCOME_ALLOW)

    def test_a_thousand_calls_given_up_do_not_cost_the_connection(self):
        query = export("s3://given-up")
        query.wait.FromSeconds(50)
        with self.following() as events:
            for _ in range(CANCELLED_CALLS // CALLS_AT_A_TIME):
                held = [
                    self.service.Authorize.future(query, metadata=bearer(self.agent)) for _ in range(CALLS_AT_A_TIME)
                ]
                # All of them are held when they are given up.
                for _, _ in zip(held, decisions(events, query)):
                    pass
                self.assertTrue(all([call.cancel() for call in held]))
        answer = self.authorize(simple("read", "Dataset", "weather"))
        self.assertEqual(answer.outcome, query_pb2.OUTCOME_ALLOW)

    def test_an_error_says_its_reason_and_the_field(self):
        with self.assertRaises(grpc.RpcError) as refused:
            self.authorize(pb.AuthorizeRequest(action=uid("Action", "read")))
        self.assertEqual(refused.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        details = rpc_status.from_call(refused.exception).details
        self.assertTrue(details[0].Unpack(info) and details[1].Unpack(fields))
        self.assertEqual((info.reason, info.domain), ("invalid_argument", "countersign"))
        self.assertEqual(fields.field_violations[0].field, "resource")

    def test_the_unix_socket_is_the_same_service_for_the_same_tokens(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.server.socket).st_mode), 0o660)
        # By itself grpcio makes an authority of the escaped path, which HTTP/2 libraries refuse as malformed.
        options = [("grpc.default_authority", "localhost")]
        with grpc.insecure_channel(f"unix:{self.server.socket}", options) as channel:
            query = export("s3://unix")
            with ThreadPoolExecutor(1) as pool, self.following() as events:
                asking = pool.submit(ask, channel, self.agent, query)
                approval = next(decided.approval_id for decided in decisions(events, query))
                for person in ("alice", "bob"):
                    self.decide(person, approval)
                self.assertEqual(asking.result(CALL_SECONDS).reason, "granted")
            with self.assertRaises(grpc.RpcError) as refused:
                decision_point_pb2_grpc.DecisionPointStub(channel).Authorize(query, timeout=CALL_SECONDS)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAUTHENTICATED)

    def test_reflection_knows_every_service_and_the_error_details(self):
        reflected = ProtoReflectionDescriptorDatabase(self.channel)
        services = ("countersign.v1.DecisionPoint", "grpc.health.v1.Health")
        self.assertLessEqual(set(services), set(reflected.get_services()))
        for symbol in (*services, "google.rpc.ErrorInfo", "google.rpc.BadRequest"):
            self.assertTrue(reflected.FindFileContainingSymbol(symbol).name)

    def authorize(self, query):
        return self.service.Authorize(query, metadata=bearer(self.agent), timeout=CALL_SECONDS)

    def decide(self, person, approval, verdict=query_pb2.VERDICT_APPROVE):
        as_person = {"metadata": bearer(self.people[person]), "timeout": CALL_SECONDS}
        seen = self.service.GetApproval(pb.GetApprovalRequest(approval_id=approval), **as_person)
        vote = pb.DecideRequest(approval_id=approval, verdict=verdict, binding=seen.binding)
        return self.service.Decide(vote, **as_person)

    def following(self):
        """All that happens, as the auditor sees it."""
        events = self.service.Subscribe(
            pb.SubscribeRequest(from_beginning=True), metadata=bearer(self.people["erin"]), timeout=CALL_SECONDS
        )
        return Following(events)


class Following:
    def __init__(self, events):
        self.events = events

    def __enter__(self):
        return self.events

    def __exit__(self, *_):
        self.events.cancel()


def decisions(events, query):
    """The decisions on a query, as they come."""
    for event in events:
        decided = event.record.decided
        if decided.context == query.context and decided.action == query.action:
            yield decided


def simple(action, kind, name):
    return pb.AuthorizeRequest(action=uid("Action", action), resource=uid(kind, name))


def export(destination):
    query = simple("export", "Dataset", "customers")
    query.context["destination"].string = destination
    query.justification = "the quarterly report"
    return query


def uid(kind, name):
    return query_pb2.EntityUid(type=kind, id=name)


def bearer(token):
    return [("authorization", f"Bearer {token}")]


if __name__ == "__main__":
    unittest.main(verbosity=2)
