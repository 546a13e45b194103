"""The page of metrics of the real binary, read by the strict parser of prometheus_client, and held against the conventions that
`promtool check metrics` looks at: names, units, help, and bounded labels."""

import json
import os
import re
import subprocess
import tempfile
import unittest
import urllib.request
from pathlib import Path

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

os.environ["COUNTERSIGN__TELEMETRY__METRICS"] = "127.0.0.1:0"
from server import ROOT, Server  # noqa: E402

CHART = ROOT / "helm" / "countersign"
UNITS = {"seconds", "bytes", "ratio"}
# Every label that there may be; each has a closed set of values.
LABELS = {
    "version", "digest", "outcome", "reason", "step", "verdict", "how", "issuer", "result", "target", "invariant", "kind", "le",
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
        older = urllib.request.Request(address, headers={"Accept": "text/plain;version=0.0.4"})
        with urllib.request.urlopen(older, timeout=10) as answer:
            cls.older = answer.read().decode()
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
        rules = yaml.safe_load((CHART / "rules.yaml").read_text())
        names = self.names()
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            with self.subTest(rule["alert"]):
                used = set(re.findall(r"countersign_[a-z_]+", rule["expr"]))
                self.assertTrue(used and used <= names, used - names)
                self.assertIn(rule["labels"]["severity"], {"critical", "warning"})
                self.assertTrue(rule["annotations"]["summary"] and rule["annotations"]["description"])

    def test_promtool_has_nothing_to_say_of_the_page(self):
        """`promtool check metrics` reads the older text format alone."""
        promtool("check", "metrics", input=self.older)

    def test_alerts_come_when_they_should_and_stay_away_when_not(self):
        promtool("check", "rules", str(CHART / "rules.yaml"))
        promtool("test", "rules", "rules.test.yaml")
        rules = yaml.safe_load((CHART / "rules.yaml").read_text())
        alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
        tested = set(re.findall(r'alertname="(\w+)"', Path("rules.test.yaml").read_text()))
        self.assertEqual(tested, alerts)

    def test_the_dashboard_speaks_of_what_there_is(self):
        dashboard = json.loads((CHART / "dashboard.json").read_text())
        used, rules = set(), []
        for panel in dashboard["panels"]:
            with self.subTest(panel["title"]):
                self.assertTrue(panel["description"] and panel["targets"])
                for target in panel["targets"]:
                    metrics = set(re.findall(r"countersign_[a-z_]+", target["expr"]))
                    self.assertTrue(metrics and metrics <= self.names(), metrics - self.names())
                    # As Grafana fills it in.
                    filled = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".+")
                    rules.append({"record": f"panel:shown_{len(rules)}", "expr": filled})
                    used |= metrics
        # JSON is YAML.
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump({"groups": [{"name": "panels", "rules": rules}]}, file)
            file.flush()
            promtool("check", "rules", file.name)
        self.assertGreater(len(used), 20)
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
        self.assertEqual(len(set(places)), len(places))

    def names(self):
        names = {sample.name for family in self.families for sample in family.samples}
        # Without targets they have no rows.
        return names | {family.name + "_total" for family in self.families if family.type == "counter"}


def promtool(*arguments, input=None):
    done = subprocess.run(["promtool", *arguments], input=input, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or (arguments[:2] == ("check", "metrics") and done.stderr):
        raise AssertionError(f"promtool {' '.join(arguments)}: {done.stdout}{done.stderr}")


def sample_name(family):
    """As the documentation names it: without the prefix, with the ending of its rows."""
    ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return family.name.removeprefix("countersign_") + ending


if __name__ == "__main__":
    unittest.main()
