"""A worker of Celery's own, with a stub in the place of our task: prints what each message brings, one JSON document a line.

    stub.py BROKER QUEUE
"""

import json
import os
import sys

# Celery prefers these to what it is told below.
for variable in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
    os.environ.pop(variable, None)

import celery  # noqa: E402

BROKER, QUEUE = sys.argv[1:]
app = celery.Celery("stub", broker=BROKER)
app.conf.worker_redirect_stdouts = False


@app.task(name="library.tasks.ingest_from_daedalus", bind=True)
def stub(task, *arguments, **keywords):
    print(json.dumps({"id": task.request.id, "arguments": arguments, "keywords": keywords, "retries": task.request.retries,
                      "queue": task.request.delivery_info["routing_key"], "ignore_result": task.request.ignore_result}), flush=True)


app.worker_main(["worker", "--pool", "solo", "--queues", QUEUE, "--hostname", "stub@%h", "--loglevel", "warning"])
