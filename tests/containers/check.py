"""The containers, for real: the image, the stack of the deployment document brought up with Compose in a network namespace of its own,
used and set up in the document's words, killed, upgraded and rolled back. Linux, as root; standard library only.

    check.py image FILE    builds the image, and copies its executable to FILE
    check.py               builds the image where it is not built yet, and runs everything; with `figures` after it, sizes and times too

Ends with 125 where it cannot run.
"""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import urllib.request

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "services")]
import engine as docker_engine  # noqa: E402
from engine import BASE_IMAGE, PATH, PROJECT, Engine, dependencies_layer  # noqa: E402
from fleet import PASSWORD, Deployment, report, run_suite  # noqa: E402
from mnemosyne import Checks  # noqa: E402
from place import FOLDER, PUBLIC, STRANGER, Place  # noqa: E402
from waiting import eventually  # noqa: E402

IMAGE = "git.helu.ca/r/mnemosyne"
BUILT, LATER = "mnemosyne:built", "mnemosyne:later"
LONG_RUNNING = ("app", "mcp", "worker", "web")
MEGABYTE = 1_000_000
DOCUMENTS = 30


# --- the image -------------------------------------------------------------------------------------------------------

def build(engine):
    """The image as the Dockerfile says, and the tags that keep its stages in the cache."""
    arguments = engine.base_images()
    for stage in ("manifests", "builder"):
        engine.build(f"mnemosyne:{stage}", PROJECT, "--target", stage, *arguments, shown=True)
    log = engine.build(BUILT, PROJECT, *arguments)
    engine.docker("image", "prune", "--force")
    return log


def manifests(engine, tag, folder, **options):
    engine.build(tag, folder, "--target", "manifests", "--build-arg", f"BASE_IMAGE={BASE_IMAGE}", **options)
    listed = "cd /build && find . -type f | sort | xargs sha256sum"
    return engine.docker("run", "--rm", "--network", "none", tag, "sh", "-c", listed).stdout


def image_checks(checks, engine, folder):
    inside = ("run", "--rm", "--network", "none", "--read-only", "--entrypoint")
    with checks.that("the image is at most 100 MB larger than its base"):
        beyond = engine.size(BUILT) - engine.size(BASE_IMAGE)
        print(f"figure: the image is {beyond / MEGABYTE:.1f} MB beyond its base", flush=True)
        assert beyond <= 100 * MEGABYTE, beyond
    with checks.that("it runs as an ordinary user, and holds nginx and curl, and no compiler, source or package list"):
        told = engine.docker(*inside, "sh", BUILT, "-c", "id -u; for it in nginx curl celery mnemosyne cc gcc rustc cargo make; do "
                             "command -v $it; done; find /var/lib/apt/lists /build -type f 2>/dev/null; true").stdout.split()
        assert told == ["10001", "/usr/sbin/nginx", "/usr/bin/curl", "/usr/local/bin/celery", "/usr/local/bin/mnemosyne"], told
    with checks.that("one word after another is a command of the executable"):
        assert engine.docker(*inside, "mnemosyne", BUILT, "--version").stdout.startswith("mnemosyne ")
        assert "inspect ping" in engine.docker(*inside, "celery", BUILT, "--help").stdout
    with checks.that("the layer of the dependencies depends on manifests alone"):
        before = manifests(engine, "mnemosyne:manifests", PROJECT)
        other = folder / "other"
        ignored = shutil.ignore_patterns("target", ".git", "data")
        shutil.copytree(PROJECT, other, ignore=ignored, symlinks=True)
        library = other / "crates" / "domain" / "src"
        (library / "lib.rs").write_text((library / "lib.rs").read_text() + "\n// changed\n")
        (library / "more.rs").write_text("// new\n")
        (other / "static" / "app.css").write_text("/* changed */\n")
        assert manifests(engine, "mnemosyne:manifests-other", other) == before
        manifest = other / "crates" / "domain" / "Cargo.toml"
        manifest.write_text(manifest.read_text() + "\n# changed\n")
        assert manifests(engine, "mnemosyne:manifests-other", other) != before
        # BuildKit reads the whole file, and makes the same of its first stage.
        assert manifests(engine, "mnemosyne:manifests-other", PROJECT, buildkit=True) == before
        engine.docker("rmi", "mnemosyne:manifests-other")
        shutil.rmtree(other)
    with checks.that("a second build takes the dependencies from the cache"):
        assert dependencies_layer(build(engine))


class Hub(http.server.SimpleHTTPRequestHandler):
    """Serves the files of the local model, as its public hub does."""

    def translate_path(self, path):
        return super().translate_path(path.split("/resolve/", 1)[1].split("/", 1)[1])

    def log_message(self, *_):
        pass


def model_check(checks, engine, weights):
    """`weights`: the folder of the files of all-MiniLM-L6-v2."""
    with checks.that("with the build argument MODEL the image brings the local model, also behind a volume that is older than it"):
        handler = functools.partial(Hub, directory=weights)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as hub:
            threading.Thread(target=hub.serve_forever, daemon=True).start()
            engine.build("mnemosyne:with-model", PROJECT, "--build-arg", "MODEL=all-MiniLM-L6-v2", "--build-arg",
                         f"HF_ENDPOINT=http://127.0.0.1:{hub.server_address[1]}", *engine.base_images())
            hub.shutdown()
        for image, is_there in (("mnemosyne:with-model", True), (BUILT, False)):
            told = engine.docker("run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/var/lib/mnemosyne:uid=10001", image,
                                 "models", "list", "--json").stdout
            assert [row["installed"] for row in json.loads(told)] == [is_there], (image, told)
        engine.docker("rmi", "mnemosyne:with-model")


def fnv1a(data):
    """As the executable names its static files."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return value


def stylesheets():
    """That of this version, and that of the one after it."""
    old = (PROJECT / "static" / "app.css").read_bytes()
    new = old.replace(b"/* Mnemosyne.", b"/* mnemosyne.", 1)
    return old, new


def later_image(engine, folder):
    """The version after this one: the same executable with another stylesheet. Compiling one anew would show no more."""
    folder.mkdir()
    engine.copy_out(BUILT, "/usr/local/bin/mnemosyne", folder / "mnemosyne")
    old, new = stylesheets()
    executable = (folder / "mnemosyne").read_bytes()
    for before, after in ((old, new), (fnv1a(old).to_bytes(8, "little"), fnv1a(new).to_bytes(8, "little"))):
        assert executable.count(before) == 1 and before != after
        executable = executable.replace(before, after)
    (folder / "mnemosyne").write_bytes(executable)
    (folder / "Dockerfile").write_text(f"FROM {BUILT}\nCOPY mnemosyne /usr/local/bin/mnemosyne\n")
    engine.build(LATER, folder)


# --- the stack -------------------------------------------------------------------------------------------------------

class Stack(Deployment):
    """The stack in its place, asked and operated as the deployment document does."""

    def __init__(self, place, engine):
        self.place, self.engine = place, engine
        self.servers, self.s3, self.neo4j = place.servers, place.servers["minio"], place.servers["neo4j-5"]
        self.app = types.SimpleNamespace(address=f"https://{PUBLIC}/")
        # Whatever the operator's shell has.
        self.environment = {**engine.environment, "CURL_CA_BUNDLE": str(place.authority)}
        self.logs = ""

    def last_words(self):
        return self.sh("docker compose logs --tail 15 worker", check=False)

    def sh(self, command, check=True, folder=FOLDER):
        """A line of the deployment document; what it prints, both streams in one."""
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def fails(self, command):
        """What a command prints that ends with an error."""
        done = subprocess.run(["bash", "-c", command], cwd=FOLDER, env=self.environment, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode, f"{command} succeeds:\n{done.stdout}"
        return done.stdout

    def keep_logs(self):
        """Notes what the containers have said: it goes with those that are made anew."""
        self.logs += self.sh("docker compose logs --no-color")

    def up(self, services="", options=""):
        self.keep_logs()
        return self.sh(f"docker compose up -d {options} {services}")

    def state(self):
        """Per service: what `docker compose ps` says of it."""
        rows = [json.loads(line) for line in self.sh("docker compose ps --all --format json").splitlines() if line.startswith("{")]
        return {row["Service"]: row["Health"] or f"{row['State']} ({row['ExitCode']})" for row in rows}

    def healthy(self):
        expected = {**dict.fromkeys(LONG_RUNNING, "healthy"), "static-init": "exited (0)"}
        eventually(lambda: self.state() == expected, lambda: f"{self.state()}\n{self.sh('docker compose logs --tail 20', check=False)}")

    def container(self, service):
        return self.sh(f"docker compose ps --all --quiet {service}").strip()

    def inspect(self, service, what):
        return self.engine.docker("inspect", "--format", what, self.container(service)).stdout.strip()

    def kill(self, service):
        """Ends the main process as the kernel would for want of memory: an engine does not undo what it was asked for."""
        os.kill(int(self.inspect(service, "{{.State.Pid}}")), signal.SIGKILL)

    def page(self, path):
        """Status, headers and text of a page through the balancer."""
        with urllib.request.urlopen(f"https://{PUBLIC}{path}", timeout=30) as answer:
            return answer.status, answer.headers, answer.read()

    def status(self, path, *arguments):
        """The status that curl gets from puck's port."""
        words = " ".join(arguments)
        return self.sh(f"curl -s -o /dev/null -w '%{{http_code}}' {words} http://puck.incus:23181{path}", check=False).strip()

    def mcp(self, token, tool, arguments):
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        request = urllib.request.Request(f"https://{PUBLIC}/mcp/", json.dumps(body).encode(), {
            "Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["result"]["structuredContent"]

    def memory(self):
        """Megabytes (proportional set size) of the processes of each container."""
        found = {}
        for service in LONG_RUNNING:
            pids = self.engine.docker("top", self.container(service), "-o", "pid").stdout.split()[1:]
            kilobytes = 0
            for pid in pids:
                # A probe may have ended meanwhile.
                with contextlib.suppress(OSError):
                    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                    kilobytes += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
            found[service] = kilobytes / 1000
        return found


# The commands of the document's §3.3, as they stand there; Ansible puts the password in.
MIGRATE = """\
docker compose -f /opt/mnemosyne/docker-compose.yaml \\
  run --rm app migrate"""
SETUP = """\
docker compose -f /opt/mnemosyne/docker-compose.yaml \\
  run --rm app setup"""
ENSURE_SERVICE_USER = f"""\
docker compose -f /opt/mnemosyne/docker-compose.yaml \\
  run --rm app \\
  python manage.py ensure_service_user \\
  --username daedalus-service \\
  --password "{PASSWORD}\""""
SEED_SIGNING_KEY = """\
docker compose -f /opt/mnemosyne/docker-compose.yaml \\
  run --rm app \\
  python manage.py seed_signing_key --kid daedalus-1 --retire-other"""


def put_in_place(stack):
    """§3.1: three files, and nothing else."""
    FOLDER.chmod(0o750)
    (FOLDER / "nginx").mkdir(mode=0o750)
    shutil.copy(PROJECT / "docker-compose.yaml", FOLDER)
    shutil.copy(PROJECT / "nginx" / "mnemosyne.conf", FOLDER / "nginx")
    stack.place.write_env()


def push(engine, image):
    engine.docker("tag", image, f"{IMAGE}:latest")
    engine.docker("push", f"{IMAGE}:latest")
    digest = engine.docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", f"{IMAGE}:latest").stdout.strip()
    engine.docker("rmi", f"{IMAGE}:latest")
    return digest.split("@")[1]


def first_deploy(checks, stack):
    with checks.that("§3.2: the image is pulled, and the stack comes up before migrate: all healthy, static-init exited (0)"):
        stack.sh("docker compose pull")
        stack.sh("docker compose up -d")
        stack.healthy()
    with checks.that("it is alive and not ready, and says which command is missing"):
        status, body = stack.ready()
        assert status == 503 and "migrate" in json.dumps(body), (status, body)
    for command, words in ((MIGRATE, ""), (SETUP, ""), (ENSURE_SERVICE_USER, "daedalus-service"), (SEED_SIGNING_KEY, "secret_hex")):
        with checks.that(f"§3.3, twice: {command.split('app', 1)[1].split('--password')[0].strip()}"):
            assert words in stack.sh(command)
            stack.sh(command)
    with checks.that("it heals by itself"):
        eventually(lambda: stack.ready()[0] == 200, lambda: str(stack.ready()))


def verification(checks, stack):
    with checks.that("§5: docker compose ps"):
        told = stack.sh("docker compose -f /opt/mnemosyne/docker-compose.yaml ps")
        assert told.count("(healthy)") == 4, told
        assert stack.state()["static-init"] == "exited (0)"
    probes = {"app": "curl -f http://localhost:8000/live/", "mcp": "curl -f http://localhost:8001/mcp/health",
              "web": "curl -f http://localhost/live/", "worker": "celery -A mnemosyne inspect ping -d celery@$HOSTNAME"}
    for service, probe in probes.items():
        with checks.that(f"§5, in {service}: {probe}"):
            told = stack.sh(f"docker compose exec -T {service} sh -c '{probe}'")
            assert ("pong" if service == "worker" else "ok") in told, told
    for line in ("curl -f http://puck.incus:23181/live/", "curl -f http://puck.incus:23181/ready/",
                 "curl -f http://puck.incus:23181/healthz", "curl http://puck.incus:23181/metrics | head -5"):
        with checks.that(f"§5: {line}"):
            told = stack.sh(line.replace("curl", "curl -sS", 1))
            assert ("# HELP" if "metrics" in line else '"status"') in told, told
    with checks.that("§5: the daedalus-service account"):
        told = stack.sh(f"""curl -s -u daedalus-service:{PASSWORD} \\
     https://mnemosyne.ouranos.helu.ca/library/api/workspaces/ \\
     -o /dev/null -w "%{{http_code}}\"""")
        assert told == "200", told
    with checks.that("§5: MCP with a token"):
        stack.sh("echo a-long-password-of-root | docker compose run --rm -T app createsuperuser --username root")
        made = stack.sh("docker compose run --rm app create_mcp_token --name agent --user root --json 2>/dev/null")
        stack.token = json.loads(made[made.index("{"):])["token"]
        told = stack.sh(f"""curl -s -H "Authorization: Bearer {stack.token}" \\
     https://mnemosyne.ouranos.helu.ca/mcp/health""")
        assert json.loads(told)["status"] == "ok", told
    with checks.that("§8: un-slashed probes are redirected, as Django does"):
        assert stack.status("/live") == "301" and stack.status("/ready") == "301"
    with checks.that("§8: behind TLS the cookies are secure, and the balancer's check is up"):
        _, headers, _ = stack.page("/accounts/login/")
        cookies = headers.get_all("Set-Cookie")
        assert cookies and all("; Secure" in cookie for cookie in cookies), cookies
        assert stack.balancer() == "UP", stack.balancer()
    with checks.that("metrics are for internal networks, judged by the real client"):
        assert stack.status("/metrics") == "200"
        assert stack.status("/metrics", "--interface", STRANGER) == "403"
        assert stack.status("/metrics", "--interface", STRANGER, "-H", "'X-Forwarded-For: 10.10.0.9'") == "403"
        assert stack.sh(f"curl -s -o /dev/null -w '%{{http_code}}' --interface {STRANGER} https://{PUBLIC}/metrics") == "403"
        assert stack.sh(f"curl -s -o /dev/null -w '%{{http_code}}' --interface 10.10.0.10 https://{PUBLIC}/metrics") == "200"


def main_job(checks, stack):
    with checks.that("documents of the Daedalus bucket are taken in through the balancer, and found over REST and over MCP"):
        stack.workspace("harbour")
        jobs = [stack.ingest("harbour", f"report-{n}.md", report(n)) for n in range(DOCUMENTS)]
        ended = stack.ended(jobs)
        assert {job["status"] for job in ended} == {"completed"}, [job["error"] for job in ended if job["error"]]
        answer = stack.search("harbour", "quoxel7")
        first = [hit["item_title"] for hit in answer["results"] if (hit["legs"].get("fulltext") or {}).get("rank") == 1]
        assert first == ["Report 7"] and answer["degraded"] == [], answer
        assert stack.mcp(stack.token, "get_health", {})["status"] == "ok"
        assert stack.mcp(stack.token, "search", {"query": "quoxel7"})["results"] == []
    with checks.that("an agent finds what is in a global library"):
        stack.sh("docker compose exec -T worker sh -c \"printf '# Tides\\n\\nThe spring tide of Kilbrannan rises 4.7 metres.\\n' > /tmp/note.md "
                 "&& mnemosyne ingest /tmp/note.md --library Global --type technical\"")
        answer = stack.mcp(stack.token, "search", {"query": "spring tide Kilbrannan"})
        assert "4.7 metres" in answer["results"][0]["text_preview"], answer
    with checks.that("the ledger is equal"):
        stack.assert_ledger(DOCUMENTS + 1)


def kills(checks, stack):
    stack.workspace("killed")
    number = 1000
    for service in LONG_RUNNING:
        with checks.that(f"{service} comes back when its main process is killed in the middle of work, with nothing lost"):
            jobs = []
            for _ in range(10):
                number += 1
                jobs.append(stack.ingest("killed", f"report-{number}.md", report(number)))
            before = int(stack.inspect(service, "{{.RestartCount}}"))
            stack.kill(service)
            eventually(lambda: int(stack.inspect(service, "{{.RestartCount}}")) == before + 1, f"{service} stays away")
            stack.healthy()
            assert {job["status"] for job in stack.ended(jobs)} == {"completed"}
    with checks.that("the ledger is equal after the kills"):
        stack.assert_ledger(DOCUMENTS + 1 + 10 * len(LONG_RUNNING))


def without_app(checks, stack):
    with checks.that("/healthz is 200 and the balancer's check is up while app is stopped, and web finds a new app"):
        stack.sh("docker compose stop app")
        assert stack.status("/healthz") == "200" and stack.status("/live/") in ("502", "503", "504")
        assert stack.balancer() == "UP"
        stack.keep_logs()
        stack.sh("docker compose rm -f app")
        stack.up("app", "--no-deps")
        eventually(lambda: stack.status("/live/") == "200", "web does not find the new app")
    with checks.that("web starts while app and mcp are away"):
        stack.sh("docker compose stop app mcp && docker compose restart web")
        eventually(lambda: stack.status("/healthz") in ("502", "503", "504"), "web does not answer")
        assert stack.status("/static/app.css") == "200"
        stack.up()
        stack.healthy()


def wrong_settings(checks, stack):
    def last_line(service):
        return stack.sh(f"docker compose logs --no-log-prefix --tail 1 {service}").strip()

    broker = stack.place.environment["CELERY_BROKER_URL"]
    unencoded = re.sub(r"(amqp://mnemosyne:).*(@oberon)", r"\1p@ss/w#rd\2", broker)
    for what, changed, service, words in (
            ("a blank variable", {"APP_DB_PASSWORD": ""}, "app", ["APP_DB_PASSWORD"]),
            ("a missing variable", {"AWS_SECRET_ACCESS_KEY": None}, "mcp", ["AWS_SECRET_ACCESS_KEY"]),
            ("an unencoded broker password", {"CELERY_BROKER_URL": unencoded}, "worker", ["CELERY_BROKER_URL", "percent"])):
        with checks.that(f"{what} stops {service}, and the last line of its log names it"):
            stack.place.write_env(**changed)
            stack.up(service, "--no-deps")
            eventually(lambda: int(stack.inspect(service, "{{.RestartCount}}")) > 0, f"{service} does not stop")
            line = last_line(service)
            assert all(word in line for word in words), line
            assert "p@ss" not in line, line
    with checks.that("mended, everything is healthy again"):
        stack.place.write_env()
        stack.up()
        stack.healthy()


def upgrade(checks, stack, engine, first):
    old, new = (f"app.{fnv1a(data):016x}.css" for data in stylesheets())
    with checks.that("a visitor gets the hashed names of this version, for ever"):
        assert old in stack.page("/accounts/login/")[2].decode()
        assert "immutable" in stack.page(f"/static/{old}")[1]["Cache-Control"]
    later = push(engine, LATER)
    with checks.that("§6: docker compose pull, up -d, run --rm app migrate"):
        assert later != first
        stack.keep_logs()
        stack.sh("cd /opt/mnemosyne\ndocker compose pull\ndocker compose up -d\ndocker compose run --rm app migrate")
        stack.healthy()
        assert all(later in image_digests(stack, engine, service) for service in LONG_RUNNING)
    with checks.that("after the upgrade a visitor gets the new files, and a page that is open still finds the old ones"):
        assert new in stack.page("/accounts/login/")[2].decode()
        assert stack.page(f"/static/{new}")[2].startswith(b"/* mnemosyne.")
        assert stack.page(f"/static/{old}")[2].startswith(b"/* Mnemosyne.")
        assert stack.search("harbour", "quoxel7")["results"]
    with checks.that("§7: back to a digest, which is `docker pull`: Compose takes names of services there"):
        reference = f"{IMAGE}@{first}"
        assert "no such service" in stack.fails(f"docker compose pull {reference}")
        stack.sh(f"docker pull {reference}")
        compose = FOLDER / "docker-compose.yaml"
        whole = compose.read_text()
        text, count = re.subn(r"(?m)^(\s+image: ).*$", rf"\g<1>{reference}", whole)
        assert count == 1, count
        compose.write_text(text)
        stack.up()
        stack.healthy()
        assert all(first in image_digests(stack, engine, service) for service in LONG_RUNNING)
        assert old in stack.page("/accounts/login/")[2].decode()
        assert stack.search("harbour", "quoxel7")["results"]
        compose.write_text(whole)
    with checks.that("docs/deploy.md: the digest in .env does the same, and what is current comes back without it"):
        settings = FOLDER / ".env"
        before = settings.read_text()
        stack.up()
        assert not any(first in image_digests(stack, engine, service) for service in LONG_RUNNING)
        settings.write_text(f"{before}\nMNEMOSYNE_IMAGE={reference}\n")
        stack.sh("docker compose pull")
        stack.up()
        stack.healthy()
        assert all(first in image_digests(stack, engine, service) for service in LONG_RUNNING)
        settings.write_text(before)


def image_digests(stack, engine, service):
    return engine.docker("image", "inspect", "--format", "{{.RepoDigests}}", stack.inspect(service, "{{.Image}}")).stdout


def figures(stack):
    """Sizes and times, for people: nothing is asserted of them."""
    stack.keep_logs()
    stack.sh("docker compose down")
    began = time.monotonic()
    stack.sh("docker compose up -d")
    stack.healthy()
    print(f"figure: all healthy {time.monotonic() - began:.1f} s after `docker compose up -d`", flush=True)

    def show(when):
        found = stack.memory()
        three = sum(found[name] for name in ("app", "mcp", "worker"))
        told = ", ".join(f"{service} {megabytes:.1f}" for service, megabytes in found.items())
        print(f"figure: memory {when} in MB: {told}; app, mcp and worker together {three:.1f}", flush=True)

    stack.page("/accounts/login/")
    stack.mcp(stack.token, "get_health", {})
    show("idle")
    stack.workspace("load")
    jobs = [stack.ingest("load", f"report-{n}.md", report(5000 + n)) for n in range(100)]
    show("with 100 documents coming in")
    stack.ended(jobs)
    show("after that")
    stack.request("DELETE", "workspaces/load/")


def taking_down(checks, stack, engine):
    with checks.that("no secret is in any log"):
        stack.keep_logs()
        assert stack.logs.count("serves") >= 3, "these are not the logs"
        for secret in [*stack.place.secrets(), PASSWORD, stack.token, "p@ss/w#rd"]:
            assert secret not in stack.logs, "a secret is in a log"
    def left():
        project = ("--quiet", "--filter", "label=com.docker.compose.project=mnemosyne")
        return [engine.docker(*what.split(), *project).stdout.split() for what in ("ps --all", "network ls", "volume ls")]

    with checks.that("down leaves nothing but the two volumes, and nothing with --volumes"):
        stack.sh("docker compose down")
        assert left() == [[], [], ["mnemosyne_data", "mnemosyne_static"]], left()
        stack.sh("docker compose down --volumes")
        assert left() == [[], [], []], left()


# --- running it ------------------------------------------------------------------------------------------------------

def inside(folder):
    """In namespaces of its own: mounts, network, processes."""
    folder = pathlib.Path(folder)
    checks = Checks()
    with Place(folder) as place:
        os.environ["SSL_CERT_FILE"] = str(place.authority)
        os.environ.update(dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), ""))
        arguments = ["--dns", "10.10.0.1", "--insecure-registry", "git.helu.ca"]
        with Engine(folder, network=True, arguments=arguments) as engine:
            stack = Stack(place, engine)
            stack.balancer = place.balancer_says
            try:
                put_in_place(stack)
                first = push(engine, BUILT)
                first_deploy(checks, stack)
                verification(checks, stack)
                main_job(checks, stack)
                kills(checks, stack)
                without_app(checks, stack)
                wrong_settings(checks, stack)
                upgrade(checks, stack, engine, first)
                if "figures" in sys.argv:
                    figures(stack)
                taking_down(checks, stack, engine)
            finally:
                if checks.failed:
                    print(stack.sh("docker compose logs --tail 40 --no-color", check=False), flush=True)
                stack.sh("docker compose down --volumes --timeout 1", check=False)
                # Names alone: what they name stays in the cache.
                shown = engine.docker("image", "ls", "--digests", "--format", f"{IMAGE}:{{{{.Tag}}}} {IMAGE}@{{{{.Digest}}}}", IMAGE)
                engine.docker("rmi", *{name for name in shown.stdout.split() if "<none>" not in name}, check=False)
    (folder / "counts").write_text(f"{checks.passed} {checks.failed}")


def main(arguments):
    os.environ["PATH"] = PATH
    if arguments[:1] == ["--inside"]:
        inside(arguments[1])
        return
    docker_engine.install()
    with tempfile.TemporaryDirectory(prefix="mnemosyne-containers-") as name:
        folder = pathlib.Path(name)
        if arguments[:1] == ["image"]:
            with Engine(folder) as engine:
                build(engine)
                engine.copy_out(BUILT, "/usr/local/bin/mnemosyne", arguments[1])
            return
        checks = Checks()
        with Engine(folder) as engine:
            build(engine)
            image_checks(checks, engine, folder)
            if weights := os.environ.get("MNEMOSYNE_TEST_MODEL"):
                model_check(checks, engine, weights)
            else:
                print("NOT RUN: an image with the local model: MNEMOSYNE_TEST_MODEL names no folder", flush=True)
            later_image(engine, folder / "later")
        made = not FOLDER.exists()
        FOLDER.mkdir(exist_ok=True)
        try:
            apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
            subprocess.run([*apart, sys.executable, __file__, "--inside", name, *arguments])
        finally:
            if made:
                FOLDER.rmdir()
        counts = folder / "counts"
        passed, failed = map(int, counts.read_text().split()) if counts.exists() else (0, 1)
        checks.passed += passed
        checks.failed += failed
        checks.finish()


if __name__ == "__main__":
    run_suite(lambda: main(sys.argv[1:]))
