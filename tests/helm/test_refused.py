"""What the chart refuses: by the schema of its values, each row of a table; and what has no safe default."""

import json
import unittest

import jsonschema
import yaml

from chart import CASES, CHART, SMALLEST, template

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
REDIS = {"store": {"kind": "redis", "redis": {"urls": ["redis://redis:6379"]}}}

# Each is laid over the smallest values that install.
BAD = {
    "an unknown key": {"replicaCount": 1},
    "an unknown key further down": {"grpc": {"tls": {"secretName": "a"}}},
    "two servers with the embedded store": {"replicas": 2},
    "an autoscaler of the embedded store": {"autoscaling": {"enabled": True}},
    "no server": {**REDIS, "replicas": 0},
    "a store that is not there": {"store": {"kind": "postgres"}},
    "Redis without an address": {"store": {"kind": "redis"}},
    "a password in an address": {"store": {"kind": "redis", "redis": {"urls": ["redis://:secret@redis:6379"]}}},
    "Sentinels and a Cluster": {"store": {"kind": "redis", "redis": {**REDIS["store"]["redis"], "master": "m", "cluster": True}}},
    "half a durability": {"store": {"kind": "redis", "redis": {**REDIS["store"]["redis"], "durability": "none"}}},
    "a CA from two places": {"store": {"redis": {"ca": {"existingSecret": "a", "existingConfigMap": "b"}}}},
    "an issuer in clear": {"identity": {"issuers": [{"name": "a", "issuer": "http://a.example", "audiences": ["b"]}]}},
    "an issuer for nobody": {"identity": {"issuers": [{"name": "a", "issuer": "https://a.example", "audiences": []}]}},
    "TLS and in clear": {"grpc": {"tls": {"existingSecret": "a"}}},
    "two certificates": {
        "grpc": {"allowPlaintext": False, "tls": {"existingSecret": "a", "certManager": {"enabled": True, "issuerRef": {"name": "b"}}}}
    },
    "a certificate of nobody": {"grpc": {"allowPlaintext": False, "tls": {"certManager": {"enabled": True}}}},
    "certificates of clients in clear": {"grpc": {"tls": {"clientCa": {"existingSecret": "a"}}}},
    "an unknown clientAuth": {"grpc": {"tls": {"clientAuth": "none"}}},
    "a port that needs root": {"grpc": {"port": 443}},
    "a port as text": {"grpc": {"port": "7443"}},
    "an inbox without its address": {"web": {"enabled": True, "allowPlaintext": True}},
    "an inbox in clear that nobody said": {"web": {"enabled": True, "publicUrl": "https://a.example"}},
    "an inbox at an address in clear": {"web": {"enabled": True, "allowPlaintext": True, "publicUrl": "http://a.example"}},
    "an inbox below a path": {"web": {"enabled": True, "allowPlaintext": True, "publicUrl": "https://a.example/inbox"}},
    "an Ingress to no inbox": {"ingress": {"enabled": True, "host": "a.example", "tlsSecret": "a"}},
    "an Ingress in clear": {
        "web": {"enabled": True, "allowPlaintext": True, "publicUrl": "https://a.example"},
        "ingress": {"enabled": True, "host": "a.example"},
    },
    "a route of no Gateway": {
        "web": {"enabled": True, "allowPlaintext": True, "publicUrl": "https://a.example"},
        "httpRoute": {"enabled": True, "hostnames": ["a.example"]},
    },
    "policies from two places": {"policies": {"files": {"a.cedar": ""}}},
    "policies in a file of no kind": {"policies": {"existingConfigMap": "", "files": {"policies.txt": ""}}},
    "policies from outside the volume": {"policies": {"existingConfigMap": "", "volume": {"emptyDir": {}}, "subPath": "../etc"}},
    "an address that the chart sets": {"config": {"grpc": {"listen": "127.0.0.1:7443"}}},
    "issuers in two places": {"config": {"identity": {"issuers": []}}},
    "another directory of the journal": {"config": {"journal": {"dir": "/tmp"}}},
    "a password in the configuration": {"config": {"store": {"redis": {"password": "secret"}}}},
    "another store by the configuration": {"config": {"store": {"kind": "redis"}}},
    "the development issuer": {"config": {"dev": {"issuer_listen": "0.0.0.0:7444"}}},
    "the development issuer by a variable": {"extraEnv": [{"name": "COUNTERSIGN__DEV__ISSUER_LISTEN", "value": "a"}]},
    "another address by a variable": {"extraEnv": [{"name": "COUNTERSIGN__GRPC__LISTEN", "value": "a"}]},
    "a secret by the name of another": {"secretMounts": [{"name": "tls", "existingSecret": "a"}]},
    "the image `latest`": {"image": {"tag": "latest"}},
    "half a digest": {"image": {"digest": "sha256:0123"}},
    "a volume that many write": {"journal": {"accessModes": ["ReadWriteMany"]}},
    "a journal of no size": {"journal": {"size": "0"}},
    "no time to stop": {"terminationGracePeriodSeconds": 5},
    "a probe that never fails": {"probes": {"liveness": {"failureThreshold": 0}}},
    "an unknown probe": {"probes": {"type": "http"}},
    "a budget that blocks every drain": {"podDisruptionBudget": {"maxUnavailable": 0}},
    "a policy that lets everybody in": {"networkPolicy": {"grpcFrom": []}},
    "a security context of one's own": {"securityContext": {"runAsUser": 0}},
    "text where a number belongs": {"preStopSeconds": "5"},
}


def laid_over(below, above):
    """As helm lays values over others: a null takes away."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    both = {key: laid_over(below.get(key), value) if key in below else value for key, value in above.items()}
    return {key: value for key, value in {**below, **both}.items() if value is not None}


def objects_of(schema, path="values"):
    """Every part of the schema that describes an object key by key."""
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        yield path, schema
    for key, part in schema.get("properties", {}).items():
        yield from objects_of(part, f"{path}.{key}")
    yield from objects_of(schema.get("items"), f"{path}[]")


class Refused(unittest.TestCase):
    def test_bad_values_are_refused_by_the_schema(self):
        jsonschema.Draft7Validator.check_schema(SCHEMA)
        validator = jsonschema.Draft7Validator(SCHEMA)
        smallest = laid_over(DEFAULTS, yaml.safe_load(SMALLEST.read_text()))
        self.assertEqual([error.message for error in validator.iter_errors(smallest)], [])
        self.assertEqual([error.message for error in validator.iter_errors(laid_over(smallest, REDIS))], [])
        for name, values in BAD.items():
            with self.subTest(name):
                errors = [error.message for error in validator.iter_errors(laid_over(smallest, values))]
                # For its own reason, and for no other.
                self.assertEqual(len(errors), 1, errors)

    def test_helm_refuses_them_by_the_same_schema(self):
        for name in ["two servers with the embedded store", "an unknown key", "a password in the configuration", "TLS and in clear"]:
            done = template("--values", SMALLEST, "--values", "-", values=BAD[name])
            self.assertNotEqual(done.returncode, 0, name)
            self.assertIn("values don't meet the specifications of the schema", done.stderr, name)

    def test_what_has_no_safe_default_must_be_given(self):
        given = []
        for flags, wanted in [
            ([], "identity.issuers is empty"),
            (["--set-json", 'identity.issuers=[{"name":"a","issuer":"https://a.example","audiences":["b"]}]'], "how do tokens travel"),
            (["--set", "grpc.tls.existingSecret=tls"], "there are no policies"),
        ]:
            given += flags
            done = template(*given)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(wanted, done.stderr)
        done = template(*given, "--set", "policies.existingConfigMap=policies")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_schema_is_closed_and_knows_exactly_the_values_that_there_are(self):
        for path, schema in objects_of(SCHEMA):
            is_free = "description" in schema or path.startswith("values.config.")
            known = schema.get("properties")
            if known and not is_free:
                self.assertIs(schema.get("additionalProperties"), False, path)
            elif not known:
                self.assertTrue(is_free or isinstance(schema.get("additionalProperties"), dict), path)

        def compare(schema, values, path):
            for key, value in values.items():
                self.assertIn(key, schema["properties"], f"{path}.{key}")
                if isinstance(value, dict) and schema["properties"][key].get("additionalProperties") is False:
                    compare(schema["properties"][key], value, f"{path}.{key}")
            optional = {"global", "successThreshold", "initialDelaySeconds", "claims"}
            missing = set(schema["properties"]) - set(values) - optional
            self.assertEqual(missing, set(), f"{path}: in the schema, and not in values.yaml")

        compare(SCHEMA, DEFAULTS, "values")

    def test_every_value_says_what_it_is_for(self):
        """A comment above each key at the top, but those that say all by their names or share one."""
        lines = (CHART / "values.yaml").read_text().splitlines()
        groups, commented = [], False
        for line in lines:
            if not line:
                commented = False
            elif line.startswith("#"):
                commented = True
            elif not line.startswith(" ") and ":" in line:
                groups.append((line.split(":")[0], commented))
        bare = {key for key, commented in groups if not commented}
        self.assertLessEqual(bare, {"image", "store", "identity", "grpc", "policies", "journal", "resources", "probes", "service",
                                    "podDisruptionBudget", "networkPolicy", "serviceAccount", "podAnnotations", "podLabels",
                                    "priorityClassName", "nodeSelector", "tolerations", "affinity"})

    def test_every_file_of_values_is_good(self):
        validator = jsonschema.Draft7Validator(SCHEMA)
        for values in CASES:
            errors = validator.iter_errors(laid_over(DEFAULTS, yaml.safe_load(values.read_text())))
            self.assertEqual([error.message for error in errors], [], values.name)
