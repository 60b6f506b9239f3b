"""Secrets at rest, held against Python's `cryptography`: what either program seals the other one opens; keys are changed without
losing anything; and nothing secret is ever printed, logged or told. Also: servers of models that a command registers beside a
running server are used by it."""

import base64
import contextlib
import http.client
import http.server
import json
import pathlib
import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from embedder import Embedder  # noqa: E402
from mnemosyne import PATIENCE, Checks, Server  # noqa: E402

from cryptography.fernet import Fernet, InvalidToken  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: E402

checks = Checks()
FIRST, SECOND = (Fernet.generate_key().decode() for _ in range(2))
OLD, NEW = "the-old-secret-key-" + "a" * 40, "the-new-secret-key-" + "b" * 40
API_KEY = "sk-1234567890-quite-secret"
PYTHONS_KEY = "sk-0987654321-from-python"
# An address that no test calls.
ELSEWHERE = "https://1.1.1.1/v1"


def derived(secret_key, purpose):
    """The Fernet key that follows from a SECRET_KEY."""
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=b"mnemosyne fernet key v1", info=purpose.encode())
    return base64.urlsafe_b64encode(kdf.derive(secret_key.encode())).decode()


def opens(key, sealed):
    try:
        return Fernet(key).decrypt(sealed.encode())
    except InvalidToken:
        return None


def run(server, *arguments, stdin=None, **variables):
    environment = {**server.environment, **variables}
    return subprocess.run([server.executable, *arguments], env=environment, cwd=server.folder, capture_output=True,
                          text=True, input=stdin if stdin is not None else "")


def good(done):
    assert done.returncode == 0, f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@contextlib.contextmanager
def database(server):
    connection = sqlite3.connect(server.folder / "data" / "mnemosyne.db", timeout=30)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def stored(server, table, column):
    with database(server) as connection:
        return connection.execute(f"SELECT {column} FROM {table} ORDER BY 1").fetchall()


def sealed_keys(server):
    with database(server) as connection:
        return dict(connection.execute("SELECT name, sealed_key FROM mnemosyne_provider"))


def add(server, name, key, *options, base_url=ELSEWHERE):
    return good(run(server, "providers", "add", name, "--base-url", base_url, "--key-file", "-", *options, stdin=key + "\n"))


def rotate(server, expected=0):
    done = run(server, "rotate_secrets", "--json")
    assert done.returncode == expected, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout), done.stderr


def listed(server):
    return {row["name"]: row for row in json.loads(good(run(server, "providers", "list", "--json")).stdout)}


with Server(SECRET_KEY=OLD, LLM_API_SECRETS_ENCRYPTION_KEY=FIRST) as server:
    with checks.that("Python opens what was sealed here"):
        add(server, "ours", API_KEY)
        assert opens(FIRST, sealed_keys(server)["ours"]) == API_KEY.encode()
    with checks.that("what Python sealed is opened here"):
        good(run(server, "providers", "add", "pythons", "--base-url", ELSEWHERE))
        with database(server) as connection:
            sealed = Fernet(FIRST).encrypt(PYTHONS_KEY.encode()).decode()
            connection.execute("UPDATE mnemosyne_provider SET sealed_key = ? WHERE name = 'pythons'", (sealed,))
        row = listed(server)["pythons"]
        assert (row["api_key_set"], row["api_key_readable"], row["api_key_hint"]) == (True, True, "thon"), row
    with checks.that("a key comes from a file or a variable, too"):
        (server.folder / "key").write_text(API_KEY + "\n")
        good(run(server, "providers", "update", "ours", "--key-file", str(server.folder / "key")))
        assert opens(FIRST, sealed_keys(server)["ours"]) == API_KEY.encode()
        good(run(server, "providers", "update", "ours", "--key-env", "THE_KEY", THE_KEY=PYTHONS_KEY))
        assert opens(FIRST, sealed_keys(server)["ours"]) == PYTHONS_KEY.encode()
        good(run(server, "providers", "update", "ours", "--remove-key"))
        assert sealed_keys(server)["ours"] is None
        add_again = run(server, "providers", "update", "ours", "--key-file", "-", stdin=API_KEY)
        good(add_again)
    with checks.that("a second key in front: the first seals, both open"):
        server.environment["LLM_API_SECRETS_ENCRYPTION_KEY"] = f"{SECOND},{FIRST}"
        assert all(row["api_key_readable"] for row in listed(server).values())
        report, _ = rotate(server)
        assert report["provider_keys"] == {"resealed": 2, "current": 0, "unreadable": []}, report
        for name, key in (("ours", API_KEY), ("pythons", PYTHONS_KEY)):
            assert opens(SECOND, sealed_keys(server)[name]) == key.encode()
    with checks.that("a rotation is repeated without any effect, and the old key can go"):
        before = sealed_keys(server)
        report, _ = rotate(server)
        assert report["provider_keys"] == {"resealed": 0, "current": 2, "unreadable": []}, report
        assert sealed_keys(server) == before
        server.environment["LLM_API_SECRETS_ENCRYPTION_KEY"] = SECOND
        assert all(row["api_key_readable"] for row in listed(server).values())
    with checks.that("a key that nothing opens is named, kept, and ends the command with an error"):
        server.environment["LLM_API_SECRETS_ENCRYPTION_KEY"] = FIRST
        before = sealed_keys(server)
        report, said = rotate(server, expected=1)
        assert report["provider_keys"]["unreadable"] == ["ours", "pythons"], report
        assert "ours" in said and "SECRET_KEY_FALLBACKS" in said, said
        assert sealed_keys(server) == before
        row = listed(server)["ours"]
        assert (row["api_key_set"], row["api_key_readable"], row["api_key_hint"]) == (True, False, None), row
    with checks.that("a wrong encryption key stops the start and is not shown"):
        for wrong in ("hunter2", FIRST[:-2], f"{FIRST},hunter2", f"{FIRST}{FIRST}"):
            done = run(server, "providers", "list", LLM_API_SECRETS_ENCRYPTION_KEY=wrong)
            assert done.returncode == 2, done
            assert "LLM_API_SECRETS_ENCRYPTION_KEY" in done.stderr, done.stderr
            assert "hunter2" not in done.stderr and FIRST[:20] not in done.stderr, done.stderr

with Server(SECRET_KEY=OLD) as server:
    with checks.that("without a key of its own it follows from SECRET_KEY, as Python derives it"):
        add(server, "ours", API_KEY)
        assert opens(derived(OLD, "mnemosyne.provider-keys"), sealed_keys(server)["ours"]) == API_KEY.encode()
        good(run(server, "providers", "add", "pythons", "--base-url", ELSEWHERE))
        with database(server) as connection:
            sealed = Fernet(derived(OLD, "mnemosyne.provider-keys")).encrypt(PYTHONS_KEY.encode()).decode()
            connection.execute("UPDATE mnemosyne_provider SET sealed_key = ? WHERE name = 'pythons'", (sealed,))
        assert listed(server)["pythons"]["api_key_hint"] == "thon"
        for kid in ("k1", "k2"):
            printed = good(run(server, "seed_signing_key", "--kid", kid)).stdout
            secret = bytes.fromhex(printed.split()[-1])
            (sealed,), = [row for row in stored(server, f"mnemosyne_signing_key WHERE kid = '{kid}'", "sealed_secret")]
            assert opens(derived(OLD, "mnemosyne.stored-secrets"), sealed) == secret
    with checks.that("a new SECRET_KEY without the old one opens nothing, says so, and changes nothing"):
        before = sealed_keys(server), stored(server, "mnemosyne_signing_key", "kid, sealed_secret")
        server.environment["SECRET_KEY"] = NEW
        report, _ = rotate(server, expected=1)
        assert report == {
            "provider_keys": {"resealed": 0, "current": 0, "unreadable": ["ours", "pythons"]},
            "signing_keys": {"resealed": 0, "current": 0, "unreadable": report["signing_keys"]["unreadable"]},
        }, report
        assert sorted(report["signing_keys"]["unreadable"]) == ["k1", "k2"], report
        assert (sealed_keys(server), stored(server, "mnemosyne_signing_key", "kid, sealed_secret")) == before
    with checks.that("with the old one behind it everything is sealed anew"):
        server.environment["SECRET_KEY_FALLBACKS"] = f"something-else,{OLD}"
        assert all(row["api_key_readable"] for row in listed(server).values())
        report, _ = rotate(server)
        assert report["provider_keys"] == {"resealed": 2, "current": 0, "unreadable": []}, report
        assert report["signing_keys"] == {"resealed": 2, "current": 0, "unreadable": []}, report
        del server.environment["SECRET_KEY_FALLBACKS"]
        report, _ = rotate(server)
        assert report["provider_keys"]["current"] == 2 and report["signing_keys"]["current"] == 2, report
        assert opens(derived(NEW, "mnemosyne.provider-keys"), sealed_keys(server)["ours"]) == API_KEY.encode()
    with checks.that("a key of its own that comes later takes over"):
        server.environment["LLM_API_SECRETS_ENCRYPTION_KEY"] = FIRST
        assert all(row["api_key_readable"] for row in listed(server).values())
        report, _ = rotate(server)
        assert report["provider_keys"]["resealed"] == 2 and report["signing_keys"]["current"] == 2, report
        assert opens(FIRST, sealed_keys(server)["ours"]) == API_KEY.encode()


def sign_in(server):
    """The cookie of a session, as a browser gets it."""
    with urllib.request.urlopen(server.announced["app"] + "accounts/login/") as page:
        csrf = page.headers["Set-Cookie"].split(";")[0]
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.read().decode()).group(1)
    form = {"csrfmiddlewaretoken": token, "username": server.announced["administrator"],
            "password": server.announced["password"], "next": "/"}
    status, headers = page_status(server, "accounts/login/", csrf, urllib.parse.urlencode(form).encode())
    assert status == 303, status
    return next(cookie.split(";")[0] for cookie in headers.get_all("Set-Cookie") if cookie.startswith("sessionid="))


def page_status(server, path, cookie, body=None):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.announced["app"]).netloc, timeout=60)
    headers = {"Cookie": cookie, "Accept": "text/html"}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request("POST" if body is not None else "GET", "/" + path, body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


with Server(SECRET_KEY=OLD) as server:
    with checks.that("a session goes on under a new SECRET_KEY while the old one is a fallback, and only then"):
        server.start()
        cookie = sign_in(server)
        assert page_status(server, "", cookie)[0] == 200
        for variables, expected in (({"SECRET_KEY": NEW}, 303),
                                    ({"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": f"another,{OLD}"}, 200)):
            server.stop()
            server.environment.update(variables)
            server.start()
            assert page_status(server, "", cookie)[0] == expected, variables


class Tattler:
    """A server that repeats the key it was given."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def refuse(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.dumps({"error": {"message": f"not allowed: {self.headers['Authorization']}"}}).encode()
                self.send_response(401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = refuse

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def search_until(server, what, condition):
    deadline = time.monotonic() + PATIENCE
    while True:
        if condition():
            return
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


tattler, embedder = Tattler(), Embedder()
with Server(SECRET_KEY=OLD, SECRET_KEY_FALLBACKS=NEW, LLM_API_SECRETS_ENCRYPTION_KEY=f"{FIRST},{SECOND}",
            MNEMOSYNE_ALLOWED_PRIVATE_HOSTS="127.0.0.1", LOGGING_LEVEL="DEBUG") as server:
    said = []
    server.start()

    def command(*arguments, stdin=None, ok=True):
        done = run(server, *arguments, stdin=stdin)
        said.append(done.stdout + done.stderr)
        assert not ok or done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done

    with checks.that("a provider that a command registers beside a running server is used by it"):
        command("providers", "add", "words", "--base-url", embedder.url, "--key-file", "-", stdin=API_KEY)
        command("provider_models", "add", "fake-words", "--provider", "words", "--role", "embedding", "--default")
        status, models = server.request("GET", "models/")
        assert status == 200 and models["results"][0]["dimension"] == 64, models
        folder = server.folder / "texts"
        folder.mkdir()
        for number in range(3):
            name = folder / f"{number}.md"
            name.write_text(f"# Kiln {number}\n\nThe kiln at Morvah is fired with gorse for eleven hours.\n")

        def is_used():
            # A job that began within a second of the change may still have taken the model from before.
            library = f"Library {time.monotonic()}"
            command("ingest", str(folder), "--library", library, "--type", "technical")
            status, libraries = server.request("GET", f"libraries/?name={library.split()[-1]}")
            return libraries["results"][0]["embedding_model"] == "fake-words"

        search_until(server, "the model is used", is_used)
        assert embedder.texts
        status, answer = server.request("POST", "search/", {"query": "How long is the kiln fired?"})
        assert status == 200 and answer["degraded"] == [], answer
    with checks.that("the model of a library stays while it is needed"):
        command("provider_models", "update", "fake-words", "--default", "no")
        kept = command("provider_models", "remove", "fake-words", ok=False)
        assert kept.returncode != 0 and "reembed" in kept.stderr, kept
        kept = command("providers", "remove", "words", ok=False)
        assert kept.returncode != 0, kept
    with checks.that("a private address that nobody named is refused, also by command, unless it is meant"):
        for url in ("http://10.1.2.3/v1", "http://localhost:9/v1"):
            refused = command("providers", "add", "inside", "--base-url", url, ok=False)
            assert refused.returncode != 0 and "private" in refused.stderr, refused
        command("providers", "add", "inside", "--base-url", "http://10.1.2.3/v1", "--allow-private")
    with checks.that("nothing secret is logged, printed, told or among the arguments"):
        command("providers", "add", "tattler", "--base-url", tattler.url, "--key-file", "-", stdin=PYTHONS_KEY)
        for role in ("reranker", "chat", "vision"):
            command("provider_models", "add", "m", "--provider", "tattler", "--role", role)
            refused = command("provider_models", "test", "m", "--role", role, ok=False)
            assert refused.returncode == 1 and "401" in refused.stdout, refused
        command("provider_models", "add", "m", "--provider", "tattler", "--role", "embedding", ok=False)
        command("provider_models", "add", "m", "--provider", "tattler", "--role", "embedding", "--dimension", "8")
        command("providers", "test", "tattler", ok=False)
        command("providers", "list", "--json")
        command("config")
        command("rotate_secrets", "--json")
        _, providers = server.request("GET", "providers/")
        _, models = server.request("GET", "models/")
        said.append(json.dumps([providers, models]))
        for provider in providers["results"]:
            said.append(json.dumps(server.request("POST", f"providers/{provider['provider_uid']}/test/", {})[1]))
        for model in models["results"]:
            said.append(json.dumps(server.request("POST", f"models/{model['model_uid']}/test/", {})[1]))
        broken = {"name": "x", "base_url": "nonsense", "api_key": API_KEY}
        said.append(json.dumps(server.request("POST", "providers/", broken)[1]))
        said.append(server.request("GET", "metrics", base=server.announced["app"])[1])
        said.append((pathlib.Path("/proc") / str(server.process.pid) / "cmdline").read_bytes().decode())
        said.append((server.folder / "log.txt").read_text())
        assert any("401" in text for text in said)
        for secret in (API_KEY, PYTHONS_KEY, FIRST, SECOND, OLD, NEW, *filter(None, sealed_keys(server).values())):
            for text in said:
                assert secret not in text, f"{secret[:8]}… is told: {text[:2000]}"
embedder.stop()

checks.finish()
