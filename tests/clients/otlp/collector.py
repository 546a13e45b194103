"""A collector that keeps what it is sent: OpenTelemetry's own service definition, nothing of ours."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, address="127.0.0.1:0"):
        self.spans, self.resources, self.came = [], [], threading.Condition()
        self.server = grpc.server(ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(address)
        self.server.start()

    def Export(self, request, _):
        with self.came:
            for resource in request.resource_spans:
                self.resources.append(attributes(resource.resource))
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
            self.came.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(self, wanted, seconds=20):
        """The first spans of which `wanted` says that they are what was waited for."""
        with self.came:
            if not self.came.wait_for(lambda: wanted(self.spans), seconds):
                raise AssertionError(f"did not come; there are {[span.name for span in self.spans]}")
            return wanted(self.spans)

    def stop(self):
        self.server.stop(None).wait()


def attributes(of):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}
