"""The real binary with its development issuer, on any free ports, and tokens from it over HTTP."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 20
END_SECONDS = 20
ALL_SECONDS = 90


class Server:
    def __init__(self, policies=ROOT / "policies"):
        self.directory = tempfile.mkdtemp(prefix="countersign-clients-")
        command = [os.environ["COUNTERSIGN_BIN"], "serve", "--dev", "--listen", "127.0.0.1:0"]
        command += ["--journal-dir", self.directory + "/journal", "--policy-dir", str(policies)]
        environment = {**os.environ, "COUNTERSIGN__DEV__ISSUER_LISTEN": "127.0.0.1:0"}
        # How long calls wait for a processor that many tests share says nothing.
        environment.setdefault("COUNTERSIGN__LIMITS__QUEUEING_TARGET", "60s")
        self.socket = self.directory + "/run/grpc.sock"
        environment["COUNTERSIGN__GRPC__UNIX"] = self.socket
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._abandon)
        signal.alarm(ALL_SECONDS)
        self.said = []
        self.started = threading.Event()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        if not self.started.wait(START_SECONDS) or self.issuer is None:
            self.stop()
            raise RuntimeError("the server did not start: " + "".join(self.said))

    def _read(self):
        for line in self.process.stderr:
            self.said.append(line)
            if self.issuer:
                self.started.set()
        self.started.set()

    def _find(self, pattern):
        found = re.search(pattern, "".join(self.said))
        return found and found[1]

    @property
    def address(self):
        return self._find(r"listens on http://(\S+)")

    @property
    def issuer(self):
        return self._find(r"issuer on (http://[^\s:]+:\d+)")

    @property
    def inbox(self):
        return self._find(r"inbox is at (\S+)")

    def agent(self, name):
        """A token by client credentials."""
        secret = f"{name}-dev-secret"
        return self._token(grant_type="client_credentials", client_id=name, client_secret=secret)

    def person(self, name):
        """A token by the development issuer's login."""
        return self._token(grant_type="urn:countersign:dev", username=name)

    def _token(self, **form):
        body = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(self.issuer + "/token", body, timeout=10) as answer:
            return json.load(answer)["access_token"]

    def _abandon(self, number, _):
        """Nothing of ours outlives the tests, not even when they hang (after `ALL_SECONDS`) or are told to end."""
        print(f"given up: {signal.Signals(number).name}", flush=True)
        self.process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        os._exit(1)

    def stop(self):
        """Ends it as an orchestrator does."""
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        finally:
            self.process.kill()
            self.reader.join()
            self.process.stderr.close()
            left = os.path.exists(self.socket)
            shutil.rmtree(self.directory)
        if self.process.returncode != 0:
            raise RuntimeError(f"the server ended with {self.process.returncode}: " + "".join(self.said))
        if left:
            raise RuntimeError("the server left its Unix socket behind")
