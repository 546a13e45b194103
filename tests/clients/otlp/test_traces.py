"""Traces of the real binary, as a collector receives them."""

import os
import unittest
import urllib.request

import grpc
from collector import Collector, attributes
from countersign.v1 import decision_point_pb2 as pb
from countersign.v1 import query_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

CALL_SECONDS = 30
MORE_THAN_THE_QUEUE_HOLDS = 3_000
SECRET = "s3://a-secret-destination"
# One for each other field that a caller fills in.
WHY, SESSION, KEY, UNDECLARED = "canary-why 219-09-9999", "canary-session", "canary-key", "canary-undeclared"

collector = Collector()
os.environ["COUNTERSIGN__TELEMETRY__TRACES"] = f"http://127.0.0.1:{collector.port}"
os.environ["COUNTERSIGN__TELEMETRY__METRICS"] = "127.0.0.1:0"
from served import Served  # noqa: E402


class Traces(Served):

    def setUp(self):
        global collector
        self.collector = collector

    def test_1_a_call_is_a_span_in_its_callers_trace_and_tells_nothing_of_what_was_asked(self):
        answer, metadata = self.ask("export", trace=1)
        self.assertEqual(metadata["x-request-id"], "request-1")
        call, = self.call(1)
        self.assertEqual(call.parent_span_id, b"\x11" * 8)
        self.assertEqual(call.kind, trace_pb2.Span.SPAN_KIND_SERVER)
        told = attributes(call)
        self.assertEqual(told["rpc.service"], "countersign.v1.DecisionPoint")
        self.assertEqual((told["rpc.system"], told["rpc.method"], told["rpc.grpc.status_code"]), ("grpc", "Authorize", 0))
        self.assertEqual((told["request.id"], told["decision.id"]), ("request-1", answer.decision_id))
        self.assertEqual(self.collector.resources[0]["service.name"], "countersign")
        within = self.collector.wait_for(lambda spans: [span for span in spans if span.parent_span_id == call.span_id])
        self.assertEqual({span.name for span in within}, {"evaluate policies", "commit"})
        with self.assertRaises(grpc.RpcError):
            self.ask("export", trace=6, undeclared=UNDECLARED)
        self.call(6)
        told = "".join(str(span) for span in self.collector.spans) + str(self.collector.resources)
        for secret in (SECRET, WHY, SESSION, KEY, UNDECLARED, self.agent):
            self.assertNotIn(secret, told)

    def test_2_a_denial_is_no_error_and_neither_is_a_refusal(self):
        answer, _ = self.ask("drop", trace=2)
        self.assertEqual(answer.outcome, query_pb2.OUTCOME_DENY)
        denied, = self.call(2)
        self.assertEqual(denied.status.code, trace_pb2.Status.STATUS_CODE_UNSET)
        with self.assertRaises(grpc.RpcError):
            self.ask("export", trace=3, undeclared=UNDECLARED)
        refused, = self.call(3)
        self.assertEqual(attributes(refused)["rpc.grpc.status_code"], grpc.StatusCode.INVALID_ARGUMENT.value[0])
        self.assertEqual(refused.status.code, trace_pb2.Status.STATUS_CODE_UNSET)

    def test_2_a_stranger_does_not_decide_what_is_traced(self):
        with self.assertRaises(grpc.RpcError):
            self.ask("drop", trace=7, token="nobody's")
        self.ask("drop", trace=8)
        self.call(8)
        self.assertFalse([span for span in self.collector.spans if span.trace_id == trace(7)])

    def test_3_a_caller_who_does_not_sample_is_not_traced(self):
        self.ask("read", trace=4, sampled=False)
        self.ask("read", trace=5)
        self.call(5)
        self.assertFalse([span for span in self.collector.spans if span.trace_id == trace(4)])

    def test_4_without_the_collector_every_call_is_answered_and_what_is_lost_is_counted(self):
        global collector
        port = self.collector.port
        self.collector.stop()
        for number in range(MORE_THAN_THE_QUEUE_HOLDS):
            self.ask("read", trace=100 + number)
        lost = self.metrics("spans_total", "failed") + self.metrics("spans_total", "dropped")
        waiting = self.metrics("spans_waiting")
        self.assertGreater(lost + waiting, 2 * MORE_THAN_THE_QUEUE_HOLDS)
        self.assertLessEqual(waiting, 4_096)
        collector = self.collector = Collector(f"127.0.0.1:{port}")
        self.addCleanup(self.collector.stop)
        # The connection is made anew after a while, by itself; whatever is asked then comes through.
        for number in range(200):
            self.ask("read", trace=50_000 + number)
            try:
                self.collector.wait_for(lambda spans: [span for span in spans if span.trace_id >= trace(50_000)], 0.5)
                return
            except AssertionError:
                pass
        self.fail("nothing comes to the new collector")

    def call(self, number):
        """The spans of the call in that trace: one."""
        is_it = lambda span: span.trace_id == trace(number) and span.name == "Authorize"  # noqa: E731
        return self.collector.wait_for(lambda spans: [span for span in spans if is_it(span)])

    def ask(self, action, trace, sampled=True, token=None, undeclared=None):
        request = pb.AuthorizeRequest(
            principal=query_pb2.EntityUid(type="Agent", id="report-bot"),
            action=query_pb2.EntityUid(type="Action", id=action),
            resource=query_pb2.EntityUid(type="Database" if action == "drop" else "Dataset", id="weather"),
        )
        if action == "export":
            request.context["destination"].string = SECRET
            request.justification = WHY
            request.environment["session"].string = SESSION
            request.idempotency_key = KEY + str(trace)
        if undeclared:
            request.context["undeclared"].string = undeclared
        flags = "01" if sampled else "00"
        metadata = [
            ("authorization", f"Bearer {token or self.agent}"),
            ("traceparent", f"00-{trace:032x}-{'11' * 8}-{flags}"),
            ("x-request-id", f"request-{trace}"),
        ]
        answer, call = self.service.Authorize.with_call(request, metadata=metadata, timeout=CALL_SECONDS)
        return answer, dict(call.initial_metadata())

    def metrics(self, name, result=None):
        address = self.server._find(r"metrics are at (http://\S+)")
        with urllib.request.urlopen(address, timeout=10) as answer:
            rows = answer.read().decode().splitlines()
        row = f'countersign_{name}{{result="{result}"}} ' if result else f"countersign_{name} "
        return sum(float(line.split()[-1]) for line in rows if line.startswith(row))


def trace(number):
    return number.to_bytes(16, "big")


if __name__ == "__main__":
    unittest.main()
