"""Wrong settings. What is missing, blank, half set or garbled stops a service, with the name of the variable in the last line of
its log; what a server refuses has a sentence of its own in `/ready/` and in the log of every service, and heals by itself once it
is mended on the server, without a restart. Standard library only.

    check.py        with MNEMOSYNE_EXECUTABLE set; ends with 125 where the servers cannot be had
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "support"))
from fleet import PASSWORD, USER, Fleet, eventually, run_suite  # noqa: E402
from mnemosyne import Checks  # noqa: E402
from launcher import in_url  # noqa: E402

# The example of the deployment document. Nothing of it is asked: a wrong environment ends the start before that.
GOOD = {
    "SECRET_KEY": "k" * 50, "DEBUG": "False", "APP_DB_NAME": "mnemosyne", "APP_DB_USER": "mnemosyne", "APP_DB_PASSWORD": "hunter2-db",
    "DB_HOST": "127.0.0.1", "DB_PORT": "1", "NEOMODEL_NEO4J_BOLT_URL": "bolt://neo4j:hunter2-graph@127.0.0.1:1",
    "KVDB_LOCATION": "127.0.0.1:1", "USE_LOCAL_STORAGE": "False", "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "hunter2-s3", "AWS_STORAGE_BUCKET_NAME": "mnemosyne-content",
    "AWS_S3_ENDPOINT_URL": "http://127.0.0.1:1",
}
BROKER = {"CELERY_BROKER_URL": "amqp://mnemosyne:hunter2-mq@127.0.0.1:1/mnemosyne", "CELERY_RESULT_BACKEND": "rpc://"}
DAEDALUS = {"DAEDALUS_S3_ENDPOINT_URL": "http://127.0.0.1:1", "DAEDALUS_S3_ACCESS_KEY_ID": "reader",
            "DAEDALUS_S3_SECRET_ACCESS_KEY": "hunter2-daedalus"}
ROLES = {"app": {**GOOD, **BROKER}, "mcp": GOOD, "worker": {**GOOD, **BROKER, **DAEDALUS}}
# Has a default, or means something where it is left out.
OPTIONAL = ("DEBUG", "DB_PORT", "CELERY_RESULT_BACKEND")

# What is on the servers in the end. Nothing of it may ever be in a log.
NEW = {"APP_DB_PASSWORD": "new/db:p@ss", "neo4j": "new-graph?p@ss", "rabbitmq": "new#mq/p@ss"}


def start(role, environment):
    """The exit status and the lines of the log of a service that cannot start."""
    with tempfile.TemporaryDirectory(prefix="mnemosyne-settings-") as folder:
        done = subprocess.run(
            [os.environ["MNEMOSYNE_EXECUTABLE"], role], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60, env={"MNEMOSYNE_DATA": folder + "/data", "MNEMOSYNE_APP_LISTEN": "127.0.0.1:0",
                                        "MNEMOSYNE_MCP_LISTEN": "127.0.0.1:0", **environment})
    return done.returncode, done.stdout.strip().splitlines()


def refused(role, name, **changed):
    """The last line of the log, which names the variable; a value of None leaves the variable out."""
    environment = {n: v for n, v in {**ROLES[role], **changed}.items() if v is not None}
    status, lines = start(role, environment)
    assert status not in (0, None), (role, changed, lines)
    assert lines and name in lines[-1], (role, changed, lines)
    said = "\n".join(lines)
    assert "hunter2" not in said and "panicked" not in said, said
    return lines[-1]


def stops(checks):
    for role, environment in ROLES.items():
        needed = [name for name in environment if name not in OPTIONAL]
        with checks.that(f"{role} ends where one of its {len(needed)} variables is missing or blank, and names it last"):
            for name in needed:
                for value in (None, "", "  "):
                    said = refused(role, name, **{name: value})
                    assert said.strip().startswith(name), said
        with checks.that(f"{role} ends with each kind of value that cannot be, and names it last"):
            for name, value in (("DB_PORT", "postgres"), ("DEBUG", "perhaps"), ("USE_LOCAL_STORAGE", "True"), ("AWS_S3_VERIFY", "maybe"),
                                ("AWS_S3_ENDPOINT_URL", "https://host/path"), ("KVDB_LOCATION", "memcached://host"),
                                ("TIME_ZONE", "Europe/Atlantis"), ("LOGGING_LEVEL", "LOUD"), ("MNEMOSYNE_DATTA", "/srv")):
                refused(role, name, **{name: value})
    with checks.that("several wrong variables are all named, in one go"):
        status, lines = start("worker", {**ROLES["worker"], "APP_DB_PASSWORD": "", "CELERY_BROKER_URL": "", "CELERY_CONCURRENCY": "0"})
        said = "\n".join(lines)
        assert status == 2 and all(name in said for name in ("APP_DB_PASSWORD", "CELERY_BROKER_URL", "CELERY_CONCURRENCY")), lines
    with checks.that("a password that was left unencoded is named as such, and not repeated"):
        for role, name, url in (
                ("app", "CELERY_BROKER_URL", "amqp://mnemosyne:p@ss/w#rd@host:5672/mnemosyne"),
                ("worker", "CELERY_BROKER_URL", "amqp://mnemosyne:p@ss/w#rd@host:5672/mnemosyne"),
                ("worker", "CELERY_BROKER_URL", "amqp://mnemosyne:ss/w?rd@host:5672/mnemosyne"),
                ("worker", "CELERY_BROKER_URL", "amqp://mnemosyne:p@ss@host:5672/mnemosyne"),
                ("app", "NEOMODEL_NEO4J_BOLT_URL", "bolt://neo4j:p@ss/w#rd@host:7687"),
                ("mcp", "NEOMODEL_NEO4J_BOLT_URL", "bolt://neo4j:p#ss@host:7687"),
                ("worker", "NEOMODEL_NEO4J_BOLT_URL", "bolt://neo4j:ss/w?rd@host:7687")):
            said = refused(role, name, **{name: url})
            assert "percent-encode" in said, said
            assert "ss@" not in said and "w#rd" not in said and "w?rd" not in said and "p#ss" not in said, said


def on_system(neo4j, password, statement, parameters):
    """Whether an administrator's statement was done. After wrong guesses Neo4j refuses right passwords too, for some seconds."""
    credentials = base64.b64encode(f"neo4j:{password}".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{neo4j.http}/db/system/query/v2", json.dumps({"statement": statement, "parameters": parameters}).encode(),
        {"Authorization": f"Basic {credentials}", "Content-Type": "application/json", "Accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        assert error.code in (401, 429), (error.code, error.read())
        return False


class Bench:
    def __init__(self, fleet):
        self.fleet = fleet
        self.roles = (fleet.app, fleet.mcp, fleet.workers[0])

    def wrong(self, dependency, words, roles=None):
        """`/ready/` and the log of each role say this of it."""
        def said():
            return words in (self.fleet.ready()[1]["dependencies"][dependency]["problem"] or "")

        if roles is None or self.fleet.app in roles:
            eventually(said, lambda: f"{dependency}: {self.fleet.ready()}")
        for role in roles or self.roles:
            eventually(lambda role=role: self.lines(role, dependency, words), lambda role=role: f"{role.name} does not say {words!r}: {role.tail()}")

    @staticmethod
    def lines(role, dependency, words):
        return [line for line in role.text().splitlines() if f'"dependency":"{dependency}"' in line and words in line]

    def mended(self, dependency, roles=None):
        """It answers in `/ready/`, and each role says so without having been started again."""
        if roles is None or self.fleet.app in roles:
            eventually(lambda: self.fleet.ready()[1]["dependencies"][dependency]["ok"], lambda: f"{dependency}: {self.fleet.ready()}")
        for role in roles or self.roles:
            eventually(lambda role=role: self.lines(role, dependency, "answers again"),
                       lambda role=role: f"{role.name} does not say that {dependency} is back: {role.tail()}")
            assert role.process.poll() is None, role.tail()


def heals(checks, fleet):
    servers = fleet.servers
    postgres, rabbit, s3 = servers["postgres"], servers["rabbitmq"], fleet.s3
    old = fleet.neo4j.password
    fleet.variables.update({
        "APP_DB_PASSWORD": NEW["APP_DB_PASSWORD"],
        "NEOMODEL_NEO4J_BOLT_URL": f"bolt://neo4j:{in_url(NEW['neo4j'])}@127.0.0.1:{fleet.neo4j.bolt}",
        "CELERY_BROKER_URL": f"amqp://mnemosyne:{in_url(NEW['rabbitmq'])}@127.0.0.1:{rabbit.port}/mnemosyne",
        "AWS_STORAGE_BUCKET_NAME": "made-later", "DAEDALUS_S3_BUCKET_NAME": "daedalus-later",
        "DAEDALUS_S3_ACCESS_KEY_ID": s3.access_key, "DAEDALUS_S3_SECRET_ACCESS_KEY": s3.secret_key,
    })
    bench = Bench(fleet)
    app, worker = fleet.app, fleet.workers[0]
    with checks.that("with every login refused and every bucket absent, each service lives"):
        for role in bench.roles:
            role.start()
        assert fleet.request("GET", "live/", base=app.address, authorized=False)[0] == 200
        assert fleet.request("GET", "mcp/health", base=fleet.mcp.address, authorized=False)[0] == 200
        assert fleet.ready()[0] == 503
    for dependency, words, roles in (
            ("database", "check APP_DB_USER and APP_DB_PASSWORD", None),
            ("knowledge", "check user and password in NEOMODEL_NEO4J_BOLT_URL", None),
            ("broker", "check user and password in CELERY_BROKER_URL, percent-encoded", (app, worker)),
            ("storage", "The bucket does not exist; make it, or check AWS_STORAGE_BUCKET_NAME", None),
            ("bucket", "check DAEDALUS_S3_BUCKET_NAME", (worker,))):
        with checks.that(f"what is wrong with {dependency} has its sentence in /ready/ and in the logs"):
            bench.wrong(dependency, words, roles)
    with checks.that("a refused login of the broker is named as the broker names it"):
        assert "ACCESS_REFUSED" in worker.text(), worker.tail()
    with checks.that("a database without migrate says so once the password is right"):
        administrator = postgres.url("postgres", postgres.admin_password, "postgres")
        postgres.psql(administrator, f"ALTER ROLE mnemosyne PASSWORD '{NEW['APP_DB_PASSWORD']}'")
        postgres.password = NEW["APP_DB_PASSWORD"]
        bench.wrong("database", "run `mnemosyne migrate`")
    with checks.that("migrate mends it, without a restart"):
        fleet.command("migrate")
        bench.mended("database")
    with checks.that("a graph without setup says so once the password is right"):
        changed = "ALTER CURRENT USER SET PASSWORD FROM $old TO $new"
        eventually(lambda: on_system(fleet.neo4j, old, changed, {"old": old, "new": NEW["neo4j"]}), "the password cannot be changed")
        fleet.neo4j.password = NEW["neo4j"]
        bench.wrong("knowledge", "run `mnemosyne setup`")
    with checks.that("setup mends it, without a restart"):
        fleet.command("setup")
        bench.mended("knowledge")
    with checks.that("the broker is there once the password is right"):
        ctl(rabbit, "change_password", "mnemosyne", NEW["rabbitmq"])
        bench.mended("broker", (app, worker))
    with checks.that("the buckets are there once they are made"):
        for bucket in ("made-later", "daedalus-later"):
            assert s3.request("PUT", bucket)[0] == 200
        bench.mended("storage")
        bench.mended("bucket", (worker,))
    with checks.that("and then a document goes through all of it"):
        assert fleet.ready()[0] == 200, fleet.ready()
        fleet.command("python", "manage.py", "ensure_service_user", "--username", USER, "--password", PASSWORD)
        ingest(fleet, "healed")
    with checks.that("a virtual host that is gone has its sentence, and heals"):
        ctl(rabbit, "delete_vhost", "mnemosyne")
        bench.wrong("broker", "RabbitMQ has no such virtual host", (app, worker))
        ctl(rabbit, "add_vhost", "mnemosyne")
        permit(rabbit, ".*")
        eventually(lambda: fleet.ready()[1]["dependencies"]["broker"]["ok"], lambda: str(fleet.ready()))
    with checks.that("a user of the broker without permissions has its sentence, and heals"):
        permit(rabbit, "")
        ctl(rabbit, "close_all_user_connections", "mnemosyne", "permissions")
        bench.wrong("broker", "RabbitMQ does not let the user of CELERY_BROKER_URL", (app, worker))
        permit(rabbit, ".*")
        eventually(lambda: fleet.ready()[1]["dependencies"]["broker"]["ok"], lambda: str(fleet.ready()))
        ingest(fleet, "permitted")
    with checks.that("no log holds a secret"):
        for role in bench.roles:
            text = role.text()
            for secret in (*NEW.values(), *map(in_url, NEW.values()), s3.secret_key, "k" * 50):
                assert secret not in text, role.name


def ctl(rabbit, *arguments):
    rabbit.tool([rabbit.control, *arguments])


def permit(rabbit, what):
    ctl(rabbit, "set_permissions", "-p", "mnemosyne", "mnemosyne", what, what, what)


def ingest(fleet, name):
    fleet.workspace("wrong-settings")
    content = f"# {name}\n\nThe marker is quoxel{name}.\n".encode()
    status, _ = fleet.s3.request("PUT", f"daedalus-later/uploads/{name}.md", content)
    assert status == 200
    job = fleet.ask("wrong-settings", f"{name}.md", content)
    ended = fleet.ended([job])[0]
    assert ended["status"] == "completed", ended
    found = fleet.search("wrong-settings", f"quoxel{name}")
    assert found["results"] and f"quoxel{name}" in found["results"][0]["text_preview"], found


def main():
    checks = Checks()
    stops(checks)
    with Fleet(workers=1) as fleet:
        heals(checks, fleet)
    checks.finish()


if __name__ == "__main__":
    run_suite(main)
