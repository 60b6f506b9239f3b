"""Bearers of MCP, with per-turn tokens that another implementation of JSON Web Tokens mints (PyJWT), and by hand where that
refuses to: every one that is forged, expired, foreign, too long, of a wrong algorithm or type, altered or widened is refused
with 401 and its challenge, and what is let through sees what it may see and nothing else.
"""

import base64
import concurrent.futures
import hashlib
import hmac
import http.client
import json
import pathlib
import sqlite3
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from mnemosyne import Checks, Server  # noqa: E402

import jwt  # noqa: E402

STRANGER = 'Bearer realm="mnemosyne"'
REFUSED = 'Bearer realm="mnemosyne", error="invalid_token"'
MALFORMED = 'Bearer realm="mnemosyne", error="invalid_request"'
TOOLS = {"search", "get_chunk", "list_libraries", "list_collections", "list_items", "get_health"}
LIST = {"method": "tools/list", "params": {}}
REMOVED = object()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value):
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def by_hand(header, claims, key, digest="sha256"):
    """A token of whatever is given; bytes go in as they are."""
    content = f"{part(header)}.{part(claims)}"
    return f"{content}.{b64(hmac.digest(key, content.encode(), digest))}"


class Mcp:
    """The MCP server, as clients see it."""

    def __init__(self, server):
        address = urllib.parse.urlsplit(server.announced["mcp"])
        self.host, self.port = address.hostname, address.port

    def send(self, authorization, message=LIST):
        """Status, challenge and JSON; `authorization` is a list of header values."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.putrequest("POST", "/mcp/")
            body = json.dumps({"jsonrpc": "2.0", "id": 1, **message}).encode()
            for name, value in (("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream"),
                                ("Content-Length", str(len(body))), *(("Authorization", each) for each in authorization)):
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, answer.headers.get("WWW-Authenticate"), json.loads(text) if text else None
        finally:
            connection.close()

    def status(self, token, message=LIST):
        return self.send([f"Bearer {token}"], message)[0]

    def call(self, token, tool, **arguments):
        """What a tool answers: its structured content, or the text of its refusal."""
        status, _, body = self.send([f"Bearer {token}"], {"method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        assert status == 200, (status, body)
        if "error" in body:
            return body["error"]["message"]
        result = body["result"]
        return result["content"][0]["text"] if result.get("isError") else result["structuredContent"]

    def tools(self, token):
        status, _, body = self.send([f"Bearer {token}"])
        assert status == 200, (status, body)
        return {tool["name"] for tool in body["result"]["tools"]}


def seed(server, kid, *options):
    return bytes.fromhex(server.json("seed_signing_key", "--kid", kid, *options)["secret_hex"])


def fill(server):
    """Two global libraries and a workspace, one document in each; their uids."""
    uids = {}
    for name in ("Tides", "Winds"):
        status, library = server.request("POST", "libraries/", {"name": name, "library_type": "technical"})
        assert status == 201, library
        uids[name] = library["library_uid"]
    status, workspace = server.request("POST", "workspaces/", {"workspace_id": "closed", "name": "Closed", "library_type": "technical"})
    assert status == 201, workspace
    uids["Closed"] = workspace["library_uid"]
    for name in uids:
        file = server.folder / f"{name}.md"
        file.write_text(f"# {name}\n\nThe ochre mark of {name} was painted by a keeper.\n")
        server.json("ingest", str(file), "--library", name)
    return uids


def passages(answer):
    """The titles that a search found; a workspace that is not there has none."""
    if answer == "workspace not found.":
        return set()
    return {result["item_title"] for result in answer["results"]}


def turns(checks, server, mcp, uids):
    """Per-turn tokens."""
    keys = {kid: seed(server, kid) for kid in ("d1", "d2", "old")}
    server.command("retire_signing_key", "--kid", "old")
    now = int(time.time())
    good = {"iss": "daedalus", "exp": now + 600, "iat": now, "ws": "closed"}
    rsa_like = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n".encode()

    def claims(**changes):
        return {name: value for name, value in {**good, **changes}.items() if value is not REMOVED}

    def minted(changes=None, kid="d1", key=None, algorithm="HS256", headers=None):
        return jwt.encode(claims(**(changes or {})), keys["d1"] if key is None else key, algorithm=algorithm,
                          headers={**({"kid": kid} if kid else {}), **(headers or {})})

    def forged(header=None, body=None, key=None, digest="sha256"):
        header = {"alg": "HS256", "typ": "JWT", "kid": "d1", **(header or {})} if not isinstance(header, bytes) else header
        if isinstance(header, dict):
            header = {name: value for name, value in header.items() if value is not REMOVED}
        return by_hand(header, good if body is None else body, keys["d1"] if key is None else key, digest)

    token = minted()
    head, payload, signature = token.split(".")
    wide = part(claims(ws=REMOVED, libs=[uids["Tides"]]))
    refused = {
        # The algorithm.
        "algorithm none": minted(algorithm="none", key=""),
        "algorithm none, with a signature": forged({"alg": "none"}),
        "algorithm None": forged({"alg": "None"}).rsplit(".", 1)[0] + ".",
        "algorithm nOnE": forged({"alg": "nOnE"}).rsplit(".", 1)[0] + ".",
        "algorithm HS384": minted(algorithm="HS384", key=keys["d1"] * 2),
        "algorithm HS384 under the key": forged({"alg": "HS384"}, digest="sha384"),
        "algorithm HS512": minted(algorithm="HS512", key=keys["d1"] * 2),
        "algorithm HS512 under the key": forged({"alg": "HS512"}, digest="sha512"),
        "algorithm RS256 with an HMAC": forged({"alg": "RS256"}),
        "algorithm ES256 with an HMAC": forged({"alg": "ES256"}),
        "algorithm hs256": forged({"alg": "hs256"}),
        "no algorithm": forged({"alg": REMOVED}),
        "algorithm that is a number": forged({"alg": 256}),
        "algorithms in a list": forged({"alg": ["HS256"]}),
        "algorithm that is null": forged({"alg": None}),
        "a public key as secret": forged(key=rsa_like),
        "an empty secret": forged(key=b""),
        # The key.
        "the secret of another key": minted(key=keys["d2"]),
        "the name of another key": minted(kid="d2"),
        "an unknown key": minted(kid="d9"),
        "a retired key": minted(kid="old", key=keys["old"]),
        "an unknown secret": minted(key=b"x" * 32),
        "the secret as its digits": minted(key=keys["d1"].hex().encode()),
        "no kid": minted(kid=None),
        "an empty kid": forged({"kid": ""}),
        "a kid that is a number": forged({"kid": 1}),
        "a kid that is null": forged({"kid": None}),
        "a kid that is a list": forged({"kid": ["d1"]}),
        "a kid that is too long": forged({"kid": "d" * 129}),
        "a kid that is a path": forged({"kid": "../../d1"}),
        "a kid that is SQL": forged({"kid": "d1' OR '1'='1"}),
        "a kid with a line break": forged({"kid": "d1\n"}),
        "a kid with a NUL": forged({"kid": "d1\0"}),
        "a key in the header": minted(key=b"y" * 32, headers={"jwk": {"kty": "oct", "k": b64(b"y" * 32)}}),
        "an address of keys in the header": minted(key=b"y" * 32, headers={"jku": "https://evil.example/keys"}),
        "an extension that must be understood": forged({"crit": ["b64"], "b64": False}),
        # The form.
        "two parts": f"{head}.{payload}",
        "four parts": f"{token}.{signature}",
        "five parts, encrypted": ".".join([head, "", payload, payload, signature]),
        "no signature": f"{head}.{payload}.",
        "a cut signature": token[:-4],
        "a changed signature": token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB"),
        "a padded signature": f"{token}=",
        "no header": f".{payload}.{signature}",
        "no payload": f"{head}..{signature}",
        "what is no base64": f"{head}.{payload[:-1]}!.{signature}",
        "a header that is no JSON": forged(b"{alg:HS256}"),
        "a header that is a list": forged(b'["HS256", "d1"]'),
        "a header that is no UTF-8": forged(b'{"alg":"HS256","kid":"d1","x":"\xff"}'),
        "claims that are no JSON": forged(body=b"iss=daedalus"),
        "claims that are a list": forged(body=[good]),
        "claims that are a text": forged(body="daedalus"),
        "claims that are null": forged(body=b"null"),
        "no claims": forged(body={}),
        "claims that are nested without end": forged(body=b'{"x":' + b"[" * 3000 + b"]" * 3000 + b"}"),
        "claims twice": forged(body=json.dumps(good).encode() * 2),
        # What was signed, and something else.
        "other claims under the same signature": f"{head}.{part(claims(ws='other'))}.{signature}",
        "a wider scope under the same signature": f"{head}.{wide}.{signature}",
        "a later end under the same signature": f"{head}.{part(claims(exp=now + 800))}.{signature}",
        "another header under the same signature": f"{part({'alg': 'HS256', 'kid': 'd2'})}.{payload}.{signature}",
        # Time.
        "an end that is over": minted({"exp": now - 1}),
        "an end long ago": minted({"exp": 1}),
        "an end at the beginning of time": minted({"exp": 0}),
        "an end before it": forged(body=claims(exp=-5)),
        "no end": minted({"exp": REMOVED}),
        "an end too far ahead": minted({"exp": now + 3_600}),
        "an end in a thousand years": minted({"exp": now + 32_000_000_000}),
        "an end that is a text": forged(body=claims(exp=str(now + 600))),
        "an end that is null": forged(body=claims(exp=None)),
        "an end that is true": forged(body=claims(exp=True)),
        "an end that is a list": forged(body=claims(exp=[now + 600])),
        "an end beyond all numbers": forged(body=json.dumps(claims(exp=0)).replace('"exp": 0', '"exp": 1e400').encode()),
        "an end that is no number": forged(body=json.dumps(claims(exp=0)).replace('"exp": 0', '"exp": NaN').encode()),
        "a beginning to come": minted({"nbf": now + 300}),
        "a beginning that is a text": forged(body=claims(nbf="now")),
        "made in the future": minted({"iat": now + 300}),
        "made at a text": forged(body=claims(iat="now")),
        # The issuer.
        "no issuer": minted({"iss": REMOVED}),
        "another issuer": minted({"iss": "somebody"}),
        "an issuer in capitals": minted({"iss": "Daedalus"}),
        "issuers in a list": forged(body=claims(iss=["daedalus"])),
        "an issuer that is null": forged(body=claims(iss=None)),
        # The scope.
        "no scope": minted({"ws": REMOVED}),
        "an empty workspace": minted({"ws": ""}),
        "an empty workspace and no libraries": minted({"ws": "", "libs": []}),
        "no libraries": minted({"ws": REMOVED, "libs": []}),
        "a workspace that is a number": minted({"ws": 7}),
        "a workspace that is null": minted({"ws": None}),
        "a workspace that is true": minted({"ws": True}),
        "workspaces in a list": minted({"ws": ["closed"]}),
        "a workspace that is an object": minted({"ws": {"id": "closed"}}),
        "a workspace that is too long": minted({"ws": "w" * 201}),
        "a workspace with a line break": minted({"ws": "closed\n"}),
        "libraries that are a text": minted({"libs": uids["Closed"]}),
        "libraries that are null": minted({"libs": None}),
        "libraries that are an object": minted({"libs": {uids["Closed"]: True}}),
        "libraries that are true": minted({"libs": True}),
        "a library that is a number": minted({"libs": [7]}),
        "a library that is null": minted({"libs": [uids["Closed"], None]}),
        "a library without a name": minted({"libs": [uids["Closed"], ""]}),
        "an impossible library": minted({"ws": REMOVED, "libs": ["*"]}),
        "a library that is a path": minted({"libs": ["../" + uids["Tides"]]}),
        "libraries in a list of lists": minted({"libs": [[uids["Closed"]]]}),
        # The turn.
        "a turn that is a number": forged(body=claims(jti=7)),
        "a turn that is null": forged(body=claims(jti=None)),
        "a turn without a name": minted({"jti": ""}),
        "a turn whose name is too long": minted({"jti": "j" * 257}),
        # Length.
        "too long by its claims": minted({"padding": "x" * 8_192}),
        "too long by its header": minted(headers={"padding": "x" * 8_192}),
    }
    with checks.that("a turn that PyJWT minted is let through"):
        for good_token in (token, minted({"jti": "a turn"}), minted({"ws": REMOVED, "libs": [uids["Tides"]]}),
                           minted({"aud": "anybody", "sub": "somebody"}), minted({"exp": now + 600.5}), forged()):
            assert mcp.send([f"Bearer {good_token}"])[0] == 200
    for what, bad in refused.items():
        with checks.that(f"refused: {what}"):
            for message in (LIST, {"method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {},
                                                                     "clientInfo": {"name": "c", "version": "1"}}},
                            {"method": "tools/call", "params": {"name": "get_health", "arguments": {}}}):
                status, challenge, body = mcp.send([f"Bearer {bad}"], message)
                assert (status, challenge, body["code"]) == (401, REFUSED, "not_authenticated"), (status, challenge, body)

    with checks.that("a turn may come again, and with nothing else in it, whichever of two requests is first"):
        first = minted({"jti": "t1"})
        for _ in range(3):
            assert mcp.status(first) == 200
        for changes in ({"ws": "other"}, {"libs": [uids["Tides"]]}, {"ws": REMOVED, "libs": [uids["Tides"]]}, {"exp": now + 601},
                        {"more": 1}):
            status, challenge, _ = mcp.send([f"Bearer {minted({'jti': 't1', **changes})}"])
            assert (status, challenge) == (401, REFUSED), changes
        assert mcp.status(first) == 200
        assert mcp.status(minted({"jti": "t1"}, kid="d2", key=keys["d2"])) == 200, "a turn of another key is another turn"
        variants = [minted({"jti": "t2", "n": n}) for n in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as together:
            statuses = list(together.map(mcp.status, variants))
        assert sorted(statuses) == [200] + [401] * 7, statuses
    with checks.that("claims override every argument"):
        inside = minted()
        assert passages(mcp.call(inside, "search", query="ochre mark")) == {"Closed"}
        own = mcp.call(inside, "search", query="ochre mark")["results"][0]["chunk_uid"]
        foreign = mcp.call(server.announced["token"], "search", query="ochre mark Tides")["results"][0]["chunk_uid"]
        for argument in ("", "other", "closed", None, "*"):
            for tool, arguments in (("search", {"query": "ochre mark"}), ("list_libraries", {}), ("list_items", {}),
                                    ("list_collections", {})):
                answer = json.dumps(mcp.call(inside, tool, workspace_id=argument, **arguments))
                assert "Tides" not in answer and "Winds" not in answer, (tool, argument, answer)
            assert "keeper" in json.dumps(mcp.call(inside, "get_chunk", chunk_uid=own, workspace_id=argument))
            assert "not found" in mcp.call(inside, "get_chunk", chunk_uid=foreign, workspace_id=argument)
        for tool in ("search", "list_items", "list_collections"):
            arguments = {"query": "ochre mark"} if tool == "search" else {}
            assert "not found" in mcp.call(inside, tool, library_uid=uids["Tides"], **arguments)
    with checks.that("libraries of a turn narrow, and never widen"):
        for changes, seen in (({"libs": [uids["Closed"]]}, {"Closed"}), ({"libs": [uids["Tides"]]}, set()), ({"libs": []}, {"Closed"}),
                              ({"ws": REMOVED, "libs": [uids["Tides"]]}, {"Tides"}), ({"ws": REMOVED, "libs": [uids["Closed"]]}, set()),
                              ({"ws": "", "libs": [uids["Winds"], uids["Closed"]]}, {"Winds"}), ({"ws": "other"}, set()),
                              ({"ws": " closed"}, set()), ({"ws": "CLOSED"}, set()), ({"ws": "no-such"}, set())):
            assert passages(mcp.call(minted(changes), "search", query="ochre mark")) == seen, changes
    with checks.that("a key that is retired is refused at once, by a server that used it a moment before"):
        turn = minted(kid="d2", key=keys["d2"])
        assert mcp.status(turn) == 200
        server.command("retire_signing_key", "--kid", "d2")
        assert mcp.send([f"Bearer {turn}"])[:2] == (401, REFUSED)
        assert mcp.status(minted()) == 200, "another key was retired with it"
        seed(server, "d3", "--retire-other")
        assert mcp.send([f"Bearer {minted()}"])[:2] == (401, REFUSED)


def opaque(checks, server, mcp, uids):
    """Stored tokens."""
    def make(name, *options):
        return server.json("create_mcp_token", "--name", name, *options)["token"]

    def change(name, column, value, table="mnemosyne_mcp_token", key="name"):
        with sqlite3.connect(server.folder / "data" / "mnemosyne.db", timeout=30) as database:
            changed = database.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, name)).rowcount
        database.close()
        assert changed == 1

    listed = lambda: {token["name"]: token for token in server.json("list_mcp_tokens")}  # noqa: E731
    whole = make("whole")
    server.command("ensure_service_user", "--username", "sleeper", "--password", "a long enough password")
    variants = {
        "unknown": "mnm_" + "A" * (len(whole) - 4),
        "cut": whole[:-1],
        "longer": whole + "A",
        "of other letters": whole.swapcase(),
        "its prefix": whole[:12],
        "its digest": hashlib.sha256(whole.encode()).hexdigest(),
        "quoted": f'"{whole}"',
        "too long": "mnm_" + "A" * 9_000,
        "expired": make("expired", "--expires-in", "1h"),
        "revoked": make("revoked"),
        "of an inactive user": make("sleepers", "--user", "sleeper"),
        "null": "null",
        "undefined": "undefined",
        "a wildcard": "%",
        "SQL": "'OR'1'='1",
    }
    change("expired", "expires_at", int((time.time() - 1) * 1e6))
    server.command("revoke_mcp_token", "revoked")
    assert mcp.status(variants["of an inactive user"]) == 200
    change("sleeper", "is_active", 0, "auth_user", "username")
    for what, bad in variants.items():
        with checks.that(f"refused, a stored token that is {what}"):
            status, challenge, body = mcp.send([f"Bearer {bad}"])
            assert (status, challenge, body["code"]) == (401, REFUSED, "not_authenticated"), (status, challenge, body)
    with checks.that("an authorization that is no single bearer is refused, and says how"):
        for values, expected in (([], STRANGER), (["Bearer"], MALFORMED), (["Bearer "], MALFORMED), (["Bearer a b"], MALFORMED),
                                 ([f"Basic {base64.b64encode(b'a:b').decode()}"], MALFORMED), ([whole], MALFORMED),
                                 ([f"Bearer {whole}", f"Bearer {whole}"], MALFORMED), ([f"Bearer\t{whole}"], MALFORMED),
                                 ([f"Bearer {whole},Bearer {whole}"], MALFORMED + "|" + REFUSED), ([f"Token {whole}"], MALFORMED)):
            status, challenge, body = mcp.send(values)
            assert status == 401 and challenge in expected.split("|"), (values, status, challenge)
    with checks.that("without a token there is health and nothing else"):
        call = lambda tool: mcp.send([], {"method": "tools/call", "params": {"name": tool, "arguments": {}}})  # noqa: E731
        assert call("get_health")[0] == 200
        for tool in sorted(TOOLS - {"get_health"}) + ["no_such_tool"]:
            assert call(tool)[:2] == (401, STRANGER), tool
    with checks.that("the scheme may be written in any case"):
        assert mcp.send([f"bearer {whole}"])[0] == mcp.send([f"BEARER {whole}"])[0] == 200
    with checks.that("a token with tools has these and no other"):
        for allowed in ({"search"}, {"list_items", "get_chunk"}, {"get_health"}):
            token = make("-".join(sorted(allowed)), *(word for tool in allowed for word in ("--tool", tool)))
            assert mcp.tools(token) == allowed
            for tool in TOOLS:
                arguments = {"search": {"query": "ochre"}, "get_chunk": {"chunk_uid": "x"}}.get(tool, {})
                answer = mcp.call(token, tool, **arguments)
                assert (answer == f"This token may not call {tool}.") == (tool not in allowed), (tool, answer)
    with checks.that("a token with libraries sees these and no other"):
        token = make("tides", "--library", uids["Tides"])
        assert passages(mcp.call(token, "search", query="ochre mark")) == {"Tides"}
        assert [library["name"] for library in mcp.call(token, "list_libraries")["libraries"]] == ["Tides"]
        assert [item["title"] for item in mcp.call(token, "list_items")["items"]] == ["Tides"]
        winds = mcp.call(whole, "search", query="ochre mark Winds", library_uid=uids["Winds"])["results"][0]["chunk_uid"]
        assert "not found" in mcp.call(token, "get_chunk", chunk_uid=winds)
        for tool in ("search", "list_items", "list_collections"):
            arguments = {"query": "ochre mark"} if tool == "search" else {}
            assert "not found" in mcp.call(token, tool, library_uid=uids["Winds"], **arguments)
    with checks.that("no stored token sees a workspace, whatever it asks for"):
        for token in (whole, make("second")):
            for workspace in ("closed", "", None):
                assert passages(mcp.call(token, "search", query="ochre mark", workspace_id=workspace)) == {"Tides", "Winds"}
            assert "not found" in mcp.call(token, "search", query="ochre mark", library_uid=uids["Closed"])
    with checks.that("the prefix recognises a token, its use is noted, and neither the token nor its digest is kept or shown"):
        row = listed()["whole"]
        assert whole.startswith(row["prefix"]) and len(row["prefix"]) < len(whole) / 2 and row["last_used_at"]
        assert listed()["second"]["last_used_at"]
        assert make("unused") and listed()["unused"]["last_used_at"] is None
        shown = server.command("list_mcp_tokens", "--json").stdout + server.command("list_mcp_tokens").stdout
        assert whole not in shown and hashlib.sha256(whole.encode()).hexdigest() not in shown
        kept = b"".join(file.read_bytes() for file in (server.folder / "data").glob("mnemosyne.db*"))
        assert whole.encode() not in kept and hashlib.sha256(whole.encode()).hexdigest().encode() in kept
        assert whole not in (server.folder / "log.txt").read_text()
    with checks.that("a token that another process revokes is refused at the next call"):
        for reference in ("whole", listed()["second"]["prefix"], str(listed()["tides"]["id"])):
            token = {"whole": whole}.get(reference)
            if token:
                assert mcp.status(token) == 200
            server.command("revoke_mcp_token", reference)
            if token:
                assert mcp.send([f"Bearer {token}"])[:2] == (401, REFUSED)
        assert {name for name, row in listed().items() if row["revoked_at"]} == {"revoked", "whole", "second", "tides"}


def main():
    checks = Checks()
    with Server() as server:
        server.start()
        uids = fill(server)
        mcp = Mcp(server)
        turns(checks, server, mcp, uids)
        opaque(checks, server, mcp, uids)
    checks.finish()


if __name__ == "__main__":
    main()
