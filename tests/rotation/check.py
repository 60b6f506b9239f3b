"""What an operator may change, and how (docs/deploy.md): keys, passwords and tokens of a running stack, with the commands of that
document, and nothing that was stored before is lost by it. Standard library only.

    check.py        with MNEMOSYNE_EXECUTABLE set; ends with 125 where the servers cannot be had
"""

import base64
import hmac
import http.client
import json
import os
import pathlib
import secrets
import sys
import time
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "support"))
import fleet as fleets  # noqa: E402
from fleet import Fleet, eventually, run_suite  # noqa: E402
from launcher import in_url  # noqa: E402
from mnemosyne import Checks  # noqa: E402

OLD_SECRET, NEW_SECRET = "k" * 50, "n" * 50
SAID = "quoxelbefore"


def fernet_key():
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def up(fleet):
    """As `docker compose up -d` after .env was changed: every service is made anew."""
    for role in (fleet.app, fleet.mcp, *fleet.workers):
        role.stop()
    for role in (fleet.app, fleet.mcp, *fleet.workers):
        role.start()
    eventually(lambda: all(each["ok"] for each in fleet.ready()[1]["dependencies"].values()), lambda: str(fleet.ready()))


def mcp(fleet, bearer):
    """Status of a call, and what came back."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search", "arguments": {"query": SAID}}})
    request = urllib.request.Request(fleet.mcp.address + "mcp/", body.encode(), {
        "Authorization": f"Bearer {bearer}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def turn(secret_hex, kid):
    """A token such as Daedalus makes for one turn."""
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"iss": "daedalus", "exp": int(time.time()) + 300, "iat": int(time.time()), "jti": secrets.token_hex(8), "ws": "rotation"}
    content = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{part(claims)}"
    digest = hmac.digest(bytes.fromhex(secret_hex), content.encode(), "sha256")
    return f"{content}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def found(fleet):
    return SAID in str(fleet.search("rotation", SAID)["results"])


def rest(fleet, password):
    connection = http.client.HTTPConnection(fleet.app.address.removeprefix("http://").rstrip("/"), timeout=60)
    try:
        connection.request("GET", "/library/api/workspaces/", headers={"Authorization": fleets.authorization(fleets.USER, password)})
        return connection.getresponse().status
    finally:
        connection.close()


def secret_key(checks, fleet, signing):
    with checks.that("SECRET_KEY: the old one in SECRET_KEY_FALLBACKS, then rotate_secrets, then without it"):
        fleet.variables.update(SECRET_KEY=NEW_SECRET, SECRET_KEY_FALLBACKS=OLD_SECRET)
        up(fleet)
        assert mcp(fleet, turn(signing, "daedalus-1"))[0] == 200, "a signing key sealed before is not read"
        done = json.loads(fleet.command("rotate_secrets", "--json").stdout)
        assert done["signing_keys"]["resealed"] == 1 and not done["signing_keys"]["unreadable"], done
        del fleet.variables["SECRET_KEY_FALLBACKS"]
        up(fleet)
        status, said = mcp(fleet, turn(signing, "daedalus-1"))
        assert status == 200 and SAID in said, (status, said)


def provider_keys(checks, fleet):
    with checks.that("LLM_API_SECRETS_ENCRYPTION_KEY: the new one before the old one, then rotate_secrets, then alone"):
        first, second = fernet_key(), fernet_key()
        fleet.variables["LLM_API_SECRETS_ENCRYPTION_KEY"] = first
        up(fleet)
        # An address that nobody calls here.
        fleet.command("providers", "add", "acme", "--base-url", "https://1.1.1.1/v1", "--key-env", "THE_KEY", THE_KEY="sk-0123456789")
        fleet.variables["LLM_API_SECRETS_ENCRYPTION_KEY"] = f"{second},{first}"
        up(fleet)
        done = json.loads(fleet.command("rotate_secrets", "--json").stdout)
        assert done["provider_keys"]["resealed"] == 1, done
        fleet.variables["LLM_API_SECRETS_ENCRYPTION_KEY"] = second
        up(fleet)
        done = json.loads(fleet.command("rotate_secrets", "--json").stdout)
        assert done["provider_keys"] == {"resealed": 0, "current": 1, "unreadable": []}, done
        fleet.command("providers", "remove", "acme")


def passwords_of_servers(checks, fleet):
    servers, s3 = fleet.servers, fleet.s3
    postgres, rabbit = servers["postgres"], servers["rabbitmq"]
    new = {name: f"a/new#{name}:p@ss?" for name in ("postgres", "neo4j", "rabbitmq")}
    with checks.that("PostgreSQL, Neo4j, RabbitMQ, S3: changed on the server, then in .env; nothing is lost between the two"):
        jobs = [fleet.ingest("rotation", f"during{number}.md", f"# During {number}\n\nWritten during the change.") for number in range(3)]
        administrator = postgres.url("postgres", postgres.admin_password, "postgres")
        postgres.psql(administrator, f"ALTER ROLE mnemosyne PASSWORD '{new['postgres']}'")
        postgres.password = new["postgres"]
        on_system(fleet, "ALTER CURRENT USER SET PASSWORD FROM $old TO $new", {"old": fleet.neo4j.password, "new": new["neo4j"]})
        fleet.neo4j.password = new["neo4j"]
        rabbit.tool([rabbit.control, "change_password", "mnemosyne", new["rabbitmq"]])
        client = [s3.program.with_name("mc"), "--config-dir", s3.home / "mc", "admin"]
        for arguments in (["user", "add", "here", "newwriter", "new-writer-secret"], ["policy", "attach", "here", "readwrite", "--user", "newwriter"],
                          ["user", "add", "here", "newreader", "new-reader-secret"], ["policy", "attach", "here", "read-only", "--user", "newreader"],
                          ["user", "disable", "here", s3.read_access_key]):
            s3.tool([*client, *arguments])
        fleet.variables.update({
            "APP_DB_PASSWORD": new["postgres"],
            "NEOMODEL_NEO4J_BOLT_URL": f"bolt://neo4j:{in_url(new['neo4j'])}@127.0.0.1:{fleet.neo4j.bolt}",
            "CELERY_BROKER_URL": f"amqp://mnemosyne:{in_url(new['rabbitmq'])}@127.0.0.1:{rabbit.port}/mnemosyne",
            "AWS_ACCESS_KEY_ID": "newwriter", "AWS_SECRET_ACCESS_KEY": "new-writer-secret",
            "DAEDALUS_S3_ACCESS_KEY_ID": "newreader", "DAEDALUS_S3_SECRET_ACCESS_KEY": "new-reader-secret"})
        up(fleet)
        jobs.append(fleet.ingest("rotation", "after.md", "# After\n\nWritten after the change."))
        assert {job["status"] for job in fleet.ended(jobs)} == {"completed"}
        assert found(fleet)
        fleet.assert_ledger(5)


def on_system(fleet, statement, parameters):
    request = urllib.request.Request(
        f"http://127.0.0.1:{fleet.neo4j.http}/db/system/query/v2", json.dumps({"statement": statement, "parameters": parameters}).encode(),
        {"Authorization": fleets.authorization("neo4j", fleet.neo4j.password), "Content-Type": "application/json", "Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass


def tokens(checks, fleet, signing):
    with checks.that("a token of MCP: a new one is made, the old one revoked, at once and without a restart"):
        old, new = (json.loads(fleet.command("create_mcp_token", "--name", name, "--json").stdout)["token"] for name in ("old", "new"))
        assert mcp(fleet, old)[0] == 200
        fleet.command("revoke_mcp_token", "old")
        eventually(lambda: mcp(fleet, old)[0] == 401, "a revoked token is still let in")
        assert mcp(fleet, new)[0] == 200
    with checks.that("a signing key: both are let in until the old one is retired"):
        second = json.loads(fleet.command("python", "manage.py", "seed_signing_key", "--kid", "daedalus-2", "--json").stdout)["secret_hex"]
        eventually(lambda: mcp(fleet, turn(second, "daedalus-2"))[0] == 200, "the new key is not known")
        assert mcp(fleet, turn(signing, "daedalus-1"))[0] == 200
        fleet.command("retire_signing_key", "--kid", "daedalus-1")
        eventually(lambda: mcp(fleet, turn(signing, "daedalus-1"))[0] == 401, "a retired key is still let in")
        assert mcp(fleet, turn(second, "daedalus-2"))[0] == 200
    with checks.that("the password of daedalus-service: ensure_service_user once more"):
        assert rest(fleet, fleets.PASSWORD) == 200
        changed = "another-pass:word/%42"
        fleet.command("python", "manage.py", "ensure_service_user", "--username", fleets.USER, "--password", changed)
        eventually(lambda: rest(fleet, changed) == 200, "the new password is not let in")
        assert rest(fleet, fleets.PASSWORD) == 401


def main():
    checks = Checks()
    with Fleet(workers=1, SECRET_KEY=OLD_SECRET) as fleet:
        fleet.start()
        fleet.workspace("rotation")
        job = fleet.ingest("rotation", "before.md", f"# Before\n\n{SAID} was written before anything changed.")
        assert fleet.ended([job])[0]["status"] == "completed"
        command = fleet.command("python", "manage.py", "seed_signing_key", "--kid", "daedalus-1", "--json")
        signing = json.loads(command.stdout)["secret_hex"]
        secret_key(checks, fleet, signing)
        provider_keys(checks, fleet)
        passwords_of_servers(checks, fleet)
        tokens(checks, fleet, signing)
    checks.finish()


if __name__ == "__main__":
    run_suite(main)
