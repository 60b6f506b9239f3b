"""The configuration of the `web` service under a real nginx, in front of a real server: routes, what is believed of whom, and what
happens while a part is away. In a network namespace of its own, so that port 80 and Docker's name server are free. Standard
library only; Linux.

    check.py        with MNEMOSYNE_EXECUTABLE set; ends with 125 where it cannot run
"""

import gzip
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "services")]
from launcher import Unavailable, apt_install, run_suite  # noqa: E402
from mnemosyne import Checks, Server  # noqa: E402
from names import Names  # noqa: E402
from waiting import PATIENCE, eventually, reachable  # noqa: E402

CONFIGURATION = TESTS.parent / "nginx" / "mnemosyne.conf"
# Addresses of this namespace: what a name means may change while nginx runs.
APP, APP_MOVED, MCP = "127.0.1.1", "127.0.1.2", "127.0.1.3"
BALANCER, STRANGER = "10.10.0.2", "198.51.100.7"


def ask(method, path, headers=None, body=None, source="127.0.0.1"):
    """Status, headers in lower case, and body."""
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=30, source_address=(source, 0))
    if source != "127.0.0.1":
        connection = http.client.HTTPConnection(source, 80, timeout=30, source_address=(source, 0))
    try:
        connection.request(method, path, body, {"Host": "localhost", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


class Echo:
    """A stand-in for `app` that tells what it was sent: the headers are what is looked at here."""

    def __init__(self, address):
        outer = self
        import http.server

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                data = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = http.server.ThreadingHTTPServer((address, 8000), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def streamed():
    """How an answer of MCP that comes in parts arrives: the moments of the first and the last part."""
    listener = socket.create_server((MCP, 8001))
    released = threading.Event()

    def serve():
        client, _ = listener.accept()
        request = b""
        while not request.endswith(b"{}"):
            request += client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: first\n\n")
        released.wait(PATIENCE)
        client.sendall(b"data: last\n\n")
        client.close()

    threading.Thread(target=serve, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=PATIENCE)
    connection.request("POST", "/mcp", "{}", {"Host": "localhost", "Content-Type": "application/json"})
    answer = connection.getresponse()
    first = answer.readline()
    released.set()
    rest = answer.read()
    connection.close()
    listener.close()
    return answer.status, first, rest


def checks(checks, folder, static):
    names = Names()
    with open(folder / "nginx.log", "wb") as log:
        # In the container it is nobody's root; here it must not try to become somebody else.
        nginx = subprocess.Popen(["nginx", "-c", folder / "mnemosyne.conf", "-g", "user root root;"], stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log)
    try:
        eventually(lambda: nginx.poll() is not None or reachable("127.0.0.1", 80), "nginx does not listen")
        assert nginx.poll() is None, (folder / "nginx.log").read_text()
        with checks.that("it starts without app and mcp, and says that they are away"):
            for path, kind in (("/", "text/plain"), ("/library/api/workspaces/", "application/json"),
                               ("/mcp", "application/json"), ("/static/app.css", "text/plain")):
                status, headers, _ = ask("GET", path)
                if path.startswith("/static"):
                    continue
                assert (status, headers["content-type"].split(";")[0]) == (503, kind), (path, status, headers)
                assert headers["retry-after"] == "5"
        with checks.that("an answer of MCP arrives as it is made"):
            names.known["mcp"] = MCP
            eventually(lambda: ask("GET", "/healthz")[0] in (502, 503, 504), "the name is not looked up")
            status, first, rest = streamed()
            assert status == 200 and first == b"data: first\n" and rest.endswith(b"data: last\n\n"), (status, first, rest)
        with checks.that("what is said of a request is believed of the balancer alone"):
            echo = Echo(APP)
            names.known["app"] = APP
            eventually(lambda: ask("GET", "/x/")[0] == 200, "app is not found")
            said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "memory.example", "X-Forwarded-For": "203.0.113.9"}
            _, _, body = ask("GET", "/x/", said, source=BALANCER)
            seen = json.loads(body)
            assert seen["x-forwarded-proto"] == "https" and seen["x-forwarded-host"] == "memory.example", seen
            assert seen["x-forwarded-for"] == f"203.0.113.9, {BALANCER}", seen
            _, _, body = ask("GET", "/x/", said, source=STRANGER)
            seen = json.loads(body)
            assert seen["x-forwarded-proto"] == "http" and seen["x-forwarded-host"] == "localhost", seen
            assert seen["x-forwarded-for"] == STRANGER, seen
        with checks.that("metrics are for internal networks, judged by the real client"):
            assert ask("GET", "/metrics")[0] == 200
            assert ask("GET", "/metrics", source=STRANGER)[0] == 403
            assert ask("GET", "/metrics", {"X-Forwarded-For": "203.0.113.9"}, source=BALANCER)[0] == 403
            assert ask("GET", "/metrics", {"X-Forwarded-For": "192.168.3.4"}, source=BALANCER)[0] == 200
            assert ask("GET", "/metrics", {"X-Forwarded-For": "192.168.3.4"}, source=STRANGER)[0] == 403
        with checks.that("a name is looked up again after a container moved"):
            echo.stop()
            moved = Echo(APP_MOVED)
            names.known["app"] = APP_MOVED
            eventually(lambda: ask("GET", "/x/")[0] == 200, "app is not found where it went")
            moved.stop()
        real(checks, names, folder, static)
    finally:
        nginx.terminate()
        nginx.wait()


def real(checks, names, folder, static):
    """With the server itself behind it."""
    with Server(MNEMOSYNE_APP_LISTEN=f"{APP}:8000", MNEMOSYNE_MCP_LISTEN=f"{MCP}:8001",
                MNEMOSYNE_TRUSTED_PROXIES="127.0.0.0/8,10.10.0.0/24", ALLOWED_HOSTS="localhost,memory.example",
                CSRF_TRUSTED_ORIGINS="https://memory.example") as server:
        server.start()
        names.known["app"] = APP
        eventually(lambda: ask("GET", "/live/")[0] == 200, "app is not found")
        with checks.that("probes: app's, the one without its slash, and that of MCP"):
            status, headers, _ = ask("GET", "/live")
            assert (status, headers["location"]) == (301, "/live/"), (status, headers)
            assert ask("GET", "/ready/")[0] == 200
            status, _, body = ask("GET", "/healthz")
            assert status == 200 and json.loads(body)["status"] == "ok", body
        with checks.that("MCP is answered with and without the slash, and never redirected"):
            hello = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "check", "version": "1"}}})
            for path in ("/mcp", "/mcp/"):
                kinds = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
                status, headers, _ = ask("POST", path, kinds, hello)
                assert status == 401 and headers["www-authenticate"].startswith("Bearer"), (path, status, headers)
                kinds["Authorization"] = "Bearer " + server.announced["token"]
                status, _, body = ask("POST", path, kinds, hello)
                assert status == 200 and b"mnemosyne" in body, (path, status, body)
        with checks.that("behind TLS: a secure cookie, and links that begin with https"):
            said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "memory.example", "X-Forwarded-For": "203.0.113.9",
                    "Host": "memory.example"}
            status, headers, body = ask("GET", "/accounts/login/", said, source=BALANCER)
            assert status == 200, (status, body[:300])
            assert "; Secure" in headers["set-cookie"], headers
            status, headers, body = ask("GET", "/accounts/login/")
            assert status == 200, (status, body[:300])
            assert "; Secure" not in headers["set-cookie"], headers
        with checks.that("static files come from the volume, kept for ever under their hashed names, and compressed"):
            names_there = sorted(path.name for path in static.iterdir() if not path.name.startswith("."))
            hashed = next(name for name in names_there if name.startswith("app.") and name.endswith(".css") and len(name) > 12)
            status, headers, body = ask("GET", f"/static/{hashed}", {"Accept-Encoding": "gzip"})
            assert (status, headers["cache-control"]) == (200, "public, max-age=31536000, immutable"), headers
            assert headers["content-encoding"] == "gzip" and gzip.decompress(body) == (static / hashed).read_bytes()
            assert ask("GET", "/static/app.css")[1]["cache-control"] == "public, max-age=300"
            (static / hashed).unlink()
            status, _, body = ask("GET", f"/static/{hashed}")
            assert status == 200, "what is not in the volume is not asked of app"
            assert ask("GET", "/static/../../etc/passwd")[0] in (400, 404)
            assert ask("GET", "/static/.generations")[0] == 404
        with checks.that("an upload of 30 MB goes through, and its secrets stay out of the log"):
            import base64
            credentials = base64.b64encode(f"{server.announced['administrator']}:{server.announced['password']}".encode())
            boundary = "b0undary"
            content = b"word " * 6_000_000
            body = (f"--{boundary}\r\nContent-Disposition: form-data; name=\"workspace_id\"\r\n\r\nnginx\r\n--{boundary}\r\n"
                    "Content-Disposition: form-data; name=\"file\"; filename=\"large.txt\"\r\n\r\n").encode() + content + \
                f"\r\n--{boundary}--\r\n".encode()
            basic = {"Authorization": "Basic " + credentials.decode(), "Content-Type": "application/json"}
            made, _, text = ask("POST", "/library/api/workspaces/?secret=hush", basic, json.dumps(
                {"workspace_id": "nginx", "name": "nginx", "library_type": "technical"}))
            assert made == 201, text
            basic["Content-Type"] = f"multipart/form-data; boundary={boundary}"
            status, _, text = ask("POST", "/library/api/ingest/", basic, body)
            assert status == 202, (status, text[:300], (folder / "nginx.log").read_text()[-1500:])
            assert ask("GET", "/accounts/reset/MQ/hush-hush/")[0] == 404
            log = (folder / "nginx.log").read_text()
            assert "hush" not in log and "/accounts/reset/..." in log
    with checks.that("with app stopped, the health of MCP is what /healthz says"):
        only_mcp = Echo.__new__(Echo)
        listener = socket.create_server((MCP, 8001))

        def serve():
            client, _ = listener.accept()
            request = client.recv(65536)
            only_mcp.path = request.split(b" ")[1]
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nConnection: close\r\n\r\n{\"status\": \"ok\"}")
            client.close()

        threading.Thread(target=serve, daemon=True).start()
        assert ask("GET", "/accounts/reset/MQ/hush-hush/")[0] == 503
        assert "hush" not in (folder / "nginx.log").read_text()
        assert ask("GET", "/healthz")[0] == 200
        assert only_mcp.path == b"/mcp/health", only_mcp.path
        listener.close()
        assert ask("GET", "/live/")[0] == 503


def main():
    if "--inside" not in sys.argv:
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        if not shutil.which("nginx", path=path) or not shutil.which("ip", path=path):
            apt_install("nginx", "nginx-light", "iproute2")
        namespace = ["unshare", "--map-root-user", "--net", "--mount"]
        if subprocess.run([*namespace, "true"], stderr=subprocess.DEVNULL).returncode:
            raise Unavailable("a network namespace cannot be made here")
        environment = {**os.environ, "PATH": path}
        sys.exit(subprocess.run([*namespace, sys.executable, __file__, "--inside"], env=environment).returncode)
    for command in (["link", "set", "lo", "up"], ["address", "add", f"{BALANCER}/32", "dev", "lo"],
                    ["address", "add", f"{STRANGER}/32", "dev", "lo"]):
        subprocess.run(["ip", *command], check=True)
    result = Checks()
    with tempfile.TemporaryDirectory(prefix="mnemosyne-nginx-") as name:
        folder = pathlib.Path(name)
        static = folder / "mnemosyne" / "static"
        subprocess.run([os.environ["MNEMOSYNE_EXECUTABLE"], "static_init", static], check=True, stdout=subprocess.DEVNULL,
                       env={"MNEMOSYNE_DATA": str(folder / "data")})
        # As it stands, save for where the volume is mounted and what the container has for itself.
        text = CONFIGURATION.read_text()
        # One process: each has a memory of names of its own, and what one has looked up says nothing of the other.
        for there, here in (("worker_processes 2", "worker_processes 1"), ("/srv/mnemosyne", str(static.parent)), ("/tmp/nginx", str(folder / "nginx")),
                            ("/dev/stdout", str(folder / "nginx.log")), ("/dev/stderr", str(folder / "nginx.log"))):
            assert there in text, there
            text = text.replace(there, here)
        (folder / "mnemosyne.conf").write_text(text)
        checks(result, folder, static)
    result.finish()


if __name__ == "__main__":
    run_suite(main)
