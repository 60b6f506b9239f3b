#!/usr/bin/env python3
"""How fast the fleet is on real servers, all on this machine:

    cargo build --release
    MNEMOSYNE_SERVICES_FSYNC=on MNEMOSYNE_EXECUTABLE=target/release/mnemosyne python3 benches/fleet.py [PART…]

Options: `--concurrency=N` jobs at once (2), `--profile` CPU time of each part in `reads`. Parts: `throughput` (documents a second, and where the time goes), `embedder` (how busy it is kept), `queued` (memory of many waiting
jobs), `reads` (REST with HTTP Basic). Without one: all. Prints figures, judges none. Standard library only."""

import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))
import fleet  # noqa: E402
from launcher import processes_of  # noqa: E402

LOAD = pathlib.Path(os.environ["MNEMOSYNE_EXECUTABLE"]).resolve().parent / "load"
TICKS = os.sysconf("SC_CLK_TCK")
DOCUMENTS = 600
CHUNKS = 10
# How many jobs the worker runs at once: `--concurrency=N`.
CONCURRENCY = next((argument.partition("=")[2] for argument in sys.argv if argument.startswith("--concurrency=")), "2")


# --- what processes use ------------------------------------------------------------------------------------------------

def family(process):
    """A process and what it has started."""
    found = [process]
    try:
        children = pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return found
    for child in children:
        found += family(int(child))
    return found


def seconds(process):
    """CPU time of a process, with that of its children that have ended."""
    try:
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / TICKS


def memory(process):
    """PSS of a process and its children, in megabytes."""
    total = 0
    for member in family(process):
        try:
            rollup = pathlib.Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def machine():
    """CPU time that the cores of this machine were not idle."""
    user, nice, system, _, _, interrupts, soft = map(int, pathlib.Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + interrupts + soft) / TICKS


class Cpu:
    """CPU time by part between two moments."""

    def __init__(self, stack, own):
        self.stack, self.own = stack, own
        self.before, self.machine = self.now(), machine()

    def now(self):
        parts = {name: sum(map(seconds, processes_of(server.home))) for name, server in self.stack.servers.servers.items()}
        for role in self.stack.roles:
            if role.process:
                parts[role.name] = sum(map(seconds, family(role.process.pid)))
        parts["benchmark"] = sum(map(seconds, family(self.own.pid)))
        return parts

    def print(self, took):
        after, busy = self.now(), machine() - self.machine
        used = {name: after[name] - self.before.get(name, 0) for name in after}
        ours = sum(used.get(role.name, 0) for role in self.stack.roles)
        servers = sum(used[name] for name in self.stack.servers.servers)
        total = ours + servers
        for name, time_used in sorted(used.items(), key=lambda pair: -pair[1]):
            print(f"    {name:<12} {time_used:7.2f} s of CPU")
        print(f"    of these {total:.1f} s: ours {100 * ours / total:.0f} %, servers {100 * servers / total:.0f} %")
        cores = os.cpu_count()
        rest = busy - total - used["benchmark"]
        parts = (("ours", ours), ("servers", servers), ("the benchmark itself", used["benchmark"]), ("whatever else ran", rest))
        print(f"    busy {100 * busy / (cores * took):.0f} % of {cores} cores for {took:.1f} s: "
              + ", ".join(f"{name} {100 * time_used / (cores * took):.0f} %" for name, time_used in parts))


# --- the work --------------------------------------------------------------------------------------------------------

def document(number):
    """Ten sections, each of which becomes a chunk of a technical library."""
    numbers = random.Random(number)
    words = ["pump", "valve", "rotor", "signal", "pressure", "engine", "filter", "module", "sensor", "cable", "the", "of", "and",
             "is", "a", "to", "when", "must", "never", "checked", "replaced", "before", "after", "every", "month"]
    sections = []
    for section in range(CHUNKS):
        sentences = []
        for _ in range(14):
            sentences.append(" ".join(numbers.choices(words, k=12)).capitalize() + f" {numbers.randrange(10_000)}.")
        sections.append(f"## Section {section} of manual {number}\n\n" + " ".join(sentences))
    return (f"# Manual {number}\n\n" + "\n\n".join(sections)).encode()


class Bench:
    def __init__(self):
        self.embedder = subprocess.Popen([LOAD, "embedder", "--dimension", "1024"], stdout=subprocess.PIPE, text=True)
        self.embedder_url = self.embedder.stdout.readline().strip()
        self.stack = fleet.Fleet(
            EMBEDDING_BASE_URL=self.embedder_url + "/v1", EMBEDDING_MODEL="bench", EMBEDDING_DIMENSION="1024",
            CELERY_CONCURRENCY=CONCURRENCY)

    def __enter__(self):
        self.stack.__enter__()
        self.stack.start()
        self.stack.workspace("bench")
        return self

    def __exit__(self, *_):
        self.stack.__exit__(None, None, None)
        self.embedder.terminate()
        self.embedder.wait()

    def tell(self, path):
        with urllib.request.urlopen(f"{self.embedder_url}/{path}") as answer:
            return json.load(answer)

    def load(self, *arguments, lines=()):
        done = subprocess.run([LOAD, *map(str, arguments)], input="\n".join(lines), text=True, stdout=subprocess.PIPE, check=True,
                              env={"LOAD_AUTHORIZATION": fleet.authorization(fleet.USER, fleet.PASSWORD)})
        return json.loads(done.stdout)

    def requests(self, name, count):
        """Puts as many documents into the bucket; the requests for their ingest."""
        lines = []
        for number in range(count):
            content, key = document(number), f"uploads/{name}-{number}.md"
            self.stack.put(key, content)
            lines.append(json.dumps({
                "workspace_id": "bench", "source_ref": f"{name}:{number}", "content_hash": hashlib.sha256(content).hexdigest(),
                "s3_key": key, "filename": f"{name}-{number}.md"}))
        return lines

    def open_jobs(self):
        return int(self.stack.sql("SELECT count(*) FROM mnemosyne_job WHERE status IN ('pending', 'processing')")[0][0])

    def ingest(self, lines):
        """Sends the requests and waits for their jobs; how long that took."""
        began = time.monotonic()
        sent = self.load("posts", "--connections", 4, self.stack.app.address + "library/api/ingest/", lines=lines)
        assert sent["failed"] == 0, sent
        while self.open_jobs():
            time.sleep(0.25)
        took = time.monotonic() - began
        wrong = self.stack.sql(f"SELECT count(*) FROM mnemosyne_job WHERE status <> 'completed' OR chunks <> {CHUNKS}")
        assert wrong == [["0"]], wrong
        again = self.stack.sql("SELECT source_ref, attempts FROM mnemosyne_job WHERE attempts > 1")
        if again:
            print(f"    tried more than once: {again}")
        return took

    def throughput(self):
        # Until the virtual machine of Neo4j has compiled what it runs: that takes as much time as the work itself.
        for name in ("warm", "warmer", "warmest"):
            took = self.ingest(self.requests(name, 500))
            print(f"    warming up: {500 / took:.1f} documents/s")
        lines = self.requests("measured", DOCUMENTS)
        cpu = Cpu(self.stack, self.embedder)
        took = self.ingest(lines)
        print(f"throughput: {DOCUMENTS} documents of {CHUNKS} chunks in {took:.1f} s: {DOCUMENTS / took:.1f} documents/s")
        cpu.print(took)
        stages = self.stack.sql(
            "SELECT key, round(avg(value::numeric), 1) FROM mnemosyne_job, json_each_text(timings_ms::json) "
            "WHERE source_ref LIKE 'measured:%' GROUP BY key ORDER BY 2 DESC")
        print("    stages, ms on average: " + ", ".join(f"{name} {ms}" for name, ms in stages))

    def busy(self):
        lines = self.requests("busy", 200)
        self.tell("pause/50")
        took = self.ingest(lines)
        stats = self.tell("stats")
        self.tell("pause/0")
        print(f"embedder: {stats['requests']} batches of 50 ms for {len(lines)} documents in {took:.1f} s: "
              f"busy {100 * stats['busy_ms'] / stats['span_ms']:.1f} % of the time from its first batch to its last")

    def queued(self):
        lines = self.requests("queued", 1)
        # Long enough that nothing moves on while the memory is looked at.
        self.tell("pause/600000")
        url = self.stack.app.address + "library/api/ingest/"

        def queue(workspace, numbers):
            """Asks for as many ingests; how many of them were accepted in a second."""
            requests = [json.dumps({**json.loads(lines[0]), "workspace_id": workspace, "source_ref": f"queued:{number}"})
                        for number in numbers]
            answer = self.load("posts", "--connections", 4, url, lines=requests)
            assert answer["failed"] == 0, answer
            fleet.eventually(lambda: self.stack.sql(
                "SELECT count(*) FROM mnemosyne_job WHERE status = 'pending' AND NOT announced") == [["0"]], "not announced")
            return answer["requests"] / answer["seconds"]

        def look(jobs, what):
            rate = queue("queued", range(self.open_jobs(), jobs))
            time.sleep(3)
            assert self.open_jobs() == jobs, self.open_jobs()
            figures = ", ".join(f"{role.name} {memory(role.process.pid):.1f} MB" for role in (self.stack.app, *self.stack.workers))
            print(f"queued: {what}: {jobs:>6} jobs wait: {figures} (PSS); the last of them accepted at {rate:.0f} requests/s")

        def delete(workspace):
            assert self.stack.request("DELETE", f"workspaces/{workspace}/")[0] == 204

        # As many requests as are looked at later have been served before the first look, so that what differs is the number
        # of jobs that wait. Never more than `few` of them wait at once: an allocator keeps what it once had.
        few, many = 100, 10_000
        for begin in range(0, many, few):
            self.stack.workspace("before")
            queue("before", range(begin, begin + few))
            delete("before")
        for what in (f"never more than {few} have waited before", f"{many} have waited before"):
            self.stack.workspace("queued")
            for jobs in (few, many):
                look(jobs, what)
            delete("queued")

    def reads(self):
        lines = self.requests("read", 50)
        self.ingest(lines)
        base = self.stack.app.address + "library/api/"
        jobs = self.stack.request("GET", "jobs/?limit=5")[1]["results"]
        job, item = jobs[0]["job_id"], jobs[0]["item_uid"]
        chunk = self.stack.request("GET", f"items/{item}/chunks/")[1]["results"][0]["chunk_uid"]
        paths = {"a job": f"jobs/{job}/", "a workspace": "workspaces/bench/", "an item": f"items/{item}/", "a chunk": f"chunks/{chunk}/",
                 "a page of jobs": "jobs/?limit=20"}
        for names in ([name] for name in paths):
            self.print_reads(", ".join(names), [base + paths[name] for name in names])
        self.print_reads("all of these in turn", [base + path for path in paths.values()])

    def print_reads(self, what, urls):
        # Compiles what Neo4j runs.
        self.load("reads", "--rate", 1_000, "--seconds", 20, *urls)
        cpu = Cpu(self.stack, self.embedder)
        began = time.monotonic()
        figures = self.load("reads", "--rate", 1_000, "--seconds", 15, *urls)
        assert figures["failed"] == 0, figures
        print(f"reads: {what}: {figures['per_second']:.0f} requests/s, p50 {figures['all']['p50_ms']:.2f} ms, "
              f"p99 {figures['all']['p99_ms']:.2f} ms, max {figures['all']['max_ms']:.1f} ms")
        if "--profile" in sys.argv:
            cpu.print(time.monotonic() - began)


def main():
    parts = {"throughput": Bench.throughput, "embedder": Bench.busy, "reads": Bench.reads, "queued": Bench.queued}
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("-")] or list(parts)
    with Bench() as bench:
        for name in wanted:
            parts[name](bench)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
