#!/usr/bin/env python3
"""Writes the vectors beside this file with the programs whose formats they are.

    python3 -m venv venv
    venv/bin/pip install "django==5.2.*" argon2-cffi bcrypt cryptography pyjwt
    venv/bin/python crates/crypto/tests/vectors/make.py

Salts, times and keys are fixed where the program lets us fix them; the rest (Fernet's vectors, CSRF masks) is random and
differs in every run.
"""

import json
import pathlib
import time
from unittest import mock

import django
from django.conf import settings

SECRET_KEY = "django-insecure-vectors-only-é-0123456789abcdefghijklmnopqrstuvwxyz"
settings.configure(
    SECRET_KEY=SECRET_KEY,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

import cryptography
import jwt
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core import signing
from django.middleware import csrf

HERE = pathlib.Path(__file__).parent
SIGNED_AT = 1_790_000_000


def write(name, programs, vectors):
    document = {"made_by": programs, **vectors}
    (HERE / name).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def signed(value, **options):
    with mock.patch.object(time, "time", lambda: SIGNED_AT):
        return signing.dumps(value, **options)


def session(data):
    with mock.patch.object(time, "time", lambda: SIGNED_AT):
        return {"data": data, "text": SessionStore().encode(data)}


def password(text, salt=None):
    return {"password": text, "encoded": make_password(text, salt=salt)}


def weak(text):
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    return {"password": text, "encoded": PBKDF2PasswordHasher().encode(text, "oldsalt", 1000)}


def other(text, hasher):
    return {"password": text, "encoded": make_password(text, hasher=hasher)}


def masked():
    secret = csrf._get_new_csrf_string()
    return {"secret": secret, "token": csrf._mask_cipher_secret(secret)}


signing_in = User(username="ada", password="pbkdf2_sha256$1000000$abcdefghijklmnopqrstuv$AAAA")
session_data = {
    "_auth_user_id": "1",
    "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
    "_auth_user_hash": signing_in.get_session_auth_hash(),
}
write(
    "django.json",
    f"Django {django.__version__}",
    {
        "secret_key": SECRET_KEY,
        "signed_at": SIGNED_AT,
        "passwords": [password("correct horse battery staple"), password("pässwörd 🦉"), password("")],
        "weak_passwords": [weak("older than the others")]
        + [
            other(text, hasher)
            for hasher in ["pbkdf2_sha1", "argon2", "bcrypt_sha256", "scrypt"]
            for text in ["correct horse battery staple", "pässwörd 🦉 " + "long " * 30]
        ],
        "unusable_password": make_password(None),
        "signed": [
            {"value": value, "salt": salt, "compress": compress, "text": signed(value, salt=salt, compress=compress)}
            for value, salt, compress in [
                ({"a": 1, "b": [True, None, 1.5]}, "django.core.signing", False),
                ("é and 🦉", "reset", False),
                ({"words": ["again"] * 60}, "long", True),
                ({"w": 1}, "short", True),
            ]
        ],
        "sessions": [
            session(session_data),
            session({}),
            session({**session_data, "basket": ["Zoë", "🦉"] * 40}),
        ],
        "auth_hashes": [{"password_hash": signing_in.password, "hash": signing_in.get_session_auth_hash()}],
        "csrf": [masked() for _ in range(4)],
    },
)

keys = [Fernet.generate_key() for _ in range(2)]
write(
    "fernet.json",
    f"cryptography {cryptography.__version__}",
    {
        "tokens": [
            {"key": key.decode(), "plain": plain, "token": Fernet(key).encrypt(plain.encode()).decode()}
            for key in keys
            for plain in ["", "sk-a-provider-key", "sixteen bytes ok", "ä" * 100]
        ],
        "derived": [
            {
                "secret_key": SECRET_KEY,
                "purpose": purpose,
                "token": Fernet(
                    __import__("base64").urlsafe_b64encode(
                        HKDF(SHA256(), 32, b"mnemosyne fernet key v1", purpose.encode()).derive(SECRET_KEY.encode())
                    )
                ).encrypt(b"derived").decode(),
            }
            for purpose in ["signing keys", "another"]
        ],
    },
)

key = bytes(range(32, 64))
claims = {"iss": "daedalus", "iat": SIGNED_AT, "exp": SIGNED_AT + 600, "jti": "turn-1", "ws": "workspace-é", "libs": ["l1"]}


def token(changes=None, algorithm="HS256", kid="daedalus-1", signing_key=key):
    payload = {name: value for name, value in {**claims, **(changes or {})}.items() if value != "REMOVED"}
    return jwt.encode(payload, signing_key, algorithm=algorithm, headers={"kid": kid} if kid else None)


write(
    "jwt.json",
    f"PyJWT {jwt.__version__}",
    {
        "key": key.hex(),
        "now": SIGNED_AT,
        "claims": claims,
        "good": token(),
        "good_libraries_only": token({"ws": "REMOVED"}),
        "bad": {
            "algorithm none": token(algorithm="none", signing_key=None),
            "algorithm HS384": token(algorithm="HS384", signing_key=key * 2),
            "algorithm HS512": token(algorithm="HS512", signing_key=key * 2),
            "another key": token(signing_key=b"x" * 32),
            "no kid": token(kid=None),
            "no exp": token({"exp": "REMOVED"}),
            "exp passed": token({"exp": SIGNED_AT}),
            "exp too far": token({"exp": SIGNED_AT + 3600}),
            "not yet": token({"nbf": SIGNED_AT + 60}),
            "another issuer": token({"iss": "REMOVED", "issuer": "daedalus"}),
            "workspace is a number": token({"ws": 1}),
            "libraries are a text": token({"libs": "l1"}),
            "no scope": token({"ws": "", "libs": []}),
        },
    },
)
