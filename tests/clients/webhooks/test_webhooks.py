"""What a receiver of webhooks gets, verified with the libraries that it would use."""

import base64
import json
import os
import queue
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from cloudevents.http import from_http
from served import export
from server import Server
from standardwebhooks import Webhook, WebhookVerificationError

ARRIVAL_SECONDS = 20
OLD, NEW, FOREIGN = ("whsec_" + base64.b64encode(bytes([number] * 32)).decode() for number in (1, 2, 3))


class Receiver(BaseHTTPRequestHandler):
    got = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.put((dict(self.headers.items()), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Webhooks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        http = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        cls.addClassCleanup(http.server_close)
        cls.addClassCleanup(http.shutdown)
        directory = tempfile.TemporaryDirectory(prefix="countersign-webhooks-")
        cls.addClassCleanup(directory.cleanup)
        secrets = Path(directory.name, "secrets")
        secrets.write_text(f"{OLD}\n{NEW}\n")
        target = {
            "name": "siem",
            "kind": "webhook",
            "url": f"http://127.0.0.1:{http.server_port}/hooks",
            "secret_file": str(secrets),
            "from": "low",
            "allow": ["127.0.0.0/8"],
        }
        os.environ["COUNTERSIGN__NOTIFY__TARGETS"] = json.dumps([target])
        os.environ["COUNTERSIGN__NOTIFY__DIR"] = str(Path(directory.name, "places"))
        os.environ["COUNTERSIGN__NOTIFY__INBOX_URL"] = "https://inbox.example"
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.channel = grpc.insecure_channel(cls.server.address)
        cls.addClassCleanup(cls.channel.close)
        cls.approval = export(cls.server, cls.channel, "customers")
        cls.headers, cls.body = Receiver.got.get(timeout=ARRIVAL_SECONDS)

    def test_every_secret_of_a_rotation_verifies_and_no_other(self):
        for secret in (OLD, NEW):
            self.assertEqual(Webhook(secret).verify(self.body, self.headers)["subject"], self.approval.id)
        with self.assertRaises(WebhookVerificationError):
            Webhook(FOREIGN).verify(self.body, self.headers)
        with self.assertRaises(WebhookVerificationError):
            Webhook(OLD).verify(self.body.replace(b"customers", b"c_stomers"), self.headers)

    def test_it_is_a_cloud_event(self):
        event = from_http(self.headers, self.body)
        self.assertEqual((event["specversion"], event["type"]), ("1.0", "countersign.approval.opened.v1"))
        self.assertEqual((event["subject"], event["source"]), (self.approval.id, "/countersign"))
        self.assertEqual(event["id"], {name.lower(): value for name, value in self.headers.items()}["webhook-id"])
        self.assertEqual(event.data["link"], f"https://inbox.example/approvals/{self.approval.id}")
        self.assertEqual(event.data["binding"], self.approval.binding)

    def test_the_parameters_stay_at_home(self):
        self.assertNotIn(b"partner", self.body)
        self.assertNotIn(b"quarterly", self.body)


if __name__ == "__main__":
    unittest.main(verbosity=2)
