"""A reverse proxy on loopback in front of an HTTP server, which can break or slow down: for faults
that a real server does not have on demand. Standard library only."""

import contextlib
import http.client
import http.server
import sys
import threading
import time
import urllib.parse

BROKEN = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code><Message>We broke.</Message></Error>'
PAUSE = 0.5


class Proxy:
    """Listens on a free port until `stop`, and hands everything on unless told otherwise."""

    def __init__(self):
        self.lock = threading.Condition()
        self.mode = "normal"  # or: broken, slow
        self.touched = 0
        self.host = self.port = None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                with contextlib.suppress(ConnectionError):
                    outer._handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *client):
                # A client that was killed is no news.
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(*client)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def target(self, url):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @contextlib.contextmanager
    def being(self, mode):
        """Misbehaves inside the block."""
        with self.lock:
            self.mode, self.touched = mode, 0
        try:
            yield
        finally:
            with self.lock:
                self.mode = "normal"

    def wait_touched(self, count, patience=60):
        """Waits until this many requests were answered badly."""
        with self.lock:
            assert self.lock.wait_for(lambda: self.touched >= count, patience), "the server was not asked"

    def _handle(self, handler):
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else None
        mode = self.mode
        if mode == "broken":
            with self.lock:
                self.touched += 1
                self.lock.notify_all()
            return self._answer(handler, 500, [("Content-Type", "application/xml")], BROKEN.encode())
        if mode == "slow":
            time.sleep(PAUSE)
        # The signature covers the Host header, so it is handed on as it came.
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            headers = [(n, v) for n, v in answer.getheaders()
                       if n.lower() not in ("connection", "transfer-encoding", "content-length")]
            size = answer.getheader("Content-Length") if handler.command == "HEAD" else None
        except OSError as error:
            return self._answer(handler, 502, [], str(error).encode())
        finally:
            connection.close()
        return self._answer(handler, answer.status, headers, content, size)

    @staticmethod
    def _answer(handler, status, headers, content, size=None):
        handler.send_response_only(status)
        for name, value in headers:
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", size or str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)
