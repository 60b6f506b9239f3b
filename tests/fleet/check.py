"""The fleet on the real servers: `app`, `mcp` and two workers, set up as an operator does it and used as Daedalus, an agent
and Celery's tools use it.

    check.py [PYTHON]      PYTHON: an interpreter that has Celery and Flower
"""

import contextlib
import hashlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
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


def upload_form(workspace, name, text):
    """A file inside a request: the headers and the body."""
    mark = "part-of-an-upload"
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
             for field, value in (("workspace_id", workspace), ("source_ref", f"upload:{name}"))]
    parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                 f"Content-Type: text/markdown\r\n\r\n{text}\r\n--{mark}--\r\n")
    return {"Authorization": authorization(USER, PASSWORD), "Content-Type": f"multipart/form-data; boundary={mark}"}, "".join(parts).encode()


def upload(fleet, base, workspace, name, text):
    headers, body = upload_form(workspace, name, text)
    with urllib.request.urlopen(urllib.request.Request(base + "ingest/", body, headers), timeout=60) as answer:
        return answer.status, json.load(answer)


class OpenUpload:
    """An upload that `app` reads, and whose second half is still to be sent."""

    def __init__(self, fleet, workspace, name, text):
        where = urllib.parse.urlsplit(fleet.app.address)
        headers, body = upload_form(workspace, name, text)
        self.rest = body[len(body) // 2:]
        self.socket = socket.create_connection((where.hostname, where.port), 60)
        self.answers = self.socket.makefile("rb")
        head = {"Host": where.netloc, **headers, "Content-Length": str(len(body)), "Expect": "100-continue"}
        self.socket.sendall(("POST /library/api/ingest/ HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in head.items())
                             + "\r\n").encode())
        # Said by whoever begins to read the body.
        assert self.answers.readline().split()[1] == b"100"
        assert self.answers.readline() == b"\r\n"
        self.socket.sendall(body[:len(body) // 2])

    def finish(self):
        """Sends the rest; status and body of the answer."""
        self.socket.sendall(self.rest)
        status = int(self.answers.readline().split()[1])
        while self.answers.readline() != b"\r\n":
            pass
        # The connection ends with the process, at the latest.
        return status, json.loads(self.answers.read())

    def close(self):
        self.answers.close()
        self.socket.close()


def node(worker):
    """The name of a worker, as leases and Celery have it."""
    return f"{'celery' if worker.name == 'worker-0' else worker.name.replace('worker-', 'w')}@{socket.gethostname()}"


def holders(fleet):
    """Who has which job under way."""
    return dict(fleet.sql("SELECT id, lease_holder FROM mnemosyne_job WHERE status = 'processing'"))


def completed_by(worker, job):
    return any("ingest ended" in line and job in line and "Completed" in line for line in worker.text().splitlines())


def in_queue(fleet, name):
    """How many messages lie in a queue of the broker, and how many consumers it has."""
    listed = subprocess.run([fleet.servers["rabbitmq"].control, "list_queues", "-q", "-p", "mnemosyne", "name", "messages", "consumers",
                             "--formatter", "json"], capture_output=True, text=True, check=True).stdout
    return next((queue["messages"], queue["consumers"]) for queue in json.loads(listed) if queue["name"] == name)


def celery_says(fleet, python, *words):
    """The answer to a question of Celery's own client, by the name of who answers."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(fleet.folder)}
    broker = fleet.servers.environment()["CELERY_BROKER_URL"]
    done = subprocess.run([python, "-m", "celery", "-b", broker, "inspect", *words, "--json"], capture_output=True, text=True,
                          cwd=fleet.folder, env=environment, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def left_by_a_command(fleet, library, text):
    """A job of the queue `batch`, by a command that was interrupted in the middle of it. The embedder is silent."""
    file = fleet.folder / "left.md"
    file.write_text(text)
    waits = "SELECT id FROM mnemosyne_job WHERE queue = 'batch' AND status = '{}'"
    command = subprocess.Popen([fleet.executable, "ingest", str(file), "--library", library], cwd=fleet.folder, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=fleet.environment_of("worker"))
    try:
        eventually(lambda: fleet.sql(waits.format("processing")), "the command does not begin")
        command.send_signal(signal.SIGINT)
        told = command.communicate(timeout=60)[1].decode()
    finally:
        command.kill()
    assert "Interrupted" in told, told
    return fleet.sql(waits.format("pending"))[0][0]


def queues(checks, fleet, embedder, python):
    single, bulk = fleet.workers
    with checks.that("CELERY_QUEUES: each worker does what is in its own queues, and a queue that nobody serves keeps its messages"):
        fleet.workspace("queues")
        for worker, name in ((single, "embedding"), (bulk, "batch")):
            worker.stop()
            worker.variables["CELERY_QUEUES"] = name
        before, _ = in_queue(fleet, "embedding")
        with embedder.being("silent"):
            batch = left_by_a_command(fleet, "Workspace queues", report(500))
            jobs = [fleet.ingest("queues", f"queues-{n}.md", report(501 + n)) for n in range(3)]
            kept = (before + len(jobs), 0)
            eventually(lambda: in_queue(fleet, "embedding") == kept, lambda: f"not {kept}: {in_queue(fleet, 'embedding')}")
            asked = embedder.refused
            bulk.start()
            eventually(lambda: holders(fleet) == {batch: node(bulk)}, lambda: f"{batch}, {node(bulk)}: {holders(fleet)}")
            # One of its places is free, and it looks for work every two seconds. The embedder is asked a second time when
            # the first question was given up after five.
            embedder.wait_refused(asked + 2)
        assert fleet.ended([batch])[0]["status"] == "completed" and completed_by(bulk, batch)
        left = fleet.sql("SELECT DISTINCT status, attempts FROM mnemosyne_job WHERE source_ref LIKE 'daedalus:queues-%'")
        assert left == [["pending", "0"]], left
        assert in_queue(fleet, "embedding") == kept, in_queue(fleet, "embedding")
        assert in_queue(fleet, "batch")[1] == 1, in_queue(fleet, "batch")
    with checks.that("CELERY_QUEUES: a worker that serves it takes them all, beside one that does not"):
        with embedder.being("silent"):
            single.start()
            eventually(lambda: len(holders(fleet)) == 2, lambda: f"two jobs are not under way: {holders(fleet)}")
            assert set(holders(fleet).values()) == {node(single)}, holders(fleet)
            if python:
                served = {name: [queue["name"] for queue in served] for name, served in celery_says(fleet, python, "active_queues").items()}
                assert served == {node(single): ["embedding"], node(bulk): ["batch"]}, served
        assert {job["status"] for job in fleet.ended(jobs)} == {"completed"}
        assert all(completed_by(single, job) and not completed_by(bulk, job) for job in jobs)
        eventually(lambda: in_queue(fleet, "embedding") == (0, 1), lambda: f"messages are left: {in_queue(fleet, 'embedding')}")
    for worker in fleet.workers:
        worker.stop()
        worker.variables.pop("CELERY_QUEUES", None)
    assert fleet.request("DELETE", "workspaces/queues/")[0] == 204


def announcement(checks, fleet, python):
    """No worker of ours runs."""
    with checks.that("what `app` announces is a task for a worker of Celery's own"):
        fleet.workspace("announced")
        log = fleet.folder / "stub.log"
        broker = fleet.servers.environment()["CELERY_BROKER_URL"]
        with open(log, "wb") as output:
            stub = subprocess.Popen([python, str(TESTS / "celery" / "stub.py"), broker, "embedding"], cwd=fleet.folder,
                                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                    env={"PATH": "/usr/bin:/bin", "HOME": str(fleet.folder)})
        try:
            eventually(lambda: in_queue(fleet, "embedding")[1] == 1, lambda: f"Celery does not listen: {log.read_text()}")
            job = fleet.ingest("announced", "announced.md", report(600))
            line = eventually(lambda: next((line for line in log.read_text().splitlines() if line.startswith('{"id"')), None),
                              lambda: f"nothing came: {log.read_text()}")
            assert json.loads(line) == {"id": job, "arguments": [job], "keywords": {}, "retries": 0, "queue": "embedding",
                                        "ignore_result": True}, line
            eventually(lambda: in_queue(fleet, "embedding")[0] == 0, "Celery does not settle it")
        finally:
            stub.terminate()
            stub.wait(60)
        assert fleet.job(job)["status"] == "pending"
    with checks.that("a message that somebody else has eaten loses nothing"):
        for worker in fleet.workers:
            worker.start()
        assert fleet.ended([job])[0]["status"] == "completed"
        assert fleet.request("DELETE", "workspaces/announced/")[0] == 204


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


def draining(checks, fleet, embedder):
    first, second = fleet.workers
    with checks.that("SIGTERM drains every role within ten seconds, in the middle of work"):
        fleet.workspace("drain")
        second.stop()
        token = json.loads(fleet.command("create_mcp_token", "--name", "drain", "--user", "root", "--json").stdout)["token"]
        found = []
        question = threading.Thread(target=lambda: found.append(mcp_call(fleet, token, "search", {"query": "lighthouse of Skarvoy"})))
        with embedder.being("silent"):
            jobs = [fleet.ingest("drain", f"drain-{n}.md", report(200 + n)) for n in range(10)]
            eventually(lambda: len(holders(fleet)) == 2 and len(embedder.under_way) == 2, lambda: f"no work: {holders(fleet)}")
            taken = holders(fleet)
            assert set(taken.values()) == {node(first)} and set(taken) < set(jobs), taken
            # `mcp` waits for the vector of a question, `app` for two files, one of which never comes to its end.
            question.start()
            eventually(lambda: any("lighthouse" in text for texts in embedder.under_way for text in texts), "mcp does not search")
            open_upload = OpenUpload(fleet, "drain", "open.md", report(210))
            stalled = OpenUpload(fleet, "drain", "stalled.md", report(211))
            began = time.monotonic()
            for role in (first, fleet.app, fleet.mcp):
                role.process.send_signal(signal.SIGTERM)
            assert first.process.wait(10) == 0, first.tail()
            left = fleet.sql("SELECT DISTINCT status, attempts, lease_holder IS NULL FROM mnemosyne_job WHERE source_ref LIKE 'daedalus:drain-%'")
            assert left == [["pending", "0", "t"]], left
            assert fleet.app.process.poll() is None, "app did not wait for its requests"
            eventually(lambda: '"stopping"' in fleet.app.tail(), "app was not told")
            status, body = open_upload.finish()
            assert (status, body["status"]) == (202, "pending"), (status, body)
        question.join(60)
        assert found and "vector" in found[0]["results"][0]["legs"], found
        for role in (fleet.app, fleet.mcp):
            assert role.process.wait(20) == 0, role.tail()
            assert time.monotonic() - began < 10, role.name
        open_upload.close()
        stalled.close()
    with checks.that("nothing is lost by that: another worker carries on, and no attempt is counted"):
        for role in (fleet.app, fleet.mcp, second):
            role.start()
        jobs.append(body["job_id"])
        assert {(job["status"], job["attempts"]) for job in fleet.ended(jobs)} == {("completed", 1)}
        assert all(completed_by(second, job) for job in jobs)
        # Beside the one document of the global library.
        fleet.assert_ledger(1 + len(jobs))
        first.start()


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
    python = sys.argv[1] if len(sys.argv) > 1 else None
    with Fleet(workers=2, **embedder.environment()) as fleet:
        before_migrate(checks, fleet)
        probes(checks, fleet)
        completes, fails = main_job(checks, fleet)
        scopes(checks, fleet)
        if python:
            celery(checks, fleet, python, completes, fails)
        settings(checks, fleet, embedder)
        queues(checks, fleet, embedder, python)
        if python:
            announcement(checks, fleet, python)
        for worker in fleet.workers:
            if worker.process.poll() is not None:
                worker.start()
        without_broker(checks, fleet)
        deletion(checks, fleet)
        draining(checks, fleet, embedder)
        secrets(checks, fleet)
    embedder.stop()
    checks.finish()


if __name__ == "__main__":
    run_suite(main)
