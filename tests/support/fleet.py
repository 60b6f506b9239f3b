"""A fleet: `app`, `mcp` and workers as processes of their own, on real servers, and a ledger of what they hold. Standard
library only."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "services"))
from launcher import Servers, authorization, run_suite  # noqa: E402, F401
from waiting import PATIENCE, eventually  # noqa: E402

SERVICES = ("postgres", "neo4j-5", "rabbitmq", "minio", "memcached")
USER, PASSWORD = "daedalus-service", "a-pass:word/with#odd%parts"
DAEDALUS_ONLY = ("DAEDALUS_S3_",)


def report(number):
    """About ten chunks, with a word that no other document has."""
    parts = [f"# Report {number}\n\nThe marker of this report is quoxel{number}. It belongs to the harbour of Skarvoy.\n"]
    for section in range(9):
        parts.append(f"\n## Section {section}\n\n" + " ".join(
            f"Pump {section}{line} of report {number} moved {line * 7 + section} litres before noon." for line in range(30)))
    return "".join(parts)


class Role:
    """One process of the fleet."""

    def __init__(self, fleet, name, *arguments, **variables):
        self.fleet, self.name, self.arguments = fleet, name, arguments
        self.variables = variables
        self.log = fleet.folder / f"{name}.log"
        self.process = None
        self.address = None

    def start(self):
        begin = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.fleet.executable, *self.arguments], cwd=self.fleet.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env={**self.fleet.environment_of(self.arguments[0]), **self.variables})

        def serves():
            assert self.process.poll() is None, f"{self.name} ended: {self.tail()}"
            return re.search(r'"message":"\w+ serves"', self.text(begin))

        eventually(serves, lambda: f"{self.name} did not begin: {self.tail()}")
        found = re.search(r'"address":"([^"]+)"', self.text(begin))
        self.address = found and f"http://{found[1]}/"
        return self

    def text(self, begin=0):
        with open(self.log, "rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def tail(self):
        return "\n".join(self.text().splitlines()[-15:])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, patience=20):
        """SIGTERM; how long the end took."""
        began = time.monotonic()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.name} did not drain within {patience} s: {self.tail()}") from None
        return time.monotonic() - began


class Deployment:
    """What runs somewhere on real servers, used as Daedalus uses it, and its ledger. Needs `servers`, `s3`, `neo4j` and
    `app.address`; `last_words` says what to print where work never ends."""

    # --- as Daedalus does ------------------------------------------------------------------------------------------

    def request(self, method, path, body=None, base=None, authorized=True):
        headers = {}
        if authorized:
            headers["Authorization"] = authorization(USER, PASSWORD)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        address = (base or self.app.address + "library/api/") + path
        request = urllib.request.Request(address, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode(errors="replace")

    def ready(self):
        return self.request("GET", "ready/", base=self.app.address, authorized=False)

    def workspace(self, name, library_type="technical"):
        status, body = self.request("POST", "workspaces/", {"workspace_id": name, "name": f"Workspace {name}",
                                                            "library_type": library_type})
        assert status in (200, 201), (status, body)
        return body

    def put(self, key, content):
        """An object in the bucket of Daedalus."""
        status, text = self.s3.request("PUT", f"daedalus/{key}", content)
        assert status == 200, (status, text)

    def ingest(self, workspace, name, content):
        """Puts a file into the bucket and asks for its ingest; the job."""
        content = content if isinstance(content, bytes) else content.encode()
        self.put(f"uploads/{name}", content)
        return self.ask(workspace, name, content)

    def ask(self, workspace, name, content):
        """Asks for the ingest of a file that is in the bucket; the job."""
        status, body = self.request("POST", "ingest/", {
            "workspace_id": workspace, "source_ref": f"daedalus:{name}", "content_hash": hashlib.sha256(content).hexdigest(),
            "s3_key": f"uploads/{name}", "filename": name})
        assert status in (200, 202), (status, body)
        return body["job_id"]

    def job(self, job):
        status, body = self.request("GET", f"jobs/{job}/")
        assert status == 200, (status, body)
        return body

    def ended(self, jobs, patience=PATIENCE):
        """The jobs, once all of them have ended."""
        left = {}

        def done():
            for job in jobs:
                if job not in left or left[job]["status"] in ("pending", "processing"):
                    left[job] = self.job(job)
            return all(job["status"] not in ("pending", "processing") for job in left.values())

        eventually(done, lambda: "some jobs never ended: " + str(
            [(job["status"], job["stage"], job["attempts"], job["error"]) for job in left.values()
             if job["status"] in ("pending", "processing")][:5]) + self.last_words(), patience)
        return [left[job] for job in jobs]

    def search(self, workspace, query, **more):
        status, body = self.request("POST", "search/", {"workspace_id": workspace, "query": query, **more})
        assert status == 200, (status, body)
        return body

    # --- the ledger --------------------------------------------------------------------------------------------------

    def sql(self, statement):
        """Rows of the product's database, as lists of text."""
        postgres = self.servers["postgres"]
        return [line.split("|") for line in postgres.psql(postgres.url(), statement).splitlines() if line]

    def assert_ledger(self, items):
        """jobs = items = nodes = blobs: nothing lost, nothing twice, nothing orphaned. `items` are expected to be visible."""
        def ledger():
            jobs = {row[0]: int(row[1]) for row in
                    self.sql("SELECT item_uid, chunks FROM mnemosyne_job WHERE status = 'completed'")}
            nodes = {row[0]: row[1] for row in self.neo4j.query(
                "MATCH (i:Item) OPTIONAL MATCH (i)-[:HAS_CHUNK]->(c:Chunk) "
                "WITH i, count(c) AS chunks, count(DISTINCT c.uid) AS distinct, count(c.embedding) AS vectors "
                "RETURN i.uid, [i.embedding_status, chunks, distinct, vectors]")}
            claims = {}
            for holder, digest in self.sql("SELECT holder, digest FROM mnemosyne_blob_claim"):
                claims.setdefault(holder, set()).add(digest)
            keys = self.s3.keys("mnemosyne-content")
            problems = []
            if len(jobs) != items:
                problems.append(f"{len(jobs)} completed jobs, not {items}")
            if set(jobs) != set(nodes):
                problems.append(f"jobs without item {set(jobs) - set(nodes)}, items without job {set(nodes) - set(jobs)}")
            for uid, (status, chunks, distinct, vectors) in nodes.items():
                if status != "completed" or not chunks == distinct == vectors == jobs.get(uid):
                    problems.append(f"item {uid}: {status}, {chunks} chunks, {distinct} distinct, {vectors} vectors, "
                                    f"its job counts {jobs.get(uid)}")
            loose = self.neo4j.query("MATCH (c:Chunk) WHERE NOT (c)<-[:HAS_CHUNK]-(:Item) RETURN count(c)")[0][0]
            if loose:
                problems.append(f"{loose} chunks without an item")
            if set(claims) != set(jobs):
                problems.append(f"claims of {set(claims) - set(jobs)} without a job, none for {set(jobs) - set(claims)}")
            claimed = {f"blobs/{d[:2]}/{d[2:4]}/{d}" for digests in claims.values() for d in digests}
            if claimed != keys:
                problems.append(f"blobs that nobody claims {keys - claimed}, claims without a blob {claimed - keys}")
            return problems

        found = []

        def equal():
            found[:] = ledger()
            return not found

        eventually(equal, lambda: "; ".join(found), 60)


class Fleet(Deployment):
    """The servers, the schema, and the roles on top of them."""

    def __init__(self, services=SERVICES, workers=1, **variables):
        self.executable = os.path.abspath(os.environ["MNEMOSYNE_EXECUTABLE"])
        self.servers = Servers(*services)
        self.variables = variables
        self.wanted_workers = workers
        self.roles = []

    def __enter__(self):
        self.servers.__enter__()
        try:
            self.folder = pathlib.Path(self.servers.workspace.folder) / "fleet"
            self.folder.mkdir()
            self.s3 = next(server for name, server in self.servers.servers.items() if name in ("minio", "versitygw"))
            self.neo4j = next(server for name, server in self.servers.servers.items() if name.startswith("neo4j"))
            self.app = self.role("app", "app")
            self.mcp = self.role("mcp", "mcp")
            # The first one has the name that every worker has by itself; further ones of one machine need their own.
            self.workers = [self.role("worker-0", "worker")]
            self.workers += [self.role(f"worker-{n}", "worker", "--hostname", f"w{n}@%h")
                             for n in range(1, self.wanted_workers)]
        except BaseException:
            self.servers.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        for role in self.roles:
            with contextlib.suppress(AssertionError):
                role.stop()
        self.servers.__exit__(None, None, None)

    def role(self, name, *arguments, **variables):
        role = Role(self, name, *arguments, **variables)
        self.roles.append(role)
        return role

    def environment_of(self, role):
        """What the deployment document gives this role, and nothing else."""
        data = self.folder / f"data-{role}"
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(self.folder), "MNEMOSYNE_DATA": str(data), "SECRET_KEY": "k" * 50,
            "MNEMOSYNE_APP_LISTEN": "127.0.0.1:0", "MNEMOSYNE_MCP_LISTEN": "127.0.0.1:0", "MNEMOSYNE_LOG_FORMAT": "json",
            **{name: value for name, value in self.servers.environment().items() if not name.startswith("MNEMOSYNE_TEST_")},
            **self.variables,
        }
        if role != "worker":
            environment = {n: v for n, v in environment.items() if not n.startswith(DAEDALUS_ONLY)}
        if role == "mcp":
            environment = {n: v for n, v in environment.items() if not n.startswith("CELERY_")}
        return environment

    def command(self, *arguments, check=True, **variables):
        done = subprocess.run([self.executable, *arguments], cwd=self.folder,
                              env={**self.environment_of("worker"), **variables}, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def prepare(self):
        """What an operator does once."""
        self.command("migrate")
        self.command("setup")
        self.command("python", "manage.py", "ensure_service_user", "--username", USER, "--password", PASSWORD)

    def start(self):
        self.prepare()
        for role in (self.app, self.mcp, *self.workers):
            role.start()
        return self

    def last_words(self):
        return self.workers[0].tail()
