"""The chain of the deployment document: HAProxy, which ends TLS and watches `/healthz`, nginx with the configuration of `web`, and
`app` and `mcp` behind it, on the real servers. What a visitor gets is https throughout, and what is said of a visitor is believed of
the balancer alone. In a network namespace of its own, so that addresses, port 80 and Docker's name server are free. Standard library
only; root on Linux.

    check.py        with MNEMOSYNE_EXECUTABLE set; ends with 125 where it cannot run
"""

import email
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import urllib.parse

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "services")]
import fleet as fleets  # noqa: E402
from launcher import SERVICES, Unavailable, apt_install, run_suite  # noqa: E402
from mnemosyne import Checks  # noqa: E402
from names import Names  # noqa: E402
from waiting import eventually, reachable  # noqa: E402

NGINX = TESTS.parent / "nginx" / "mnemosyne.conf"
SITE = "mnemosyne.example.org"
# Addresses of this namespace: the balancer, the host of the stack, somebody from outside, somebody of another internal network, and
# somebody of the balancer's own, which is believed.
BALANCER, STACK, STRANGER, COLLEAGUE, NEIGHBOUR = "10.10.0.2", "10.10.0.3", "198.51.100.7", "192.168.7.7", "10.10.0.50"
APP, MCP = "127.0.1.1", "127.0.1.2"
ADMINISTRATOR, ADMIN_PASSWORD, ADMIN_MAIL = "ada", "owls-fly-late-4711", "ada@example.org"
SERVERS = ("postgres", "neo4j-5", "minio", "memcached")

# As the deployment document describes it: TLS ends here, /healthz is the health path, and the visitor's address is handed on;
# `titania` as docs/deploy.md has it, `plain` without what that adds.
HAPROXY = """
global
    stats socket {folder}/haproxy.sock mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option forwardfor
frontend titania
    bind {balancer}:443 ssl crt {folder}/site.pem
    http-request set-header X-Forwarded-Proto https
    http-request del-header X-Forwarded-For
    http-request del-header X-Forwarded-Host
    default_backend mnemosyne
frontend plain
    bind {balancer}:444 ssl crt {folder}/site.pem
    http-request set-header X-Forwarded-Proto https
    default_backend mnemosyne
backend mnemosyne
    option httpchk GET /healthz
    http-check expect status 200
    # What it is by default, where checks are not as near as here.
    timeout check 2s
    server puck {stack}:80 source {balancer} check inter 200ms fall 2 rise 2
"""


class Mails(socketserver.ThreadingTCPServer):
    """A mail server that takes everything."""

    allow_reuse_address = daemon_threads = True

    def __init__(self):
        self.mails = []
        mails = self.mails

        class Session(socketserver.StreamRequestHandler):
            def handle(self):
                def say(line):
                    self.wfile.write(line + b"\r\n")

                say(b"220 here")
                for line in self.rfile:
                    word = line.strip().upper()
                    if word == b"DATA":
                        say(b"354 go on")
                        text = b""
                        while not text.endswith(b"\r\n.\r\n"):
                            text += self.rfile.readline()
                        mails.append(email.message_from_bytes(text[:-5]).get_payload(decode=True).decode())
                    say(b"221 bye" if word == b"QUIT" else b"250 taken")

        super().__init__(("127.0.0.1", 0), Session)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Browser:
    """Somebody at an address, with cookies, who speaks with HAProxy."""

    def __init__(self, certificate, address=STRANGER, port=443):
        self.certificate, self.port = certificate, port
        self.context = ssl.create_default_context(cafile=str(certificate))
        self.address = address
        self.cookies = {}

    def ask(self, method, path, headers=None, body=None):
        """Status, headers in lower case, and body."""
        connection = http.client.HTTPConnection(BALANCER, self.port, timeout=60, source_address=(self.address, 0))
        connection.connect()
        connection.sock = self.context.wrap_socket(connection.sock, server_hostname=SITE)
        sent = {"Host": SITE, **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return talk(connection, method, path, sent, body, self.cookies)

    def form(self, path, fields, headers=None, page=None):
        """Sends the form of a page, as a browser does."""
        status, _, shown = self.ask("GET", page or path)
        assert status == 200, (page or path, status, shown[:300])
        token = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', shown)[1].decode()
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": token, **fields})
        return self.ask("POST", path, {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://{SITE}",
                                       "Referer": f"https://{SITE}{path}", **(headers or {})}, body)


def talk(connection, method, path, headers, body, cookies):
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                crumb, _, content = value.partition(";")[0].partition("=")
                cookies[crumb] = content
        return answer.status, Headers(answer.getheaders()), answer.read()
    finally:
        connection.close()


class Headers(dict):
    """By lower-case name; of several of one name, all."""

    def __init__(self, pairs):
        super().__init__()
        for name, value in pairs:
            self[name.lower()] = f"{self[name.lower()]}\n{value}" if name.lower() in self else value


def directly(method, path, headers=None, address=STRANGER):
    """Past HAProxy, at nginx itself."""
    connection = http.client.HTTPConnection(STACK, 80, timeout=60, source_address=(address, 0))
    return talk(connection, method, path, {"Host": SITE, **(headers or {})}, None, {})


def state(folder):
    """What HAProxy's health check says of the stack."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(folder / "haproxy.sock"))
        control.sendall(b"show stat\n")
        text = b"".join(iter(lambda: control.recv(65536), b"")).decode()
    lines = [line.split(",") for line in text.splitlines() if line]
    column = lines[0].index("status")
    return next(line[column] for line in lines if line[1] == "puck").split(" ")[0]


def probes(checks, folder, browser):
    with checks.that("the health check of the balancer finds /healthz"):
        eventually(lambda: state(folder) == "UP", "the stack is never up")
        status, _, body = browser.ask("GET", "/healthz")
        assert status == 200 and json.loads(body)["status"] == "ok", (status, body)
    with checks.that("probes with their slash are answered, those without are sent there"):
        for path in ("/live", "/ready"):
            status, headers, _ = browser.ask("GET", path)
            assert status == 301 and headers["location"] in (f"{path}/", f"https://{SITE}{path}/"), (path, status, headers)
        assert browser.ask("GET", "/live/")[0] == 200
        status, _, body = browser.ask("GET", "/ready/")
        assert status == 200, body


def visitor(checks, browser, mails):
    with checks.that("signing in: secure cookies, and an origin of https is the site's own"):
        status, headers, _ = browser.ask("GET", "/accounts/login/")
        assert status == 200 and "csrftoken=" in headers["set-cookie"] and "; Secure" in headers["set-cookie"], (status, headers)
        fields = {"username": ADMINISTRATOR, "password": ADMIN_PASSWORD}
        for origin in (f"http://{SITE}", "https://evil.example"):
            status, _, body = browser.form("/accounts/login/", fields, {"Origin": origin})
            assert status == 403, (origin, status, body[:300])
        status, headers, body = browser.form("/accounts/login/", fields)
        assert status in (302, 303), (status, body[:500])
        session = next(line for line in headers["set-cookie"].splitlines() if line.startswith("sessionid="))
        assert "; Secure" in session and "; HttpOnly" in session, session
        assert headers["location"].startswith(("/", f"https://{SITE}/")), headers
        status, _, body = browser.ask("GET", "/")
        assert status == 200 and ADMINISTRATOR.encode() in body, (status, body[:300])
    with checks.that("the page Connect shows the address that clients reach MCP at"):
        status, _, body = browser.ask("GET", "/connect/")
        assert status == 200 and f"https://{SITE}/mcp/".encode() in body and b"127.0.0.1" not in body, (status, body[:2000])
    with checks.that("a link to choose a new password begins with https"):
        status, _, body = Browser(browser.certificate).form("/accounts/password_reset/", {"email": ADMIN_MAIL})
        assert status == 200, (status, body[:300])
        mail = eventually(lambda: mails.mails and mails.mails[0], "no mail came")
        links = re.findall(r"\bhttps?://\S+", mail)
        assert any("/accounts/reset/" in link for link in links), mail
        assert all(link.startswith(f"https://{SITE}") for link in links), mail


def api(checks, fleet, browser):
    basic = fleets.authorization(fleets.USER, fleets.PASSWORD)
    with checks.that("REST: the next page of a list is an address of https"):
        for name in ("one", "two"):
            status, _, body = browser.ask("POST", "/library/api/workspaces/", {"Authorization": basic, "Content-Type": "application/json"},
                                          json.dumps({"workspace_id": name, "name": name, "library_type": "technical"}))
            assert status == 201, (status, body)
        status, _, body = browser.ask("GET", "/library/api/workspaces/?limit=1", {"Authorization": basic})
        following = json.loads(body)["next"]
        assert following.startswith(f"https://{SITE}/library/api/workspaces/?"), following
        assert browser.ask("GET", following.removeprefix(f"https://{SITE}"), {"Authorization": basic})[0] == 200
    with checks.that("MCP: with a token through the whole chain, without one a challenge"):
        token = json.loads(fleet.command("create_mcp_token", "--name", "haproxy", "--json").stdout)["token"]
        call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_libraries", "arguments": {}}})
        kinds = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Origin": f"https://{SITE}"}
        for path in ("/mcp", "/mcp/"):
            status, headers, _ = browser.ask("POST", path, kinds, call)
            assert status == 401 and headers["www-authenticate"].startswith("Bearer") and "http://" not in str(headers), headers
            status, _, body = browser.ask("POST", path, {**kinds, "Authorization": f"Bearer {token}"}, call)
            assert status == 200 and b"structuredContent" in body, (status, body[:300])
        status, _, body = browser.ask("GET", "/mcp/health", {"Authorization": f"Bearer {token}"})
        assert status == 200 and json.loads(body)["status"] == "ok", body


def belief(checks, fleet, browser, certificate):
    with checks.that("metrics: refused from outside, whatever a visitor claims, and there for an internal network"):
        for port in (443, 444):
            visitor = Browser(certificate, port=port)
            assert visitor.ask("GET", "/metrics")[0] == 403
            assert visitor.ask("GET", "/metrics", {"X-Forwarded-For": "10.0.0.1"})[0] == 403
            assert visitor.ask("GET", "/metrics", {"X-Real-IP": "10.0.0.1", "Forwarded": "for=10.0.0.1"})[0] == 403
        status, _, body = Browser(certificate, COLLEAGUE).ask("GET", "/metrics")
        assert status == 200 and b"mnemosyne_" in body, (status, body[:300])
    lies = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": SITE}
    with checks.that("who comes to nginx past the balancer is not believed"):
        assert directly("GET", "/metrics", lies)[0] == 403
        status, headers, _ = directly("GET", "/accounts/login/", lies)
        assert status == 200 and "; Secure" not in headers["set-cookie"], headers
        status, headers, _ = directly("GET", "/accounts/login/", {**lies, "X-Forwarded-Host": "evil.example"})
        assert status == 200, (status, "the word of a stranger chose the host")
    with checks.that("a host that a visitor makes up is refused, in the header of the host and of the proxy"):
        assert browser.ask("GET", "/accounts/login/", {"Host": "evil.example"})[0] == 400
        assert Browser(certificate).ask("GET", "/accounts/login/", {"X-Forwarded-Host": "evil.example"})[0] == 200
        assert Browser(certificate, port=444).ask("GET", "/accounts/login/", {"X-Forwarded-Host": "evil.example"})[0] == 400
    with checks.that("a refused request is the visitor's own in the log, not the balancer's"):
        # Who lives in the balancer's own network is believed there, so the balancer takes away what it claims.
        for visitor in (Browser(certificate), Browser(certificate, port=444), Browser(certificate, NEIGHBOUR)):
            begin = fleet.app.log.stat().st_size
            visitor.ask("GET", "/library/api/workspaces/", {"X-Forwarded-For": "203.0.113.99"})
            line = eventually(lambda begin=begin: next((line for line in fleet.app.text(begin).splitlines() if '"status":401' in line), None),
                              "no line")
            assert f'"client":"{visitor.address}"' in line, line


def hanging(checks, fleet, folder, browser):
    with checks.that("a server that hangs: /healthz says so within the balancer's patience, and the stack stays"):
        for server in (fleet.neo4j, fleet.servers["postgres"]):
            server.pause()
            try:
                def seen(name="knowledge" if server is fleet.neo4j else "database"):
                    status, _, body = browser.ask("GET", "/healthz")
                    assert status == 200, (status, body)
                    return json.loads(body)["dependencies"]["dependencies"][name] != "ok"

                eventually(seen, "it is never seen to hang")
                assert state(folder) == "UP"
            finally:
                server.resume()
        eventually(lambda: browser.ask("GET", "/ready/")[0] == 200, "not ready")


def away(checks, fleet, folder, browser):
    with checks.that("app stopped: /healthz is 200, the balancer keeps the stack, visitors are told to come again"):
        fleet.app.stop()
        for _ in range(3):
            assert browser.ask("GET", "/healthz")[0] == 200
        status, headers, body = browser.ask("GET", "/")
        assert status == 503 and headers["retry-after"] == "5" and b"try again" in body, (status, headers, body)
        assert state(folder) == "UP"
    with checks.that("mcp stopped: the balancer takes the stack out, and back once it is there again"):
        fleet.app.start()
        fleet.mcp.stop()
        eventually(lambda: state(folder) == "DOWN", "the stack stays up")
        fleet.mcp.start()
        eventually(lambda: state(folder) == "UP", "the stack is never up again")
        eventually(lambda: browser.ask("GET", "/ready/")[0] == 200, "not ready")


def inside():
    for command in (["link", "set", "lo", "up"], *(["address", "add", f"{address}/32", "dev", "lo"]
                                                   for address in (BALANCER, STACK, STRANGER, COLLEAGUE, NEIGHBOUR))):
        subprocess.run(["ip", *command], check=True)
    checks = Checks()
    mails = Mails()
    # Nobody listens for AMQP: `app` serves without its broker.
    with fleets.Fleet(SERVERS, ALLOWED_HOSTS=f"localhost,127.0.0.1,{SITE}", CSRF_TRUSTED_ORIGINS=f"https://{SITE}",
                      CELERY_BROKER_URL="amqp://nobody:nothing@127.0.0.1:1/none", EMAIL_HOST="127.0.0.1",
                      MNEMOSYNE_TRUSTED_PROXIES="127.0.0.0/8,::1,172.16.0.0/12,10.10.0.0/24",
                      EMAIL_PORT=str(mails.server_address[1])) as fleet:
        folder = fleet.folder
        fleet.app.variables["MNEMOSYNE_APP_LISTEN"] = f"{APP}:8000"
        fleet.mcp.variables["MNEMOSYNE_MCP_LISTEN"] = f"{MCP}:8001"
        fleet.prepare()
        fleet.command("createsuperuser", "--username", ADMINISTRATOR, "--email", ADMIN_MAIL, DJANGO_SUPERUSER_PASSWORD=ADMIN_PASSWORD)
        certificate, key = folder / "site.crt", folder / "site.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={SITE}", "-addext",
                        f"subjectAltName=DNS:{SITE}", "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
        (folder / "site.pem").write_text(certificate.read_text() + key.read_text())
        (folder / "haproxy.cfg").write_text(HAPROXY.format(folder=folder, balancer=BALANCER, stack=STACK))
        static = folder / "mnemosyne" / "static"
        fleet.command("static_init", static)
        text = NGINX.read_text()
        # As it stands, save for where the volume is mounted and what the container has for itself.
        for there, here in (("worker_processes 2", "worker_processes 1"), ("/srv/mnemosyne", str(static.parent)),
                            ("/tmp/nginx", str(folder / "nginx")), ("/dev/stdout", str(folder / "nginx.log")),
                            ("/dev/stderr", str(folder / "nginx.log"))):
            assert there in text, there
            text = text.replace(there, here)
        (folder / "mnemosyne.conf").write_text(text)
        names = Names()
        names.known.update(app=APP, mcp=MCP)
        fleet.app.start()
        fleet.mcp.start()
        with open(folder / "proxies.log", "wb") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            # In the container it is nobody's root; here it must not try to become somebody else.
            proxies = [subprocess.Popen(["nginx", "-c", folder / "mnemosyne.conf", "-g", "user root root;"], **options),
                       subprocess.Popen(["haproxy", "-db", "-f", folder / "haproxy.cfg"], **options)]
        try:
            for address, port in ((STACK, 80), (BALANCER, 443)):
                eventually(lambda address=address, port=port: reachable(address, port) or any(proxy.poll() is not None for proxy in proxies),
                           f"nobody listens at {address}:{port}")
            assert all(proxy.poll() is None for proxy in proxies), (folder / "proxies.log").read_text()
            browser = Browser(certificate)
            probes(checks, folder, browser)
            visitor(checks, browser, mails)
            api(checks, fleet, browser)
            belief(checks, fleet, browser, certificate)
            hanging(checks, fleet, folder, browser)
            away(checks, fleet, folder, browser)
        finally:
            for proxy in proxies:
                proxy.terminate()
                proxy.wait()
    checks.finish()


def main():
    if "--inside" in sys.argv:
        inside()
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    packages = {"nginx": "nginx-light", "haproxy": "haproxy", "ip": "iproute2", "openssl": "openssl"}
    missing = [package for program, package in packages.items() if not shutil.which(program, path=path)]
    if missing:
        apt_install("haproxy", *missing)
    # Whatever has to be fetched for the servers is fetched out here, where there is a network.
    for name in SERVERS:
        SERVICES[name]().install()
    # No user namespace: PostgreSQL wants a user of its own.
    namespace = ["unshare", "--net", "--mount"]
    if subprocess.run([*namespace, "true"], stderr=subprocess.DEVNULL).returncode:
        raise Unavailable("haproxy: a network namespace cannot be made here; it takes root on Linux")
    sys.exit(subprocess.run([*namespace, sys.executable, __file__, "--inside"], env={**os.environ, "PATH": path}).returncode)


if __name__ == "__main__":
    run_suite(main)
