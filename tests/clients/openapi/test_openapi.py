"""The OpenAPI document that the real binary hands out: it is one, and what is sent and told over HTTP/JSON is what it says."""

import json
import os
import unittest
import urllib.error
import urllib.request

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

os.environ["COUNTERSIGN__GRPC__WEB"] = "true"
from server import ROOT, Server  # noqa: E402

CALL_SECONDS = 30
SERVICE = "/countersign.v1.DecisionPoint/"
EXPORT = {
    "action": {"type": "Action", "id": "export"},
    "resource": {"type": "Dataset", "id": "customers"},
    "context": {"destination": {"string": "s3://openapi"}, "rows": {"long": "9007199254740993"}},
    "justification": "the quarterly report",
}


class Document(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.url = "http://" + cls.server.address
        with urllib.request.urlopen(cls.url + "/openapi.json", timeout=CALL_SECONDS) as answer:
            cls.document = json.load(answer)

    def fits(self, message, content):
        schema = {**content["application/json"]["schema"], "components": self.document["components"]}
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(message)

    def call(self, method, message, token):
        """Makes a call, and holds question and answer against the document."""
        described = self.document["paths"][SERVICE + method]["post"]
        self.fits(message, described["requestBody"]["content"])
        headers = {"content-type": "application/json", "authorization": "Bearer " + token}
        request = urllib.request.Request(self.url + SERVICE + method, json.dumps(message).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
                told = json.load(answer)
            self.fits(told, described["responses"]["200"]["content"])
        except urllib.error.HTTPError as error:
            told = json.load(error)
            self.assertEqual(described["responses"]["default"], {"$ref": "#/components/responses/error"})
            self.fits(told, self.document["components"]["responses"]["error"]["content"])
        return told

    def test_it_is_an_openapi_document_and_that_of_the_repository(self):
        errors = [error.message for error in OpenAPIV31SpecValidator(self.document).iter_errors()]
        self.assertEqual(errors, [])
        self.assertEqual(self.document, json.loads((ROOT / "docs/openapi.json").read_text()))

    def test_a_life_is_what_it_says(self):
        agent = self.server.agent("report-bot")
        asked = self.call("Authorize", EXPORT, agent)
        self.assertEqual(asked["outcome"], "OUTCOME_PENDING")
        approval = {"approvalId": asked["approval"]["id"]}
        vote = {**approval, "binding": asked["binding"], "verdict": "VERDICT_APPROVE"}
        for who in ("alice", "bob"):
            self.call("Decide", vote, self.server.person(who))
        granted = self.call("Authorize", {**EXPORT, **approval, "wait": "1.5s"}, agent)
        self.assertEqual((granted["outcome"], granted["reason"]), ("OUTCOME_ALLOW", "granted"))
        report = {**approval, "decisionId": granted["decisionId"], "report": "REPORT_SUCCEEDED"}
        self.assertEqual(self.call("ReportOutcome", report, agent)["state"], "APPROVAL_STATE_CONSUMED")
        self.call("GetApproval", approval, agent)
        self.call("ListApprovals", {"states": ["APPROVAL_STATE_CONSUMED"], "pageSize": 5}, agent)
        batch = self.call("AuthorizeBatch", {"queries": [EXPORT, {}]}, agent)
        self.assertEqual(len(batch["results"]), 2)

    def test_an_error_is_what_it_says(self):
        self.assertEqual(self.call("Authorize", EXPORT, "nobody")["code"], "unauthenticated")
        refused = self.call("Authorize", {}, self.server.agent("report-bot"))
        self.assertEqual(refused["code"], "invalid_argument")


if __name__ == "__main__":
    unittest.main(verbosity=2)
