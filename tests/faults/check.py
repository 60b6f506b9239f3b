"""Faults, on the real servers: whatever is killed, stopped, slow, full or wrong, nothing that was acknowledged is lost,
nothing is there twice, nothing is orphaned, and `/ready/` tells the truth.

    check.py [NAME…]       only these faults
"""

import contextlib
import pathlib
import random
import subprocess
import sys
import time

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS / "support"))
from embedder import Embedder  # noqa: E402
from fleet import Fleet, eventually, run_suite  # noqa: E402
from mnemosyne import Checks  # noqa: E402
from proxy import Proxy  # noqa: E402


def text(name, paragraphs=40):
    return f"# {name}\n\nMarker {name}.\n\n" + "\n\n".join(
        f"Paragraph {n} of {name} says how pump {n} was primed, and that {n * 13} litres went through it that day. " * 4
        for n in range(paragraphs))


class Bench:
    """The fleet with everything that a fault needs."""

    def __init__(self, fleet, embedder, blobs):
        self.fleet, self.embedder, self.blobs = fleet, embedder, blobs
        self.documents = 0
        self.number = 0

    @property
    def worker(self):
        return self.fleet.workers[0]

    def begin_anew(self):
        """Everything runs, undisturbed, and nothing is there."""
        for server in self.fleet.servers.servers.values():
            if server.running:
                server.resume()
            else:
                server.start()
                server.wait_ready()
        for role in self.fleet.roles:
            if role.process.poll() is not None:
                role.start()
        self.embedder.pause = 0.0
        # What is left of the former fault may hold it up, or a server be on its way up.
        eventually(lambda: self.fleet.request("DELETE", "workspaces/faults/")[0] in (204, 404), "the workspace stays", 300)
        self.documents = 0
        self.fleet.workspace("faults")

    def look(self):
        """What there is to see of a failure, for people."""
        for name, query in (("jobs", "SELECT id, status, stage, attempts, failures, error_code, error_message FROM mnemosyne_job WHERE status IN "
                                     "('pending', 'processing', 'failed')"),
                            ("PostgreSQL", "SELECT pid, state, wait_event, now() - xact_start, left(query, 100) FROM pg_stat_activity "
                                           "WHERE xact_start IS NOT NULL")):
            with contextlib.suppress(Exception):
                print(f"       {name}: {self.fleet.sql(query)}")
        with contextlib.suppress(Exception):
            print(f"       Neo4j: {self.fleet.neo4j.query('SHOW TRANSACTIONS YIELD status, elapsedTime, currentQuery, username')}")
        for role in self.fleet.roles:
            print(f"       {role.name}:", *role.tail().splitlines(), sep="\n         ", flush=True)

    def ingest(self, count=1, paragraphs=40):
        """Jobs for new documents."""
        jobs = []
        for _ in range(count):
            self.number += 1
            name = f"doc{self.number}"
            jobs.append(self.fleet.ingest("faults", f"{name}.md", text(name, paragraphs)))
        return jobs

    def completed(self, jobs, patience=180):
        """All of them have completed, and the ledger is equal."""
        ended = self.fleet.ended(jobs, patience)
        assert {job["status"] for job in ended} == {"completed"}, [j["error"] for j in ended if j["error"]]
        self.documents += len(jobs)
        self.fleet.assert_ledger(self.documents)

    def goes_on(self, jobs):
        """The next worker completes the jobs, and embeds no text of them twice."""
        before = len(self.embedder.texts)
        self.worker.start()
        self.completed(jobs)
        texts = self.embedder.texts[before:]
        assert len(texts) == len(set(texts)), "a text was embedded twice"

    def stage(self, job, stage):
        """Waits until the job's row says that it is there."""
        eventually(lambda: self.fleet.job(job)["stage"] == stage, lambda: f"never in {stage}: {self.fleet.job(job)}")

    def unready(self, word):
        eventually(lambda: not_ok(self.fleet.ready()[1], word),
                   lambda: f"/ready/ does not say that {word} is away: {self.fleet.ready()}")

    def ready(self):
        eventually(lambda: self.fleet.ready()[0] == 200 and all_ok(self.fleet.ready()[1]),
                   lambda: f"not ready: {self.fleet.ready()}")

    def waits_for_row(self):
        """Waits until somebody wants to write a row that is held."""
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'mnemosyne'"
        eventually(lambda: self.fleet.sql(blocked) != [["0"]], "nobody waits for the row")

    def held_in_publish(self, job, uid):
        """Kills the worker between the publishing of an item and the note of it; false where that moment was missed."""
        visible = f"MATCH (i:Item {{uid: '{uid}', embedding_status: 'completed'}}) RETURN count(i)"
        postgres = self.fleet.servers["postgres"]
        stage = f"SELECT stage FROM mnemosyne_job WHERE id = '{job}'"
        while postgres.psql(postgres.url(), stage) not in ("publish", "complete"):
            pass
        with self.row_held(job):
            if self.fleet.sql(f"SELECT status FROM mnemosyne_job WHERE id = '{job}'") == [["completed"]]:
                return False
            eventually(lambda: self.fleet.neo4j.query(visible) == [[1]], "never visible")
            self.worker.kill()
        return True

    @contextlib.contextmanager
    def note_held(self, name):
        """Inside the block, what a worker has done cannot be noted under this name. Yields what kills the worker once it
        tries to; the note is never written then."""
        trigger = (f"CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(4711); "
                   f"RETURN NEW; END'; CREATE TRIGGER held BEFORE INSERT ON mnemosyne_job_checkpoint FOR EACH ROW "
                   f"WHEN (NEW.name = '{name}') EXECUTE FUNCTION held()")
        waiting = "FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with self.session() as ask:
            assert ask("SELECT pg_advisory_lock(4711)::text || 'locked'") == "locked"
            self.fleet.sql(trigger)

            def kill():
                eventually(lambda: self.fleet.sql(f"SELECT count(*) {waiting}") != [["0"]], f"{name} is never noted")
                self.worker.kill()
                self.fleet.sql(f"SELECT pg_terminate_backend(pid) {waiting}")
                eventually(lambda: self.fleet.sql(f"SELECT count(*) {waiting}") == [["0"]], "it is noted still")

            try:
                yield kill
            finally:
                self.fleet.sql("DROP FUNCTION held CASCADE")

    @contextlib.contextmanager
    def session(self):
        """A session of PostgreSQL; yields what asks it for one value."""
        postgres = self.fleet.servers["postgres"]
        session = subprocess.Popen([str(postgres.binaries() / "psql"), "-X", "-q", "-A", "-t", postgres.url()],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def ask(statement):
            session.stdin.write(f"{statement};\n")
            session.stdin.flush()
            return session.stdout.readline().strip()

        try:
            yield ask
        finally:
            session.stdin.close()
            session.wait()

    @contextlib.contextmanager
    def row_held(self, job):
        """Nobody can write the row of this job inside the block."""
        with self.session() as ask:
            assert ask(f"BEGIN;\nSELECT 'held' FROM mnemosyne_job WHERE id = '{job}' FOR UPDATE") == "held"
            yield


def states(body):
    """Whether each dependency of /ready/ answers, by its name."""
    return {name: each["ok"] for name, each in body["dependencies"].items()}


def not_ok(body, name):
    return states(body)[name] is False


def all_ok(body):
    return set(states(body).values()) == {True}


# --- a killed worker, at every border of its stages --------------------------------------------------------------------

def killed_in_fetch(bench):
    bench.worker.stop()
    jobs = bench.ingest(3)
    # The object is there; the bucket hangs when the worker asks for it.
    bench.fleet.s3.pause()
    try:
        bench.worker.start()
        bench.stage(jobs[0], "fetch")
        bench.worker.kill()
    finally:
        bench.fleet.s3.resume()
    bench.worker.start()
    bench.completed(jobs)


def killed_in_parse(bench):
    # Long enough to be seen in the middle of it.
    jobs = bench.ingest(1, paragraphs=12_000)
    eventually(lambda: bench.fleet.job(jobs[0])["stage"] in ("parse", "chunk", "embed"), "never begun")
    bench.worker.kill()
    bench.worker.start()
    bench.completed(jobs)


def killed_between_fetch_and_parse(bench):
    # The row, which must say that chunks are written now, is held; the chunks themselves are in the graph then.
    bench.worker.stop()
    jobs = bench.ingest(1)
    uid = bench.fleet.job(jobs[0])["item_uid"]
    bench.fleet.s3.pause()
    try:
        bench.worker.start()
        bench.stage(jobs[0], "fetch")
        held = bench.row_held(jobs[0])
        held.__enter__()
    finally:
        bench.fleet.s3.resume()
    try:
        # What stands in the way now is the row: the original was fetched, and that cannot be noted.
        bench.waits_for_row()
        bench.worker.kill()
    finally:
        held.__exit__(None, None, None)
    assert bench.fleet.neo4j.query(f"MATCH (i:Item {{uid: '{uid}'}}) RETURN count(i)") == [[0]]
    bench.worker.start()
    bench.completed(jobs)


def killed_before_noting(bench, name, items):
    """At a border of stages: the work is done, and nobody will ever know. So many items are in the graph then, unseen."""
    with bench.note_held(name) as kill:
        jobs = bench.ingest(1)
        uid = bench.fleet.job(jobs[0])["item_uid"]
        kill()
    found = bench.fleet.neo4j.query(f"MATCH (i:Item {{uid: '{uid}'}}) RETURN count(i), count(i.embedding_status = 'completed' OR null)")
    assert found == [[items, 0]], found
    bench.goes_on(jobs)


def killed_between_parse_and_chunk(bench):
    killed_before_noting(bench, "document", 0)


def killed_between_chunk_and_embed(bench):
    killed_before_noting(bench, "staged", 1)


def killed_in_embed(bench):
    with bench.embedder.being("silent"):
        jobs = bench.ingest(2)
        bench.stage(jobs[0], "embed")
        bench.worker.kill()
    bench.goes_on(jobs)


def written_over(bench):
    """What a run that had lost its lease does late: parts of an item go while the next run embeds it."""
    with bench.embedder.being("silent"):
        jobs = bench.ingest(1)
        bench.stage(jobs[0], "embed")
        uid = bench.fleet.job(jobs[0])["item_uid"]
        gone = f"MATCH (:Item {{uid: '{uid}'}})-[:HAS_CHUNK]->(c) WITH c LIMIT 2 DETACH DELETE c RETURN count(*)"
        assert bench.fleet.neo4j.query(gone) == [[2]]
    bench.completed(jobs)


def killed_before_publish(bench):
    with bench.embedder.being("silent"):
        jobs = bench.ingest(1)
        bench.stage(jobs[0], "embed")
        held = bench.row_held(jobs[0])
        held.__enter__()
    try:
        # Vectors and concepts are written; the row, which must say that it publishes now, is held.
        uid = bench.fleet.job(jobs[0])["item_uid"]
        vectors = f"MATCH (:Item {{uid: '{uid}'}})-[:HAS_CHUNK]->(c) WHERE c.embedding IS NULL RETURN count(c)"
        eventually(lambda: bench.fleet.neo4j.query(vectors) == [[0]], "the vectors are not written")
        bench.worker.kill()
    finally:
        held.__exit__(None, None, None)
    bench.worker.start()
    bench.completed(jobs)


def killed_after_publish(bench):
    # The item is published, which the row cannot be told: it is held from the moment it says that it publishes.
    jobs, uid = [], None
    for _ in range(40):
        with bench.embedder.being("silent"):
            jobs += bench.ingest(1)
            bench.stage(jobs[-1], "embed")
            uid = bench.fleet.job(jobs[-1])["item_uid"]
        if bench.held_in_publish(jobs[-1], uid):
            break
    else:
        raise AssertionError("it was never caught between publishing and its note")
    bench.worker.start()
    bench.completed(jobs)


def killed_anywhere(bench):
    """Twelve kills at moments of chance; the seed is printed."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}", flush=True)
    dice = random.Random(seed)
    bench.embedder.pause = 0.02
    jobs = bench.ingest(24)
    for _ in range(12):
        time.sleep(dice.uniform(0.05, 1.5))
        bench.worker.kill()
        bench.worker.start()
    bench.embedder.pause = 0.0
    bench.completed(jobs, 300)


# --- servers that go and come back -------------------------------------------------------------------------------------

def broker_restarted(bench):
    bench.embedder.pause = 0.05
    jobs = bench.ingest(12)
    bench.fleet.servers["rabbitmq"].stop()
    bench.unready("broker")
    jobs += bench.ingest(4)
    bench.fleet.servers["rabbitmq"].start()
    bench.fleet.servers["rabbitmq"].wait_ready()
    bench.embedder.pause = 0.0
    bench.completed(jobs)
    bench.ready()


def postgres_restarted(bench):
    bench.embedder.pause = 0.05
    jobs = bench.ingest(12)
    bench.fleet.servers["postgres"].stop()
    bench.unready("database")
    assert bench.fleet.ready()[0] == 503
    bench.fleet.servers["postgres"].start()
    bench.fleet.servers["postgres"].wait_ready()
    bench.embedder.pause = 0.0
    bench.completed(jobs)
    bench.ready()


def neo4j_restarted(bench):
    bench.embedder.pause = 0.05
    jobs = bench.ingest(8)
    bench.fleet.neo4j.stop()
    bench.unready("knowledge")
    bench.fleet.neo4j.start()
    bench.fleet.neo4j.wait_ready()
    bench.embedder.pause = 0.0
    bench.completed(jobs, 300)
    bench.ready()


def hangs(bench, server, word):
    """It keeps its connections and says nothing; a moment later it goes on as if nothing had been."""
    bench.embedder.pause = 0.05
    jobs = bench.ingest(8)
    eventually(lambda: bench.fleet.job(jobs[0])["stage"] != "queued", "never begun")
    server.pause()
    try:
        bench.unready(word)
    finally:
        server.resume()
    bench.embedder.pause = 0.0
    bench.completed(jobs, 300)
    bench.ready()


def postgres_hangs(bench):
    hangs(bench, bench.fleet.servers["postgres"], "database")


def neo4j_hangs(bench):
    hangs(bench, bench.fleet.neo4j, "knowledge")


def broker_hangs(bench):
    hangs(bench, bench.fleet.servers["rabbitmq"], "broker")


def memcached_gone(bench):
    cache = bench.fleet.servers["memcached"]
    cache.kill()
    bench.unready("cache")
    assert bench.fleet.ready()[0] == 503
    jobs = bench.ingest(3)
    bench.completed(jobs)
    cache.start()
    cache.wait_ready()
    bench.ready()


# --- servers that misbehave --------------------------------------------------------------------------------------------

def storage_broken(bench):
    with bench.blobs.being("broken"):
        jobs = bench.ingest(3)
        bench.blobs.wait_touched(3)
        bench.unready("storage")
    bench.completed(jobs)
    bench.ready()


def storage_slow(bench):
    with bench.blobs.being("slow"):
        jobs = bench.ingest(2)
        bench.ready()
        bench.completed(jobs)


def embedder_overloaded(bench):
    with bench.embedder.being("overloaded"):
        jobs = bench.ingest(3)
        bench.embedder.wait_refused(bench.embedder.refused + 3)
    bench.completed(jobs)


def embedder_broken(bench):
    with bench.embedder.being("broken"):
        jobs = bench.ingest(3)
        bench.embedder.wait_refused(bench.embedder.refused + 3)
    bench.completed(jobs)


def embedder_silent(bench):
    with bench.embedder.being("silent"):
        jobs = bench.ingest(2)
        bench.embedder.wait_refused(bench.embedder.refused + 2)
    bench.completed(jobs)


def embedder_of_another_dimension(bench):
    with bench.embedder.being("wrong dimension"):
        jobs = bench.ingest(2)
        ended = bench.fleet.ended(jobs)
        assert {job["status"] for job in ended} == {"failed"}, ended
        assert {job["error"]["code"] for job in ended} == {"embedder_refused"}, ended
    for job in jobs:
        assert bench.fleet.request("POST", f"jobs/{job}/retry/")[0] == 202
    bench.completed(jobs)


def storage_full(bench):
    contents = {}
    for _ in range(2):
        bench.number += 1
        name = f"full{bench.number}.md"
        contents[name] = text(name).encode()
        bench.fleet.put(f"uploads/{name}", contents[name])
    with bench.fleet.s3.full() as fill:
        jobs = [bench.fleet.ask("faults", name, content) for name, content in contents.items()]

        def refused():
            fill()
            return all(bench.fleet.job(job)["error"] for job in jobs)

        eventually(refused, lambda: f"no attempt has failed: {[bench.fleet.job(job) for job in jobs]}")
        for job in jobs:
            assert bench.fleet.job(job)["error"]["code"] == "storage_unavailable", bench.fleet.job(job)
    bench.completed(jobs)


FAULTS = [
    killed_in_fetch, killed_between_fetch_and_parse, killed_in_parse, killed_between_parse_and_chunk, killed_between_chunk_and_embed,
    killed_in_embed, written_over, killed_before_publish, killed_after_publish, killed_anywhere,
    broker_restarted, postgres_restarted, neo4j_restarted, postgres_hangs, neo4j_hangs, broker_hangs, memcached_gone,
    storage_broken, storage_slow, storage_full,
    embedder_overloaded, embedder_broken, embedder_silent, embedder_of_another_dimension,
]


def main():
    wanted = [fault for fault in FAULTS if not sys.argv[1:] or fault.__name__ in sys.argv[1:]]
    checks = Checks()
    embedder = Embedder()
    blobs = Proxy()
    fleet = Fleet(workers=1, **embedder.environment())
    fleet.servers["minio"].disk = 300
    with fleet:
        blobs.target(fleet.s3.endpoint)
        fleet.variables["AWS_S3_ENDPOINT_URL"] = blobs.url
        fleet.start()
        fleet.workspace("faults")
        bench = Bench(fleet, embedder, blobs)
        for fault in wanted:
            with checks.that(fault.__name__.replace("_", " ")):
                began = time.monotonic()
                try:
                    fault(bench)
                except BaseException:
                    bench.look()
                    # The next one begins with nothing, whatever this one left.
                    bench.begin_anew()
                    raise
                finally:
                    print(f"       {time.monotonic() - began:.1f} s", flush=True)
        with checks.that("nothing is left of all that, once the workspace is deleted"):
            assert fleet.request("DELETE", "workspaces/faults/")[0] == 204
            fleet.assert_ledger(0)
    blobs.stop()
    embedder.stop()
    checks.finish()


if __name__ == "__main__":
    run_suite(main)
