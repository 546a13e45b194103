"""Every file of values: linted, rendered, and held against the schemas of Kubernetes and the rules of checkov."""

import json
import pathlib
import tempfile
import unittest

import kubernetes_validate
import yaml

from chart import CASES, CHART, ROOT, SMALLEST, helm, only, render, run, server, with_files

# Of kinds that come with other projects: what their schemas require.
FOREIGN = {
    "Certificate": ("cert-manager.io/v1", ["secretName", "issuerRef", "dnsNames"]),
    "ServiceMonitor": ("monitoring.coreos.com/v1", ["selector", "endpoints"]),
    "PrometheusRule": ("monitoring.coreos.com/v1", ["groups"]),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", ["parentRefs", "hostnames", "rules"]),
}
CHECKOV_FAILURES_MAX = 3
# What may fail in what is rendered, and why. (The pod of `helm test` says its own, in templates/tests/health.yaml.)
JUSTIFIED = {
    "CKV_K8S_43": "an image by its tag: the digest of a release is not known before it is built; values take one (image.digest)",
}


class Render(unittest.TestCase):
    def test_the_chart_and_each_file_of_values_pass_the_strict_lint(self):
        self.assertGreaterEqual(len(CASES), 5)
        for values in [CHART / "values.yaml", *CASES]:
            done = helm("lint", "--strict", CHART, "--values", values)
            self.assertEqual(done.returncode, 0, f"{values}: {done.stdout}{done.stderr}")
        sources = [CHART / "values.yaml", CHART / "Chart.yaml", *CASES, *(CHART / "examples").glob("*.yaml")]
        done = run("yamllint", "--strict", "--config-file", pathlib.Path(__file__).parent / "yamllint.yaml", *sources)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_everything_rendered_is_what_kubernetes_takes(self):
        documents = []
        for values in CASES:
            documents += [(values.name, it) for it in render(values)[1].values()]
        example = CHART / "examples" / "sidecar.yaml"
        documents += [(example.name, it) for it in yaml.safe_load_all(example.read_text())]
        self.assertGreater(len(documents), 30)
        for name, document in documents:
            version, required = FOREIGN.get(document["kind"], (None, []))
            if version:
                self.assertEqual(document["apiVersion"], version)
                self.assertEqual([key for key in required if not document["spec"].get(key)], [])
                continue
            try:
                for release in ["1.30", kubernetes_validate.latest_version()]:
                    kubernetes_validate.validate(document, release, strict=True)
            except kubernetes_validate.ValidationError as error:
                self.fail(f"{name}: {document['kind']} {document['metadata']['name']}: {error}")

    def test_checkov_finds_no_more_than_what_is_justified(self):
        with tempfile.TemporaryDirectory() as directory:
            for values in CASES:
                (pathlib.Path(directory) / values.name).write_text(render(values)[0])
            done = run("checkov", "--skip-download", "--framework", "kubernetes", "--output", "json", "--directory", directory)
            report = json.loads(done.stdout)
        self.assertEqual(report["summary"]["parsing_errors"], 0)
        self.assertGreater(report["summary"]["passed"], 500)
        for values in CASES:
            failed = [it for it in report["results"]["failed_checks"] if values.name in it["file_path"]]
            shown = [f"{it['check_id']} {it['check_name']} {it['resource']}" for it in failed]
            self.assertLessEqual(len(failed), CHECKOV_FAILURES_MAX, shown)
            self.assertEqual([it for it in shown if it.split()[0] not in JUSTIFIED], [], values.name)

    def test_the_image_is_what_the_chart_takes_it_for_and_linters_find_nothing_in_it_or_its_release(self):
        image = (ROOT / "Dockerfile").read_text()
        _, container = server(render(CHART / "ci" / "values-tls-cert-manager.yaml")[1])
        self.assertIn("\nUSER 65532:65532\n", image)
        self.assertIn(f'\nENTRYPOINT ["{container["livenessProbe"]["exec"]["command"][0]}"]\n', image)
        done = run("hadolint", ROOT / "Dockerfile")
        self.assertEqual(done.returncode, 0, done.stdout)
        files = [ROOT / "Dockerfile", ROOT / ".github" / "workflows" / "release.yml"]
        named = [word for file in files for word in ("--file", file)]
        frameworks = ["--framework", "dockerfile", "github_actions"]
        done = run("checkov", "--skip-download", "--output", "json", *frameworks, *named)
        reports = json.loads(done.stdout)
        self.assertEqual(sorted(it["check_type"] for it in reports), ["dockerfile", "github_actions"])
        for report in reports:
            self.assertGreater(report["summary"]["passed"], 20)
            self.assertEqual([it["check_id"] for it in report["results"]["failed_checks"]], [])

    def test_every_container_of_ours_is_closed(self):
        for values in CASES:
            objects = render(values)[1]
            pods = [server(objects)[0], only(objects, "Pod")["spec"]]
            for pod in pods:
                self.assertIs(pod["automountServiceAccountToken"], False)
                own = next(it for it in pod["containers"] if it["name"] in ("countersign", "health"))
                closed = own["securityContext"]
                self.assertEqual(
                    (closed["runAsNonRoot"], closed["runAsUser"], closed["readOnlyRootFilesystem"]), (True, 65532, True)
                )
                self.assertEqual((closed["allowPrivilegeEscalation"], closed["capabilities"]), (False, {"drop": ["ALL"]}))
                self.assertEqual(closed["seccompProfile"], {"type": "RuntimeDefault"})

    def test_no_secret_is_in_what_is_rendered_but_by_its_name_and_as_a_file(self):
        objects = render(CHART / "ci" / "values-redis.yaml")[1]
        pod, container = server(objects)
        self.assertNotIn("env", container)
        self.assertEqual([it for it in objects if it[0] == "Secret"], [])
        named = {it["secret"]["secretName"] for it in pod["volumes"] if "secret" in it}
        self.assertEqual(named, {"countersign-redis", "countersign-sentinel", "countersign-tls"})
        # A subPath is never renewed.
        self.assertEqual([it for it in container["volumeMounts"] if "subPath" in it], [])

    def test_the_kubelet_asks_in_clear_and_the_program_over_tls(self):
        probes = ["startupProbe", "readinessProbe", "livenessProbe"]
        _, clear = server(render(SMALLEST)[1])
        parts = [clear[probe]["grpc"]["service"] for probe in probes]
        self.assertEqual(parts, ["journal", "countersign.v1.DecisionPoint", "journal"])
        _, tls = server(render(CHART / "ci" / "values-tls-cert-manager.yaml")[1])
        for probe, part in zip(probes, parts):
            self.assertEqual(tls[probe]["exec"]["command"][1:2] + tls[probe]["exec"]["command"][-1:], ["healthcheck", f"--service={part}"])
        _, tcp = server(render(SMALLEST, "--set", "probes.type=tcp")[1])
        self.assertEqual(tcp["livenessProbe"]["tcpSocket"], {"port": "grpc"})

    def test_pods_start_anew_for_the_configuration_and_not_for_policies(self):
        def checksum(*more):
            template = only(render(SMALLEST, *with_files(), *more)[1], "StatefulSet")["spec"]["template"]
            return template["metadata"]["annotations"]["checksum/config"]

        self.assertEqual(checksum(), checksum("--set-string", r"policies.files.more\.cedar=//"))
        self.assertNotEqual(checksum(), checksum("--set", "config.limits.waits_max=7"))

    def test_only_shared_approvals_are_scaled_and_disrupted(self):
        one, many = render(SMALLEST)[1], render(CHART / "ci" / "values-redis.yaml")[1]
        for kind in ["HorizontalPodAutoscaler", "PodDisruptionBudget"]:
            self.assertEqual([name for name in one if name[0] == kind], [])
            only(many, kind)
        self.assertEqual(only(one, "StatefulSet")["spec"]["replicas"], 1)
        self.assertNotIn("replicas", only(many, "StatefulSet")["spec"], "the autoscaler's")
        for objects in [one, many]:
            spec = only(objects, "StatefulSet")["spec"]
            self.assertEqual(spec["volumeClaimTemplates"][0]["metadata"]["name"], "journal")
            kept = {"whenDeleted": "Retain", "whenScaled": "Retain"}
            self.assertEqual(spec["persistentVolumeClaimRetentionPolicy"], kept)

    def test_what_is_given_beside_is_there(self):
        text, objects = render(CHART / "ci" / "values-policies-volume.yaml")
        pod, container = server(objects)
        self.assertEqual([it["name"] for it in pod["initContainers"] + pod["containers"]], ["policies", "countersign", "policies-sync"])
        self.assertIn({"name": "policies", "emptyDir": {"sizeLimit": "64Mi"}}, pod["volumes"])
        self.assertIn({"name": "scratch", "mountPath": "/tmp"}, container["volumeMounts"])
        self.assertIn("/run/secrets/countersign/git", [it["mountPath"] for it in container["volumeMounts"]])
        self.assertEqual(objects[("ConfigMap", "cs-countersign-note")]["data"], {"server": container["image"]})
        self.assertIn(("ConfigMap", "cs-other"), objects)
        self.assertNotIn("{{", text)

    def test_the_inbox_is_reached_by_ingress_and_gateway(self):
        objects = render(CHART / "ci" / "values-ingress.yaml")[1]
        service = only(objects, "Service", "-inbox")
        backend = only(objects, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        self.assertEqual((backend["name"], backend["port"]), (service["metadata"]["name"], {"name": service["spec"]["ports"][0]["name"]}))
        route = only(objects, "HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]
        self.assertEqual(route, {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]})
        for (kind, name), it in objects.items():
            if kind not in ("Pod", "NetworkPolicy"):
                self.assertEqual(it["metadata"]["labels"]["team"], "platform", name)

    def test_the_chart_is_of_the_program_s_version(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        manifest = (ROOT / "Cargo.toml").read_text()
        self.assertIn(f'\nversion = "{chart["appVersion"]}"\n', manifest)
        self.assertEqual(chart["version"], chart["appVersion"])


if __name__ == "__main__":
    unittest.main()
