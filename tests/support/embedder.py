"""A fake embedding server that speaks OpenAI's `/v1/embeddings`: deterministic, and able to be slow, wrong, overloaded or
silent. A fake is right here: the real ones need a GPU. Standard library only.

A vector depends on the words of its text alone, so that texts with the same words lie close."""

import contextlib
import hashlib
import http.server
import json
import math
import re
import threading
import time

DIMENSION = 64


def vector(text, dimension=DIMENSION):
    values = [0.0] * dimension
    for word in re.findall(r"\w+", text.lower()):
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        place = int.from_bytes(digest[:4], "big") % dimension
        values[place] += 1.0 if digest[4] & 1 else -1.0
    if not any(values):
        values[0] = 1.0
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


class Embedder:
    """Listens on a free port of the loopback interface until `stop`."""

    def __init__(self):
        self.lock = threading.Condition()
        self.mode = "normal"  # or: overloaded, broken, wrong dimension, silent
        self.pause = 0.0  # seconds that each request takes
        self.texts = []  # every text that was answered with a vector
        self.refused = 0  # requests that were not
        self.under_way = []  # the texts of each request that has no answer yet
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
                with outer.lock:
                    outer.under_way.append(texts)
                try:
                    outer._answer(self, body, texts)
                finally:
                    with outer.lock:
                        outer.under_way.remove(texts)
                        outer.lock.notify_all()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def environment(self):
        return {"EMBEDDING_BASE_URL": self.url, "EMBEDDING_MODEL": "fake-words", "EMBEDDING_DIMENSION": str(DIMENSION),
                "EMBEDDING_TIMEOUT": "5"}

    def stop(self):
        with self.lock:
            self.mode = "normal"
            self.lock.notify_all()
        self.server.shutdown()
        self.server.server_close()

    @contextlib.contextmanager
    def being(self, mode):
        """Behaves badly inside the block."""
        with self.lock:
            self.mode = mode
        try:
            yield
        finally:
            with self.lock:
                self.mode = "normal"
                self.lock.notify_all()

    def wait_refused(self, count, patience=60):
        """Waits until this many requests were answered badly."""
        with self.lock:
            assert self.lock.wait_for(lambda: self.refused >= count, patience), "the embedder was not asked"

    def wait_idle(self, patience=60):
        """Waits until no request is without its answer, those of clients that are gone included."""
        with self.lock:
            assert self.lock.wait_for(lambda: not self.under_way, patience), "the embedder is never idle"

    def _answer(self, handler, body, texts):
        with self.lock:
            mode = self.mode
            if mode != "normal":
                self.refused += 1
                self.lock.notify_all()
            if mode == "silent":
                # The client gives up first; when it does not, the end of the block lets it go.
                self.lock.wait_for(lambda: self.mode != "silent", 120)
                handler.close_connection = True
                return
        if mode == "overloaded":
            return self._send(handler, 429, {"error": {"message": "slow down"}}, {"Retry-After": "1"})
        if mode == "broken":
            return self._send(handler, 500, {"error": {"message": "out of memory"}}, {})
        dimension = DIMENSION - 1 if mode == "wrong dimension" else DIMENSION
        if self.pause:
            time.sleep(self.pause)
        data = [{"object": "embedding", "index": i, "embedding": vector(text, dimension)} for i, text in enumerate(texts)]
        if mode == "normal":
            with self.lock:
                self.texts += texts
        return self._send(handler, 200, {"object": "list", "data": data, "model": body["model"]}, {})

    @staticmethod
    def _send(handler, status, body, headers):
        data = json.dumps(body).encode()
        with contextlib.suppress(OSError):  # whoever hung up needs no answer
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(data)
