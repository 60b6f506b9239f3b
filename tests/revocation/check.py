"""What is taken away in one process is taken away in all: two `app`s and one `mcp` as processes of their own, on the servers of
the deployment document.

    check.py      standard library only
"""

import base64
import concurrent.futures
import hashlib
import hmac
import http.cookiejar
import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from fleet import PASSWORD, USER, Fleet, authorization, run_suite  # noqa: E402
from mnemosyne import Checks  # noqa: E402

ROOT = "root"
# How often a program asks before something is taken away: what may be remembered is remembered by then.
WARM = 5
# How often two processes try to get in each other's way.
ROUNDS = 20


def ask(address, method="GET", body=None, **headers):
    """Status, headers and text of one request; redirects are not followed."""
    data = None if body is None else body.encode()
    request = urllib.request.Request(address, data, headers, method=method)

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        with urllib.request.build_opener(Stay).open(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def basic(role, username, password):
    """Status of a call of REST."""
    return ask(f"{role.address}library/api/workspaces/", Authorization=authorization(username, password))[0]


def administer(role, method, path, body=None):
    """Status and JSON of a call of REST as the administrator."""
    status, _, text = ask(f"{role.address}library/api/{path}", method, None if body is None else json.dumps(body), **{
        "Authorization": authorization(ROOT, PASSWORD), "Content-Type": "application/json"})
    return status, json.loads(text) if text else None


def mcp(fleet, token):
    """Status and challenge of a call of MCP."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
    status, headers, _ = ask(f"{fleet.mcp.address}mcp/", "POST", body, **{
        "Authorization": f"Bearer {token}", "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream"})
    return status, headers.get("WWW-Authenticate")


def turn(kid, secret):
    """A per-turn token."""
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    content = part({"alg": "HS256", "kid": kid}) + b"." + part({"iss": "daedalus", "exp": int(time.time()) + 600, "ws": "w"})
    signature = base64.urlsafe_b64encode(hmac.digest(secret, content, hashlib.sha256)).rstrip(b"=")
    return (content + b"." + signature).decode()


class Browser:
    """Somebody who signs in at one process."""

    def __init__(self, role, username, password):
        self.origin = role.address.rstrip("/")
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        self.post("/accounts/login/", username=username, password=password)

    def open(self, path, data=None, origin=None):
        """Where it led, and the page."""
        with self.opener.open(urllib.request.Request((origin or self.origin) + path, data), timeout=60) as answer:
            return urllib.parse.urlsplit(answer.url).path, answer.read().decode()

    def post(self, path, at=None, **fields):
        _, page = self.open(at or path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        return self.open(path, urllib.parse.urlencode({"csrfmiddlewaretoken": token, **fields}).encode())

    def is_signed_in(self, role):
        """The cookies hold for every port of the host."""
        return self.open("/profile/", origin=role.address.rstrip("/"))[0] == "/profile/"


def user_id(fleet, username):
    return fleet.sql(f"SELECT id FROM auth_user WHERE username = '{username}'")[0][0]


def sign_ins(fleet, username):
    """How often a password was really checked: what is remembered is counted once a minute."""
    return int(fleet.sql("SELECT coalesce(sum(count), 0) FROM mnemosyne_audit "
                         f"WHERE event = 'signed_in' AND actor = '{username}' AND detail = 'basic'")[0][0])


def warm(fleet, role, username, password):
    """The process remembers the password: it is asked, and does not check it again."""
    assert basic(role, username, password) == 200
    before = sign_ins(fleet, username)
    for _ in range(WARM):
        assert basic(role, username, password) == 200
    assert sign_ins(fleet, username) == before, "nothing is remembered"


def tokens(checks, fleet):
    def made(name):
        token = json.loads(fleet.command("create_mcp_token", "--name", name, "--user", USER, "--json").stdout)["token"]
        for _ in range(WARM):
            assert mcp(fleet, token)[0] == 200
        return token

    refused = (401, 'Bearer realm="mnemosyne", error="invalid_token"')
    with checks.that("a token that a command revokes is refused by the very next call of MCP"):
        token = made("by command")
        fleet.command("revoke_mcp_token", "by command")
        assert mcp(fleet, token) == refused, mcp(fleet, token)
    with checks.that("and so is one that its owner revokes on a page"):
        token = made("by page")
        browser = Browser(fleet.app, USER, PASSWORD)
        _, page = browser.open("/connect/")
        path = re.search(r"/connect/tokens/\d+/revoke/", page)[0]
        browser.post(path, at="/connect/")
        assert mcp(fleet, token) == refused, mcp(fleet, token)
    with checks.that("a signing key that another takes the place of signs nothing from the very next call on"):
        secrets = {}
        for kid in ("d1", "d2"):
            key = json.loads(fleet.command("seed_signing_key", "--kid", kid, "--json").stdout)
            secrets[kid] = bytes.fromhex(key["secret_hex"])
        former, other = turn("d1", secrets["d1"]), turn("d2", secrets["d2"])
        for _ in range(WARM):
            assert mcp(fleet, former)[0] == mcp(fleet, other)[0] == 200
        key = json.loads(fleet.command("seed_signing_key", "--kid", "d3", "--retire-other", "--json").stdout)
        assert mcp(fleet, former) == mcp(fleet, other) == refused
        assert mcp(fleet, turn("d3", bytes.fromhex(key["secret_hex"])))[0] == 200
        fleet.command("retire_signing_key", "--kid", "d3")
        assert mcp(fleet, turn("d3", bytes.fromhex(key["secret_hex"]))) == refused


def passwords(checks, fleet, apps):
    here, there = apps
    who = user_id(fleet, USER)
    former = PASSWORD
    for number, (way, change) in enumerate((
            ("over REST of the other", lambda new: administer(here, "POST", f"users/{who}/password/", {"password": new})[0] == 204),
            ("by a command", lambda new: fleet.command("changepassword", USER, "--password", new)),
            ("by ensure_service_user", lambda new: fleet.command("ensure_service_user", "--username", USER, "--password", new)))):
        with checks.that(f"a password that is changed {way} is refused at once by the process that remembers it"):
            for app in apps:
                warm(fleet, app, USER, former)
            browser = Browser(there, USER, former)
            assert browser.is_signed_in(there) and browser.is_signed_in(here)
            new = f"owls-fly-late-{number}"
            assert change(new)
            assert [basic(app, USER, former) for app in (there, here)] == [401, 401]
            assert [basic(app, USER, new) for app in (there, here)] == [200, 200]
            assert not browser.is_signed_in(there) and not browser.is_signed_in(here)
            former = new
    return former


def remembered(checks, fleet, password):
    with checks.that("a process that starts later finds in the shared cache what another has checked"):
        warm(fleet, fleet.app, USER, password)
        before = sign_ins(fleet, USER)
        later = fleet.role("app-3", "app").start()
        assert basic(later, USER, password) == 200
        assert sign_ins(fleet, USER) == before, "it was checked again"
        assert basic(later, USER, password + "x") == 401
        later.stop()


def deactivated(checks, fleet, apps, password):
    here, there = apps
    with checks.that("an account that is deactivated in one process is nobody in the others: Basic, sessions, tokens"):
        token = json.loads(fleet.command("create_mcp_token", "--name", "of the deactivated", "--user", USER, "--json").stdout)["token"]
        assert mcp(fleet, token)[0] == 200
        for app in apps:
            warm(fleet, app, USER, password)
        browser = Browser(there, USER, password)
        assert browser.is_signed_in(there)
        who = f"users/{user_id(fleet, USER)}/"
        assert administer(here, "PATCH", who, {"is_active": False})[0] == 200
        assert [basic(app, USER, password) for app in (there, here)] == [401, 401]
        assert not browser.is_signed_in(there)
        assert mcp(fleet, token)[0] == 401
        assert administer(there, "PATCH", who, {"is_active": True})[0] == 200
        assert basic(here, USER, password) == 200 and mcp(fleet, token)[0] == 200
        assert not browser.is_signed_in(there), "a session came back"


def at_once(checks, fleet, apps):
    with checks.that("of changes of one password that two processes make at once, each is done or is told of the other"):
        who = f"users/{user_id(fleet, USER)}/password/"
        before = int(fleet.sql("SELECT count(*) FROM mnemosyne_audit WHERE event = 'password_changed'")[0][0])
        done = told = 0
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for attempt in range(ROUNDS):
                wanted = [f"owls-fly-early-{attempt}-{number}" for number in range(4)]
                answers = list(pool.map(
                    lambda pair: administer(apps[pair[0] % 2], "POST", who, {"password": pair[1]}), enumerate(wanted)))
                assert {status for status, _ in answers} <= {204, 409}, answers
                assert all(body["code"] == "conflict" for status, body in answers if status == 409), answers
                winners = [password for password, (status, _) in zip(wanted, answers) if status == 204]
                assert winners, answers
                works = [password for password in wanted if basic(apps[attempt % 2], USER, password) == 200] \
                    if len(winners) > 1 else winners
                assert len(works) == 1 and works[0] in winners, (works, winners)
                assert basic(apps[0], USER, works[0]) == basic(apps[1], USER, works[0]) == 200
                done, told = done + len(winners), told + len(wanted) - len(winners)
                if told:
                    break
        assert told, "they never met"
        after = int(fleet.sql("SELECT count(*) FROM mnemosyne_audit WHERE event = 'password_changed'")[0][0])
        assert after - before == done, (before, after, done)
    with checks.that("of changes of one server of models that two processes make at once, too"):
        def provider():
            return administer(apps[0], "GET", f"providers/{uid}/")[1]

        status, made = administer(apps[0], "POST", "providers/", {"name": "gpu", "base_url": "https://1.1.1.1/v1", "api_key": "first"})
        assert status == 201, made
        uid, told = made["provider_uid"], 0
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for attempt in range(ROUNDS):
                seen = provider()["updated_at"]
                answers = list(pool.map(lambda number: administer(apps[number % 2], "PATCH", f"providers/{uid}/", {
                    "name": f"gpu {attempt} {number}", "api_key": f"key-of-the-server-{number}{number}{number}{number}",
                    "updated_at": seen}), range(4)))
                statuses = sorted(status for status, _ in answers)
                assert statuses == [200, 409, 409, 409], answers
                winner = next(number for number, (status, _) in enumerate(answers) if status == 200)
                now = provider()
                assert now["name"] == f"gpu {attempt} {winner}" and now["api_key_hint"] == f"{winner}" * 4, now
                told += 3
        assert told == 3 * ROUNDS


def main():
    checks = Checks()
    with Fleet() as fleet:
        fleet.prepare()
        fleet.command("createsuperuser", "--noinput", "--username", ROOT, DJANGO_SUPERUSER_PASSWORD=PASSWORD)
        apps = (fleet.app.start(), fleet.role("app-2", "app").start())
        fleet.mcp.start()
        tokens(checks, fleet)
        password = passwords(checks, fleet, apps)
        remembered(checks, fleet, password)
        deactivated(checks, fleet, apps, password)
        at_once(checks, fleet, apps)
    checks.finish()


if __name__ == "__main__":
    run_suite(main)
