"""What is rendered, held against the real program: its configuration, its policies, and its commands."""

import os
import pathlib
import re
import tempfile
import unittest

import yaml

from chart import CASES, CHART, ROOT, SMALLEST, only, render, run, server, template, toml, with_files

PROGRAM = os.environ["COUNTERSIGN_BIN"]
# Sections that the chart knows and a server without that part does not. Where the server has them they are held against it as all others are.
PARTS = ["store", "web"]


def program(*arguments):
    return run(PROGRAM, *arguments, env={})


def sections():
    """Those of this program."""
    printed = program("config", "print").stdout
    return set(re.findall(r"^\[(\w+)\]", printed, re.MULTILINE))


class Server(unittest.TestCase):
    def check(self, name, text):
        """What the program says of a configuration; empty where it is good."""
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            done = program("config", "check", "--config", file.name)
        if done.returncode == 0:
            return []
        problems = done.stderr.strip().splitlines()
        absent = [part for part in PARTS if part not in sections()]
        left = [it for it in problems if not any(f"unknown key `{part}." in it for part in absent)]
        if len(left) < len(problems):
            print(f"\n  {name}: this program has no {' and no '.join(absent)}; the rest of its configuration is checked", flush=True)
        return left

    def test_the_program_takes_every_rendered_configuration(self):
        self.assertGreater(len(sections()), 5)
        for values in CASES:
            self.assertEqual(self.check(values.name, toml(render(values)[1])), [], values.name)
        example = yaml.safe_load_all((CHART / "examples" / "sidecar.yaml").read_text())
        text = next(it["data"]["countersign.toml"] for it in example if it["kind"] == "ConfigMap")
        self.assertEqual(self.check("sidecar", text), [])

    def test_the_values_of_the_page_on_kubernetes_are_good(self):
        page = (ROOT / "docs" / "kubernetes.md").read_text()
        blocks = [it for it in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "apiVersion" not in it]
        self.assertEqual(len(blocks), 2)
        with tempfile.TemporaryDirectory() as directory:
            files = []
            for number, block in enumerate(blocks):
                files.append(pathlib.Path(directory) / f"{number}.yaml")
                files[-1].write_text(block)
            self.assertEqual(self.check("the page", toml(render(files[0])[1])), [])
            self.assertEqual(self.check("the page's Redis", toml(render(files[0], "--values", files[1])[1])), [])

    def test_a_setting_that_the_program_does_not_know_is_seen_here(self):
        text = toml(render(SMALLEST, "--set", "config.limits.waitz_max=7")[1])
        self.assertIn("unknown key `limits.waitz_max`", "".join(self.check("a slip", text)))

    def test_numbers_lists_and_texts_arrive_as_they_were_written(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            links = [['User::"alice"', 'User::"ci/alice"']]
            limits = {"waits_bytes_max": 4294967296, "entities_max": 100}
            yaml.safe_dump({"config": {"limits": limits, "identity": {"links": links}, "policy": {"watch": False}}}, file)
            file.flush()
            text = toml(render(SMALLEST, "--values", file.name)[1])
        self.assertEqual(self.check("numbers", text), [])
        self.assertIn("waits_bytes_max = 4294967296\n", text)
        self.assertIn("watch = false", text)

    def test_policies_in_a_config_map_are_read_as_the_kubelet_lays_them_out(self):
        files = only(render(SMALLEST, *with_files())[1], "ConfigMap", "-policies")["data"]
        self.assertGreaterEqual(len(files), 5)
        with tempfile.TemporaryDirectory() as directory:
            volume = pathlib.Path(directory)
            (volume / "..2026_01_01").mkdir()
            (volume / "..data").symlink_to("..2026_01_01")
            for name, text in files.items():
                (volume / "..2026_01_01" / name).write_text(text)
                (volume / name).symlink_to(f"..data/{name}")
            done = program("policy", "check", volume)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            (volume / "..data" / "service.cedar").write_text("permit (principal, action")
            self.assertEqual(program("policy", "check", volume).returncode, 1, "they were not read at all")

    def test_the_commands_of_the_pods_are_those_of_the_program(self):
        commands = set()
        for values in CASES:
            objects = render(values)[1]
            _, container = server(objects)
            commands.add(tuple(container["args"]))
            probes = [container[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
            commands.update(tuple(it["exec"]["command"][1:]) for it in probes if "exec" in it)
            commands.add(tuple(only(objects, "Pod")["spec"]["containers"][0]["args"]))
        self.assertGreaterEqual(len(commands), 5)
        for command in commands:
            # Told not to run, it still reads what it was told.
            done = program(*command, "--help")
            self.assertEqual(done.returncode, 0, (command, done.stderr))
            done = program(*command)
            self.assertEqual(done.returncode, 1 if command[0] == "healthcheck" else 2, (command, done.stderr))
            self.assertNotIn("unexpected argument", done.stderr)

    def test_nothing_in_values_reaches_a_shell_or_another_key(self):
        hostile = 'a"\n[dev]\nissuer_listen = "0.0.0.0:1'
        done = template("--values", SMALLEST, "--values", "-", values={"config": {"log": {"level": hostile}}})
        self.assertEqual(done.returncode, 0, done.stderr)
        documents = [it for it in yaml.safe_load_all(done.stdout) if it]
        text = next(it["data"]["countersign.toml"] for it in documents if "countersign.toml" in it.get("data", {}))
        self.assertNotRegex(text, r"(?m)^\s*\[dev\]")
