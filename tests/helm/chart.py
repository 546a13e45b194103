"""The chart as the tests see it: rendered by the real helm."""

import os
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "countersign"
CASES = sorted((CHART / "ci").glob("values-*.yaml"))
# The smallest values that install.
SMALLEST = CHART / "ci" / "values-embedded.yaml"


def run(*command, **more):
    """The process, ended; its output is text."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, **more)


def helm(*arguments):
    return run(os.environ["HELM"], *arguments)


def template(*arguments, values=None):
    """Rendered; `values` are for the argument `-`."""
    command = [os.environ["HELM"], "template", "cs", CHART, "--namespace", "pdp", *arguments]
    return run(*command, input=None if values is None else yaml.safe_dump(values))


def render(values, *arguments):
    """What helm makes of a file of values, and its objects by kind and name."""
    done = template("--values", values, *arguments)
    assert done.returncode == 0, f"{values}: {done.stderr}"
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    return done.stdout, {(it["kind"], it["metadata"]["name"]): it for it in documents}


def with_files():
    """Arguments: the policies of this repository, from files, as `policies.files`."""
    files = [it for it in sorted((ROOT / "policies").iterdir()) if not it.name.endswith(".test.yaml")]
    given = [("--set-file", f"policies.files.{it.name}".replace(".", "\\.").replace("\\.", ".", 2) + f"={it}") for it in files]
    return ["--set", "policies.existingConfigMap=", *(word for pair in given for word in pair)]


def only(objects, kind, suffix=""):
    """The one object of a kind, among those whose names end so."""
    found = [it for (its, name), it in objects.items() if its == kind and name.endswith(suffix)]
    assert len(found) == 1, f"{len(found)} of {kind} {suffix}"
    return found[0]


def toml(objects):
    """The server's configuration."""
    maps = [it for (kind, _), it in objects.items() if kind == "ConfigMap" and "countersign.toml" in it["data"]]
    assert len(maps) == 1, len(maps)
    return maps[0]["data"]["countersign.toml"]


def server(objects):
    """The pod of the StatefulSet, and the server's container in it."""
    pod = only(objects, "StatefulSet")["spec"]["template"]["spec"]
    return pod, next(it for it in pod["containers"] if it["name"] == "countersign")
