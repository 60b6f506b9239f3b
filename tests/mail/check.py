"""A forgotten password, over a real SMTP server: in the clear, with STARTTLS and a password, encrypted from the first byte;
with a server that offers no encryption where it is demanded, and with one that is away.
"""

import email
import email.policy
import http.cookiejar
import logging
import pathlib
import re
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "support"))
from mnemosyne import PATIENCE, Checks, Server  # noqa: E402

import trustme  # noqa: E402
from aiosmtpd.controller import Controller  # noqa: E402
from aiosmtpd.smtp import AuthResult  # noqa: E402

ADDRESS = "owner@example.org"
NEW = "owls-fly-late-4711"
# Handshakes that are to fail fill its log with tracebacks.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)
SENT = "is on its way"


class Sink:
    """What a mail server took in."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, _server, session, envelope):  # noqa: N802
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((session, envelope, message))
        return "250 taken"

    def wait(self, number):
        until(lambda: len(self.mails) >= number, f"{number} mails")
        return self.mails[number - 1]


class Mailserver(Controller):
    """On a free port, which it knows once it listens."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def until(holds, what):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"there never were {what}"
        time.sleep(0.05)



def authenticate(_server, _session, _envelope, _mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"mnemosyne", b"the-mail-password"))


class Browser:
    """Fills in the forms of the pages, without a script."""

    def __init__(self, server):
        self.origin = server.announced["app"].rstrip("/")
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(cookies)

    def get(self, path):
        return self._open(urllib.request.Request(self.origin + path))

    def land(self, path):
        """Where an address leads."""
        with self.opener.open(self.origin + path, timeout=60) as answer:
            return urllib.parse.urlsplit(answer.url).path

    def post(self, path, at=None, **fields):
        _, page = self.get(at or path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page).group(1)
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token, **fields}).encode()
        return self._open(urllib.request.Request(self.origin + path, data))

    def _open(self, request):
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def with_owner(server):
    """The administrator gets a mail address."""
    _, users = server.request("GET", "users/")
    owner = users["results"][0]["user_id"]
    status, answer = server.request("PATCH", f"users/{owner}/", {"email": ADDRESS})
    assert status == 200, answer
    return owner


def ask(server, address=ADDRESS):
    status, page = Browser(server).post("/accounts/password_reset/", email=address)
    assert status == 200 and SENT in page, (status, page)
    return page


def mail_settings(port, **more):
    return {"EMAIL_HOST": "localhost", "EMAIL_PORT": str(port), "EMAIL_TIMEOUT": "5",
            "DEFAULT_FROM_EMAIL": "Mnemosyne <mnemosyne@example.org>", **more}


def in_the_clear(checks):
    sink = Sink()
    controller = Mailserver(sink, hostname="127.0.0.1", port=0, server_kwargs={"enable_SMTPUTF8": True})
    controller.start()
    try:
        with Server(**mail_settings(controller.port)) as server:
            server.start()
            with_owner(server)
            with checks.that("the page is the same whether an account has the address or not"):
                pages = [ask(server, "nobody@example.org"), ask(server)]
                hidden = re.compile(r'value="[^"]*"|data-csrf="[^"]*"')
                assert hidden.sub("", pages[0]) == hidden.sub("", pages[1])
            with checks.that("a link is sent to the stored address, from the configured one, over the name that was asked for"):
                _, envelope, message = sink.wait(1)
                assert envelope.rcpt_tos == [ADDRESS] and message["To"] == ADDRESS
                assert "mnemosyne@example.org" in message["From"] and message["Subject"]
                link = re.search(r"(http://\S+)/accounts/reset/\S+", message.get_content())
                assert link.group(1) == server.announced["app"].rstrip("/"), link.group(0)
            path = urllib.parse.urlsplit(link.group(0)).path
            with checks.that("the link sets a password, once"):
                browser = Browser(server)
                form = browser.land(path)
                assert form.endswith("/set-password/") and path.split("/")[-2] not in form, form
                status, page = browser.post(form, new_password1="password1", new_password2="password1")
                assert status == 422 and "too common" in page
                status, _ = browser.post(form, new_password1=NEW, new_password2=NEW)
                assert status == 200
                assert browser.get(path)[0] == 404
                assert server.request("GET", "users/")[0] == 401, "the old password still opens"
                server.announced["password"] = NEW
                assert server.request("GET", "users/")[0] == 200
            with checks.that("no more than three mails go to one account in an hour"):
                for _ in range(5):
                    ask(server)
                sink.wait(3)
                until(lambda: any(each["count"] >= 7 for each in server.json("audit", "--event", "reset_requested")),
                      "seven requests in the audit")
                assert len(sink.mails) == 3
            with checks.that("the audit has neither the link nor the password"):
                audit = server.command("audit").stdout
                assert "password_changed" in audit and "127.0.0.1" in audit, audit
                assert NEW not in audit and path not in audit
    finally:
        controller.stop()


def encrypted(checks):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    sink = Sink()
    controller = Mailserver(sink, hostname="127.0.0.1", port=0, tls_context=context, require_starttls=True,
                            auth_required=True, authenticator=authenticate)
    controller.start()
    try:
        port = controller.port
        good = mail_settings(port, EMAIL_USE_TLS="True", EMAIL_HOST_USER="mnemosyne",
                             EMAIL_HOST_PASSWORD="the-mail-password")
        with authority.cert_pem.tempfile() as trusted, Server(SSL_CERT_FILE=trusted, **good) as server:
            server.start()
            with_owner(server)
            with checks.that("with STARTTLS, and a name and a password after it"):
                ask(server)
                session, _, _ = sink.wait(1)
                assert session.ssl and session.authenticated
                log = (server.folder / "log.txt").read_text()
                assert "the-mail-password" not in log and "/accounts/reset/" not in log
        with Server(**good) as server:
            server.start()
            with_owner(server)
            with checks.that("a certificate that nobody vouches for is not believed"):
                ask(server)
                until(lambda: "could not be handed" in (server.folder / "log.txt").read_text(), "words in the log")
                assert len(sink.mails) == 1
    finally:
        controller.stop()

    plain = Sink()
    controller = Mailserver(plain, hostname="127.0.0.1", port=0)
    controller.start()
    try:
        port = controller.port
        with Server(**mail_settings(port, EMAIL_USE_TLS="True")) as server:
            server.start()
            with_owner(server)
            with checks.that("a server without STARTTLS gets no mail where it is demanded"):
                ask(server)
                until(lambda: "could not be handed" in (server.folder / "log.txt").read_text(), "words in the log")
                assert not plain.mails
    finally:
        controller.stop()

    sink = Sink()
    controller = Mailserver(sink, hostname="127.0.0.1", port=0, ssl_context=context)
    controller.start()
    try:
        port = controller.port
        with authority.cert_pem.tempfile() as trusted, \
                Server(SSL_CERT_FILE=trusted, **mail_settings(port, EMAIL_USE_SSL="True")) as server:
            server.start()
            with_owner(server)
            with checks.that("encrypted from the first byte"):
                ask(server)
                sink.wait(1)
    finally:
        controller.stop()


def away(checks):
    controller = Mailserver(Sink(), hostname="127.0.0.1", port=0)
    controller.start()
    port = controller.port
    controller.stop()
    with Server(**mail_settings(port)) as server:
        server.start()
        with_owner(server)
        with checks.that("a server that is away: the same page, and a sentence in the log"):
            ask(server)
            until(lambda: "could not be handed to EMAIL_HOST" in (server.folder / "log.txt").read_text(), "words in the log")
    with Server() as server:
        server.start()
        with checks.that("without EMAIL_HOST the page says what else helps"):
            status, page = Browser(server).get("/accounts/password_reset/")
            assert status == 200 and "changepassword" in page and "csrfmiddlewaretoken" not in page


if __name__ == "__main__":
    checks = Checks()
    in_the_clear(checks)
    encrypted(checks)
    away(checks)
    checks.finish()
