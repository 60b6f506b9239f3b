"""The compose files as Compose itself reads them, from the folder of the deployment document: the one compose file, nginx's and
`.env`; and with the file for a trial beside it. Needs the client and its plugin, and no engine. Standard library only.

    check.py        ends with 125 where Compose is not here
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "services"), str(TESTS / "containers")]
from engine import COMPOSE_VERSION, PATH, build_compose  # noqa: E402
from launcher import Unavailable, cached, run_suite  # noqa: E402
from mnemosyne import Checks  # noqa: E402

ROLES = ("app", "mcp", "worker")


def client():
    """The environment in which `docker compose` is a command."""
    environment = {"PATH": PATH, "HOME": os.environ.get("HOME", "/root")}
    environment["DOCKER_CONFIG"] = str(cached(f"compose-{COMPOSE_VERSION}", build_compose))
    with contextlib.suppress(OSError):
        if not subprocess.run(["docker", "compose", "version"], env=environment, capture_output=True).returncode:
            return environment
    raise Unavailable("compose: neither `docker compose` nor what builds it is here")


class Project:
    """A folder such as /opt/mnemosyne."""

    def __init__(self, environment, files=("docker-compose.yaml",)):
        self.environment, self.files = environment, files

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="mnemosyne-compose-")
        self.folder = pathlib.Path(self._folder.name)
        (self.folder / "nginx").mkdir()
        for name in (*self.files, "nginx/mnemosyne.conf"):
            shutil.copy(TESTS.parent / name, self.folder / name)
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    def config(self, env, check=True):
        """What Compose makes of the files and this `.env`."""
        (self.folder / ".env").write_text(env)
        options = [option for name in self.files for option in ("-f", name)]
        done = subprocess.run(["docker", "compose", *options, "config", "--format", "json"], env=self.environment, cwd=self.folder,
                              capture_output=True, text=True)
        if not check:
            return done
        assert done.returncode == 0 and not done.stderr, (done.returncode, done.stderr)
        return json.loads(done.stdout)["services"]


def deployment(checks, environment):
    example = (TESTS.parent / ".env.example").read_text()
    with Project(environment) as project:
        services = {}
        with checks.that("the files of the deployment document and .env.example are all that Compose needs, without a warning"):
            services.update(project.config(example))
            assert set(services) == {*ROLES, "web", "static-init"}, set(services)
            assert all("build" not in service for service in services.values())
            assert {service["image"] for service in services.values()} == {"git.helu.ca/r/mnemosyne:latest"}
        with checks.that("an image can be pinned by its digest"):
            pinned = "git.helu.ca/r/mnemosyne@sha256:" + "0123456789abcdef" * 4
            assert {service["image"] for service in project.config(f"MNEMOSYNE_IMAGE={pinned}\n").values()} == {pinned}
        with checks.that("one port is published, one file is mounted, nothing else of the host is touched"):
            ports = {name: [f"{port['published']}:{port['target']}" for port in service.get("ports", [])]
                     for name, service in services.items()}
            assert ports == {"web": ["23181:80"], **dict.fromkeys((*ROLES, "static-init"), [])}, ports
            binds = [(name, volume["target"], volume.get("read_only")) for name, service in services.items()
                     for volume in service.get("volumes", []) if volume["type"] == "bind"]
            assert binds == [("web", "/etc/nginx/mnemosyne.conf", True)], binds
        with checks.that("every container: nothing to write to but its volumes, no capability, no way to get one"):
            for name, service in services.items():
                assert service["read_only"] and service["cap_drop"] == ["ALL"], name
                assert service["security_opt"] == ["no-new-privileges:true"] and "user" not in service, name
        with checks.that("web waits for the static files alone; the probes are those of the deployment document"):
            waits = {name: dict.fromkeys(service.get("depends_on") or {}) for name, service in services.items()}
            assert waits == {**dict.fromkeys((*ROLES, "static-init"), {}), "web": {"static-init": None}}, waits
            tests = {name: service["healthcheck"]["test"] for name, service in services.items() if "healthcheck" in service}
            assert tests == {
                "app": ["CMD", "curl", "-f", "http://localhost:8000/live/"],
                "mcp": ["CMD", "curl", "-f", "http://localhost:8001/mcp/health"],
                "web": ["CMD", "curl", "-f", "http://localhost/live/"],
                "worker": ["CMD-SHELL", "celery -A mnemosyne inspect ping -d celery@$$HOSTNAME"]}, tests
        with checks.that("a value goes from .env into the containers as it is"):
            for written, meant in (("'a$b#c\"d'", 'a$b#c"d'), ("plain", "plain"), ('"two words"', "two words"), ("x=y==", "x=y==")):
                given = project.config(f"SECRET_KEY={written}\n")["app"]["environment"]["SECRET_KEY"]
                # Compose writes a $ twice, so that its output can be read again.
                assert given.replace("$$", "$") == meant, (written, given)
        with checks.that("an empty .env leaves every variable blank, save for the proxies"):
            for role in ROLES:
                given = {name for name, value in project.config("")[role]["environment"].items() if value}
                assert given <= {"MNEMOSYNE_TRUSTED_PROXIES"}, given


def trial(checks, environment):
    good = f"SECRET_KEY={'k' * 50}\nTRIAL_PASSWORD=Tr1alPassw0rd\n"
    with Project(environment, ("docker-compose.yaml", "docker-compose.trial.yaml")) as project:
        with checks.that("a trial asks for its two secrets by name, and has none of its own"):
            for missing in ("SECRET_KEY", "TRIAL_PASSWORD"):
                env = "".join(f"{line}\n" for line in good.splitlines() if not line.startswith(missing))
                done = project.config(env, check=False)
                assert done.returncode and missing in done.stderr, (done.returncode, done.stderr)
        with checks.that("a trial has every server that the roles need, of a pinned image"):
            services = project.config(good)
            others = {"postgres", "neo4j", "rabbitmq", "minio", "memcached", "buckets", "migrate", "setup"}
            assert set(services) == {*ROLES, "web", "static-init", *others}, set(services)
            for name, service in services.items():
                if not service["image"].startswith("git.helu.ca/"):
                    assert re.search(r":(RELEASE\.\d{4}-|\d+\.\d+)", service["image"]), (name, service["image"])
                    assert not service.get("ports"), name
        with checks.that("a trial leaves nothing blank that a role or a command needs"):
            example = (TESTS.parent / ".env.example").read_text()
            needed = set(re.findall(r"^([A-Z0-9_]+)=", example, re.M))
            needed -= {"ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "LLM_API_SECRETS_ENCRYPTION_KEY"}
            for name in (*ROLES, "migrate", "setup"):
                given = services[name]["environment"]
                assert needed & set(given), name
                blank = {variable for variable in needed & set(given) if not given[variable]}
                assert not blank, (name, blank)


def main():
    environment = client()
    checks = Checks()
    deployment(checks, environment)
    trial(checks, environment)
    checks.finish()


if __name__ == "__main__":
    run_suite(main)
