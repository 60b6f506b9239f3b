"""Faults, on the real servers: whatever is killed, stopped, slow, full or wrong, nothing that was acknowledged is lost,
nothing is there twice, nothing is orphaned, and `/ready/` and `/mcp/health` tell the truth all the time.

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
from readiness import Readiness  # noqa: E402


def text(name, paragraphs=40):
    return f"# {name}\n\nMarker {name}.\n\n" + "\n\n".join(
        f"Paragraph {n} of {name} says how pump {n} was primed, and that {n * 13} litres went through it that day. " * 4
        for n in range(paragraphs))


class Bench:
    """The fleet with everything that a fault needs."""

    def __init__(self, fleet, embedder, blobs):
        self.fleet, self.embedder, self.blobs = fleet, embedder, blobs
        self.readiness = Readiness(fleet)
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
        self.readiness.wait_ready()

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
        """The next worker completes the jobs, and embeds nothing that has its vector already, and no text of them twice."""
        self.embedder.wait_idle()
        there, before = self.embedded(jobs), len(self.embedder.texts)
        self.worker.start()
        self.completed(jobs)
        texts = self.embedder.texts[before:]
        assert len(texts) == len(set(texts)), "a text was embedded twice"
        self.assert_new(jobs, there, texts)

    def embedded(self, jobs):
        """The passages of the jobs' items that have their vector."""
        uids = ", ".join(f"'{self.fleet.job(job)['item_uid']}'" for job in jobs)
        found = self.fleet.neo4j.query(f"MATCH (i:Item)-[:HAS_CHUNK]->(c) WHERE i.uid IN [{uids}] AND c.embedding IS NOT NULL "
                                       "RETURN c.text")
        return {text for (text,) in found}

    def assert_new(self, jobs, there, texts):
        """None of the texts is of a passage that was embedded before. The jobs have completed."""
        # In front of a passage stand, in one line, the title and the headings.
        passages = {text.partition("\n")[2] for text in texts}
        assert passages <= self.embedded(jobs), "what was embedded are no passages of these jobs"
        assert not passages & there, f"{len(passages & there)} passages were embedded again"

    def stage(self, job, stage):
        """Waits until the job's row says that it is there."""
        eventually(lambda: self.fleet.job(job)["stage"] == stage, lambda: f"never in {stage}: {self.fleet.job(job)}")

    def away(self, name, fault, **options):
        return self.readiness.away(name, fault, **options)

    def note_held(self, name):
        """As `held`: what a worker has done cannot be noted under this name."""
        return self.held("INSERT ON mnemosyne_job_checkpoint", f"NEW.name = '{name}'")

    def stage_held(self, stage):
        """As `held`: no row can say that its job is in this stage."""
        return self.held("UPDATE ON mnemosyne_job", f"NEW.stage = '{stage}'")

    @contextlib.contextmanager
    def held(self, change, which):
        """Inside the block, such a change of a table waits. Yields what kills the worker once it tries to; the change is
        never made then."""
        trigger = (f"CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(4711); "
                   f"RETURN NEW; END'; CREATE TRIGGER held BEFORE {change} FOR EACH ROW WHEN ({which}) EXECUTE FUNCTION held()")
        waiting = "FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with self.session() as ask:
            assert ask("SELECT pg_advisory_lock(4711)::text || 'locked'") == "locked"
            self.fleet.sql(trigger)

            def kill():
                eventually(lambda: self.fleet.sql(f"SELECT count(*) {waiting}") != [["0"]], f"never: {change}, {which}")
                self.worker.kill()
                self.fleet.sql(f"SELECT pg_terminate_backend(pid) {waiting}")
                eventually(lambda: self.fleet.sql(f"SELECT count(*) {waiting}") == [["0"]], f"still: {change}, {which}")

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
def ended(server, end):
    """Ended by one of its methods, and started again."""
    end()
    try:
        yield
    finally:
        server.start()
        server.wait_ready()


def stopped(server):
    return ended(server, server.stop)


def killed(server):
    return ended(server, server.kill)


@contextlib.contextmanager
def hanging(server):
    """It keeps its connections and says nothing; a moment later it goes on as if nothing had been."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


# --- a killed worker, at every border of its stages --------------------------------------------------------------------

def killed_in_fetch(bench):
    bench.worker.stop()
    jobs = bench.ingest(3)
    # The object is there; the bucket hangs when the worker asks for it.
    with bench.away("storage", hanging(bench.fleet.s3), often=0):
        bench.worker.start()
        bench.stage(jobs[0], "fetch")
        bench.worker.kill()
    bench.goes_on(jobs)


def killed_in_parse(bench):
    # Long enough to be seen in the middle of it.
    jobs = bench.ingest(1, paragraphs=12_000)
    eventually(lambda: bench.fleet.job(jobs[0])["stage"] in ("parse", "chunk", "embed"), "never begun")
    bench.worker.kill()
    bench.goes_on(jobs)


def killed_at(bench, border, items, visible=0):
    """At a border of stages: the work is done, and nobody will ever know. So many items are in the graph then, so many of them
    visible."""
    with border as kill:
        jobs = bench.ingest(1)
        uid = bench.fleet.job(jobs[0])["item_uid"]
        kill()
    found = bench.fleet.neo4j.query(f"MATCH (i:Item {{uid: '{uid}'}}) RETURN count(i), count(i.embedding_status = 'completed' OR null)")
    assert found == [[items, visible]], found
    return jobs


def killed_between_fetch_and_parse(bench):
    bench.goes_on(killed_at(bench, bench.note_held("original"), 0))


def killed_between_parse_and_chunk(bench):
    bench.goes_on(killed_at(bench, bench.note_held("document"), 0))


def killed_between_chunk_and_embed(bench):
    bench.goes_on(killed_at(bench, bench.note_held("staged"), 1))


def killed_in_embed(bench):
    bench.embedder.pause = 0.5
    jobs = bench.ingest(1, paragraphs=400)
    eventually(lambda: bench.embedded(jobs), "nothing is embedded")
    bench.worker.kill()
    bench.embedder.pause = 0.0
    there = len(bench.embedded(jobs))
    bench.goes_on(jobs)
    assert there < len(bench.embedded(jobs)), "it was not in the middle"


def killed_between_embed_and_concepts(bench):
    # Its concepts are those of a document before it, which somebody is deleting, and then does not.
    bench.completed(bench.ingest(1))
    with bench.fleet.neo4j.undone("MATCH (c:Concept) DETACH DELETE c RETURN count(*)") as held:
        assert held[0][0] > 0, held
        jobs = bench.ingest(1)
        blocked = "SHOW TRANSACTIONS YIELD currentQuery, status WHERE status STARTS WITH 'Blocked' RETURN currentQuery"
        eventually(lambda: "Concept" in str(bench.fleet.neo4j.query(blocked)), "no concept is written")
        bench.worker.kill()
    uid = bench.fleet.job(jobs[0])["item_uid"]
    vectors = f"MATCH (:Item {{uid: '{uid}'}})-[:HAS_CHUNK]->(c) RETURN count(c) > 0, count(c.embedding) = count(c)"
    concepts = f"MATCH (:Item {{uid: '{uid}'}})-[r:REFERENCES]->(c) RETURN count(r) > 0, count(DISTINCT c) = count(r)"
    assert bench.fleet.neo4j.query(vectors) == [[True, True]]
    assert bench.fleet.neo4j.query(concepts) == [[False, True]]
    bench.goes_on(jobs)
    assert bench.fleet.neo4j.query(concepts) == [[True, True]]


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
    bench.goes_on(killed_at(bench, bench.stage_held("publish"), 1))


def killed_after_publish(bench):
    # The item is published, which the row is never told.
    bench.goes_on(killed_at(bench, bench.stage_held("complete"), 1, visible=1))


def killed_anywhere(bench):
    """Twelve kills at moments of chance; the seed is printed."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}", flush=True)
    dice = random.Random(seed)
    bench.embedder.pause = 0.02
    jobs = bench.ingest(24)
    kills = []
    for _ in range(12):
        time.sleep(dice.uniform(0.05, 1.5))
        bench.worker.kill()
        # What is on its way to nobody may be embedded again; what has its vector may not.
        kills.append((bench.embedded(jobs), len(bench.embedder.texts)))
        bench.worker.start()
    bench.embedder.pause = 0.0
    bench.completed(jobs, 300)
    for there, asked in kills:
        bench.assert_new(jobs, there, bench.embedder.texts[asked:])


# --- servers that go and come back -------------------------------------------------------------------------------------

def broker_restarted(bench):
    bench.embedder.pause = 0.05
    jobs = bench.ingest(12)
    with bench.away("broker", stopped(bench.fleet.servers["rabbitmq"])):
        jobs += bench.ingest(4)
    bench.embedder.pause = 0.0
    bench.completed(jobs)


def postgres_restarted(bench):
    bench.embedder.pause = 0.05
    jobs = bench.ingest(12)
    with bench.away("database", stopped(bench.fleet.servers["postgres"])):
        pass
    bench.embedder.pause = 0.0
    bench.completed(jobs)


def neo4j_restarted(bench):
    bench.embedder.pause = 0.05
    jobs = bench.ingest(8)
    with bench.away("knowledge", stopped(bench.fleet.neo4j)):
        pass
    bench.embedder.pause = 0.0
    bench.completed(jobs, 300)


def hangs(bench, server, word):
    bench.embedder.pause = 0.05
    jobs = bench.ingest(8)
    eventually(lambda: bench.fleet.job(jobs[0])["stage"] != "queued", "never begun")
    with bench.away(word, hanging(server)):
        pass
    bench.embedder.pause = 0.0
    bench.completed(jobs, 300)


def postgres_hangs(bench):
    hangs(bench, bench.fleet.servers["postgres"], "database")


def neo4j_hangs(bench):
    hangs(bench, bench.fleet.neo4j, "knowledge")


def broker_hangs(bench):
    hangs(bench, bench.fleet.servers["rabbitmq"], "broker")


def memcached_gone(bench):
    with bench.away("cache", killed(bench.fleet.servers["memcached"])):
        bench.completed(bench.ingest(3))


# --- servers that misbehave --------------------------------------------------------------------------------------------

def storage_broken(bench):
    with bench.away("storage", bench.blobs.being("broken")):
        jobs = bench.ingest(3)
        bench.blobs.wait_touched(3)
    bench.completed(jobs)


def storage_slow(bench):
    with bench.blobs.being("slow"):
        bench.completed(bench.ingest(2))


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
    # A probe asks whether a server answers, and this one does: what is full is told by the jobs, each with its code.


FAULTS = [
    killed_in_fetch, killed_between_fetch_and_parse, killed_in_parse, killed_between_parse_and_chunk, killed_between_chunk_and_embed,
    killed_in_embed, killed_between_embed_and_concepts, written_over, killed_before_publish, killed_after_publish, killed_anywhere,
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
                    with bench.readiness.watched():
                        fault(bench)
                except BaseException:
                    bench.look()
                    # The next one begins with nothing, whatever this one left.
                    bench.begin_anew()
                    raise
                finally:
                    print(f"       {time.monotonic() - began:.1f} s, {bench.readiness.account()}", flush=True)
        with checks.that("nothing is left of all that, once the workspace is deleted"):
            assert fleet.request("DELETE", "workspaces/faults/")[0] == 204
            fleet.assert_ledger(0)
    blobs.stop()
    embedder.stop()
    checks.finish()


if __name__ == "__main__":
    run_suite(main)
