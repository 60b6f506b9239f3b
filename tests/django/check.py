"""Real Django 5.2 and Mnemosyne on one PostgreSQL: users, password hashes and sessions go from either to the other, and both
make the same tables.

    tests/services/run postgres -- PYTHON tests/django/check.py       with the packages of requirements.txt
"""

import contextlib
import datetime
import http.client
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
from django.conf import settings  # noqa: E402

ADMIN_URL = os.environ["MNEMOSYNE_TEST_POSTGRES_URL"]
OWNER = os.environ["APP_DB_USER"]
KEY, FORMER_KEY = "the-key-of-both-" + "k" * 40, "the-former-key-of-both-" + "f" * 40
PASSWORD = "corrèct horse battery stäple 🦉 " + "and more " * 12
# Where Django was first, where Mnemosyne was first, and where only Django ever was.
DATABASES = ("django_first", "ours_first", "django_alone")
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
from django.contrib.auth.hashers import check_password, identify_hasher, make_password  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import override_settings, setup_test_environment  # noqa: E402
from django.urls import path  # noqa: E402

setup_test_environment()
User = get_user_model()
urlpatterns = [path("who/", lambda request: HttpResponse(request.user.get_username() or "nobody"))]

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
                assert basic(server, username, password) == 401, username
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


def main():
    checks = Checks()
    print(f"Django {django.__version__}, psycopg {psycopg.__version__}", flush=True)
    with psycopg.connect(ADMIN_URL, autocommit=True) as administrator:
        for name in DATABASES:
            administrator.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    try:
        django_was_first(checks)
        mnemosyne_was_first(checks)
    finally:
        for connection in connections.all():
            connection.close()
    checks.finish()


if __name__ == "__main__":
    main()
