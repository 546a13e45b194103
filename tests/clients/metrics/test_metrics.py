"""The page of metrics of the real binary, read by the strict parser of prometheus_client, and held against the conventions that
`promtool check metrics` looks at: names, units, help, and bounded labels."""

import os
import re
import unittest
import urllib.request
from pathlib import Path

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

os.environ["COUNTERSIGN__TELEMETRY__METRICS"] = "127.0.0.1:0"
from server import ROOT, Server  # noqa: E402

UNITS = {"seconds", "bytes"}
# Every label that there may be; each has a closed set of values.
LABELS = {
    "version", "digest", "outcome", "reason", "step", "verdict", "how", "issuer", "result", "target", "invariant", "le",
}
NAME = re.compile(r"countersign_[a-z0-9_]+[a-z0-9]")


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        address = cls.server._find(r"metrics are at (http://\S+)")
        with urllib.request.urlopen(address, timeout=10) as answer:
            cls.kind, cls.page = answer.headers["content-type"], answer.read().decode()
        cls.families = list(text_string_to_metric_families(cls.page))

    def test_it_is_open_metrics(self):
        self.assertEqual(self.kind, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.assertGreater(len(self.families), 40)

    def test_names_and_units_are_conventional(self):
        for family in self.families:
            with self.subTest(family.name):
                self.assertRegex(family.name, NAME)
                self.assertTrue(family.documentation.endswith("."), family.documentation)
                unit = family.name.rsplit("_", 1)[1]
                self.assertEqual(family.unit, unit if unit in UNITS else "")
                self.assertNotRegex(family.name, "(milli|micro|nano)seconds|_(ms|us|ns|kb|mb|counter|gauge|histogram)$")
                if family.type == "histogram":
                    self.assertEqual(family.unit, "seconds")

    def test_labels_are_known_and_rows_few(self):
        for family in self.families:
            with self.subTest(family.name):
                self.assertLessEqual({label for sample in family.samples for label in sample.labels}, LABELS)
                self.assertLessEqual(len(family.samples), 100)

    def test_every_metric_is_in_the_documentation_and_no_other(self):
        text = (ROOT / "docs" / "metrics.md").read_text()
        table = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
        documented = set(re.findall(r"`([a-z_]+)`", table))
        written = {sample_name(family) for family in self.families}
        self.assertEqual(documented, written)

    def test_rules_speak_of_what_there_is(self):
        rules = yaml.safe_load((ROOT / "helm" / "countersign" / "rules.yaml").read_text())
        names = {sample.name for family in self.families for sample in family.samples}
        # Without targets they have no rows.
        names |= {family.name + "_total" for family in self.families if family.type == "counter"}
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            with self.subTest(rule["alert"]):
                used = set(re.findall(r"countersign_[a-z_]+", rule["expr"]))
                self.assertTrue(used and used <= names, used - names)
                self.assertIn(rule["labels"]["severity"], {"critical", "warning"})
                self.assertTrue(rule["annotations"]["summary"] and rule["annotations"]["description"])


def sample_name(family):
    """As the documentation names it: without the prefix, with the ending of its rows."""
    ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return family.name.removeprefix("countersign_") + ending


if __name__ == "__main__":
    unittest.main()
