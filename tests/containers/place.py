"""The place of the deployment document on one machine: its hosts as addresses of a network namespace, real servers behind them, TLS
at the balancer, an image registry, and the folder of the project. Everything is of this namespace, and goes with it."""

import base64
import contextlib
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "services")]
from embedder import Embedder  # noqa: E402
from launcher import Servers, nasty_password, spawn  # noqa: E402
from names import Names  # noqa: E402
from waiting import eventually, reachable  # noqa: E402

FOLDER = pathlib.Path("/opt/mnemosyne")
PUBLIC = "mnemosyne.ouranos.helu.ca"
# The network of the deployment, and somebody who is not of it.
GATEWAY, STRANGER = "10.10.0.1", "198.51.100.7"
HOSTS = {PUBLIC: "10.10.0.2", "puck.incus": "10.10.0.10", "portia.incus": "10.10.0.11", "umbriel.incus": "10.10.0.12",
         "oberon.incus": "10.10.0.13", "nyx.helu.ca": "10.10.0.14", "git.helu.ca": "10.10.0.15"}
SERVICES = ("postgres", "neo4j-5", "rabbitmq", "minio", "memcached")


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], check=True, stdin=subprocess.DEVNULL, **options)


def quoted(value):
    """A value of an .env file, as Compose reads it."""
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'


class Place:
    """The namespace with everything in it but the containers."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._network()
            self.names = Names(GATEWAY, HOSTS)
            self._certificates()
            self.embedder = Embedder()
            stack.callback(self.embedder.stop)
            self.servers = stack.enter_context(Servers(*SERVICES))
            stack.enter_context(self._balancer())
            stack.enter_context(self._registry())
            self.environment = self._environment()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def _network(self):
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "incus0", "type", "bridge")
        for address in (GATEWAY, *HOSTS.values()):
            run("ip", "address", "add", f"{address}/24", "dev", "incus0")
        run("ip", "address", "add", f"{STRANGER}/32", "dev", "incus0")
        run("ip", "link", "set", "incus0", "up")
        hosts = self.folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in HOSTS.items()))
        run("mount", "--bind", hosts, "/etc/hosts")
        resolver = self.folder / "resolv.conf"
        resolver.write_text(f"nameserver {GATEWAY}\n")
        run("mount", "--bind", resolver, "/etc/resolv.conf")
        # Whatever is there stays untouched below it.
        run("mount", "-t", "tmpfs", "tmpfs", FOLDER)

    def _certificates(self):
        """An authority, and what it signed for the balancer and for MinIO."""
        for name in (PUBLIC, "nyx.helu.ca"):
            pem = self.folder / f"{name}.pem"
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", self.folder / "key", "-out", self.folder / "certificate",
                stderr=subprocess.DEVNULL)
            pem.write_text((self.folder / "certificate").read_text() + (self.folder / "key").read_text())
            if name == PUBLIC:
                self.authority = self.folder / "authority.pem"
                self.authority.write_text((self.folder / "certificate").read_text())

    @contextlib.contextmanager
    def _process(self, name, address, arguments):
        """A process that ends with the block, once it listens."""
        with open(self.folder / f"{name}.log", "wb") as log:
            process = spawn([str(argument) for argument in arguments], signal.SIGTERM, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            eventually(lambda: process.poll() is not None or reachable(*address), f"{name} does not listen")
            assert process.poll() is None, (self.folder / f"{name}.log").read_text()
            yield
        finally:
            process.terminate()
            process.wait()

    def _balancer(self):
        """HAProxy: as Titania, and in front of the servers, which listen on loopback alone."""
        at = self.servers
        behind = {("portia.incus", 5432): at["postgres"].port, ("umbriel.incus", 7687): at["neo4j-5"].bolt,
                  ("oberon.incus", 5672): at["rabbitmq"].port, ("oberon.incus", 11211): at["memcached"].port,
                  ("nyx.helu.ca", 8555): at["minio"].port, ("nyx.helu.ca", 8556): at["minio"].port,
                  ("nyx.helu.ca", 8080): int(self.embedder.url.rsplit(":", 1)[1].split("/")[0])}
        self.haproxy_socket = self.folder / "haproxy.sock"
        lines = [f"""\
global
    stats socket {self.haproxy_socket} mode 600
defaults
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend titania
    mode http
    bind {HOSTS[PUBLIC]}:443 ssl crt {self.folder}/{PUBLIC}.pem alpn h2,http/1.1
    http-request set-header X-Forwarded-Proto https
    option forwardfor
    default_backend mnemosyne
backend mnemosyne
    mode http
    option httpchk GET /healthz
    server puck {HOSTS['puck.incus']}:23181 source {HOSTS[PUBLIC]} check inter 500 fall 2 rise 1
"""]
        for (host, port), target in behind.items():
            tls = f" ssl crt {self.folder}/{host}.pem" if port == 8555 else ""
            lines.append(f"listen {host}-{port}\n    mode tcp\n    bind {HOSTS[host]}:{port}{tls}\n    server real 127.0.0.1:{target}\n")
        configuration = self.folder / "haproxy.cfg"
        configuration.write_text("".join(lines))
        return self._process("haproxy", (HOSTS[PUBLIC], 443), ["haproxy", "-db", "-f", configuration])

    def balancer_says(self):
        """The state of the one server behind the balancer, `UP` or `DOWN` with reasons."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.haproxy_socket))
            control.sendall(b"show stat\n")
            text = b""
            while part := control.recv(65536):
                text += part
        row = next(line.split(",") for line in text.decode().splitlines() if line.startswith("mnemosyne,puck,"))
        return row[17]

    def _registry(self):
        configuration = self.folder / "registry.yml"
        configuration.write_text(f"""\
version: 0.1
storage:
  filesystem: {{rootdirectory: {self.folder}/registry}}
http:
  addr: {HOSTS['git.helu.ca']}:80
""")
        return self._process("registry", (HOSTS["git.helu.ca"], 80), ["docker-registry", "serve", configuration])

    def _environment(self):
        """What the role would render into .env: every variable of the deployment document that has no default of its own."""
        of_servers = self.servers.environment()

        def at(name, host):
            return re.sub(r"127\.0\.0\.1:\d+", host, of_servers[name])

        return {
            "SECRET_KEY": nasty_password() + secrets.token_hex(20), "DEBUG": "False", "TIME_ZONE": "UTC", "LANGUAGE_CODE": "en-us",
            "ALLOWED_HOSTS": f"localhost,127.0.0.1,{PUBLIC}", "CSRF_TRUSTED_ORIGINS": f"https://{PUBLIC}",
            "APP_DB_NAME": "mnemosyne", "APP_DB_USER": "mnemosyne", "APP_DB_PASSWORD": of_servers["APP_DB_PASSWORD"],
            "DB_HOST": "portia.incus", "DB_PORT": "5432",
            "NEOMODEL_NEO4J_BOLT_URL": at("NEOMODEL_NEO4J_BOLT_URL", "umbriel.incus:7687"),
            "KVDB_LOCATION": "oberon.incus:11211", "KVDB_PREFIX": "mnemosyne",
            "USE_LOCAL_STORAGE": "False", "AWS_ACCESS_KEY_ID": of_servers["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": of_servers["AWS_SECRET_ACCESS_KEY"], "AWS_STORAGE_BUCKET_NAME": "mnemosyne-content",
            # A certificate that nobody has signed but itself, as on Nyx.
            "AWS_S3_ENDPOINT_URL": "https://nyx.helu.ca:8555", "AWS_S3_USE_SSL": "True", "AWS_S3_VERIFY": "False",
            "AWS_S3_REGION_NAME": "us-east-1",
            "DAEDALUS_S3_ENDPOINT_URL": "http://nyx.helu.ca:8556", "DAEDALUS_S3_USE_SSL": "False", "DAEDALUS_S3_VERIFY": "True",
            "DAEDALUS_S3_ACCESS_KEY_ID": of_servers["DAEDALUS_S3_ACCESS_KEY_ID"],
            "DAEDALUS_S3_SECRET_ACCESS_KEY": of_servers["DAEDALUS_S3_SECRET_ACCESS_KEY"], "DAEDALUS_S3_BUCKET_NAME": "daedalus",
            "DAEDALUS_S3_REGION_NAME": "us-east-1",
            "CELERY_BROKER_URL": at("CELERY_BROKER_URL", "oberon.incus:5672"), "CELERY_RESULT_BACKEND": "rpc://",
            "CELERY_TASK_ALWAYS_EAGER": "False", "CELERY_QUEUES": "celery,embedding,batch", "CELERY_CONCURRENCY": "2",
            "MCP_REQUIRE_AUTH": "True",
            "LLM_API_SECRETS_ENCRYPTION_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "EMAIL_HOST": "oberon.incus", "EMAIL_PORT": "22025", "EMAIL_USE_TLS": "False",
            "EMBEDDING_BATCH_SIZE": "8", "EMBEDDING_TIMEOUT": "120", "EMBEDDING_BASE_URL": "http://nyx.helu.ca:8080/v1",
            "EMBEDDING_MODEL": "fake-words", "EMBEDDING_DIMENSION": self.embedder.environment()["EMBEDDING_DIMENSION"],
            "SEARCH_VECTOR_TOP_K": "50", "SEARCH_FULLTEXT_TOP_K": "30", "SEARCH_GRAPH_MAX_DEPTH": "2", "SEARCH_RRF_K": "60",
            "SEARCH_DEFAULT_LIMIT": "20", "RERANKER_MAX_CANDIDATES": "32", "RERANKER_TIMEOUT": "30",
            "LOGGING_LEVEL": "INFO", "DJANGO_LOGGING_LEVEL": "WARNING", "CELERY_LOGGING_LEVEL": "INFO",
        }

    def secrets(self):
        """What no log may hold."""
        return [value for name, value in self.environment.items()
                if re.search("PASSWORD|SECRET|BOLT_URL|BROKER_URL|ENCRYPTION_KEY", name) and len(value) > 8]

    def write_env(self, **changed):
        """The .env of the project; a value of None leaves the variable out."""
        values = {name: value for name, value in {**self.environment, **changed}.items() if value is not None}
        path = FOLDER / ".env"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name}={quoted(value)}\n" for name, value in values.items()))
