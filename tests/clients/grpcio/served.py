"""Tests of one server that is started for all of them, with a client and an agent's token."""

import unittest

import grpc
from countersign.v1 import decision_point_pb2 as pb
from countersign.v1 import decision_point_pb2_grpc, query_pb2
from server import Server


CALL_SECONDS = 30


def export(server, channel, dataset):
    """The agent wants to export this; the approval that it waits for."""
    query = pb.AuthorizeRequest(
        action=query_pb2.EntityUid(type="Action", id="export"),
        resource=query_pb2.EntityUid(type="Dataset", id=dataset),
        context={"destination": query_pb2.Value(string="s3://partner"), "rows": query_pb2.Value(long=1000)},
        justification="quarterly report",
    )
    token = [("authorization", f"Bearer {server.agent('report-bot')}")]
    service = decision_point_pb2_grpc.DecisionPointStub(channel)
    return service.Authorize(query, metadata=token, timeout=CALL_SECONDS).approval


class Served(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.channel = grpc.insecure_channel(cls.server.address)
        cls.addClassCleanup(cls.channel.close)
        cls.service = decision_point_pb2_grpc.DecisionPointStub(cls.channel)
        cls.agent = cls.server.agent("report-bot")
