"""Starts every server of the launcher, uses it, disturbs it, and looks for what is left afterwards.

Usage: check.py [SERVICE…]
"""

import contextlib
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True
FOLDER = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "support")]
import s3  # noqa: E402
from launcher import SERVICES, Servers, processes_of  # noqa: E402
from mnemosyne import PATIENCE, Checks  # noqa: E402


def eventually(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def password_of(url):
    return urllib.parse.unquote(urllib.parse.urlsplit(url).password)


# --- AMQP ------------------------------------------------------------------------------------------------------------

class Amqp:
    """As much of AMQP 0-9-1 as logs in with a URL, and publishes a message that must survive."""

    QUEUE = b"kept"

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), PATIENCE)
        self.reader = self.socket.makefile("rb")
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        self.expect(10, 10)
        answer = f"\0{urllib.parse.unquote(parts.username)}\0{password_of(url)}".encode()
        self.send(0, 10, 11,
                  self.table() + self.short(b"PLAIN") + struct.pack(">I", len(answer)) + answer + self.short(b"C"))
        limits = self.expect(10, 30)
        self.send(0, 10, 31, limits[:6] + b"\0\0")
        self.send(0, 10, 40, self.short(urllib.parse.unquote(parts.path[1:]).encode()) + self.short(b"") + b"\0")
        self.expect(10, 41)
        self.send(1, 20, 10, self.short(b""))
        self.expect(20, 11)

    @staticmethod
    def short(text):
        return bytes([len(text)]) + text

    @staticmethod
    def table():
        return b"\0\0\0\0"

    def frame(self, kind, channel, payload):
        self.socket.sendall(struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce")

    def send(self, channel, group, method, arguments):
        self.frame(1, channel, struct.pack(">HH", group, method) + arguments)

    def expect(self, group, method):
        header = self.reader.read(7)
        assert len(header) == 7, f"the broker has closed the connection instead of sending {group}.{method}"
        payload = self.reader.read(struct.unpack(">I", header[3:])[0] + 1)[:-1]
        came = struct.unpack(">HH", payload[:4])
        assert came == (group, method), f"{came} came, not {(group, method)}: {payload[4:]}"
        return payload[4:]

    def messages(self, passive):
        """How many messages the durable queue holds; makes it unless `passive`."""
        self.send(1, 50, 10, b"\0\0" + self.short(self.QUEUE) + bytes([2 | passive]) + self.table())
        return struct.unpack(">I", self.expect(50, 11)[1 + len(self.QUEUE):][:4])[0]

    def publish(self, body):
        self.send(1, 85, 10, b"\0")
        self.expect(85, 11)
        self.send(1, 60, 40, b"\0\0" + self.short(b"") + self.short(self.QUEUE) + b"\0")
        self.frame(2, 1, struct.pack(">HHQHB", 60, 0, len(body), 0x1000, 2))
        self.frame(3, 1, body)
        self.expect(60, 80)

    def close(self):
        self.reader.close()
        self.socket.close()


# --- what each server is used for: `write` once, `read` after every disturbance --------------------------------------

class PostgresUse:
    def __init__(self, server):
        self.server = server
        self.admin = server.environment()["MNEMOSYNE_TEST_POSTGRES_URL"]

    def write(self):
        of_test = self.admin.removesuffix("/postgres") + "/of_test"
        self.server.psql(self.admin, "CREATE DATABASE of_test")
        self.server.psql(of_test, "CREATE TABLE kept AS SELECT 42 AS value")
        own = self.server.url(password=self.server.environment()["APP_DB_PASSWORD"])
        assert self.server.psql(own, "CREATE TABLE mine (); SELECT current_setting('is_superuser')") == "off"

    def read(self):
        assert self.server.psql(self.admin.removesuffix("/postgres") + "/of_test", "SELECT value FROM kept") == "42"


class Neo4jUse:
    def __init__(self, server):
        self.server = server

    def write(self):
        assert password_of(self.server.environment()["MNEMOSYNE_TEST_NEO4J_URL"]) == self.server.password
        rows = self.server.query("CALL dbms.components() YIELD name, versions WHERE name = 'Neo4j Kernel' RETURN versions[0]")
        assert rows == [[self.server.version]], rows
        self.server.query("CREATE (:Kept {value: 42})")

    def read(self):
        assert self.server.query("MATCH (n:Kept) RETURN n.value") == [[42]]


class RabbitMqUse:
    def __init__(self, server):
        variables = server.environment()
        self.url, self.control = variables["MNEMOSYNE_TEST_AMQP_URL"], variables["MNEMOSYNE_TEST_RABBITMQCTL"]

    def rabbitmqctl(self, *arguments):
        return subprocess.run([self.control, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def write(self):
        assert self.rabbitmqctl("status").returncode == 0
        assert self.rabbitmqctl("authenticate_user", "mnemosyne", password_of(self.url)).returncode == 0
        assert self.rabbitmqctl("authenticate_user", "mnemosyne", "another").returncode != 0
        with contextlib.closing(Amqp(self.url)) as broker:
            broker.messages(passive=False)
            broker.publish(b"a message")

    def read(self):
        with contextlib.closing(Amqp(self.url)) as broker:
            assert broker.messages(passive=True) == 1


class S3Use:
    KEY = "mnemosyne-content/a folder/%41+ü&=.txt"

    def __init__(self, server):
        variables = server.environment()
        self.at = [variables[f"MNEMOSYNE_TEST_S3_{name}"] for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY")]

    def request(self, method, body=b""):
        endpoint, *keys = self.at
        return s3.request(method, endpoint, self.KEY, *keys, body)

    def write(self):
        endpoint, access_key, _ = self.at
        assert self.request("PUT", b"kept")[0] == 200
        assert s3.request("GET", endpoint, self.KEY, access_key, "another")[0] == 403

    def read(self):
        assert self.request("GET") == (200, b"kept")


class MemcachedUse:
    """A cache: it keeps nothing over a restart, and must work again."""

    def __init__(self, server):
        self.at = server.environment()["MNEMOSYNE_TEST_MEMCACHED"].split(":")

    def talk(self, text, answer):
        with socket.create_connection(self.at, PATIENCE) as cache, cache.makefile("rb") as reader:
            cache.sendall(text)
            assert reader.read(len(answer)) == answer

    def write(self):
        self.talk(b"get key\r\n", b"END\r\n")
        self.read()

    def read(self):
        self.talk(b"set key 0 0 4\r\nkept\r\nget key\r\n", b"STORED\r\nVALUE key 0 4\r\nkept\r\nEND\r\n")


USES = {"postgres": PostgresUse, "neo4j-5": Neo4jUse, "neo4j-2026": Neo4jUse, "rabbitmq": RabbitMqUse, "minio": S3Use,
        "versitygw": S3Use, "memcached": MemcachedUse}


# --- the checks ------------------------------------------------------------------------------------------------------

def states(server):
    """The letters of the kernel for the server's processes: T is a stopped one."""
    letters = set()
    for process in processes_of(server.home):
        with contextlib.suppress(OSError):
            letters.add(pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0])
    return letters


def disturb(checks, servers, name):
    """Everything that a test may do to a server, by the command that tests are given."""
    server = servers[name]

    def control(action):
        done = subprocess.run([servers.environment()["MNEMOSYNE_TEST_SERVICES"], name, action], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    use = None
    with checks.that(f"{name}: is there and can be used"):
        use = USES[name](server)
        use.write()
        use.read()
    if use is None:
        return
    with checks.that(f"{name}: is restarted and has its data"):
        before = server.process.pid
        control("restart")
        assert server.process.pid != before
        use.read()
    with checks.that(f"{name}: is killed, nothing of it is left, and it comes back with its data"):
        control("kill")
        assert not processes_of(server.home)
        control("start")
        use.read()
    with checks.that(f"{name}: is paused as a whole, and goes on"):
        control("pause")
        eventually(lambda: states(server) == {"T"}, f"not all processes stand: {states(server)}")
        control("resume")
        assert "T" not in states(server)
        use.read()
    with checks.that(f"{name}: is stopped while it is paused, and comes back with its data"):
        control("pause")
        control("stop")
        assert not processes_of(server.home)
        control("start")
        use.read()


def run(*arguments, **options):
    return subprocess.Popen([sys.executable, FOLDER / "run", *arguments], stdout=subprocess.PIPE, text=True, **options)


def status(*arguments, **options):
    with run(*arguments, **options) as launcher:
        launcher.communicate()
    return launcher.returncode


WAITING = """
sleep 1000 >/dev/null & trap 'kill $!; echo asked to end; exit' TERM
echo "$MNEMOSYNE_TEST_SERVICES"; wait
"""


def the_command(checks, names):
    with checks.that("run: the exit status is that of the command"):
        assert status("memcached", "--", "sh", "-c", 'test -n "$MNEMOSYNE_TEST_MEMCACHED" && exit 7') == 7
    with checks.that("run: a command that ends with 125 is a failure, and no missing server"):
        assert status("memcached", "--", "sh", "-c", "exit 125", stderr=subprocess.DEVNULL) == 1
    with checks.that("run: a service that there is not is an error of the caller"):
        assert status("oracle", "--", "true", stderr=subprocess.DEVNULL) == 2
    with checks.that("run: two servers with the same variables are an error of the caller"):
        assert status("minio", "versitygw", "--", "true", stderr=subprocess.DEVNULL) == 2
    with checks.that("run: a command that there is not is told apart from its failure"):
        assert status("memcached", "--", "/no/such/command", stderr=subprocess.DEVNULL) == 127
    with checks.that("run: 125 and one sentence where a server cannot be had"), tempfile.TemporaryDirectory() as empty:
        with run("minio", "--", "true", stderr=subprocess.PIPE, env={"PATH": empty, "XDG_CACHE_HOME": empty}) as launcher:
            _, said = launcher.communicate()
        assert launcher.returncode == 125, launcher.returncode
        assert said == "services: minio is built with Go, which is not here\n", said
    for number, expected in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 128 + signal.SIGTERM)):
        with checks.that(f"run: nothing is left when the launcher gets {number.name}"):
            with run(*names, "--", "sh", "-c", WAITING, start_new_session=True) as launcher:
                folder = pathlib.Path(launcher.stdout.readline().strip()).parent
                assert len(processes_of(folder)) >= len(names)
                launcher.send_signal(number)
                assert launcher.wait(PATIENCE) == expected, launcher.returncode
                assert launcher.stdout.read() == "asked to end\n"  # and the command has ended, or this would wait
            eventually(lambda: not processes_of(folder), f"left: {processes_of(folder)}")
            eventually(lambda: not folder.exists(), f"left: {folder}")


def main():
    checks = Checks()
    names = []
    for name in sys.argv[1:] or SERVICES:
        with checks.that(f"{name}: can be had"):
            SERVICES[name]().install()
            names.append(name)
    with Servers(*names) as servers:
        folder = servers.workspace.folder
        for name in names:
            disturb(checks, servers, name)
        with checks.that("the command for tests says what it does not know"):
            done = subprocess.run([folder / "control", "oracle", "restart"], capture_output=True, text=True)
            assert done.returncode == 1 and "there is no oracle here" in done.stderr, done
    with checks.that("nothing is left of the servers"):
        assert not processes_of(folder)
        assert not folder.exists()
    # The quick ones: what is checked of the command is the same for all.
    if quick := [name for name in names if name in ("postgres", "rabbitmq", "memcached")]:
        the_command(checks, quick)
    checks.finish()


if __name__ == "__main__":
    main()
