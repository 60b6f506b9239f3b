"""Real Django 5.2 and Mnemosyne on one PostgreSQL: users, password hashes and sessions go from either to the other, both make
the same tables, and what a program like the one before Mnemosyne kept beside them is taken over.

    tests/services/run postgres -- PYTHON tests/django/check.py       with the packages of requirements.txt
"""

import base64
import concurrent.futures
import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from mnemosyne import Checks, Server  # noqa: E402

import django  # noqa: E402
import psycopg  # noqa: E402
from cryptography.fernet import Fernet  # noqa: E402
from django.conf import settings  # noqa: E402

ADMIN_URL = os.environ["MNEMOSYNE_TEST_POSTGRES_URL"]
OWNER = os.environ["APP_DB_USER"]
KEY, FORMER_KEY = "the-key-of-both-" + "k" * 40, "the-former-key-of-both-" + "f" * 40
PASSWORD = "corrèct horse battery stäple 🦉 " + "and more " * 12
# Where Django was first, where Mnemosyne was first, and where only Django ever was.
DATABASES = ("django_first", "ours_first", "django_alone", "former")
COOKIE = "sessionid"


class Router:
    """All of Django on the database that is chosen at the moment."""

    current = "default"

    def db_for_read(self, model, **hints):
        return self.current

    db_for_write = db_for_read


@contextlib.contextmanager
def on(alias):
    Router.current = alias
    try:
        yield
    finally:
        Router.current = "default"


def alias(name):
    return "default" if name == DATABASES[0] else name


def database(name):
    return {"ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": OWNER,
            "PASSWORD": os.environ["APP_DB_PASSWORD"], "HOST": os.environ["DB_HOST"], "PORT": os.environ["DB_PORT"]}


settings.configure(
    SECRET_KEY=KEY,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.cached_db",
    DATABASES={alias(name): database(name) for name in DATABASES},
    DATABASE_ROUTERS=[f"{__name__}.Router"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.auth.tokens import default_token_generator  # noqa: E402
from django.contrib.auth.hashers import check_password, identify_hasher, make_password  # noqa: E402
from django.contrib.auth.views import PasswordResetConfirmView  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import override_settings, setup_test_environment  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.encoding import force_bytes  # noqa: E402
from django.utils.http import urlsafe_base64_encode  # noqa: E402

setup_test_environment()
User = get_user_model()
urlpatterns = [path("accounts/reset/<uidb64>/<token>/", PasswordResetConfirmView.as_view(success_url="/who/"),
                    name="password_reset_confirm"),
               path("who/", lambda request: HttpResponse(request.user.get_username() or "nobody"))]

# Every hasher that Django has by default, each with the way it says its name.
HASHERS = ("pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "scrypt")


# --- Mnemosyne, as a browser and a program see it ------------------------------------------------------------------------

def mnemosyne(name, **variables):
    """`serve` on this database; everything else is embedded."""
    return Server(DB_HOST=os.environ["DB_HOST"], DB_PORT=os.environ["DB_PORT"], APP_DB_NAME=name, APP_DB_USER=OWNER,
                  APP_DB_PASSWORD=os.environ["APP_DB_PASSWORD"], SECRET_KEY=KEY, **variables)


def ask(server, method, target, body=None, **headers):
    """Status, headers and text, without following redirects."""
    address = urllib.parse.urlsplit(server.announced["app"])
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")
    finally:
        connection.close()


def cookies(headers):
    return dict(line.split(";")[0].split("=", 1) for line in headers.get_all("Set-Cookie", []))


def sign_in(server, username, password):
    """The key of the session that the sign-in page opens; None where it refuses."""
    _, headers, page = ask(server, "GET", "/accounts/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    form = urllib.parse.urlencode({"csrfmiddlewaretoken": token, "username": username, "password": password})
    _, headers, _ = ask(server, "POST", "/accounts/login/", form, **{
        "Content-Type": "application/x-www-form-urlencoded", "Cookie": f"csrftoken={cookies(headers)['csrftoken']}",
        "Origin": server.announced["app"].rstrip("/")})
    return cookies(headers).get(COOKIE)


def submit(server, target, kept, **fields):
    """Status of a form that is sent with these cookies."""
    _, headers, page = ask(server, "GET", "/accounts/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    jar = {"csrftoken": cookies(headers)["csrftoken"]} | kept
    return ask(server, "POST", target, urllib.parse.urlencode({"csrfmiddlewaretoken": token} | fields), **{
        "Content-Type": "application/x-www-form-urlencoded", "Origin": server.announced["app"].rstrip("/"),
        "Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())})[0]


def is_signed_in(server, key, username):
    """Whether the session shows the home page, which names the signed-in user."""
    status, _, page = ask(server, "GET", "/", Cookie=f"{COOKIE}={key}")
    return status == 200 and username in page


def basic(server, username, password):
    server.announced.update(administrator=username, password=password)
    return server.request("GET", "workspaces/")[0]


# --- Django, as its own programs use it ----------------------------------------------------------------------------------

def django_who(key):
    """Whom Django's middleware sees behind a session."""
    cache.clear()
    client = Client()
    client.cookies[COOKIE] = key
    return client.get("/who/").content.decode()


def django_sign_in(user):
    """The key of a session that Django opens."""
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return client.cookies[COOKIE].value


def reset_link(user):
    """A link to choose a new password, as Django mails it."""
    return f"/accounts/reset/{urlsafe_base64_encode(force_bytes(user.pk))}/{default_token_generator.make_token(user)}/"


def make_users():
    """One user for each hasher, and some that are special."""
    for hasher in HASHERS:
        User.objects.create(username=f"by-{hasher}", password=make_password(PASSWORD, hasher=hasher))
    weak = identify_hasher("pbkdf2_sha256$1$x$y").encode(PASSWORD, "0123456789abcdefghijkl", 1000)
    User.objects.create(username="by-weak", password=weak)
    User.objects.create(username="unusable", password=make_password(None))
    User.objects.create(username="asleep", password=make_password(PASSWORD), is_active=False)
    User.objects.create_superuser("root", "root@example.org", PASSWORD)


def is_strong(user):
    hasher = identify_hasher(user.password)
    return hasher.algorithm == "pbkdf2_sha256" and not hasher.must_update(user.password)


COLUMNS = """SELECT table_name, column_name, ordinal_position, data_type, character_maximum_length, is_nullable,
    column_default, is_identity, identity_generation FROM information_schema.columns
    WHERE table_schema = 'public' AND (table_name LIKE 'auth\\_%' OR table_name LIKE 'django\\_%') ORDER BY 1, 2"""
INDEXES = """SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND (tablename LIKE 'auth\\_%' OR tablename LIKE 'django\\_%') ORDER BY 1, 2"""
CONSTRAINTS = """SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype IN ('p', 'u', 'f', 'c') AND conrelid <> 0
    AND (conrelid::regclass::text LIKE 'auth\\_%' OR conrelid::regclass::text LIKE 'django\\_%') ORDER BY 1, 2"""


def rows(name, query):
    with connections[alias(name)].cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def without_places(columns):
    """Columns that Django added in a later migration come later than ours, which changes nothing."""
    return [row[:2] + row[3:] for row in columns]


# --- the checks ------------------------------------------------------------------------------------------------------------

def django_was_first(checks):
    call_command("migrate", verbosity=0)
    make_users()
    before = {name: rows(DATABASES[0], query) for name, query in (("columns", COLUMNS), ("indexes", INDEXES),
                                                                  ("constraints", CONSTRAINTS))}
    sessions = {user.username: django_sign_in(user) for user in User.objects.all() if user.username != "unusable"}
    hashes = dict(User.objects.values_list("username", "password"))
    with mnemosyne(DATABASES[0]) as server:
        with checks.that("migrate adopts a database of Django, twice, and touches none of its tables, users or sessions"):
            for _ in range(2):
                server.command("migrate")
            assert before == {"columns": rows(DATABASES[0], COLUMNS), "indexes": rows(DATABASES[0], INDEXES),
                              "constraints": rows(DATABASES[0], CONSTRAINTS)}
            assert hashes == dict(User.objects.values_list("username", "password"))
            assert rows(DATABASES[0], "SELECT count(*) FROM django_session") == [(len(sessions),)]
        server.start()
        with checks.that("whoever was signed in under Django stays signed in, and nobody who is inactive"):
            for username, key in sessions.items():
                assert is_signed_in(server, key, username) == (username != "asleep"), username
        with checks.that("a session whose signature was changed is nobody's"):
            key = sessions["root"]
            data = rows(DATABASES[0], f"SELECT session_data FROM django_session WHERE session_key = '{key}'")[0][0]
            with connections["default"].cursor() as cursor:
                change = "UPDATE django_session SET session_data = %s WHERE session_key = %s"
                cursor.execute(change, [data[:-1] + ("A" if data[-1] != "A" else "B"), key])
                assert not is_signed_in(server, key, "root")
                cursor.execute(change, [data, key])
            assert is_signed_in(server, key, "root")
        with checks.that("a session that is over is nobody's"):
            key = sessions["root"]
            with connections["default"].cursor() as cursor:
                cursor.execute("UPDATE django_session SET expire_date = now() - interval '1 second' WHERE session_key = %s",
                               [key])
            assert not is_signed_in(server, key, "root")
        for hasher in (*HASHERS, "weak"):
            with checks.that(f"the hash of {hasher} signs in, is a strong one afterwards, and still verifies under Django"):
                username = f"by-{hasher}"
                assert basic(server, username, "wrong" + PASSWORD) == 401
                assert sign_in(server, username, "wrong" + PASSWORD) is None
                assert User.objects.get(username=username).password == hashes[username], "a wrong password changed it"
                key = sign_in(server, username, PASSWORD)
                assert key and is_signed_in(server, key, username)
                user = User.objects.get(username=username)
                assert is_strong(user) and check_password(PASSWORD, user.password), user.password
                assert (user.password == hashes[username]) == (hasher == "pbkdf2_sha256")
                assert user.last_login and user.last_login > datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=10)
                assert basic(server, username, PASSWORD) == 200
                assert django_who(key) == username, "signed in here, and not under Django"
        with checks.that("without a usable password, or while inactive, nobody signs in"):
            unusable = User.objects.get(username="unusable").password
            for username, password in (("unusable", ""), ("unusable", unusable), ("unusable", unusable[1:]), ("asleep", PASSWORD)):
                assert sign_in(server, username, password) is None, username
                # 429 after so many failures from this address.
                assert basic(server, username, password) in (401, 429), username
        with checks.that("a password that is changed under Django ends the sessions here, and the other way round"):
            user = User.objects.get(username="root")
            here, there = sign_in(server, "root", PASSWORD), django_sign_in(user)
            assert is_signed_in(server, here, "root") and is_signed_in(server, there, "root")
            user.set_password("another " + PASSWORD)
            user.save()
            assert not is_signed_in(server, here, "root") and not is_signed_in(server, there, "root")
            there = django_sign_in(user)
            assert django_who(there) == "root"
            server.command("changepassword", "root", "--password", PASSWORD)
            assert django_who(there) == "nobody" and not is_signed_in(server, there, "root")
            assert check_password(PASSWORD, User.objects.get(username="root").password)
        with checks.that("a link of Django to choose a new password leads here where Django's leads, and works once"):
            user = User.objects.get(username="root")
            link = reset_link(user)
            there = Client().get(link)
            status, headers, _ = ask(server, "GET", link)
            form, kept = headers["Location"], cookies(headers)
            assert form == there.headers["Location"] == f"{link.rsplit('/', 2)[0]}/set-password/", (form, there.headers)
            assert status in (302, 303) and link.split("/")[-2] not in form
            chosen = {"new_password1": "another " + PASSWORD, "new_password2": "another " + PASSWORD}
            assert submit(server, form, {}, **chosen) == 404, "without what the link gave"
            assert submit(server, form, kept, **chosen) == 303
            user = User.objects.get(username="root")
            assert check_password("another " + PASSWORD, user.password)
            assert ask(server, "GET", link)[0] == 404 and submit(server, form, kept, **chosen) == 404
        with checks.that("and of two that choose with one link at the same moment one does"):
            link = reset_link(User.objects.get(username="root"))
            form = f"{link.rsplit('/', 2)[0]}/set-password/"
            kept = cookies(ask(server, "GET", link)[1])
            passwords = [f"{PASSWORD} {number}" for number in range(4)]
            with concurrent.futures.ThreadPoolExecutor(len(passwords)) as pool:
                told = list(pool.map(lambda new: submit(server, form, kept, new_password1=new, new_password2=new), passwords))
            assert sorted(told) == [303, 404, 404, 404], told
            user = User.objects.get(username="root")
            assert check_password(passwords[told.index(303)], user.password)
            user.set_password(PASSWORD)
            user.save()
        with checks.that("signed out here is signed out under Django"):
            key = sign_in(server, "root", PASSWORD)
            assert django_who(key) == "root"
            _, headers, page = ask(server, "GET", "/", Cookie=f"{COOKIE}={key}")
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
            status, _, _ = ask(server, "POST", "/accounts/logout/", urllib.parse.urlencode({"csrfmiddlewaretoken": token}), **{
                "Content-Type": "application/x-www-form-urlencoded", "Origin": server.announced["app"].rstrip("/"),
                "Cookie": f"{COOKIE}={key}; csrftoken={cookies(headers)['csrftoken']}"})
            assert status == 303 and django_who(key) == "nobody", status
        with checks.that("a user that is made here is one of Django's"):
            server.command("python", "manage.py", "ensure_service_user", "--username", "daedalus-service",
                           "--password", PASSWORD)
            user = User.objects.get(username="daedalus-service")
            assert is_strong(user) and check_password(PASSWORD, user.password)
            assert user.is_active and not user.is_staff and not user.is_superuser
    with mnemosyne(DATABASES[0]) as server:
        if "SECRET_KEY_FALLBACKS" not in server.command("config", "--markdown").stdout:
            return
        with checks.that("a session under a former SECRET_KEY holds while that is a fallback, as under Django"):
            with override_settings(SECRET_KEY=FORMER_KEY):
                key = django_sign_in(User.objects.get(username="by-argon2"))
            server.start()
            assert not is_signed_in(server, key, "by-argon2") and django_who(key) == "nobody"
            server.stop()
            server.environment["SECRET_KEY_FALLBACKS"] = FORMER_KEY
            server.start()
            with override_settings(SECRET_KEY_FALLBACKS=[FORMER_KEY]):
                assert is_signed_in(server, key, "by-argon2")
                assert django_who(key) == "by-argon2"


def mnemosyne_was_first(checks):
    name = DATABASES[1]
    with mnemosyne(name) as server, on(name):
        server.command("migrate")
        call_command("migrate", database="django_alone", verbosity=0)
        for what, query in (("columns", COLUMNS), ("indexes", INDEXES), ("constraints", CONSTRAINTS)):
            with checks.that(f"the {what} of Django's tables are as Django makes them"):
                ours, theirs = rows(name, query), rows("django_alone", query)
                if what == "columns":
                    ours, theirs = without_places(ours), without_places(theirs)
                assert ours == theirs, sorted(set(ours) ^ set(theirs), key=str)
        with checks.that("Django's migrate fits into our tables, with --fake-initial and without, and works"):
            call_command("migrate", database=name, fake_initial=True, verbosity=0)
            call_command("migrate", database=name, verbosity=0)
            for what, query in (("columns", COLUMNS), ("indexes", INDEXES), ("constraints", CONSTRAINTS)):
                ours, theirs = rows(name, query), rows("django_alone", query)
                assert without_places(ours) == without_places(theirs) if what == "columns" else ours == theirs, what
            done = "SELECT app, name FROM django_migrations ORDER BY id"
            assert rows(name, done) == rows("django_alone", done)
            permissions = "SELECT codename FROM auth_permission ORDER BY codename"
            assert rows(name, permissions) == rows("django_alone", permissions) != []
        with checks.that("a user of ours signs in under Django, and Django's in Mnemosyne"):
            server.command("createsuperuser", "--username", "ada", "--password", PASSWORD)
            ada = User.objects.get(username="ada")
            assert ada.is_superuser and ada.is_staff and check_password(PASSWORD, ada.password)
            group = ada.groups.create(name="readers")
            assert list(group.user_set.all()) == [ada]
            User.objects.create_user("bob", password=PASSWORD)
            server.start()
            key = sign_in(server, "bob", PASSWORD)
            assert key and django_who(key) == "bob"
            key = django_sign_in(ada)
            assert is_signed_in(server, key, "ada")
        with checks.that("migrate may be repeated after Django's"):
            server.command("migrate")
            call_command("migrate", database=name, verbosity=0)


# What a program like the one before Mnemosyne may have kept: its exact columns are not known.
FORMER = """
    CREATE TABLE mcp_server_mcptoken (id bigserial PRIMARY KEY, name varchar(100) NOT NULL, token_hash varchar(64) NOT NULL,
        prefix varchar(12), user_id integer REFERENCES auth_user (id), allowed_tools jsonb, allowed_libraries text[],
        is_active boolean NOT NULL DEFAULT true, created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz,
        last_used_at timestamptz);
    CREATE TABLE mcp_server_mcptoken_collections (id bigserial PRIMARY KEY, mcptoken_id bigint NOT NULL, collection_id text);
    CREATE TABLE mcp_server_mcpsigningkey (id bigserial PRIMARY KEY, kid varchar(64) NOT NULL, secret_hex text,
        is_active boolean NOT NULL DEFAULT true, created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz);
    CREATE TABLE llm_manager_llmapi (id bigserial PRIMARY KEY, name varchar(100), base_url varchar(500), api_key text,
        verify_ssl boolean NOT NULL DEFAULT true);
    CREATE TABLE llm_manager_llmmodel (id bigserial PRIMARY KEY, api_id bigint REFERENCES llm_manager_llmapi (id),
        name varchar(200), model_type varchar(20), vector_dimension integer);
    CREATE TABLE library_ingestjob (id uuid PRIMARY KEY, status varchar(20), content_hash text, source_ref text);
    CREATE TABLE accounts_userprofile (id bigserial PRIMARY KEY, user_id integer, timezone varchar(50));
    CREATE TABLE "odd ""name'; DROP TABLE auth_user; --" (kid text, secret_hex text);
    CREATE TABLE library_library (id bigserial PRIMARY KEY, name text);
"""


def digest(token):
    return hashlib.sha256(token.encode()).hexdigest()


def everything(name):
    """The rows of every table that is not ours, as text."""
    tables = [row[0] for row in rows(name, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE "
                                           "'mnemosyne\\_%' AND tablename <> '_sqlx_migrations' ORDER BY 1")]
    quoted = ['"' + table.replace('"', '""') + '"' for table in tables]
    return {table: rows(name, f"SELECT found::text FROM {table} AS found ORDER BY 1") for table in quoted}


def fill_former(name):
    user = User.objects.create_superuser("root", password=PASSWORD)
    asleep = User.objects.create_user("asleep", password=PASSWORD, is_active=False)
    own, sealing = Fernet.generate_key(), base64.urlsafe_b64encode(hashlib.sha256(KEY.encode()).digest())
    soon, gone = "now() + interval '1 day'", "now() - interval '1 day'"
    tokens = [  # name, token, owner, tools, libraries, active, expires, what becomes of it
        ("plain", "t-plain", user.id, "NULL", "NULL", True, "NULL", "taken"),
        ("plain", "t-second", user.id, "NULL", "NULL", True, soon, "taken"),
        ("tools", "t-tools", user.id, "'[\"search\", \"write_poem\"]'", "NULL", True, "NULL", "taken"),
        ("libraries", "t-libraries", user.id, "NULL", "'{no-such-library}'", True, "NULL", "taken"),
        ("nobodys", "t-nobodys", None, "NULL", "NULL", True, "NULL", "taken"),
        ("of asleep", "t-asleep", asleep.id, "NULL", "NULL", True, "NULL", "taken"),
        ("empty", "t-empty", user.id, "'[]'", "NULL", True, "NULL", "may mean all or none"),
        ("strange", "t-strange", user.id, "'{\"search\": true}'", "NULL", True, "NULL", "cannot be read"),
        ("others", "t-others", user.id, "'[\"write_poem\"]'", "NULL", True, "NULL", "none of its tools"),
        ("impossible", "t-impossible", user.id, "NULL", "'{a/b}'", True, "NULL", "none of its libraries"),
        ("inactive", "t-inactive", user.id, "NULL", "NULL", False, "NULL", "not in use"),
        ("expired", "t-expired", user.id, "NULL", "NULL", True, gone, "expired"),
        ("restricted", "t-restricted", user.id, "NULL", "NULL", True, "NULL", "another table restricts it"),
    ]
    keys = [  # kid, what is stored, its bytes, what becomes of it
        ("daedalus-1", "0b" * 32, "taken"),
        ("daedalus-2", Fernet(sealing).encrypt(("0c" * 32).encode()).decode(), "taken"),
        ("foreign", Fernet(own).encrypt(b"0d" * 32).decode(), "sealed with a key that is not set"),
        ("short", "0e" * 8, "shorter than"),
        ("line\nbreak", "0f" * 32, "on one line"),
        ("none", None, "holds no secret"),
    ]
    with connections[name].cursor() as cursor:
        cursor.execute(FORMER)
        for title, token, owner, tools, libraries, active, expires, _ in tokens:
            cursor.execute("INSERT INTO mcp_server_mcptoken (name, token_hash, prefix, user_id, allowed_tools, allowed_libraries, "
                           f"is_active, expires_at, last_used_at, created_at) VALUES (%s, %s, %s, %s, {tools}, {libraries}, %s, "
                           f"{expires}, '2026-03-04 05:06:07+00', '2026-01-02 03:04:05+00')",
                           [title, digest(token), token[:6], owner, active])
        cursor.execute("INSERT INTO mcp_server_mcptoken (name, token_hash) VALUES ('broken', 'not a hash')")
        cursor.execute("INSERT INTO mcp_server_mcptoken_collections (mcptoken_id, collection_id) "
                       "SELECT id, 'c' FROM mcp_server_mcptoken WHERE name = 'restricted'")
        for kid, secret, _ in keys:
            cursor.execute("INSERT INTO mcp_server_mcpsigningkey (kid, secret_hex) VALUES (%s, %s)", [kid, secret])
        cursor.execute("INSERT INTO mcp_server_mcpsigningkey (kid, secret_hex, is_active) VALUES ('retired', %s, false)", ["0a" * 32])
        cursor.execute("INSERT INTO mcp_server_mcpsigningkey (kid, secret_hex, expires_at) VALUES ('over', %s, '2026-01-01')", ["0e" * 32])
        cursor.execute("INSERT INTO llm_manager_llmapi (name, base_url, api_key, verify_ssl) VALUES "
                       "('vllm', 'https://models.example.org/v1', %s, false)", [Fernet(own).encrypt(b"sk-very-secret").decode()])
        cursor.execute("INSERT INTO llm_manager_llmmodel (api_id, name, model_type, vector_dimension) VALUES (1, 'qwen', 'embedding', 4096)")
        for state in ("completed", "completed", "pending", "failed", "completed"):
            cursor.execute("INSERT INTO library_ingestjob VALUES (gen_random_uuid(), %s, 'h', 'r')", [state])
        cursor.execute("INSERT INTO accounts_userprofile (user_id, timezone) VALUES (1, 'Europe/Vienna')")
        cursor.execute('INSERT INTO "odd ""name\'; DROP TABLE auth_user; --" VALUES (%s, %s)', ["odd", "1a" * 32])
        cursor.execute("INSERT INTO library_library (name) VALUES ('Papers')")
    return tokens, keys, own


def mcp(server, token):
    """Status of a call of MCP, and the tools that it lists."""
    address = urllib.parse.urlsplit(server.announced["mcp"])
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
    connection.request("POST", "/mcp/", body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json",
                                               "Accept": "application/json, text/event-stream"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    found = re.findall(r'"name":"(search|get_chunk|list_[a-z]+|get_health)"', text) if answer.status == 200 else []
    return answer.status, set(found)


def the_former_system_is_taken_over(checks):
    name = DATABASES[3]
    with mnemosyne(name) as server, on(name):
        call_command("migrate", database=name, verbosity=0)
        tokens, keys, own = fill_former(name)
        server.command("migrate")
        before = everything(name)

        def imported(*options):
            done = server.command("import_django", "--json", *options)
            for secret in ("sk-very-secret", "0b0b", "0c0c", own.decode(), digest("t-plain")):
                assert secret not in done.stdout + done.stderr, secret
            return {table["table"]: table for table in json.loads(done.stdout)["tables"]}

        with checks.that("a dry run says what would be taken, and takes nothing"):
            report = imported("--dry-run")
            assert report["mcp_server_mcptoken"]["taken"] == 6, report["mcp_server_mcptoken"]
            assert report["mcp_server_mcpsigningkey"]["taken"] == 2, report["mcp_server_mcpsigningkey"]
            assert rows(name, "SELECT count(*) FROM mnemosyne_mcp_token") == [(0,)]
            assert rows(name, "SELECT count(*) FROM mnemosyne_signing_key") == [(0,)]
        first = imported()
        with checks.that("tokens and keys are taken, and everything that is left is named with its reason"):
            for table, expected in (("mcp_server_mcptoken", [(t[0], t[-1]) for t in tokens] + [("broken", "no SHA-256")]),
                                    ("mcp_server_mcpsigningkey", [(k[0], k[-1]) for k in keys] + [("retired", "not in use"), ("over", "expired")])):
                left = {row["row"]: row["why"] for row in first[table]["left"]}
                for number, (title, outcome) in enumerate(expected, 1):
                    why = left.pop(str(number), "taken")
                    assert outcome in why, (title, why)
                assert not left and first[table]["rows"] == len(expected), left
                assert first[table]["taken"] == sum(outcome == "taken" for _, outcome in expected)
            kinds = {table: report["recognised_as"] for table, report in first.items() if not table.startswith(("auth_", "django_"))}
            assert kinds == {
                "mcp_server_mcptoken": "mcp_tokens", "mcp_server_mcptoken_collections": "unknown",
                "mcp_server_mcpsigningkey": "signing_keys", "llm_manager_llmapi": "providers",
                "llm_manager_llmmodel": "models", "library_ingestjob": "jobs", "accounts_userprofile": "profiles",
                "library_library": "unknown", "odd \"name'; DROP TABLE auth_user; --": "signing_keys"}, kinds
            assert first["auth_user"]["note"] and first["library_library"]["note"]
        with checks.that("a second import takes nothing new, and nothing of the former tables ever changes"):
            second = imported()
            assert all(report["taken"] == 0 for report in second.values()), second
            for table, report in first.items():
                assert second[table]["known"] == report["taken"] and second[table]["left"] == report["left"], table
            assert everything(name) == before
        server.start()
        with checks.that("tokens of the former system are accepted, within their limits"):
            everyone = {"search", "get_chunk", "list_libraries", "list_collections", "list_items", "get_health"}
            for title, token, *_, outcome in tokens:
                status, tools = mcp(server, token)
                if outcome != "taken" or title == "of asleep":
                    assert status == 401, (title, status)
                else:
                    assert (status, tools) == (200, {"search"} if title == "tools" else everyone), (title, status, tools)
        with checks.that("they keep their times, and names that come twice are told apart"):
            listed = {token["name"]: token for token in server.json("list_mcp_tokens")}
            assert {"plain", "plain (2)", "tools", "libraries", "nobodys", "of asleep"} == set(listed), set(listed)
            assert listed["plain"]["created_at"].startswith("2026-01-02T03:04:05"), listed["plain"]
            assert listed["tools"]["tools"] == ["search"] and listed["libraries"]["libraries"] == ["no-such-library"]
            assert listed["nobodys"]["username"] == "root" and listed["plain (2)"]["expires_at"]
        with checks.that("a token that was revoked since does not come back with another import"):
            server.command("revoke_mcp_token", "plain")
            assert imported()["mcp_server_mcptoken"]["taken"] == 0
            assert mcp(server, "t-plain")[0] == 401
        with checks.that("an empty list is taken as all where that is said"):
            assert imported("--empty-means-all")["mcp_server_mcptoken"]["taken"] == 1
            assert mcp(server, "t-empty")[0] == 200
        with checks.that("jobs are counted by their states, and none is taken"):
            jobs = first["library_ingestjob"]
            assert (jobs["rows"], jobs["taken"], jobs["known"], jobs["left"]) == (5, 0, 0, []), jobs
            assert jobs["states"] == {"completed": 3, "failed": 1, "pending": 1} and "not taken" in jobs["note"], jobs
            assert rows(name, "SELECT count(*) FROM mnemosyne_job") == [(0,)]
        with checks.that("profiles come over"):
            assert first["accounts_userprofile"]["taken"] == 1, first["accounts_userprofile"]
            assert rows(name, "SELECT time_zone FROM mnemosyne_profile WHERE user_id = 1") == [("Europe/Vienna",)]
        with checks.that("servers of models come over with the key that opens theirs, and their models with them"):
            assert "not set here" in first["llm_manager_llmapi"]["left"][0]["why"], first["llm_manager_llmapi"]
            assert "was not taken" in first["llm_manager_llmmodel"]["left"][0]["why"], first["llm_manager_llmmodel"]
            server.environment["LLM_API_SECRETS_ENCRYPTION_KEY"] = own.decode()
            assert imported("--dry-run")["llm_manager_llmmodel"]["taken"] == 1
            for taken, known in ((1, 0), (0, 1)):
                report = imported()
                for table in ("llm_manager_llmapi", "llm_manager_llmmodel"):
                    assert (report[table]["taken"], report[table]["known"]) == (taken, known), report[table]
            listed = server.json("providers", "list")
            assert "vllm" in json.dumps(listed) and "sk-very-secret" not in json.dumps(listed), listed
            assert "4096" in json.dumps(server.json("provider_models", "list"))
        with checks.that("keys of the former system verify its turns"):
            for kid, secret in (("daedalus-1", bytes([0x0B] * 32)), ("daedalus-2", bytes([0x0C] * 32)), ("odd", bytes([0x1A] * 32))):
                assert mcp(server, turn(kid, secret))[0] == 200, kid
                assert mcp(server, turn(kid, b"x" * 32))[0] == 401, kid
        with checks.that("the report for people names tables, counts and reasons"):
            text = server.command("import_django").stdout
            assert "5 rows: 0 taken, 0 here already, 5 left\n  3 completed\n  1 failed\n  1 pending\n  Jobs are not taken" in text, text
            assert "mcp_server_mcptoken (mcp_tokens)" in text and "another table restricts it" in text, text


def turn(kid, key):
    """A per-turn token."""
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    expires = int(datetime.datetime.now(datetime.UTC).timestamp()) + 300
    content = part({"alg": "HS256", "kid": kid}) + b"." + part({"iss": "daedalus", "exp": expires, "ws": "w"})
    signature = base64.urlsafe_b64encode(hmac.digest(key, content, "sha256")).rstrip(b"=")
    return (content + b"." + signature).decode()


def main():
    checks = Checks()
    print(f"Django {django.__version__}, psycopg {psycopg.__version__}", flush=True)
    with psycopg.connect(ADMIN_URL, autocommit=True) as administrator:
        for name in DATABASES:
            administrator.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    try:
        django_was_first(checks)
        mnemosyne_was_first(checks)
        the_former_system_is_taken_over(checks)
    finally:
        for connection in connections.all():
            connection.close()
    checks.finish()


if __name__ == "__main__":
    main()
