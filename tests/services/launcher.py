"""Installs, starts, disturbs and stops the real servers that the tests use. Standard library only, Linux.

Every server is an ordinary process on loopback. What it writes lies in a folder of its own below one temporary folder.
A small process of its own, the guard, waits for the end of the launcher, however that comes, ends whatever process then
still belongs to the folder, and removes it.

What is slow to build lies in ~/.cache/mnemosyne-services, in folders named by their versions.
"""

import base64
import concurrent.futures
import contextlib
import ctypes
import fcntl
import glob
import hashlib
import html
import http.client
import json
import os
import pathlib
import pwd
import random
import re
import secrets
import shlex
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import s3

# Long enough for a machine that builds something at the same time.
PATIENCE = 300
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "mnemosyne-services"
# Every process of a server carries it, and by it they are found again: parents and process groups change, this does not.
MARK = "MNEMOSYNE_SERVICES_HOME"

MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
MC_VERSION = "v0.0.0-20250313080218-cf909e1063a9"
VERSITYGW_VERSION = "v1.8.0"
NEO4J_LTS = "5.26.16"
NEO4J_NEWEST = "2026.09.0"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


class Unavailable(Exception):
    """A server cannot be had here. The message is one sentence for people."""


class NotReady(Exception):
    """A server answers, and not yet as it should."""


def say(text):
    print(f"services: {text}", file=sys.stderr, flush=True)


def nasty_password():
    """What breaks URLs, shells and files of settings; `%41` shows whether something is decoded twice."""
    return f"""pw@:/#%+?&= %41!$'"\\;<>|~^*()[]{{}}`,ü{secrets.token_hex(4)}"""


def in_url(text):
    return urllib.parse.quote(text, safe="")


def authorization(username, password):
    """The header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


# --- processes -------------------------------------------------------------------------------------------------------

# The kernel ends a child when the *thread* that made it ends. So all children are made by one thread that lives as long
# as the launcher.
_SPAWNER = concurrent.futures.ThreadPoolExecutor(1, "spawner")
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
_PR_SET_PDEATHSIG = 1


def spawn(arguments, ends_with=signal.SIGKILL, **options):
    """A child that gets the signal `ends_with` when the launcher is gone."""
    def in_child():
        if _PRCTL:
            _PRCTL(_PR_SET_PDEATHSIG, int(ends_with))
    return _SPAWNER.submit(subprocess.Popen, arguments, preexec_fn=in_child, **options).result()


def processes_of(folder):
    """Ids of the processes that carry the mark of `folder` or of one below it, or work in one.

    PostgreSQL's processes write their titles over their environments, and are found by where they work.
    """
    folder = os.fsencode(folder)
    mark = MARK.encode() + b"="
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        homes = []
        with contextlib.suppress(OSError):
            homes.append(os.readlink(f"/proc/{entry}/cwd".encode()))
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/environ", "rb") as environ:
                homes += [line[len(mark):] for line in environ.read().split(b"\0") if line.startswith(mark)]
        if any(home == folder or home.startswith(folder + b"/") for home in homes):
            found.append(int(entry))
    return found


def signal_all(processes, number):
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def end_processes_of(folder):
    deadline = time.monotonic() + PATIENCE
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        signal_all(left, signal.SIGKILL)
        time.sleep(0.01)


def guard(folder):
    """Waits until the launcher has closed the pipe, by will or by its death; then ends what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_processes_of(folder)
    shutil.rmtree(folder, ignore_errors=True)


_reserved_ports = []


def free_port():
    """A port that no server uses, that no other launcher gives out, and that the kernel gives to no client: so it is
    still free when its server starts again."""
    lowest, highest = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    pool = range(10_000, lowest) if lowest > 11_000 else range(highest + 1, 65_536)
    for port in random.sample(pool, len(pool)):
        reservation = socket.socket(socket.AF_UNIX)
        with socket.socket() as trial:
            try:
                reservation.bind(f"\0mnemosyne-services-port-{port}")
                trial.bind(("127.0.0.1", port))
            except OSError:
                reservation.close()
                continue
        _reserved_ports.append(reservation)
        return port
    raise Unavailable("there is no free port on 127.0.0.1")


class Workspace:
    """The temporary folder of some servers, and the guard that cleans up after them."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mnemosyne-services-"))
        self._guard = subprocess.Popen([sys.executable, __file__, "--guard", self.folder], stdin=subprocess.PIPE,
                                       start_new_session=True)
        self.folder.chmod(0o755)  # PostgreSQL and Memcached run as users of their own

    def close(self):
        self._guard.stdin.close()
        self._guard.wait()


# --- installation ----------------------------------------------------------------------------------------------------

# Packages start their services when they are installed, except where this script forbids it.
_APT = """
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 1' INT TERM HUP
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 "$@"
"""


def apt_install(service, *packages):
    """Installs Debian packages and starts none of their services."""
    if not shutil.which("apt-get"):
        raise Unavailable(f"{service} needs {' '.join(packages)}, and this is no Debian or Ubuntu")
    as_root = []
    if os.geteuid():
        as_root = ["sudo", "-n"]
        if not shutil.which("sudo") or subprocess.run([*as_root, "true"], capture_output=True).returncode:
            raise Unavailable(f"{service} needs the packages {' '.join(packages)}; neither root nor sudo without a password")
    say(f"{service}: installing the packages {' '.join(packages)}")
    with subprocess.Popen([*as_root, "sh", "-c", _APT, "sh", *packages], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as installing:
        try:
            told, _ = installing.communicate()
        except BaseException:
            installing.terminate()  # it cleans up, and is waited for
            raise
    if installing.returncode:
        raise Unavailable(f"{service}: apt-get cannot install {' '.join(packages)}: {last_line(told)}")


def last_line(text):
    return (text.strip().splitlines() or ["no message"])[-1]


@contextlib.contextmanager
def one_at_a_time(what):
    """Two launchers do not install the same thing at once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{what}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(what, build):
    """The folder of `what` in the cache; `build(folder)` fills it. The mark comes last, so that an interrupted build is
    not taken for a whole one."""
    folder = CACHE / what
    with one_at_a_time(what):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            (folder / "complete").touch()
    return folder


def build_command(service, arguments, **options):
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, **options)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise Unavailable(f"{service} cannot be built: {last_line(done.stdout)}")


# --- servers ---------------------------------------------------------------------------------------------------------

class Server:
    """One server. `start` makes its data at the first time; ports and data stay until the workspace is closed."""

    name = ""
    kind = ""  # servers of one kind have the same variables
    stop_signal = signal.SIGTERM
    ends_with = signal.SIGKILL
    user = None

    def __init__(self, workspace=None):
        self.workspace = workspace
        self.process = None
        self.closing = False
        self._made = False
        # Control commands may come from several threads.
        self.lock = threading.RLock()

    # What each server says of itself.

    def install(self):
        """Makes sure that the server can be started; `Unavailable` where it cannot be had."""
        raise NotImplementedError

    def make(self):
        """Chooses ports and writes files, before the first start."""
        raise NotImplementedError

    def command(self):
        """Arguments and environment of the process."""
        raise NotImplementedError

    def probe(self):
        """Returns when the server does its work; `OSError` or `NotReady` while it does not."""
        raise NotImplementedError

    def environment(self):
        """Variables of the product and of tests that lead to this server."""
        raise NotImplementedError

    def fill(self):
        """What is made through the server itself when it is ready for the first time."""

    # What is the same for all.

    @property
    def home(self):
        return self.workspace.folder / self.name

    def logs(self):
        return [self.home / "log.txt"]

    def log_tail(self):
        lines = []
        for log in self.logs():
            with contextlib.suppress(OSError):
                lines += log.read_text(errors="replace").splitlines()[-25:]
        return "\n".join(lines)

    def base_environment(self):
        return {"PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin", "HOME": str(self.home),
                "LC_ALL": "C.UTF-8", MARK: str(self.home)}

    def tool(self, arguments, check=True, **options):
        """Runs a tool of the server to its end."""
        options = {"env": self.base_environment(), "cwd": self.home, "input": "", **options}
        done = subprocess.run(arguments, capture_output=True, text=True, user=self.user, **options)
        if check and done.returncode:
            tool = pathlib.Path(arguments[0]).name
            raise RuntimeError(f"{self.name}: {tool} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        with self.lock:
            if self.running:
                return
            if not self._made:
                if self.workspace is None:
                    self.workspace = Workspace()
                self.home.mkdir()
                if self.user is not None:
                    os.chown(self.home, pwd.getpwnam(self.user).pw_uid, pwd.getpwnam(self.user).pw_gid)
                self.make()
                self._made = True
            self.launch()

    def launch(self):
        self.process = self.spawn(*self.command())

    def spawn(self, arguments, environment, folder=None):
        if self.closing:
            raise RuntimeError(f"{self.name}: the launcher is closing")
        with open(self.home / "log.txt", "ab") as log:
            drop = {} if self.user is None else {
                "user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}
            return spawn(arguments, self.ends_with, env={**self.base_environment(), **environment},
                         cwd=folder or self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                         start_new_session=True, **drop)

    def wait_ready(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            if not self.running:
                raise RuntimeError(f"{self.name} ended with {self.process and self.process.returncode}\n{self.log_tail()}")
            try:
                self.probe()
                break
            except (OSError, NotReady, http.client.HTTPException) as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} is not ready after {PATIENCE} s: {error}\n{self.log_tail()}") from error
            time.sleep(0.05)
        with self.lock:
            fill, self.fill = self.fill, lambda: None
            fill()

    def stop(self):
        """The orderly end, as a service manager would do it."""
        with self.lock:
            if self.running:
                self.resume()
                self.process.send_signal(self.stop_signal)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(PATIENCE)
            self.kill()

    def kill(self):
        """The end without a warning, of all its processes."""
        with self.lock:
            if self.workspace is not None:
                end_processes_of(self.home)
            if self.process is not None:
                self.process.wait()
                self.process = None

    def restart(self):
        with self.lock:
            self.stop()
            self.start()
            self.wait_ready()

    def pause(self):
        """It keeps its connections and does nothing, as on a machine that hangs."""
        with self.lock:
            stopped = set()
            # It may be making processes just now.
            while new := set(processes_of(self.home)) - stopped:
                signal_all(new, signal.SIGSTOP)
                stopped |= new

    def resume(self):
        with self.lock:
            signal_all(processes_of(self.home), signal.SIGCONT)


class Postgres(Server):
    """PostgreSQL: the product's role owns one database and is no superuser; tests get a superuser."""

    name = kind = "postgres"
    stop_signal = signal.SIGINT  # "fast": it does not wait for clients
    ends_with = signal.SIGQUIT
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root

    @staticmethod
    def binaries():
        found = [pathlib.Path(path).parent for path in glob.glob("/usr/lib/postgresql/*/bin/initdb")]
        return max(found, key=lambda folder: int(folder.parent.name), default=None)

    def install(self):
        with one_at_a_time(self.name):
            if self.binaries() is None:
                apt_install(self.name, "postgresql")
            if self.binaries() is None:
                raise Unavailable("postgres: there is no initdb in /usr/lib/postgresql")

    def make(self):
        self.port = free_port()
        self.password, self.admin_password = nasty_password(), nasty_password()
        data, password_file = self.home / "data", self.home / "password"
        password_file.write_text(self.admin_password + "\n", encoding="utf-8")
        self.tool([self.binaries() / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--encoding=UTF8",
                   "--locale=C.UTF-8", "--no-sync", f"--pwfile={password_file}"])
        password_file.unlink()
        with open(data / "postgresql.conf", "a", encoding="utf-8") as settings:
            settings.write(f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
                           "max_connections = 200\n")
            # A killed process loses nothing that it has written; only a machine that stops does.
            if os.environ.get("MNEMOSYNE_SERVICES_FSYNC") != "on":
                settings.write("fsync = off\n")
        literal = self.password.replace("'", "''")
        self.tool([self.binaries() / "postgres", "--single", "-D", data, "postgres"], input=(
            f"CREATE ROLE mnemosyne LOGIN PASSWORD '{literal}'\nCREATE DATABASE mnemosyne OWNER mnemosyne\n"))

    def command(self):
        return [self.binaries() / "postgres", "-D", self.home / "data"], {}

    def psql(self, url, sql):
        """What psql prints for `sql`; `NotReady` when it fails."""
        done = self.tool([self.binaries() / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql, url],
                         check=False)
        if done.returncode:
            raise NotReady(done.stderr)
        return done.stdout.strip()

    def url(self, role="mnemosyne", password=None, database="mnemosyne"):
        return f"postgresql://{role}:{in_url(password or self.password)}@127.0.0.1:{self.port}/{database}"

    def probe(self):
        self.psql(self.url(), "SELECT 1")

    def environment(self):
        return {
            "DB_HOST": "127.0.0.1", "DB_PORT": str(self.port), "APP_DB_NAME": "mnemosyne", "APP_DB_USER": "mnemosyne",
            "APP_DB_PASSWORD": self.password,
            "MNEMOSYNE_TEST_POSTGRES_URL": self.url("postgres", self.admin_password, "postgres"),
        }


class Neo4j(Server):
    """Neo4j community, from its Maven artefacts."""

    kind = "neo4j"

    def __init__(self, version, workspace=None):
        super().__init__(workspace)
        self.version = version
        self.lts = version.startswith("5.")
        self.name = f"neo4j-{version.partition('.')[0]}"

    def java(self):
        """A Java that this version runs on, and its major version."""
        wanted = (17, 21) if self.lts else range(21, 100)
        homes = [os.environ.get("JAVA_HOME", ""), *glob.glob("/usr/lib/jvm/*")]
        candidates = {os.path.realpath(f"{home}/bin/java") for home in homes if os.access(f"{home}/bin/java", os.X_OK)}
        if there := shutil.which("java"):
            candidates.add(os.path.realpath(there))
        found = {}
        for candidate in candidates:
            told = subprocess.run([candidate, "-version"], capture_output=True, text=True).stderr
            if (version := re.search(r'version "(\d+)', told)) and int(version[1]) in wanted:
                found[int(version[1])] = candidate
        # The oldest that will do: what a version is tried on first.
        return (found[min(found)], min(found)) if found else (None, 0)

    def install(self):
        with one_at_a_time("java"):
            if not self.java()[0]:
                with contextlib.suppress(Unavailable):
                    apt_install(self.name, f"openjdk-{17 if self.lts else 21}-jre-headless")
            if not self.java()[0]:
                raise Unavailable(f"{self.name} needs Java {'17 or 21' if self.lts else '21 or newer'}; there is none in "
                                  "JAVA_HOME, in PATH or below /usr/lib/jvm, and no package of it")
        cached(f"neo4j-{self.version}", self.copy_artefacts)

    def copy_artefacts(self, folder):
        if not shutil.which("mvn"):
            apt_install(self.name, "maven")
        say(f"{self.name}: fetching Neo4j {self.version} with Maven, once")
        (folder / "pom.xml").write_text(f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mnemosyne.tests</groupId><artifactId>neo4j</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.neo4j.app</groupId><artifactId>neo4j-server</artifactId><version>{self.version}</version></dependency>
    <dependency><groupId>org.neo4j</groupId><artifactId>neo4j</artifactId><version>{self.version}</version></dependency>
  </dependencies>
</project>
""")
        build_command(self.name, ["mvn", "-q", "-B", f"{DEPENDENCY_PLUGIN}:copy-dependencies", "-DincludeScope=runtime",
                                  "-DoutputDirectory=lib"], cwd=folder)

    def make(self):
        self.bolt, self.http = free_port(), free_port()
        self.password = nasty_password()
        for folder in ("conf", "data", "logs", "plugins", "import", "run"):
            (self.home / folder).mkdir()
        (self.home / "conf" / "neo4j.conf").write_text(f"""\
server.default_listen_address=127.0.0.1
server.bolt.listen_address=127.0.0.1:{self.bolt}
server.http.listen_address=127.0.0.1:{self.http}
server.https.enabled=false
server.memory.pagecache.size=64m
dbms.usage_report.enabled=false
db.tx_log.preallocate=false
""")
        java, _ = self.java()
        self.tool([java, "-Xmx256m", "-cp", self.class_path(), "org.neo4j.cli.AdminTool", "dbms", "set-initial-password",
                   self.password], env={**self.base_environment(), **self.folders()})

    def logs(self):
        return [*super().logs(), self.home / "logs" / "neo4j.log"]

    def class_path(self):
        return f"{CACHE / f'neo4j-{self.version}' / 'lib'}/*:{self.home / 'conf'}"

    def folders(self):
        return {"NEO4J_HOME": str(self.home), "NEO4J_CONF": str(self.home / "conf")}

    def command(self):
        java, major = self.java()
        options = ["-Xms512m", "-Xmx768m", "--add-modules=jdk.incubator.vector"]
        options += [f"--add-opens=java.base/{package}=ALL-UNNAMED"
                    for package in ("java.nio", "java.io", "sun.nio.ch", "java.util.concurrent")]
        if not self.lts:
            options.append("--enable-native-access=ALL-UNNAMED")
        if major >= 23:
            options.append("--sun-misc-unsafe-memory-access=allow")
        entry = "CommunityEntryPoint" if self.lts else "Neo4jCommunity"
        return [java, *options, "-cp", self.class_path(), f"org.neo4j.server.{entry}", f"--home-dir={self.home}",
                f"--config-dir={self.home / 'conf'}"], self.folders()

    def ask(self, method, path, body=None):
        """The answer to a request of the query API, over HTTP; `None` where it is empty."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/db/neo4j/query/v2{path}", None if body is None else json.dumps(body).encode(),
            {"Authorization": authorization("neo4j", self.password), "Content-Type": "application/json", "Accept": "application/json"},
            method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def query(self, cypher):
        """The rows of a query."""
        return self.ask("POST", "", {"statement": cypher})["data"]["values"]

    @contextlib.contextmanager
    def undone(self, cypher):
        """Yields the rows of a query whose transaction is open inside the block, with its locks, and rolled back afterwards."""
        begun = self.ask("POST", "/tx", {"statement": cypher})
        try:
            yield begun["data"]["values"]
        finally:
            self.ask("DELETE", f"/tx/{begun['transaction']['id']}")

    def probe(self):
        with socket.create_connection(("127.0.0.1", self.bolt), 10) as bolt:
            bolt.sendall(bytes.fromhex("6060b017 00000405 00000004 00000000 00000000"))
            if len(bolt.recv(4)) != 4:
                raise NotReady("no answer to the handshake of Bolt")
        if self.query("RETURN 1") != [[1]]:
            raise NotReady("RETURN 1 returns something else")

    def environment(self):
        url = f"bolt://neo4j:{in_url(self.password)}@127.0.0.1:{self.bolt}"
        return {"NEOMODEL_NEO4J_BOLT_URL": url, "MNEMOSYNE_TEST_NEO4J_URL": url}


class RabbitMq(Server):
    """RabbitMQ, with a port mapper (epmd) of its own that stays while the broker is stopped."""

    name = kind = "rabbitmq"
    programs = pathlib.Path("/usr/lib/rabbitmq/bin")

    def install(self):
        with one_at_a_time(self.name):
            if not (self.programs / "rabbitmq-server").exists():
                apt_install(self.name, "rabbitmq-server")
            if not (self.programs / "rabbitmq-server").exists():
                raise Unavailable(f"rabbitmq: there is no rabbitmq-server in {self.programs}")

    def make(self):
        self.port, self.epmd_port, self.node_port = free_port(), free_port(), free_port()
        self.node = f"mnemosyne-{self.port}@localhost"
        self.password = nasty_password()
        salt = secrets.token_bytes(4)
        hashed = base64.b64encode(salt + hashlib.sha256(salt + self.password.encode()).digest()).decode()
        (self.home / "definitions.json").write_text(json.dumps({
            "users": [{"name": "mnemosyne", "password_hash": hashed, "tags": "administrator",
                       "hashing_algorithm": "rabbit_password_hashing_sha256"}],
            "vhosts": [{"name": "mnemosyne"}],
            "permissions": [{"user": "mnemosyne", "vhost": "mnemosyne", "configure": ".*", "write": ".*", "read": ".*"}],
        }))
        (self.home / "rabbitmq.conf").write_text(f"""\
listeners.tcp.default = 127.0.0.1:{self.port}
load_definitions = {self.home}/definitions.json
log.console = true
log.file = false
""")
        (self.home / "enabled_plugins").write_text("[].\n")
        cookie = self.home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        # Tests call it as one word. It is no process of the server, and is not paused or killed with it.
        settings = {**self.base_environment(), **self.settings(), MARK: str(self.workspace.folder / "rabbitmqctl")}
        script = self.workspace.folder / "rabbitmqctl"
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
        script.write_text(f'#!/bin/sh\n{exports}exec {self.programs}/rabbitmqctl -n {self.node} "$@"\n')
        script.chmod(0o755)
        self.control = str(script)
        # The broker would start one in the background, and it would end with the broker.
        mapper = self.workspace.folder / "epmd"
        mapper.mkdir()
        self.epmd = self.spawn(["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"], {MARK: str(mapper)}, mapper)

    def settings(self):
        return {
            "RABBITMQ_NODENAME": self.node, "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"), "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self.node_port), "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def command(self):
        # So the script becomes the broker instead of waiting for it, and signals reach it.
        return [self.programs / "rabbitmq-server"], {**self.settings(), "RUNNING_UNDER_SYSTEMD": "true"}

    def probe(self):
        # Users and vhosts are loaded before the listener is opened.
        with socket.create_connection(("127.0.0.1", self.port), 10) as broker:
            broker.settimeout(10)
            broker.sendall(b"AMQP\0\0\x09\x01")
            if broker.recv(1) != b"\x01":
                raise NotReady("no answer to the handshake of AMQP")

    def environment(self):
        url = f"amqp://mnemosyne:{in_url(self.password)}@127.0.0.1:{self.port}/mnemosyne"
        return {
            "CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": "rpc://", "MNEMOSYNE_TEST_AMQP_URL": url,
            "MNEMOSYNE_TEST_RABBITMQCTL": self.control,
        }


class Memcached(Server):
    name = kind = "memcached"

    def install(self):
        with one_at_a_time(self.name):
            if not self.program():
                apt_install(self.name, "memcached")
            if not self.program():
                raise Unavailable("memcached is not in PATH")

    def program(self):
        return shutil.which("memcached", path=self.base_path())

    @staticmethod
    def base_path():
        return os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin"

    def make(self):
        self.port = free_port()

    def command(self):
        as_root = ["-u", "nobody"] if os.geteuid() == 0 else []
        return [self.program(), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", *as_root], {}

    def probe(self):
        with socket.create_connection(("127.0.0.1", self.port), 10) as cache:
            cache.sendall(b"version\r\n")
            if not cache.recv(100).startswith(b"VERSION "):
                raise NotReady("no answer to the question for its version")

    def environment(self):
        where = f"127.0.0.1:{self.port}"
        return {"KVDB_LOCATION": where, "KVDB_PREFIX": "mnemosyne", "MNEMOSYNE_TEST_MEMCACHED": where}


class S3(Server):
    """What the two S3 servers have in common: a Go module, keys and buckets."""

    kind = "s3"
    package = version = health = ""
    BUCKETS = ("mnemosyne-content", "daedalus")

    @property
    def program(self):
        return CACHE / self.folder / "bin" / self.name

    @property
    def folder(self):
        return f"{self.name}-{self.version}"

    def install(self):
        cached(self.folder, self.build)

    def build(self, folder):
        if not shutil.which("go"):
            raise Unavailable(f"{self.name} is built with Go, which is not here")
        say(f"{self.name}: building {self.package}@{self.version} with Go, once")
        build_command(self.name, ["go", "install", "-trimpath", "-ldflags=-s -w", f"{self.package}@{self.version}"],
                      env={**os.environ, "GOBIN": str(folder / "bin")}, cwd=folder)

    def make(self):
        self.port = free_port()
        self.access_key = "mnemosyne" + secrets.token_hex(4)
        # Keys of S3 are base64, with its three awkward characters.
        self.secret_key = f"s3/{secrets.token_hex(12)}+/="
        # What Daedalus hands out for its bucket: reading only, where the server knows users.
        self.read_access_key, self.read_secret_key = self.access_key, self.secret_key
        (self.home / "data").mkdir()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def probe(self):
        with urllib.request.urlopen(self.endpoint + self.health, timeout=10) as answer:
            answer.read()

    def request(self, method, path, body=b"", query=""):
        return s3.request(method, self.endpoint, path, self.access_key, self.secret_key, body, query)

    def keys(self, bucket):
        """Every key of a bucket."""
        keys, token = set(), ""
        while True:
            query = f"continuation-token={urllib.parse.quote(token, safe='~')}&list-type=2" if token else "list-type=2"
            status, text = self.request("GET", bucket, query=query)
            if status != 200:
                raise RuntimeError(f"{self.name}: {bucket} cannot be listed: {status} {text}")
            text = text.decode()
            keys |= {html.unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", text)}
            more = re.search(r"<NextContinuationToken>(.*?)</NextContinuationToken>", text)
            if not more:
                return keys
            token = html.unescape(more[1])

    def fill(self):
        for bucket in self.BUCKETS:
            status, text = self.request("PUT", bucket)
            # MinIO says that it is healthy a moment before it serves.
            while status == 503 and self.running:
                time.sleep(0.1)
                status, text = self.request("PUT", bucket)
            if status != 200:
                raise RuntimeError(f"{self.name}: the bucket {bucket} cannot be made: {status} {text}")

    def environment(self):
        content, daedalus = self.BUCKETS
        return {
            "USE_LOCAL_STORAGE": "False", "AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_STORAGE_BUCKET_NAME": content, "AWS_S3_ENDPOINT_URL": self.endpoint, "AWS_S3_USE_SSL": "False",
            "AWS_S3_VERIFY": "True", "AWS_S3_REGION_NAME": s3.REGION,
            "DAEDALUS_S3_ENDPOINT_URL": self.endpoint, "DAEDALUS_S3_ACCESS_KEY_ID": self.read_access_key,
            "DAEDALUS_S3_SECRET_ACCESS_KEY": self.read_secret_key, "DAEDALUS_S3_BUCKET_NAME": daedalus,
            "DAEDALUS_S3_REGION_NAME": s3.REGION, "DAEDALUS_S3_USE_SSL": "False", "DAEDALUS_S3_VERIFY": "True",
            "MNEMOSYNE_TEST_S3_ENDPOINT": self.endpoint, "MNEMOSYNE_TEST_S3_ACCESS_KEY": self.access_key,
            "MNEMOSYNE_TEST_S3_SECRET_KEY": self.secret_key,
        }


class Minio(S3):
    """MinIO. A tool of the tests only: it is never linked or shipped."""

    name = "minio"
    folder = f"minio-{MINIO_VERSION}-mc-{MC_VERSION}"
    package = "github.com/minio/minio"
    version = MINIO_VERSION
    health = "/minio/health/ready"
    # Megabytes of a disk of its own, in memory, which lives as long as the process; set before the start by whoever wants
    # to fill it.
    disk = None

    def build(self, folder):
        super().build(folder)
        build_command(self.name, ["go", "install", "-trimpath", "-ldflags=-s -w", f"github.com/minio/mc@{MC_VERSION}"],
                      env={**os.environ, "GOBIN": str(folder / "bin")}, cwd=folder)

    def fill(self):
        super().fill()
        self.read_access_key, self.read_secret_key = "reader" + secrets.token_hex(4), secrets.token_hex(16)
        bucket = f"arn:aws:s3:::{self.BUCKETS[1]}"
        (self.home / "read-only.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{bucket}/*"]},
            {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": [bucket]}]}))
        for arguments in (["alias", "set", "here", self.endpoint, self.access_key, self.secret_key],
                          ["admin", "policy", "create", "here", "read-only", self.home / "read-only.json"],
                          ["admin", "user", "add", "here", self.read_access_key, self.read_secret_key],
                          ["admin", "policy", "attach", "here", "read-only", "--user", self.read_access_key]):
            self.tool([self.program.with_name("mc"), "--config-dir", self.home / "mc", *arguments])

    @contextlib.contextmanager
    def full(self):
        """Nothing more fits on its own disk inside the block. The server throws things away in its own time; what is yielded
        fills the room that came free."""
        # Seen through the process, whose mounts are its own.
        ballast = pathlib.Path(f"/proc/{self.process.pid}/root{self.home}/data/ballast")

        def fill():
            with open(ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 16))

        try:
            fill()
            yield fill
        finally:
            ballast.unlink()

    def command(self):
        arguments = [self.program, "server", self.home / "data", "--address", f"127.0.0.1:{self.port}"]
        if self.disk:
            mount = f'mount -t tmpfs -o size={self.disk}m tmpfs "$0" && exec "$@"'
            arguments = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, self.home / "data", *arguments]
        return arguments, {
            "MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key, "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off"}


class VersityGw(S3):
    """VersityGW over a folder: a second S3 server, that understands the protocol in its own way."""

    name = "versitygw"
    package = "github.com/versity/versitygw/cmd/versitygw"
    version = VERSITYGW_VERSION
    health = "/health"

    def command(self):
        # The sidecar folder keeps what would need extended attributes, which not every file system has.
        (self.home / "sidecar").mkdir(exist_ok=True)
        return [self.program, "--port", f"127.0.0.1:{self.port}", "--health", self.health, "posix", "--sidecar",
                self.home / "sidecar", self.home / "data"], {
            "ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}


SERVICES = {
    "postgres": Postgres,
    "neo4j-5": lambda: Neo4j(NEO4J_LTS),
    "neo4j-2026": lambda: Neo4j(NEO4J_NEWEST),
    "rabbitmq": RabbitMq,
    "minio": Minio,
    "versitygw": VersityGw,
    "memcached": Memcached,
}
ACTIONS = ("start", "stop", "restart", "kill", "pause", "resume")


# --- several of them -------------------------------------------------------------------------------------------------

class Servers:
    """Several servers in one workspace, started together, with a socket over which tests disturb them."""

    def __init__(self, *names):
        self.servers = {name: SERVICES[name]() for name in names}
        self.workspace = None
        self._control = None

    def __getitem__(self, name):
        return self.servers[name]

    def install(self):
        for server in self.servers.values():
            server.install()

    def start(self):
        self.workspace = Workspace()
        for server in self.servers.values():
            server.workspace = self.workspace
        with concurrent.futures.ThreadPoolExecutor(len(self.servers) or 1) as starters:
            try:
                for started in [starters.submit(self._start, server) for server in self.servers.values()]:
                    started.result()
            except BaseException:
                self._abandon()  # so that the others give up as well, instead of being waited for
                raise
        self._listen()

    @staticmethod
    def _start(server):
        began = time.monotonic()
        server.start()
        server.wait_ready()
        say(f"{server.name} is ready after {time.monotonic() - began:.1f} s")

    def _abandon(self):
        for server in self.servers.values():
            server.closing = True
        end_processes_of(self.workspace.folder)

    def close(self):
        """Stops all of them in order, and removes everything."""
        if self.workspace is None:
            return
        try:
            if self._control:
                self._control.shutdown()
                self._control.server_close()
            for server in self.servers.values():
                if server.process is not None and not server.running:
                    say(f"{server.name} has ended by itself, with {server.process.returncode}\n{server.log_tail()}")
            with concurrent.futures.ThreadPoolExecutor(len(self.servers) or 1) as stoppers:
                for stopped in [stoppers.submit(server.stop) for server in self.servers.values()]:
                    stopped.result()
        finally:
            self.workspace.close()

    def __enter__(self):
        try:
            self.install()
            self.start()
        except BaseException:
            if self.workspace:
                self.workspace.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def environment(self):
        """The variables of all servers and the control command."""
        everything = {"MNEMOSYNE_TEST_SERVICES": str(self.workspace.folder / "control")}
        for server in self.servers.values():
            everything |= server.environment()
        return everything

    def act(self, name, action):
        """What the control command asks for; comes back when it is done, with `start` and `restart` when ready."""
        if name not in self.servers:
            raise ValueError(f"there is no {name} here; there is {', '.join(self.servers)}")
        if action not in ACTIONS:
            raise ValueError(f"{action} is none of {', '.join(ACTIONS)}")
        server = self.servers[name]
        with server.lock:
            getattr(server, action)()
            if action == "start":
                server.wait_ready()

    def _listen(self):
        act = self.act

        class Request(socketserver.StreamRequestHandler):
            def handle(self):
                try:
                    act(*json.loads(self.rfile.readline()))
                    answer = ""
                except Exception as error:  # the one who asks is told, and the servers go on
                    answer = str(error) or repr(error)
                self.wfile.write(json.dumps(answer).encode() + b"\n")

        path = self.workspace.folder / "control.socket"
        self._control = socketserver.ThreadingUnixStreamServer(str(path), Request)
        self._control.daemon_threads = True
        threading.Thread(target=self._control.serve_forever, args=(0.05,), daemon=True).start()
        script = self.workspace.folder / "control"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(os.path.abspath(__file__))} '
                          f'--control {path} "$@"\n')
        script.chmod(0o755)


def control(path, name="", action=""):
    """The other end of the control socket: exit status 0, or 1 with a message."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(json.dumps([name, action]).encode() + b"\n")
        answer = json.loads(connection.makefile().readline() or '"the launcher is gone"')
    if answer:
        print(f"services: {name} {action}: {answer}", file=sys.stderr)
    return 1 if answer else 0


# --- the command -----------------------------------------------------------------------------------------------------

NOT_TO_BE_HAD = 125


def run_suite(main):
    """Runs a suite; where something that it needs cannot be had, it says so and ends with `NOT_TO_BE_HAD`."""
    try:
        main()
    except Unavailable as error:
        say(error)
        sys.exit(NOT_TO_BE_HAD)


USAGE = """\
Usage: run SERVICE… -- COMMAND…   starts the servers, runs the command with their environment, stops them
       run --install SERVICE…     only installs
       run --list                 names the services

The exit status is that of the command; 125 when a server cannot be had or does not start. While they run,
"$MNEMOSYNE_TEST_SERVICES" SERVICE start|stop|restart|kill|pause|resume disturbs one of them.
MNEMOSYNE_SERVICES_FSYNC=on makes PostgreSQL wait for the disk: set it where speed is measured."""


class Interrupted(BaseException):
    def __init__(self, number):
        super().__init__(f"signal {number}")
        self.number = number


def interrupt(number, _):
    # Once is enough: what follows is cleaning up.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    raise Interrupted(number)


def run_command(command, environment):
    child = spawn(command, signal.SIGTERM, env={**os.environ, **environment})
    try:
        status = child.wait()
    except Interrupted as interrupted:
        # A terminal has sent it to the command as well.
        if interrupted.number != signal.SIGINT:
            child.send_signal(interrupted.number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(30)
        child.kill()
        child.wait()
        raise
    if status == NOT_TO_BE_HAD:
        say("the command ended with 125, which would mean that a server cannot be had; it counts as 1")
        return 1
    return status if status >= 0 else 128 - status


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(SERVICES))
        return 0
    if arguments[:1] == ["--install"] and len(arguments) > 1:
        names, command = arguments[1:], []
    elif "--" in arguments[1:] and arguments[-1] != "--":
        border = arguments.index("--")
        names, command = arguments[:border], arguments[border + 1:]
    else:
        print(USAGE, file=sys.stdout if arguments in (["-h"], ["--help"]) else sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    if unknown := [name for name in names if name not in SERVICES]:
        say(f"unknown: {' '.join(unknown)}; there is {', '.join(SERVICES)}")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    servers = Servers(*names)
    if command and len({server.kind for server in servers.servers.values()}) < len(names):
        say("two servers of one kind have the same variables; run the command twice")
        return 2
    try:
        for name in names:
            began = time.monotonic()
            servers[name].install()
            if not command:
                say(f"{name} is installed ({time.monotonic() - began:.1f} s)")
        if not command:
            return 0
        with servers:
            return run_command(command, servers.environment())
    except Unavailable as error:
        say(error)
        return NOT_TO_BE_HAD
    except RuntimeError as error:
        say(f"cannot be started: {error}")
        return NOT_TO_BE_HAD
    except OSError as error:
        if not command or error.filename != command[0]:
            raise
        say(error)
        return 127 if isinstance(error, FileNotFoundError) else 126
    except Interrupted as interrupted:
        return 128 + interrupted.number


if __name__ == "__main__":
    if sys.argv[1:2] == ["--guard"]:
        guard(sys.argv[2])
    elif sys.argv[1:2] == ["--control"]:
        sys.exit(control(*sys.argv[2:5]))
    else:
        sys.exit(main(sys.argv[1:]))
