"""Starts the executable for checks that are written in Python, and counts what they find. Standard library only."""

import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request

PATIENCE = 120


class Checks:
    """Counts; the last line it prints is what `tests/run` reads."""

    def __init__(self):
        self.passed = self.failed = 0

    @contextlib.contextmanager
    def that(self, what):
        """Runs the block; what it asserts is one check."""
        try:
            yield
        except Exception:  # whatever breaks is one failed check, and the others go on
            self.failed += 1
            print(f"FAILED {what}\n{traceback.format_exc()}", flush=True)
        else:
            self.passed += 1
            print(f"ok     {what}", flush=True)

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed or not self.passed else 0)


class Server:
    """`mnemosyne serve` on a data folder of its own."""

    def __init__(self, **variables):
        self.executable = os.path.abspath(os.environ["MNEMOSYNE_EXECUTABLE"])
        self._folder = tempfile.TemporaryDirectory(prefix="mnemosyne-check-")
        self.folder = pathlib.Path(self._folder.name)
        self.environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(self.folder), "MNEMOSYNE_DATA": str(self.folder / "data"),
            "MNEMOSYNE_APP_LISTEN": "127.0.0.1:0", "MNEMOSYNE_MCP_LISTEN": "127.0.0.1:0", **variables,
        }
        self.process = None
        self.announced = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self._folder.cleanup()

    def command(self, *arguments, check=True):
        done = subprocess.run([self.executable, *arguments], env=self.environment, cwd=self.folder,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise AssertionError(f"mnemosyne {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *arguments):
        return json.loads(self.command(*arguments, "--json").stdout)

    def start(self):
        log = open(self.folder / "log.txt", "ab")
        self.process = subprocess.Popen([self.executable, "serve"], env=self.environment, cwd=self.folder, text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        log.close()
        ready = threading.Event()

        def read():
            for line in self.process.stdout:
                label, colon, value = line.partition(":")
                if colon and label in ("app", "mcp", "administrator", "password", "token", "model"):
                    self.announced[label] = value.strip()
                if line.startswith("Press Ctrl-C"):
                    ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        if not ready.wait(PATIENCE) or self.process.poll() is not None:
            raise AssertionError("the server did not start\n" + (self.folder / "log.txt").read_text())
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                if self.request("GET", "live/", base=self.announced["app"])[0] == 200:
                    return self
            assert time.monotonic() < deadline, "/live/ never answered"
            time.sleep(0.05)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def request(self, method, path, body=None, base=None):
        """Status and JSON (or text) of a REST call as the administrator."""
        credentials = f"{self.announced.get('administrator')}:{self.announced.get('password')}".encode()
        headers = {"Authorization": "Basic " + base64.b64encode(credentials).decode()}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request((base or self.announced["app"] + "library/api/") + path, data, headers,
                                         method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode(errors="replace")
