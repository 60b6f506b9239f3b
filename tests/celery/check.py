"""Talks to a worker of Mnemosyne with Celery itself: remote control, events, Flower, and tasks with their results.

    check.py BROKER NODE ENDS FAILS [WAITS WAITS]

BROKER is the broker's URL, NODE the worker's name (celery@HOST), ENDS a job that completes (or is completed) there and
FAILS one that fails for good with `no_text_extracted`, each WAITS one that does not end by itself. Jobs must be run there meanwhile, so that there are events of them.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from mnemosyne import Checks  # noqa: E402

import celery  # noqa: E402
import kombu  # noqa: E402
from celery.exceptions import NotRegistered, TaskRevokedError  # noqa: E402

BROKER, NODE, ENDS, FAILS, *WAITS = sys.argv[1:]
TASK = "library.tasks.ingest_from_daedalus"
QUEUES = ("celery", "embedding", "batch")
PATIENCE = 60

# Celery prefers these to what it is told below, and the launcher of the servers sets them.
for variable in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
    os.environ.pop(variable, None)
app = celery.Celery("check", broker=BROKER, backend="rpc://")


def command_line(*arguments):
    """The exit status and the output of Celery's own command."""
    done = subprocess.run([sys.executable, "-m", "celery", "-b", BROKER, *arguments], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=PATIENCE)
    return done.returncode, done.stdout + done.stderr


def until(what, condition):
    """What the condition gives, once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


class Watcher:
    """Every event since it was made."""

    def __init__(self):
        self.events, self.listening = [], threading.Event()
        threading.Thread(target=self.run, daemon=True).start()
        assert self.listening.wait(PATIENCE)

    def run(self):
        with app.connection() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": self.events.append})
            ready = receiver.on_consume_ready

            def on_ready(*arguments, **options):
                ready(*arguments, **options)
                self.listening.set()

            receiver.on_consume_ready = on_ready
            receiver.capture(limit=None, timeout=None, wakeup=True)

    def of(self, kind, **fields):
        return [event for event in list(self.events)
                if event["type"] == kind and fields.items() <= event.items()]


def remote_control(checks):
    with checks.that("inspect ping prints pong, and of a name that is not there nothing"):
        status, text = command_line("inspect", "ping", "-d", NODE)
        assert status == 0 and "pong" in text and NODE in text, text
        status, text = command_line("inspect", "ping", "-d", "celery@nobody", "--timeout", "2")
        assert status != 0 and "pong" not in text, text
    for what in ("active", "registered", "stats", "active_queues", "reserved", "scheduled", "revoked", "conf", "report",
                 "clock"):
        with checks.that(f"inspect {what} works"):
            status, text = command_line("inspect", what, "-d", NODE)
            assert status == 0 and NODE in text and "rror" not in text, text
    inspect = app.control.inspect([NODE], timeout=10)
    with checks.that("the answers hold what is asked for"):
        stats = inspect.stats()[NODE]
        assert stats["pool"]["max-concurrency"] >= 1 and stats["pid"], stats
        login = kombu.Connection(BROKER)
        if login.password != login.userid:
            assert login.password not in json.dumps([stats, inspect.conf()]), "a password is shown"
        assert inspect.registered()[NODE] == [TASK]
        assert {queue["name"] for queue in inspect.active_queues()[NODE]} <= set(QUEUES)
        assert inspect.query_task("no-such-task")[NODE] == {}
    with checks.that("patterns choose the node"):
        host = NODE.partition("@")[2]
        ask = {"reply": True, "timeout": 2}
        assert app.control.broadcast("ping", pattern="celery@*", matcher="glob", **ask)
        assert app.control.broadcast("ping", pattern="celery@" + host[:2], matcher="pcre", **ask)
        assert not app.control.broadcast("ping", pattern="other@*", matcher="glob", **ask)
    with checks.that("a command that is not supported says so, and one with a broken address harms nobody"):
        answer = app.control.broadcast("pool_grow", destination=[NODE], reply=True, timeout=10)
        assert "error" in answer[0][NODE], answer
        with app.connection() as connection:
            connection.Producer().publish(
                {"method": "ping", "destination": [NODE], "ticket": "t",
                 "reply_to": {"exchange": "amq.rabbitmq.no-such", "routing_key": "r"}},
                exchange="celery.pidbox", routing_key="")
        assert inspect.ping()[NODE] == {"ok": "pong"}


def tasks(checks):
    with checks.that("a task by name is consumed, its result comes back"):
        result = app.send_task(TASK, args=[ENDS], queue="embedding").get(timeout=PATIENCE)
        assert result["job_id"] == ENDS and result["status"] == "completed" and result["item_uid"], result
    with checks.that("keywords, the default queue, and the first version of the protocol do as well"):
        assert app.send_task(TASK, kwargs={"job_id": ENDS}).get(timeout=PATIENCE)["job_id"] == ENDS
        app.conf.task_protocol = 1
        try:
            old = celery.Celery("old", broker=BROKER, backend="rpc://")
            old.conf.task_protocol = 1
            assert old.send_task(TASK, args=[ENDS], queue="batch").get(timeout=PATIENCE)["job_id"] == ENDS
        finally:
            app.conf.task_protocol = 2
    with checks.that("a job that fails raises at the sender"):
        try:
            app.send_task(TASK, args=[FAILS], queue="embedding").get(timeout=PATIENCE)
        except Exception as error:
            assert type(error).__name__ == "NoTextExtracted" and str(error), error
        else:
            raise AssertionError("it did not fail")
    with checks.that("an unknown task raises NotRegistered"):
        try:
            app.send_task("library.tasks.no_such_task", args=[ENDS]).get(timeout=PATIENCE)
        except NotRegistered as error:
            assert "no_such_task" in str(error), error
        else:
            raise AssertionError("it did not fail")
    with checks.that("a task without a job raises"):
        try:
            app.send_task(TASK, args=[{"not": "a job"}]).get(timeout=PATIENCE)
        except ValueError as error:
            assert "no_job_id" in str(error), error
        else:
            raise AssertionError("it did not fail")
    with checks.that("what is to follow a task is refused, and whoever waits for it hears so"):
        ingest = app.signature(TASK, args=[ENDS], queue="embedding")
        after = app.signature("somebody.elses.task", queue="nobody")
        for canvas in (celery.chain(ingest, after), celery.chain(ingest, after, after)):
            try:
                canvas.apply_async().get(timeout=PATIENCE)
            except ValueError as error:
                assert "unsupported_callbacks" in str(error), error
            else:
                raise AssertionError("it did not fail")
        for follow in ({"link": after}, {"link_error": after}):
            try:
                ingest.clone().apply_async(**follow).get(timeout=PATIENCE)
            except ValueError as error:
                assert "unsupported_callbacks" in str(error), error
            else:
                raise AssertionError(f"{follow} did not fail")
    with checks.that("a group is one task after another, each with its result"):
        results = celery.group([app.signature(TASK, args=[ENDS], queue="embedding") for _ in range(3)]).apply_async()
        assert [result["job_id"] for result in results.get(timeout=PATIENCE)] == [ENDS] * 3
    with checks.that("Celery's own declarations of the queues agree with what is there"):
        with app.connection() as connection:
            for name in QUEUES:
                kombu.Queue(name, kombu.Exchange(name), routing_key=name).bind(connection.default_channel).declare()


def revoke(name):
    """What the worker says to it."""
    return app.control.revoke(name, destination=[NODE], reply=True, timeout=10)[0][NODE]


def heard_of_it(result):
    try:
        result.get(timeout=PATIENCE)
    except TaskRevokedError:
        pass
    else:
        raise AssertionError("it was not cancelled")


def revocation(checks, first, second):
    with checks.that("what no job has for its name is not said to be cancelled"):
        stranger = str(uuid.uuid4())
        answer = revoke(stranger)
        assert "ok" not in answer and f"unknown task {stranger}" in answer["error"], answer
    with checks.that("a job that has ended is not said to be cancelled"):
        answer = revoke(ENDS)
        assert "ok" not in answer and ENDS in answer["error"], answer
    with checks.that("the name of a result cancels its job, however early it is revoked, and the sender hears so"):
        result = app.send_task(TASK, args=[first], queue="embedding")
        result.revoke()
        heard_of_it(result)
    with checks.that("what is cancelled is said to be, under each of its names"):
        for name in (result.id, first):
            answer = revoke(name)
            assert first in answer["ok"] and "cancelled" in answer["ok"], answer
    with checks.that("a task that is revoked before its message comes is not run"):
        name = str(uuid.uuid4())
        assert "unknown task" in revoke(name)["error"]
        heard_of_it(app.send_task(TASK, args=[second], queue="embedding", task_id=name))


def events(checks, watcher):
    with checks.that("signs of life come, with what Flower shows"):
        beat = until("a heartbeat", lambda: watcher.of("worker-heartbeat", hostname=NODE))[0]
        assert beat["sw_ident"] == "mnemosyne" and beat["sw_ver"] and len(beat["loadavg"]) == 3, beat
        assert {"active", "processed", "pid", "clock", "utcoffset", "freq"} <= set(beat), beat
        assert abs(beat["timestamp"] - time.time()) < 3600, beat
    with checks.that("a run is told from its beginning to its end"):
        def told():
            for received in watcher.of("task-received", hostname=NODE):
                run = [watcher.of(kind, hostname=NODE, uuid=received["uuid"])[:1]
                       for kind in ("task-started", "task-succeeded")]
                if all(run):
                    return received, run[0][0], run[1][0]

        received, started, end = until("a run from its beginning on", told)
        assert end["runtime"] >= 0 and "completed" in end["result"], end
        assert received["name"] == TASK and end["uuid"] in received["args"], received
        assert received["clock"] < started["clock"] < end["clock"], (received, started, end)


def flower(checks):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"}
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-b", BROKER, "flower", "--address=127.0.0.1", f"--port={port}"],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    threading.Thread(target=process.stdout.read, daemon=True).start()

    def get(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
                return json.load(answer)
        except OSError:
            return None

    try:
        with checks.that("Flower shows the worker as alive, and asks it about itself"):
            until("the worker in Flower", lambda: (get("api/workers?status=1") or {}).get(NODE))
            worker = until("the worker's state", lambda: (get(f"api/workers?refresh=1&workername={NODE}") or {}).get(NODE))
            assert worker["registered"] == [TASK] and worker["stats"]["pool"], worker
            assert {queue["name"] for queue in worker["active_queues"]} <= set(QUEUES), worker
        with checks.that("Flower shows the tasks that run"):
            def shown():
                app.send_task(TASK, args=[ENDS], queue="embedding", ignore_result=True)
                return (get("api/tasks") or {}).values()

            task = next(iter(until("a task in Flower", shown)))
            assert task["name"] == TASK and task["state"], task
    finally:
        process.terminate()
        process.wait(30)


checks = Checks()
watcher = Watcher()
remote_control(checks)
tasks(checks)
if WAITS:
    revocation(checks, *WAITS)
events(checks, watcher)
flower(checks)
checks.finish()
