"""Pulls the local model from a mirror on this machine and searches with it.

Usage: check.py FOLDER, where FOLDER holds the real files of all-MiniLM-L6-v2. The mirror serves them as the public hub
does: plain `GET /sentence-transformers/all-MiniLM-L6-v2/resolve/REVISION/FILE`, with ranges, so that a pull that is
cut off can go on.
"""

import http.server
import pathlib
import re
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from mnemosyne import Checks, Server  # noqa: E402

WEIGHTS = pathlib.Path(sys.argv[1])
ROUTE = re.compile(r"/sentence-transformers/all-MiniLM-L6-v2/resolve/[0-9a-f]{40}/([\w./-]+)$")
CUT = 10_000_000

NOTES = {
    "cars.md": "# Garage\n\nThe automobile would not start because its battery was flat after the cold night.\n",
    "bread.md": "# Bakery\n\nSourdough needs a warm kitchen and twelve hours of rest before it goes into the oven.\n",
    "physician.md": "# Surgery\n\nThe physician examined the child and prescribed bed rest and plenty of fluids.\n",
    "harbour.md": "# Harbour\n\nFishing vessels leave the port before dawn and come back with herring.\n",
}
# No word of the question stands in the passage: a model that compares spelling cannot find it.
QUESTIONS = {
    "Why did the car fail to go in winter weather?": "Garage",
    "doctor treats a sick kid": "Surgery",
    "ships catching sea animals": "Harbour",
}


class Mirror(http.server.BaseHTTPRequestHandler):
    """The hub, on loopback. Cuts the first transfer of the weights off in the middle, as networks do."""

    protocol_version = "HTTP/1.1"
    requests = []
    cut_off = False
    spoil = False

    def do_GET(self):
        found = ROUTE.match(self.path)
        file = WEIGHTS / found.group(1) if found else None
        if file is None or ".." in self.path or not file.is_file():
            self.requests.append((self.path, None, 404))
            self.send_error(404)
            return
        content = file.read_bytes()
        if Mirror.spoil:
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        start = int(asked.group(1)) if asked else 0
        self.requests.append((self.path, start, 206 if asked else 200))
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if len(content) > 2 * CUT and not Mirror.cut_off:
            Mirror.cut_off = True
            self.wfile.write(content[:CUT])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content[start:])

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass  # we closed it ourselves


def titles(answer):
    return [hit["item_title"] for hit in answer["results"]]


def installed(server):
    return [model["installed"] for model in server.json("models", "list") if "MiniLM" in model["name"]]


def main():
    checks = Checks()
    mirror = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=mirror.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{mirror.server_port}"
    with Server(HF_ENDPOINT=endpoint) as server:
        notes = server.folder / "notes"
        notes.mkdir()
        for name, text in NOTES.items():
            (notes / name).write_text(text)

        with checks.that("before the pull the lexical model is used, and labelled"):
            server.json("ingest", str(notes), "--library", "Early", "--type", "nonfiction")
            answer = server.json("search", "battery", "--library", "Early")
            assert [model["kind"] for model in answer["models"]] == ["lexical"], answer["models"]
            assert not Mirror.requests, "something was asked for without being told to"

        with checks.that("a file with another digest is thrown away and reported"):
            Mirror.spoil = True
            Mirror.cut_off = True
            done = server.command("models", "pull", check=False)
            assert done.returncode and "digest" in done.stderr, done
            assert installed(server) == [False]
            Mirror.spoil = False
            Mirror.cut_off = False

        with checks.that("a pull that is cut off goes on where it stopped, and asks nobody else"):
            for _ in range(3):
                done = server.command("models", "pull", check=False)
                if done.returncode == 0:
                    break
            assert done.returncode == 0, done.stderr
            resumed = [start for path, start, _ in Mirror.requests if path.endswith("model.safetensors") and start]
            assert Mirror.cut_off and resumed, Mirror.requests
            assert all(status != 404 for _, _, status in Mirror.requests), Mirror.requests

        with checks.that("pulling again fetches nothing"):
            before = len(Mirror.requests)
            server.command("models", "pull")
            assert len(Mirror.requests) == before, Mirror.requests[before:]

        with checks.that("the model is listed as present"):
            assert installed(server) == [True]

        with checks.that("a new library takes the neural model and finds by meaning"):
            jobs = server.json("ingest", str(notes), "--library", "Late", "--type", "nonfiction")
            assert all(job["status"] == "completed" for job in jobs), jobs
            for question, title in QUESTIONS.items():
                answer = server.json("search", question, "--library", "Late")
                assert [model["kind"] for model in answer["models"]] == ["neural"], answer["models"]
                assert titles(answer)[0] == title, (question, titles(answer))
                assert answer["results"][0]["legs"]["vector"]["rank"] == 1, answer["results"][0]

        with checks.that("what has nothing to do with anything finds nothing"):
            for question in ("qwertzuiopasdfgh", "zxcvbnm asdfgh qwerty"):
                answer = server.json("search", question, "--library", "Late")
                assert answer["results"] == [], (question, answer["results"])

        with checks.that("a library keeps the model that made its vectors"):
            answer = server.json("search", "battery", "--library", "Early")
            assert [model["kind"] for model in answer["models"]] == ["lexical"], answer["models"]

        with checks.that("a search over both compares each with its own model"):
            answer = server.json("search", "physician")
            assert sorted(model["kind"] for model in answer["models"]) == ["lexical", "neural"], answer["models"]
            assert answer["degraded"] == [], answer["degraded"]

        with checks.that("reembed moves the old library over"):
            server.command("reembed", "--library", "Early")
            for question, title in QUESTIONS.items():
                answer = server.json("search", question, "--library", "Early")
                assert [model["kind"] for model in answer["models"]] == ["neural"], answer["models"]
                assert titles(answer)[0] == title, (question, titles(answer))

        with checks.that("a running server uses it as well"):
            server.command("createsuperuser", "--username", "checker", "--password", "a password for the check")
            server.announced |= {"administrator": "checker", "password": "a password for the check"}
            server.start()
            assert "neural" in server.announced["model"], server.announced
            status, answer = server.request("POST", "search/", {"query": "doctor treats a sick kid"})
            assert status == 200 and titles(answer)[0] == "Surgery", answer
            server.stop()

        with checks.that("without the model nothing falls over: the search says what it could not do"):
            server.command("models", "remove", "all-MiniLM-L6-v2")
            answer = server.json("search", "physician", "--library", "Late")
            assert titles(answer)[0] == "Surgery", titles(answer)
            assert answer["degraded"], "a missing model is not reported"
    mirror.shutdown()
    checks.finish()


main()
