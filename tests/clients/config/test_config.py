"""The schema that `countersign config schema` writes, held against every configuration there is here: what the server takes must pass,
and what it does not know must not."""

import json
import os
import re
import subprocess
import tomllib
import unittest
from pathlib import Path

from jsonschema import Draft7Validator

ROOT = Path(__file__).resolve().parents[3]
EMPTY = {"PATH": os.environ["PATH"]}


def countersign(*arguments):
    command = [os.environ["COUNTERSIGN_BIN"], *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=EMPTY, cwd="/", timeout=60).stdout


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.schema = json.loads(countersign("config", "schema"))
        cls.validator = Draft7Validator(cls.schema)

    def errors(self, text):
        return [error.message for error in self.validator.iter_errors(tomllib.loads(text))]

    def test_it_is_a_schema_and_the_one_in_docs(self):
        Draft7Validator.check_schema(self.schema)
        self.assertEqual(self.schema, json.loads((ROOT / "docs" / "countersign.schema.json").read_text()))

    def test_every_example_passes(self):
        examples = [(ROOT / "tests/clients/oidc-provider/countersign.toml").read_text(), countersign("config", "print")]
        for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            examples += re.findall(r"^```toml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        self.assertGreater(len(examples), 20)
        for example in examples:
            # Part of an issuer's table, which stands before it.
            if example.startswith("[[identity.issuers.principals]]"):
                example = '[[identity.issuers]]\nname = "a"\n' + example
            with self.subTest(example[:60]):
                self.assertEqual(self.errors(example), [])

    def test_what_the_server_does_not_take_does_not_pass(self):
        for wrong in [
            "[journal]\ndri = 'x'",
            "[jurnal]\ndir = 'x'",
            "verbose = true",
            "[journal]\nsync = 'never'",
            "[approvals]\nredeem_within = 60",
            "[limits]\nwaits_max = 0",
            "[limits]\nwaits_max = '7'",
            "[telemetry]\nsample_ratio = 2",
            "[policy]\nwatch = 'yes'",
            "[grpc]\nlisten = 7443",
            "[grpc]\ntls = { certificate = 'a', key = 'b', ca = 'c' }",
            "[grpc]\ntls = { certificate = 'a' }",
            "[store.redis]\npassword = 'x'",
            "[store.redis]\nurls = 'redis://a'",
            "[masking]\nformat_key = 'sesame'",
            "[[masking.profiles]]\nname = 'a'",
            "[[journal.sealing_keys]]\nid = 'a'\nfrom = 7",
            "[[notify.targets]]\nname = 'a'\nkind = 'pigeon'\nsecret_file = 's'",
            "[[notify.targets]]\nname = 'a'\nkind = 'webhook'\nsecret = 'whsec_x'\nsecret_file = 's'",
            "[[identity.issuers]]\nname = 'a'\naudience = 'x'",
            "[[identity.issuers]]\nissuer = 'https://a.example'",
            "[[identity.issuers]]\nname = 'a'\nalgorithms = ['none']",
            "[[identity.issuers]]\nname = 'a'\nprincipals = [{ kind = 'god', entity_type = 'User' }]",
            "[[identity.certificates]]\nsan = 'a'\nnamespace = 'b'\nkind = 'user'\nentity_type = 'User'",
            "[identity]\nlinks = [['User::\"a\"']]",
            "[review]\nhigh = { max_age = '1h' }",
        ]:
            with self.subTest(wrong):
                self.assertNotEqual(self.errors(wrong), [])

    def test_editors_can_explain_every_key(self):
        for name, section in self.schema["properties"].items():
            for key, value in section["properties"].items():
                with self.subTest(f"{name}.{key}"):
                    self.assertGreater(len(value["description"]), 10)


if __name__ == "__main__":
    unittest.main()
