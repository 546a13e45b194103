"""Slack and Teams as their vendors see them: what we send is what their SDKs let through, and what they sign is what we believe."""

import asyncio
import base64
import json
import os
import queue
import shutil
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import jwt
from botbuilder.schema import Activity
from botframework.connector.auth import ChannelValidation, JwtTokenValidation, SimpleCredentialProvider
from cryptography.hazmat.primitives.asymmetric import rsa
from served import export
from server import ROOT, Server
from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View
from slack_sdk.signature import SignatureVerifier

ARRIVAL_SECONDS = 20
CALL_SECONDS = 30
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
APP, OTHER_APP, TENANT = (str(uuid.UUID(int=number, version=4)) for number in (1, 2, 3))
CHANNEL = "19:c1@thread.tacv2"
GATE = """@id("weather-leaves") @approval("Weather leaves") @severity("low") @reviewers("Group::\\"privacy\\"")
forbid (principal, action == Action::"export", resource == Dataset::"weather");
"""


class Vendors(BaseHTTPRequestHandler):
    """Slack's API, the login of bots, the Bot Connector and its keys."""

    got = queue.Queue()
    answers = {}

    def do_GET(self):
        self.reply(self.answers[self.path])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.put((self.path, dict(self.headers.items()), body))
        if self.path.startswith("/api/"):
            self.reply({"ok": True, "channel": "C1", "ts": "11.1"})
        else:
            self.reply(self.answers.get(self.path, {"id": "17"}))

    do_PUT = do_POST

    def reply(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def signer():
    """A key pair, and its public half as the connector publishes it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return key, {**jwk, "kid": "k1", "use": "sig", "endorsements": ["msteams"]}


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        http = ThreadingHTTPServer(("127.0.0.1", 0), Vendors)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        cls.addClassCleanup(http.server_close)
        cls.addClassCleanup(http.shutdown)
        cls.vendors = f"http://127.0.0.1:{http.server_port}"
        cls.key, jwk = signer()
        Vendors.answers = {
            "/keys": {"keys": [jwk]},
            "/openid": {"issuer": "https://api.botframework.com", "jwks_uri": cls.vendors + "/keys",
                        "id_token_signing_alg_values_supported": ["RS256"]},
            "/login": {"token_type": "Bearer", "expires_in": 3600, "access_token": "t0ken"},
        }
        ChannelValidation.open_id_metadata_endpoint = cls.vendors + "/openid"
        directory = tempfile.TemporaryDirectory(prefix="countersign-chat-")
        cls.addClassCleanup(directory.cleanup)
        place = Path(directory.name)
        shutil.copytree(ROOT / "policies", place / "policies")
        (place / "policies/weather.cedar").write_text(GATE)
        cls.configure(place)
        cls.server = Server(place / "policies")
        cls.addClassCleanup(cls.server.stop)
        cls.channel = grpc.insecure_channel(cls.server.address)
        cls.addClassCleanup(cls.channel.close)
        export(cls.server, cls.channel, "weather")
        told = [Vendors.got.get(timeout=ARRIVAL_SECONDS) for _ in range(3)]
        cls.told = {path: json.loads(body) for path, _, body in told if path != "/login"}

    @classmethod
    def configure(cls, place):
        def secret(name, text):
            (place / name).write_text(text)
            return str(place / name)

        here = {"from": "low", "allow": ["127.0.0.0/8"], "buttons": True}
        bot = {"app_id": APP, "tenant": TENANT, "login_url": cls.vendors + "/login", "keys_url": cls.vendors + "/keys",
               "allow_insecure_http_loopback": True}
        slack = {"name": "slack", "kind": "slack", "url": cls.vendors + "/api/", "channel": "C1",
                 "secret_file": secret("slack", "xoxb-1\n"), **here}
        teams = {"name": "teams", "kind": "teams", "url": cls.vendors + "/emea/", "channel": CHANNEL,
                 "secret_file": secret("bot", "s\n"), "bot": bot, **here}
        os.environ.update({
            "COUNTERSIGN__NOTIFY__TARGETS": json.dumps([slack, teams]),
            "COUNTERSIGN__NOTIFY__DIR": str(place / "places"),
            "COUNTERSIGN__NOTIFY__INBOX_URL": "https://inbox.example",
            "COUNTERSIGN__WEB__LISTEN": "127.0.0.1:0",
            "COUNTERSIGN__CHAT__DIR": str(place / "chat"),
            "COUNTERSIGN__CHAT__KEY_FILE": secret("key", base64.b64encode(bytes(range(32))).decode()),
            "COUNTERSIGN__CHAT__SLACK": json.dumps(
                {"workspace": "T1", "signing_secret_file": secret("signing", SIGNING_SECRET)}),
        })

    def post(self, path, headers, body):
        request = urllib.request.Request(self.server.inbox.rstrip("/") + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b""

    def next(self, wanted):
        while True:
            path, _, body = Vendors.got.get(timeout=ARRIVAL_SECONDS)
            if path == wanted:
                return json.loads(body)

    # Slack

    def slack_button(self, verb):
        actions = next(block for block in self.told["/api/chat.postMessage"]["blocks"] if block["type"] == "actions")
        return next(one["value"] for one in actions["elements"] if one["action_id"] == f"countersign_{verb}")

    def slack_click(self, verb):
        payload = {"type": "block_actions", "user": {"id": "U1", "team_id": "T1"}, "team": {"id": "T1"}, "trigger_id": "13.37",
                   "actions": [{"action_id": f"countersign_{verb}", "value": self.slack_button(verb)}]}
        return urllib.parse.urlencode({"payload": json.dumps(payload)}).encode()

    def assert_slack_takes(self, blocks):
        for written, block in zip(blocks, Block.parse_all(blocks), strict=True):
            block.validate_json()
            self.assertEqual(block.to_dict(), written | {"type": block.type})

    def test_slacks_sdk_takes_our_message(self):
        message = self.told["/api/chat.postMessage"]
        self.assert_slack_takes(message["blocks"])
        self.assertIn("s3://partner", json.dumps(message))

    def test_what_slacks_sdk_signs_is_heard_and_nothing_else(self):
        verifier, body = SignatureVerifier(SIGNING_SECRET), self.slack_click("approve")

        def headers(at, signature):
            return {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": signature,
                    "Content-Type": "application/x-www-form-urlencoded"}

        now, old = str(int(time.time())), str(int(time.time()) - 400)
        for at, signature, signed in [
            (now, verifier.generate_signature(timestamp=now, body=body), body),
            (now, verifier.generate_signature(timestamp=now, body=body + b" "), body),
            (now, SignatureVerifier("another").generate_signature(timestamp=now, body=body), body),
            (old, verifier.generate_signature(timestamp=old, body=body), body),
        ]:
            theirs = verifier.is_valid(signed, at, signature)
            ours, _ = self.post("/slack/interactions", headers(at, signature), signed)
            self.assertEqual(ours, 200 if theirs else 401)
        whisper = self.next("/api/chat.postEphemeral")
        self.assertIn("linked with nobody", whisper["text"])
        self.assert_slack_takes(whisper["blocks"])

    def test_slacks_sdk_takes_our_form(self):
        at, body = str(int(time.time()) - 1), self.slack_click("reject")
        signature = SignatureVerifier(SIGNING_SECRET).generate_signature(timestamp=at, body=body)
        headers = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": signature,
                   "Content-Type": "application/x-www-form-urlencoded"}
        self.assertEqual(self.post("/slack/interactions", headers, body)[0], 200)
        view = View(**self.next("/api/views.open")["view"])
        view.validate_json()

    # Teams

    def click(self, **other):
        card = self.told[f"/emea/v3/conversations/{CHANNEL}/activities"]["attachments"][0]["content"]
        approve = next(action for action in card["actions"] if action.get("verb") == "approve")
        return {"type": "invoke", "name": "adaptiveCard/action", "channelId": "msteams", "serviceUrl": self.vendors + "/emea/",
                "from": {"id": "29:x", "aadObjectId": "u1"}, "conversation": {"id": CHANNEL + ";messageid=17", "tenantId": TENANT},
                "value": {"action": {"type": "Action.Execute", "verb": "approve", "data": approve["data"]}}} | other

    def token(self, key=None, headers=None, **other):
        now = int(time.time())
        claims = {"iss": "https://api.botframework.com", "aud": APP, "nbf": now - 10, "exp": now + 600,
                  "serviceurl": self.vendors + "/emea/"} | other
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key or self.key, "RS256", {"kid": "k1", **(headers or {})})

    def microsoft_believes(self, token, click):
        """The verdict of the vendor's own rules."""
        activity = Activity().deserialize(click)
        credentials = SimpleCredentialProvider(APP, "")
        try:
            check = JwtTokenValidation.authenticate_request(activity, f"Bearer {token}", credentials)
            return asyncio.run(check).is_authenticated
        except Exception:
            return False

    def test_we_believe_a_request_if_microsofts_sdk_does(self):
        now = int(time.time())
        for what, token, click in [
            ("good", self.token(), self.click()),
            ("none", "", self.click()),
            ("of another key", self.token(key=signer()[0]), self.click()),
            ("of an unknown key", self.token(headers={"kid": "k2"}), self.click()),
            ("of another issuer", self.token(iss="https://sts.windows.net/"), self.click()),
            ("for another bot", self.token(aud=OTHER_APP), self.click()),
            ("over", self.token(nbf=now - 4_000, exp=now - 400), self.click()),
            ("early", self.token(nbf=now + 400), self.click()),
            ("of another service", self.token(serviceurl="https://evil.example/"), self.click()),
            ("of another channel", self.token(), self.click(channelId="webchat")),
        ]:
            with self.subTest(what):
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
                status, answer = self.post("/teams/messages", headers, json.dumps(click).encode())
                theirs = self.microsoft_believes(token, click)
                self.assertEqual((status, theirs), (200, True) if what == "good" else (401, False))
                if status == 200:
                    self.assertIn("linked with nobody", json.loads(answer)["value"])

    def test_a_token_without_an_end_is_refused_whatever_microsofts_sdk_says(self):
        headers = {"Authorization": f"Bearer {self.token(exp=None)}", "Content-Type": "application/json"}
        self.assertEqual(self.post("/teams/messages", headers, json.dumps(self.click()).encode())[0], 401)


if __name__ == "__main__":
    unittest.main(verbosity=2)
