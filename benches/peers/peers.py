"""Runs both servers in turn and prints how they compare. Source of the figures: /proc (CPU, memory), h2load (requests, times)."""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import server
import workload

WORK = Path(sys.argv[1])
ROUNDS = int(os.environ.get("ROUNDS", "5"))
REQUESTS = int(os.environ.get("REQUESTS", "20000"))
POLICIES = [int(number) for number in os.environ.get("POLICIES", "8 800 8000").split()]
CONNECTIONS, UNDER_WAY = 4, 16
START_SECONDS = 120
ROUND_SECONDS = 300


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Peer:
    """A server that runs, and how it is asked."""

    def __init__(self, directory, policies):
        self.directory, self.policies = directory, policies
        began = time.monotonic()
        self.start()
        self.headers = {"content-type": "application/grpc", "te": "trailers", **self.token()}
        (directory / "body").write_bytes(self.request())
        while True:
            answer = self.ask()
            if answer:
                break
            if time.monotonic() - began > START_SECONDS:
                raise RuntimeError(f"{self.name} does not answer")
        self.cold_start = time.monotonic() - began
        expected = [workload.owner(number) == workload.PERSON for number in range(workload.DECISIONS)]
        if self.allowed(answer) != expected:
            raise RuntimeError(f"{self.name} decides {self.allowed(answer)}")

    def ask(self):
        """One call; its answer, or nothing."""
        command = ["curl", "--silent", "--http2-prior-knowledge", "--max-time", "10", "--data-binary", f"@{self.directory}/body"]
        for header in self.headers.items():
            command += ["--header", ": ".join(header)]
        return subprocess.run([*command, self.url()], stdout=subprocess.PIPE, check=False).stdout

    def load(self):
        """Requests a second, CPU microseconds a decision, and the times of all requests in microseconds."""
        log = self.directory / "log"
        log.unlink(missing_ok=True)
        command = ["h2load", "-n", str(REQUESTS), "-c", str(CONNECTIONS), "-m", str(UNDER_WAY), "-d", f"{self.directory}/body"]
        command += [f"--log-file={log}"]
        for header in self.headers.items():
            command += ["-H", ": ".join(header)]
        cpu, began = self.cpu(), time.monotonic()
        done = subprocess.run([*command, self.url()], stdout=subprocess.PIPE, text=True, check=True, timeout=ROUND_SECONDS)
        took, cpu = time.monotonic() - began, self.cpu() - cpu
        if f"{REQUESTS} succeeded, 0 failed" not in done.stdout:
            raise RuntimeError(done.stdout)
        times = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
        return REQUESTS / took, cpu * 1e6 / REQUESTS / workload.DECISIONS, times

    def cpu(self):
        """Seconds of processor time so far, of the server and what it started."""
        fields = Path(f"/proc/{self.pid()}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """MiB in use now."""
        status = Path(f"/proc/{self.pid()}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Countersign(Peer):
    name = "countersign"
    allowed = staticmethod(workload.countersign_allowed)

    def start(self):
        shipped, policies = server.ROOT / "policies", self.directory / "policies"
        policies.mkdir()
        for name in ("countersign.cedarschema", "service.cedar"):
            shutil.copy(shipped / name, policies)
        types, _, _ = (shipped / "app.cedarschema").read_text().partition("entity Database;")
        (policies / "app.cedarschema").write_text(types + workload.CEDAR_SCHEMA)
        documents = "".join(map(workload.cedar, range(self.policies)))
        (policies / "documents.cedar").write_text(workload.SUPPLY + documents)
        readers = '[{"uid": {"type": "User", "id": "%s"}, "attrs": {}, "parents": [{"type": "Group", "id": "readers"}]}]'
        (policies / "entities.json").write_text(readers % workload.PERSON)
        server.ALL_SECONDS = ROUND_SECONDS
        self.server = server.Server(policies)

    def token(self):
        return {"authorization": f"Bearer {self.server.person(workload.PERSON)}"}

    def request(self):
        return workload.countersign_request(self.policies)

    def url(self):
        return f"http://{self.server.address}/countersign.v1.DecisionPoint/AuthorizeBatch"

    def pid(self):
        return self.server.process.pid

    def stop(self):
        signal.alarm(0)
        self.server.stop()


class Cerbos(Peer):
    name = "Cerbos"
    allowed = staticmethod(workload.cerbos_allowed)

    def start(self):
        policies = self.directory / "policies"
        policies.mkdir()
        for number in range(self.policies):
            (policies / f"kind{number}.yaml").write_text(workload.cerbos_policy(number))
        self.port = free_port()
        config = self.directory / "cerbos.yaml"
        config.write_text(
            f'server: {{ httpListenAddr: "127.0.0.1:{free_port()}", grpcListenAddr: "127.0.0.1:{self.port}" }}\n'
            f'storage: {{ driver: disk, disk: {{ directory: "{policies}" }} }}\ntelemetry: {{ disabled: true }}\n'
        )
        command = [os.environ["CERBOS_BIN"], "server", "--config", str(config), "--log-level", "error"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def token(self):
        return {}

    def request(self):
        return workload.cerbos_request(self.policies)

    def url(self):
        return f"http://127.0.0.1:{self.port}/cerbos.svc.v1.CerbosService/CheckResources"

    def pid(self):
        return self.process.pid

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def figures(kind, policies):
    """One life of one server: cold start, rate, CPU, times, memory."""
    with tempfile.TemporaryDirectory(dir=WORK) as directory:
        peer = kind(Path(directory), policies)
        try:
            peer.load()
            rate, cpu, times = peer.load()
            at = lambda share: times[int(len(times) * share)] / 1e3
            return [peer.cold_start, rate, cpu, at(0.5), at(0.99), peer.memory()]
        finally:
            peer.stop()


def main():
    print(f"{workload.DECISIONS} decisions a call, {REQUESTS} calls, {CONNECTIONS} connections x {UNDER_WAY}, medians of {ROUNDS}")
    head = ["policies", "server", "cold start, s", "calls/s", "CPU us/decision", "p50 ms", "p99 ms", "RSS MiB"]
    print(" ".join(f"{name:>16}" for name in head))
    for policies in POLICIES:
        rounds = {kind: [] for kind in (Cerbos, Countersign)}
        for _ in range(ROUNDS):
            for kind in rounds:
                rounds[kind].append(figures(kind, policies))
        median = {kind: [statistics.median(column) for column in zip(*of)] for kind, of in rounds.items()}
        for kind, values in median.items():
            print(" ".join(f"{cell:>16}" for cell in [policies, kind.name, *(f"{value:.2f}" for value in values)]))
        ratios = [theirs / ours for theirs, ours in zip(median[Cerbos], median[Countersign])]
        print(" ".join(f"{cell:>16}" for cell in [policies, "ratio", *(f"{ratio:.2f}x" for ratio in ratios)]), flush=True)


main()
