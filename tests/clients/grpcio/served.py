"""Tests of one server that is started for all of them, with a client and an agent's token."""

import unittest

import grpc
from countersign.v1 import decision_point_pb2_grpc
from server import Server


class Served(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.channel = grpc.insecure_channel(cls.server.address)
        cls.addClassCleanup(cls.channel.close)
        cls.service = decision_point_pb2_grpc.DecisionPointStub(cls.channel)
        cls.agent = cls.server.agent("report-bot")
