"""The fleet on the real servers: `app`, `mcp` and two workers, set up as an operator does it and used as Daedalus, an agent
and Celery's tools use it.

    check.py [PYTHON]      PYTHON: an interpreter that has Celery and Flower
"""

import contextlib
import hashlib
import json
import pathlib
import socket
import subprocess
import sys
import threading
import urllib.request

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "support"))
from embedder import Embedder  # noqa: E402
from fleet import PASSWORD, USER, Fleet, authorization, eventually, report, run_suite  # noqa: E402
import s3  # noqa: E402 (beside the launcher, which `fleet` finds)
from mnemosyne import Checks  # noqa: E402

DOCUMENTS = 24


def mcp_call(fleet, token, tool, arguments):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    request = urllib.request.Request(fleet.mcp.address + "mcp/", json.dumps(body).encode(), {
        "Authorization": f"Bearer {token}", "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer = json.load(answer)
    return answer["result"]["structuredContent"]


def before_migrate(checks, fleet):
    with checks.that("the stack comes up before migrate: alive, not ready, and it says why"):
        fleet.app.start()
        fleet.mcp.start()
        for worker in fleet.workers:
            worker.start()
        assert fleet.request("GET", "live/", base=fleet.app.address, authorized=False)[0] == 200
        assert fleet.request("GET", "mcp/health", base=fleet.mcp.address, authorized=False)[0] == 200
        status, body = fleet.ready()
        assert status == 503 and "migrate" in json.dumps(body), (status, body)
        assert all(worker.process.poll() is None for worker in fleet.workers)
    with checks.that("migrate, setup and ensure_service_user, twice each, in the words of the deployment document"):
        fleet.prepare()
        fleet.prepare()
        key = ("python", "manage.py", "seed_signing_key", "--kid", "daedalus-1", "--retire-other")
        assert "secret_hex" in fleet.command(*key).stdout
        fleet.command(*key)
    with checks.that("it heals by itself once the schema is there"):
        eventually(lambda: fleet.ready()[0] == 200, lambda: str(fleet.ready()))
        status, body = fleet.ready()
        names = json.dumps(body)
        for dependency in ("database", "cache", "knowledge", "broker", "storage"):
            assert dependency in names, (dependency, body)


def probes(checks, fleet):
    with checks.that("every role can be asked for its health from inside, as containers do"):
        for role, variable in ((fleet.app, "MNEMOSYNE_APP_LISTEN"), (fleet.mcp, "MNEMOSYNE_MCP_LISTEN")):
            address = role.address.removeprefix("http://").rstrip("/")
            assert fleet.command("healthcheck", role.name, **{variable: address}).stdout == "ok\n"
        assert fleet.command("healthcheck", "worker").stdout == "ok\n"
        assert fleet.command("healthcheck", "worker", "--hostname", "w1@%h").stdout == "ok\n"
        missing = fleet.command("healthcheck", "worker", "--hostname", "nobody@%h", check=False)
        assert missing.returncode == 1 and "no answer" in missing.stderr, missing
    with checks.that("the probe of the deployment document for a worker, in Celery's words"):
        host = socket.gethostname()
        ping = ("celery", "-A", "mnemosyne", "inspect", "ping", "-d")
        answer = fleet.command(*ping, f"celery@{host}").stdout
        assert f"celery@{host}: OK" in answer and "pong" in answer and "1 node online." in answer, answer
        missing = fleet.command(*ping, f"nobody@{host}", "-t", "2", check=False)
        assert missing.returncode == 69 and "No nodes replied" in missing.stderr, missing
    with checks.that("the credentials of the Daedalus bucket read it, and write nothing"):
        environment = fleet.environment_of("worker")
        keys = environment["DAEDALUS_S3_ACCESS_KEY_ID"], environment["DAEDALUS_S3_SECRET_ACCESS_KEY"]
        fleet.put("uploads/there.txt", b"there")
        assert s3.request("GET", fleet.s3.endpoint, "daedalus/uploads/there.txt", *keys)[0] == 200
        assert s3.request("PUT", fleet.s3.endpoint, "daedalus/uploads/new.txt", *keys, b"new")[0] == 403
        assert s3.request("DELETE", fleet.s3.endpoint, "daedalus/uploads/there.txt", *keys)[0] == 403
        assert s3.request("GET", fleet.s3.endpoint, "mnemosyne-content", *keys)[0] == 403


def main_job(checks, fleet):
    with checks.that("documents of the Daedalus bucket are taken in by two workers, and found"):
        assert fleet.request("GET", "workspaces/")[0] == 200
        fleet.workspace("harbour")
        jobs = [fleet.ingest("harbour", f"report-{n}.md", report(n)) for n in range(DOCUMENTS)]
        ended = fleet.ended(jobs)
        assert {job["status"] for job in ended} == {"completed"}, [j["error"] for j in ended if j["error"]]
        for number in (0, 7, DOCUMENTS - 1):
            answer = fleet.search("harbour", f"quoxel{number}")
            # The vectors of the fake are no better than its words, so it is the words that must lead there.
            first = [hit["item_title"] for hit in answer["results"] if (hit["legs"].get("fulltext") or {}).get("rank") == 1]
            assert first == [f"Report {number}"], answer["results"][:2]
            assert answer["degraded"] == [], answer
        holders = {row[0] for row in fleet.sql("SELECT DISTINCT status FROM mnemosyne_job")}
        assert holders == {"completed"}
        for worker in fleet.workers:
            assert "ingest ended" in worker.text(), f"{worker.name} did nothing"
    with checks.that("the ledger is equal"):
        fleet.assert_ledger(DOCUMENTS)
    with checks.that("the same request again is the same job"):
        assert fleet.ingest("harbour", "report-3.md", report(3)) == jobs[3]
    with checks.that("new content takes the place of the old, and nothing of that stays"):
        job = fleet.ingest("harbour", "report-3.md", report(3).replace("quoxel3", "vintrell"))
        assert fleet.ended([job])[0]["status"] == "completed"
        assert fleet.search("harbour", "vintrell")["results"][0]["legs"].get("fulltext")
        found = fleet.search("harbour", "quoxel3")["results"]
        assert all("quoxel3." not in hit["text_preview"] for hit in found), found
        fleet.assert_ledger(DOCUMENTS)
    with checks.that("a file without text fails alone, with its code, and can be retried"):
        job = fleet.ingest("harbour", "blank.txt", b"   \n\t\n  ")
        ended = fleet.ended([job])[0]
        assert ended["status"] == "failed" and ended["error"]["code"] == "no_text_extracted", ended
        status, _ = fleet.request("POST", f"jobs/{job}/retry/")
        assert status == 202
        assert fleet.ended([job])[0]["status"] == "failed"
        assert fleet.request("POST", f"jobs/{jobs[0]}/retry/")[0] == 409
    return jobs[0], job


def scopes(checks, fleet):
    with checks.that("a workspace, and the global libraries, see only themselves, over REST and over MCP"):
        fleet.workspace("island")
        fleet.ended([fleet.ingest("island", "secret.md", "# Secret\n\nThe password of the lighthouse is umbrella.")])
        assert fleet.search("harbour", "lighthouse umbrella")["results"] == [] or all(
            "umbrella" not in hit["text_preview"] for hit in fleet.search("harbour", "lighthouse umbrella")["results"])
        assert "umbrella" in fleet.search("island", "lighthouse umbrella")["results"][0]["text_preview"]
        fleet.command("createsuperuser", "--username", "root", "--password", "a-long-password-of-root")
        token = json.loads(fleet.command("create_mcp_token", "--name", "agent", "--user", "root", "--json").stdout)["token"]
        assert mcp_call(fleet, token, "search", {"query": "lighthouse umbrella"})["results"] == []
        assert mcp_call(fleet, token, "get_health", {})["status"] == "ok"
        note = fleet.folder / "note.md"
        note.write_text("# Tides\n\nThe spring tide of Kilbrannan rises 4.7 metres.\n")
        fleet.command("ingest", str(note), "--library", "Global", "--type", "technical")
        answer = mcp_call(fleet, token, "search", {"query": "spring tide Kilbrannan"})
        assert "4.7 metres" in answer["results"][0]["text_preview"], answer


@contextlib.contextmanager
def work_goes_on(fleet):
    """Documents come in, one after the other, while those who watch look."""
    fleet.workspace("busy")
    over = threading.Event()

    def feed():
        number = 300
        while not over.wait(0.5):
            number += 1
            fleet.ended([fleet.ingest("busy", f"busy-{number}.md", report(number))])

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join()
        assert fleet.request("DELETE", "workspaces/busy/")[0] == 204


def celery(checks, fleet, python, completes, fails):
    broker = fleet.servers.environment()["CELERY_BROKER_URL"]
    with work_goes_on(fleet):
        done = subprocess.run([python, str(TESTS / "celery" / "check.py"), broker, f"celery@{socket.gethostname()}",
                               completes, fails], capture_output=True, text=True, timeout=600)
    *lines, last = done.stdout.strip().splitlines()
    print("\n".join(lines), done.stderr, sep="\n", flush=True)
    with checks.that("Celery's own client and Flower see the fleet, and get results"):
        assert done.returncode == 0, last
        checks.passed += int(last.split()[0]) - 1


def settings(checks, fleet, embedder):
    with checks.that("CELERY_CONCURRENCY: each worker has so many jobs under way at once, and no more"):
        fleet.workspace("wide")
        for worker in fleet.workers:
            worker.stop()
            worker.variables["CELERY_CONCURRENCY"] = "3"
            worker.start()
        wanted = 3 * len(fleet.workers)
        with embedder.being("silent"):
            jobs = [fleet.ingest("wide", f"wide-{n}.md", report(400 + n)) for n in range(wanted + 4)]
            most = 0

            def all_at_once():
                nonlocal most
                most = max(most, int(fleet.sql("SELECT count(*) FROM mnemosyne_job WHERE status = 'processing'")[0][0]))
                assert most <= wanted, f"{most} jobs are under way, not {wanted}"
                return most == wanted

            eventually(all_at_once, lambda: f"never more than {most} jobs are under way, not {wanted}")
        assert {job["status"] for job in fleet.ended(jobs)} == {"completed"}
        for worker in fleet.workers:
            worker.stop()
            del worker.variables["CELERY_CONCURRENCY"]
    with checks.that("CELERY_TASK_ALWAYS_EAGER: what `app` has at hand is done inside the request, the bucket's is left to the workers"):
        eager = fleet.role("app-eager", "app", CELERY_TASK_ALWAYS_EAGER="True").start()
        base = eager.address + "library/api/"
        status, body = upload(fleet, base, "wide", "eager.md", report(450))
        assert (status, body["status"]) == (202, "completed"), (status, body)
        content = report(451).encode()
        fleet.put("uploads/left.md", content)
        status, body = fleet.request("POST", "ingest/", {
            "workspace_id": "wide", "source_ref": "daedalus:left.md", "content_hash": hashlib.sha256(content).hexdigest(),
            "s3_key": "uploads/left.md", "filename": "left.md"}, base=base)
        assert (status, body["status"]) == (202, "pending"), (status, body)
        eager.stop()
        for worker in fleet.workers:
            worker.start()
        assert fleet.ended([body["job_id"]])[0]["status"] == "completed"
        assert fleet.request("DELETE", "workspaces/wide/")[0] == 204


def upload(fleet, base, workspace, name, text):
    """A file inside the request."""
    mark = "part-of-an-upload"
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
             for field, value in (("workspace_id", workspace), ("source_ref", f"upload:{name}"))]
    parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                 f"Content-Type: text/markdown\r\n\r\n{text}\r\n--{mark}--\r\n")
    request = urllib.request.Request(base + "ingest/", "".join(parts).encode(), {
        "Authorization": authorization(USER, PASSWORD), "Content-Type": f"multipart/form-data; boundary={mark}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, json.load(answer)


def without_broker(checks, fleet):
    with checks.that("requests are accepted while the broker is away, and carried on when it is back"):
        fleet.servers["rabbitmq"].stop()
        fleet.workspace("away")
        jobs = [fleet.ingest("away", f"away-{n}.md", report(100 + n)) for n in range(6)]
        fleet.servers["rabbitmq"].start()
        fleet.servers["rabbitmq"].wait_ready()
        assert {job["status"] for job in fleet.ended(jobs)} == {"completed"}
        eventually(lambda: fleet.sql("SELECT count(*) FROM mnemosyne_job WHERE NOT announced AND status = 'pending'")
                   == [["0"]], "jobs are still to be announced")


def deletion(checks, fleet):
    with checks.that("deleting the workspaces leaves nothing behind"):
        for name in ("harbour", "island", "away"):
            assert fleet.request("DELETE", f"workspaces/{name}/")[0] == 204
            assert fleet.request("DELETE", f"workspaces/{name}/")[0] == 404
        # The one document of the global library.
        fleet.assert_ledger(1)


def draining(checks, fleet):
    with checks.that("SIGTERM drains every role within ten seconds, in the middle of work"):
        fleet.workspace("drain")
        jobs = [fleet.ingest("drain", f"drain-{n}.md", report(200 + n)) for n in range(10)]
        for role in (*fleet.workers, fleet.mcp):
            assert role.stop() < 10, role.name
            assert role.process.returncode == 0, role.tail()
        for worker in fleet.workers:
            worker.start()
        assert {job["status"] for job in fleet.ended(jobs)} == {"completed"}
        attempts = {job["attempts"] for job in (fleet.job(job) for job in jobs)}
        assert attempts == {1}, attempts


def secrets(checks, fleet):
    with checks.that("no secret is in any log"):
        values = {value for name, value in fleet.environment_of("worker").items()
                  if any(word in name for word in ("PASSWORD", "SECRET", "BOLT_URL", "BROKER_URL"))} | {PASSWORD}
        for role in fleet.roles:
            for value in values:
                assert value not in role.text(), f"a secret is in the log of {role.name}"
        assert USER in "".join(row[0] for row in fleet.sql("SELECT username FROM auth_user"))


def main():
    checks = Checks()
    embedder = Embedder()
    with Fleet(workers=2, **embedder.environment()) as fleet:
        before_migrate(checks, fleet)
        probes(checks, fleet)
        completes, fails = main_job(checks, fleet)
        scopes(checks, fleet)
        if len(sys.argv) > 1:
            celery(checks, fleet, sys.argv[1], completes, fails)
        settings(checks, fleet, embedder)
        without_broker(checks, fleet)
        deletion(checks, fleet)
        draining(checks, fleet)
        secrets(checks, fleet)
    embedder.stop()
    checks.finish()


if __name__ == "__main__":
    run_suite(main)
