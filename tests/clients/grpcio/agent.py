"""An agent that asks before it acts, as its developer would write it: the whole client is one loop."""

import grpc
from countersign.v1 import decision_point_pb2 as pb
from countersign.v1 import decision_point_pb2_grpc, query_pb2


class Denied(Exception):
    """The action must not be run; says why."""


def ask(channel, token, query, seconds_per_call=50):
    """Returns the ALLOW, with its obligations, once the action may be run; raises `Denied` if it may not."""
    service = decision_point_pb2_grpc.DecisionPointStub(channel)
    query.wait.FromSeconds(seconds_per_call)
    while True:
        answer = service.Authorize(query, metadata=[("authorization", f"Bearer {token}")])
        if answer.outcome == query_pb2.OUTCOME_ALLOW:
            return answer
        if answer.outcome != query_pb2.OUTCOME_PENDING:
            raise Denied(answer.reason)
        query.approval_id = answer.approval.id
