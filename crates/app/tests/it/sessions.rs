//! Sign-in, passwords, users, profiles and the audit, as browsers and programs meet them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use chrono::TimeDelta;
use http::Method;
use mnemosyne_domain::ports::{Accounts, Audit, Clock, Mailer, Throttle};
use mnemosyne_domain::{
    AuditEntry, AuditEvent, AuditFilter, Mail, PageRequest, Principal, UserChange, UserId,
};
use mnemosyne_services::ServiceError;
use mnemosyne_services::accounts::Ensured;
use mnemosyne_testkit::app::{Answer, Client, PASSWORD, TestApp, USERNAME};
use serde_json::json;
use tokio::sync::mpsc;

const SECRET: &str = "abcdefghijklmnopqrstuvwxyz012345";
const NEW: &str = "owls-fly-late-4711";
/// A hash of [`PASSWORD`] as an old Django made it.
const WEAK_HASH: &str =
    "pbkdf2_sha256$1000$mnemosynetestkitsalt00$qLb9Hlrj86KzXK6ZV6iqmIVN/QszNWUzfwivj7v0lg8=";

/// A browser of somebody who is signed in.
async fn browser<'a>(app: &'a TestApp, username: &str) -> (Client<'a>, String) {
    let opened = app.services.sign_in(username, PASSWORD).await.unwrap();
    let client = app
        .stranger()
        .cookie("sessionid", &opened.key)
        .cookie("csrftoken", SECRET);
    (client, opened.key)
}

async fn post(client: &Client<'_>, path: &str, fields: &str) -> Answer {
    let body = Body::from(format!("csrfmiddlewaretoken={SECRET}&{fields}"));
    let kind = Some("application/x-www-form-urlencoded");
    client.send(Method::POST, path, kind, body).await
}

async fn entries(app: &TestApp, event: AuditEvent) -> Vec<AuditEntry> {
    let filter = AuditFilter {
        event: Some(event),
        ..AuditFilter::default()
    };
    app.relational
        .audit(&filter, PageRequest::first(100))
        .await
        .unwrap()
        .rows
}

async fn id_of(app: &TestApp, username: &str) -> UserId {
    app.relational.user_by_name(username).await.unwrap().unwrap().id
}

/// The session key that an answer sets.
fn new_session(answer: &Answer) -> String {
    let cookies = answer.headers.get_all("set-cookie").iter();
    let cookie = cookies
        .filter_map(|value| value.to_str().ok()?.strip_prefix("sessionid="))
        .next()
        .unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn is_open(app: &TestApp, key: &str) -> bool {
    app.services.session_principal(key).await.unwrap().is_some()
}

/// Fails to sign in so often, waiting as long as it is told.
async fn fail(app: &TestApp, guess: &Client<'_>, times: usize) {
    let mut failed = 0;
    while failed < times {
        let answer = guess.get("/library/api/libraries/").await;
        if answer.code() == 429 {
            let wait: i64 = answer.header("retry-after").parse().unwrap();
            app.clock.advance(TimeDelta::seconds(wait));
            continue;
        }
        assert_eq!(answer.expect(401).json()["code"], "authentication_failed");
        failed += 1;
    }
}

#[tokio::test]
async fn guessing_is_slowed_down_for_its_address_and_told_the_same_of_every_name() {
    let app = TestApp::start().await;
    for name in ["nobody-of-this-name", USERNAME] {
        let guess = app.stranger().basic(name, "wrong");
        fail(&app, &guess, 10).await;
        let answer = guess.get("/library/api/libraries/").await.expect(429);
        assert_eq!(answer.json()["code"], "throttled", "{name}");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((20..=32).contains(&wait), "{name}: {wait}");
    }
    // The right password has to wait at this address as well, and nowhere else.
    app.daedalus().get("/library/api/libraries/").await.expect(429);
    let elsewhere = app.daedalus().from("198.51.100.9");
    elsewhere.get("/library/api/libraries/").await.expect(200);
    // What is remembered of it there tells nothing here.
    app.daedalus().get("/library/api/libraries/").await.expect(429);
    app.clock.advance(TimeDelta::seconds(33));
    app.daedalus().get("/library/api/libraries/").await.expect(200);
    // The success cleared the count, so one more failure costs nothing.
    app.stranger()
        .basic(USERNAME, "wrong")
        .get("/library/api/libraries/")
        .await
        .expect(401);
    app.services.authenticate_basic(USERNAME, PASSWORD).await.unwrap();

    let failed = entries(&app, AuditEvent::SignInFailed).await;
    let count = |subject: &str| -> u64 {
        let of_subject = failed.iter().filter(|entry| entry.subject == subject);
        of_subject.map(|entry| entry.count).sum()
    };
    assert_eq!(
        (count(USERNAME), count("")),
        (11, 10),
        "names that nobody has are not written down"
    );
    assert!(failed.len() <= 4, "failures of one hour are one row");
}

#[tokio::test]
async fn the_sign_in_page_says_how_long_to_wait() {
    let app = TestApp::start().await;
    let stranger = app.stranger().cookie("csrftoken", SECRET);
    let fields = "username=ghost&password=wrong";
    let mut answer = post(&stranger, "/accounts/login/", fields).await;
    for _ in 0..20 {
        if answer.code() == 429 {
            break;
        }
        answer = post(&stranger, "/accounts/login/", fields).await;
    }
    let answer = answer.expect(429);
    assert!(answer.text().contains("Too many attempts failed. Try again in"));
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_changed_password_ends_every_session_but_the_one_it_was_changed_in() {
    let app = TestApp::start().await;
    let (client, key) = browser(&app, USERNAME).await;
    let (_, elsewhere) = browser(&app, USERNAME).await;
    app.services.authenticate_basic(USERNAME, PASSWORD).await.unwrap();
    let path = "/accounts/password_change/";
    client.get(path).await.expect(200);

    let wrong = format!("old_password=no&new_password1={NEW}&new_password2={NEW}");
    assert!(
        post(&client, path, &wrong)
            .await
            .expect(422)
            .text()
            .contains("entered incorrectly")
    );
    let unlike = format!("old_password={PASSWORD}&new_password1={NEW}&new_password2=x");
    assert!(
        post(&client, path, &unlike)
            .await
            .expect(422)
            .text()
            .contains("match")
    );
    let weak = format!("old_password={PASSWORD}&new_password1=daedalus1&new_password2=daedalus1");
    assert!(
        post(&client, path, &weak)
            .await
            .expect(422)
            .text()
            .contains("too similar to the username")
    );
    assert!(is_open(&app, &key).await && is_open(&app, &elsewhere).await);

    let good = format!("old_password={PASSWORD}&new_password1={NEW}&new_password2={NEW}");
    let answer = post(&client, path, &good).await.expect(303);
    let renewed = new_session(&answer);
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert!(
        cookies
            .iter()
            .any(|value| value.as_bytes().starts_with(b"csrftoken=")),
        "{cookies:?}"
    );
    assert!(is_open(&app, &renewed).await);
    assert!(!is_open(&app, &key).await && !is_open(&app, &elsewhere).await);
    let basic = app.services.authenticate_basic(USERNAME, PASSWORD).await;
    assert!(
        matches!(basic, Err(ServiceError::Unauthenticated)),
        "a remembered check is believed no longer"
    );
    let changed = entries(&app, AuditEvent::PasswordChanged).await;
    assert_eq!((changed.len(), changed[0].actor.as_str()), (1, USERNAME));
}

#[tokio::test]
async fn signing_out_everywhere_ends_the_users_sessions_and_nobody_elses() {
    let app = TestApp::start().await;
    app.add_user("ada", false).await;
    let (client, first) = browser(&app, USERNAME).await;
    let (_, second) = browser(&app, USERNAME).await;
    let (_, others) = browser(&app, "ada").await;
    post(&client, "/profile/sign_out/", "").await.expect(303);
    assert!(!is_open(&app, &first).await && !is_open(&app, &second).await);
    assert!(is_open(&app, &others).await);
    assert_eq!(
        entries(&app, AuditEvent::SessionsEnded).await[0].detail,
        "2 ended"
    );
}

/// Keeps mails for a test to read; out of reach where told so.
struct Outbox {
    mails: mpsc::UnboundedSender<Mail>,
    is_away: bool,
}

#[async_trait::async_trait]
impl Mailer for Outbox {
    async fn send(&self, mail: &Mail) -> Result<(), String> {
        self.mails.send(mail.clone()).unwrap();
        if self.is_away {
            return Err("connection refused".to_owned());
        }
        Ok(())
    }
}

async fn with_mail(is_away: bool) -> (TestApp, mpsc::UnboundedReceiver<Mail>) {
    let (mails, received) = mpsc::unbounded_channel();
    let app = TestApp::start_with_mailer(Arc::new(Outbox { mails, is_away })).await;
    let change = UserChange {
        email: Some("Daedalus@Example.org".to_owned()),
        ..UserChange::default()
    };
    let id = id_of(&app, USERNAME).await;
    app.services
        .update_user(&Principal::Local, id, change)
        .await
        .unwrap();
    (app, received)
}

async fn next_mail(mails: &mut mpsc::UnboundedReceiver<Mail>) -> Mail {
    tokio::time::timeout(Duration::from_secs(60), mails.recv())
        .await
        .unwrap()
        .unwrap()
}

/// The path of the link in a mail.
fn link_in(mail: &Mail) -> String {
    let line = mail
        .body
        .lines()
        .find(|line| line.contains("/accounts/reset/"))
        .unwrap();
    line.strip_prefix("http://localhost").unwrap().to_owned()
}

/// Opens a link: the browser with what the link gave it, and where it was sent.
async fn opened<'a>(client: &Client<'a>, link: &str) -> (Client<'a>, String) {
    let answer = client.get(link).await.expect(303);
    let form = answer.header("location").to_owned();
    let token = link.trim_end_matches('/').rsplit('/').next().unwrap();
    assert_eq!(
        answer.header("set-cookie"),
        format!("resettoken={token}; Path={form}; Max-Age=3600; SameSite=Lax; HttpOnly")
    );
    (client.clone().cookie("resettoken", token), form)
}

#[tokio::test]
async fn a_link_in_a_mail_sets_a_password_once() {
    let (app, mut mails) = with_mail(false).await;
    let (_, session) = browser(&app, USERNAME).await;
    let stranger = app.stranger().cookie("csrftoken", SECRET);
    let ask = "/accounts/password_reset/";
    let unknown = post(&stranger, ask, "email=nobody@example.org").await.expect(200);
    let known = post(&stranger, ask, "email=daedalus@example.ORG")
        .await
        .expect(200);
    let without_token = |answer: &Answer| -> String {
        let lines = answer.text().lines().filter(|line| !line.contains("csrf"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_token(&unknown), without_token(&known));
    let mail = next_mail(&mut mails).await;
    assert_eq!(
        mail.to, "Daedalus@Example.org",
        "the address that is stored, not the one that was typed"
    );
    let link = link_in(&mail);
    let (chooser, address) = opened(&stranger, &link).await;
    let form = chooser.get(&address).await.expect(200);
    assert!(form.text().contains(USERNAME));
    let weak = post(
        &chooser,
        &address,
        "new_password1=12345678&new_password2=12345678",
    )
    .await
    .expect(422);
    assert!(weak.text().contains("too common"));
    let fields = format!("new_password1={NEW}&new_password2={NEW}");
    let done = post(&chooser, &address, &fields).await.expect(303);
    assert_eq!(done.header("location"), "/accounts/login/");
    assert!(
        done.header("set-cookie").starts_with("resettoken=; ")
            && done.header("set-cookie").contains("Max-Age=0")
    );
    app.services.authenticate_basic(USERNAME, NEW).await.unwrap();
    assert!(!is_open(&app, &session).await);
    stranger.get(&link).await.expect(404);
    for (client, address) in [(&chooser, &address), (&stranger, &link)] {
        let spent = post(client, address, &fields).await.expect(404);
        assert!(spent.text().contains("was used already"));
    }
    assert!(mails.try_recv().is_err(), "one mail, to the one who was meant");
}

#[tokio::test]
async fn the_token_of_a_link_is_in_no_page_and_no_address_but_its_own() {
    let (app, mut mails) = with_mail(false).await;
    app.add_user("ada", false).await;
    let stranger = app.stranger().cookie("csrftoken", SECRET);
    let ask = "/accounts/password_reset/";
    post(&stranger, ask, "email=daedalus@example.org")
        .await
        .expect(200);
    let link = link_in(&next_mail(&mut mails).await);
    let token = link.trim_end_matches('/').rsplit('/').next().unwrap();
    let first = stranger.get(&link).await.expect(303);
    assert_eq!(first.header("referrer-policy"), "no-referrer");
    assert_eq!(first.header("cache-control"), "no-store");
    let (chooser, address) = opened(&stranger, &link).await;
    assert!(address.ends_with("/set-password/") && !address.contains(token));
    let form = chooser.get(&address).await.expect(200);
    assert!(!form.text().contains(token));
    let unlike = format!("new_password1={NEW}&new_password2=x");
    let again = post(&chooser, &address, &unlike).await.expect(422);
    assert!(!again.text().contains(token));
    // Who sends a form to the link itself is sent to the form.
    let fields = format!("new_password1={NEW}&new_password2={NEW}");
    let sent = post(&stranger, &link, &fields).await.expect(303);
    assert_eq!(sent.header("location"), address);
    app.services.authenticate_basic(USERNAME, PASSWORD).await.unwrap();
    // Without the cookie, or with another one, the form is nobody's; and the token is one user's.
    for client in [&stranger, &stranger.clone().cookie("resettoken", "")] {
        let asked = client.get(&address).await.expect(404);
        assert!(asked.text().contains("Open that link once more"));
        post(client, &address, &fields).await.expect(404);
    }
    assert_eq!(id_of(&app, "ada").await.0, 2);
    let ada = "/accounts/reset/Mg/set-password/".to_owned();
    for (client, address) in [
        (&stranger.clone().cookie("resettoken", "set-password"), &address),
        (&stranger.clone().cookie("resettoken", "abc-def"), &address),
        (&chooser, &ada),
    ] {
        client.get(address).await.expect(404);
        post(client, address, &fields).await.expect(404);
    }
    let https = stranger
        .clone()
        .with("x-forwarded-proto", "https")
        .get(&link)
        .await
        .expect(303);
    assert!(https.header("set-cookie").ends_with("; HttpOnly; Secure"));
}

#[tokio::test]
async fn of_two_posts_with_one_link_one_sets_the_password() {
    let (app, mut mails) = with_mail(false).await;
    let stranger = app.stranger().cookie("csrftoken", SECRET);
    let ask = "/accounts/password_reset/";
    post(&stranger, ask, "email=daedalus@example.org")
        .await
        .expect(200);
    let link = link_in(&next_mail(&mut mails).await);
    let (chooser, address) = opened(&stranger, &link).await;
    let (one, other) = (format!("{NEW}-one"), format!("{NEW}-other"));
    let send = async |password: &str| {
        let fields = format!("new_password1={password}&new_password2={password}");
        post(&chooser, &address, &fields).await
    };
    let (first, second) = tokio::join!(send(&one), send(&other));
    let (password, loser) = if first.code() == 303 {
        (one, second)
    } else {
        (other, first)
    };
    assert!(loser.expect(404).text().contains("was used already"));
    app.services
        .authenticate_basic(USERNAME, &password)
        .await
        .unwrap();
    assert_eq!(entries(&app, AuditEvent::PasswordChanged).await.len(), 1);
}

/// Gives [`USERNAME`] the password [`PASSWORD`] under a hash that is weaker than today's.
async fn weaken(app: &TestApp) {
    let user = app.relational.user_by_name(USERNAME).await.unwrap().unwrap();
    let is_ours = app
        .relational
        .replace_password(user.id, &user.password, WEAK_HASH)
        .await;
    assert!(is_ours.unwrap());
}

#[tokio::test]
async fn a_stronger_hash_never_undoes_a_change_of_the_password() {
    let app = TestApp::start().await;
    let id = id_of(&app, USERNAME).await;
    for round in 0..6 {
        weaken(&app).await;
        let new = format!("{NEW}-{round}");
        let (signed_in, changed) = tokio::join!(
            app.services.sign_in(USERNAME, PASSWORD),
            app.services.set_user_password(&Principal::Local, id, &new)
        );
        match changed {
            Ok(()) => {
                app.services.authenticate_basic(USERNAME, &new).await.unwrap();
                if let Ok(opened) = signed_in {
                    assert!(
                        !is_open(&app, &opened.key).await,
                        "the former password still opens"
                    );
                }
            }
            // The stronger hash was there first, and the change was told.
            Err(ServiceError::Conflict { code: "conflict", .. }) => {
                assert!(is_open(&app, &signed_in.unwrap().key).await);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn two_sign_ins_that_both_make_the_hash_stronger_are_both_signed_in() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        weaken(&app).await;
        let (one, other) = tokio::join!(
            app.services.sign_in(USERNAME, PASSWORD),
            app.services.sign_in(USERNAME, PASSWORD)
        );
        assert!(is_open(&app, &one.unwrap().key).await && is_open(&app, &other.unwrap().key).await);
    }
}

#[tokio::test]
async fn of_two_changes_of_a_password_at_once_one_is_told_of_the_other() {
    let app = TestApp::start().await;
    app.add_user("root-of-all", true).await;
    let id = id_of(&app, USERNAME).await;
    let root = app.stranger().basic("root-of-all", PASSWORD);
    root.get("/library/api/users/").await.expect(200);
    let address = format!("/library/api/users/{}/password/", id.0);
    let mut told = 0;
    // One may be done before the other has begun; then nothing was lost, and they try again.
    for round in 0..20 {
        weaken(&app).await;
        let (client, session) = browser(&app, USERNAME).await;
        let (theirs, own) = (format!("{NEW}-theirs-{round}"), format!("{NEW}-own-{round}"));
        let fields = format!("old_password={PASSWORD}&new_password1={own}&new_password2={own}");
        let body = json!({ "password": theirs });
        let (by_root, by_owner) = tokio::join!(
            root.post(&address, &body),
            post(&client, "/accounts/password_change/", &fields)
        );
        assert!(!is_open(&app, &session).await);
        let password = match (by_root.code(), by_owner.code()) {
            (204, 422) => {
                assert!(by_owner.text().contains("changed at the same moment"));
                theirs
            }
            (409, 303) => {
                assert_eq!(by_root.json()["code"], "conflict");
                own
            }
            (204, 303) => continue,
            other => panic!("{other:?}"),
        };
        app.services
            .authenticate_basic(USERNAME, &password)
            .await
            .unwrap();
        told += 1;
        break;
    }
    for round in 0..20 {
        let (by_page, by_command) = (format!("{NEW}-page-{round}"), format!("{NEW}-command-{round}"));
        let (one, other) = tokio::join!(
            app.services.set_user_password(&Principal::Local, id, &by_page),
            app.services
                .change_password(&Principal::Local, USERNAME, &by_command)
        );
        let refusals: Vec<_> = [one, other].into_iter().filter_map(Result::err).collect();
        if refusals.is_empty() {
            continue;
        }
        assert!(
            matches!(&refusals[..], [ServiceError::Conflict { code: "conflict", .. }]),
            "{refusals:?}"
        );
        told += 1;
        break;
    }
    assert_eq!(told, 2, "nobody was ever told of anybody");
}

#[tokio::test]
async fn a_link_ends_by_time_by_sign_in_and_where_its_owner_is_deactivated() {
    let (app, mut mails) = with_mail(false).await;
    let stranger = app.stranger().cookie("csrftoken", SECRET);
    let mut ask = async || {
        post(
            &stranger,
            "/accounts/password_reset/",
            "email=daedalus@example.org",
        )
        .await
        .expect(200);
        link_in(&next_mail(&mut mails).await)
    };
    let by_time = ask().await;
    let (chooser, address) = opened(&stranger, &by_time).await;
    chooser.get(&address).await.expect(200);
    app.clock.advance(TimeDelta::days(3) + TimeDelta::seconds(5));
    stranger.get(&by_time).await.expect(404);
    chooser.get(&address).await.expect(404);
    let by_sign_in = ask().await;
    browser(&app, USERNAME).await;
    stranger.get(&by_sign_in).await.expect(404);
    let deactivated = ask().await;
    let change = UserChange {
        is_active: Some(false),
        ..UserChange::default()
    };
    let id = id_of(&app, USERNAME).await;
    app.services
        .update_user(&Principal::Local, id, change)
        .await
        .unwrap();
    stranger.get(&deactivated).await.expect(404);
    for bad in [
        "/accounts/reset/MQ/abc-def/",
        "/accounts/reset/!!/x/",
        "/accounts/reset/OTk5OTk/abc-def/",
    ] {
        stranger.get(bad).await.expect(404);
    }
}

#[tokio::test]
async fn a_mail_server_that_is_away_changes_nothing_for_who_asks() {
    let (app, mut mails) = with_mail(true).await;
    let stranger = app.stranger().cookie("csrftoken", SECRET);
    let answer = post(
        &stranger,
        "/accounts/password_reset/",
        "email=daedalus@example.org",
    )
    .await
    .expect(200);
    assert!(answer.text().contains("is on its way"));
    next_mail(&mut mails).await;
    let none = TestApp::start().await;
    let page = none.stranger().get("/accounts/password_reset/").await.expect(200);
    assert!(
        page.text().contains("changepassword"),
        "without a mail server the page says what else helps"
    );
}

#[tokio::test]
async fn administrators_keep_users_and_nobody_else_does() {
    let app = TestApp::start().await;
    app.add_user("root-of-all", true).await;
    let (client, _) = browser(&app, "root-of-all").await;
    let (ordinary, _) = browser(&app, USERNAME).await;
    for path in ["/people/", "/people/new/", "/people/1/", "/audit/"] {
        ordinary.get(path).await.expect(403);
        client.get(path).await.expect(200);
        assert_eq!(app.stranger().get(path).await.code(), 303, "{path}");
    }
    let home = ordinary.get("/").await.expect(200);
    assert!(!home.text().contains("href=\"/people/\""));

    let taken = format!("username={USERNAME}&password={NEW}");
    assert!(
        post(&client, "/people/new/", &taken)
            .await
            .expect(422)
            .text()
            .contains("already")
    );
    let made = post(
        &client,
        "/people/new/",
        &format!("username=ada&email=ada@example.org&password={NEW}"),
    )
    .await
    .expect(303);
    let address = made.header("location").to_owned();
    client.get(&address).await.expect(200);
    app.services.authenticate_basic("ada", NEW).await.unwrap();
    post(
        &client,
        &address,
        "email=&first_name=Ada&last_name=&is_active=on&is_superuser=on",
    )
    .await
    .expect(303);
    let ada = app.relational.user_by_name("ada").await.unwrap().unwrap();
    assert!(ada.is_superuser && ada.is_staff && ada.first_name == "Ada" && ada.email.is_empty());
    post(&client, &format!("{address}password/"), "password=123")
        .await
        .expect(422);
    post(&client, &format!("{address}password/"), "password=another-owl-12")
        .await
        .expect(303);
    post(&client, &format!("{address}sign_out/"), "")
        .await
        .expect(303);
    post(
        &ordinary,
        &format!("{address}password/"),
        "password=another-owl-13",
    )
    .await
    .expect(403);

    // Ada goes, and the last one stays.
    post(&client, &address, "first_name=Ada").await.expect(303);
    let own = id_of(&app, "root-of-all").await.0;
    let refused = post(&client, &format!("/people/{own}/"), "is_active=on")
        .await
        .expect(409);
    assert!(refused.text().contains("last administrator"));
    let changed = entries(&app, AuditEvent::UserChanged).await;
    assert_eq!(changed[0].detail, "no administrator any more, deactivated");
    let page = client
        .get("/audit/?event=user_changed&user=ada")
        .await
        .expect(200);
    assert!(
        page.text().contains("deactivated") && page.text().contains("127.0.0.1"),
        "{}",
        page.text()
    );
}

#[tokio::test]
async fn programs_keep_users_over_rest() {
    let app = TestApp::start().await;
    app.add_user("root-of-all", true).await;
    let root = app.stranger().basic("root-of-all", PASSWORD);
    let users = "/library/api/users/";
    app.daedalus().get(users).await.expect(403);
    app.daedalus().get("/library/api/audit/").await.expect(403);
    assert_eq!(root.get(users).await.expect(200).json()["count"], 2);
    let weak = root
        .post(users, &json!({ "username": "bot", "password": "password" }))
        .await
        .expect(400);
    assert_eq!(weak.json()["password"][0], "This password is too common.");
    let made = root
        .post(users, &json!({ "username": "bot", "password": NEW }))
        .await
        .expect(201)
        .json();
    assert!(made.get("password").is_none());
    let one = format!("{users}{}/", made["user_id"]);
    let again = root
        .post(users, &json!({ "username": "bot", "password": NEW }))
        .await
        .expect(409);
    assert_eq!(again.json()["code"], "username_taken");
    let changed = root.patch(&one, &json!({ "is_active": false })).await.expect(200);
    assert_eq!(changed.json()["is_active"], false);
    let refused = app.services.authenticate_basic("bot", NEW).await;
    assert!(matches!(refused, Err(ServiceError::Unauthenticated)));
    root.post(
        &format!("{one}password/"),
        &json!({ "password": "another-owl-12" }),
    )
    .await
    .expect(204);
    let ended = root
        .post(&format!("{one}sign-out/"), &json!({}))
        .await
        .expect(200);
    assert_eq!(ended.json()["ended"], 0);
    let own = format!("{users}{}/", id_of(&app, "root-of-all").await.0);
    let last = root
        .patch(&own, &json!({ "is_superuser": false }))
        .await
        .expect(409);
    assert_eq!(last.json()["code"], "last_administrator");
    let audit = root
        .get("/library/api/audit/?event=user_created")
        .await
        .expect(200)
        .json();
    assert_eq!(audit["results"][0]["subject"], "bot");
    assert_eq!(audit["results"][0]["actor"], "root-of-all");
    root.get("/library/api/audit/?event=nonsense").await.expect(400);
    root.get("/library/api/audit/?since=yesterday").await.expect(400);
}

#[tokio::test]
async fn programs_change_their_own_profile_over_rest() {
    let app = TestApp::start().await;
    let address = "/library/api/profile/";
    let daedalus = app.daedalus();
    let usual = daedalus.get(address).await.expect(200).json();
    assert_eq!(
        usual,
        json!({
            "user_id": 1, "username": USERNAME, "email": "", "time_zone": null, "date_format": "words", "theme": "system"
        })
    );
    let change = json!({ "time_zone": " Asia/Tokyo ", "date_format": "iso", "theme": "dark" });
    let changed = daedalus.patch(address, &change).await.expect(200).json();
    assert_eq!(
        (&changed["time_zone"], &changed["date_format"], &changed["theme"]),
        (&json!("Asia/Tokyo"), &json!("iso"), &json!("dark"))
    );
    let changed = daedalus
        .patch(address, &json!({ "theme": "light" }))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&changed["time_zone"], &changed["date_format"], &changed["theme"]),
        (&json!("Asia/Tokyo"), &json!("iso"), &json!("light")),
        "what is not said stays"
    );
    let (client, _) = browser(&app, USERNAME).await;
    let page = client.get("/profile/").await.expect(200);
    assert!(
        page.text().contains("data-theme=\"light\"") && page.text().contains("value=\"Asia/Tokyo\" selected")
    );
    let wrong = json!({ "time_zone": "Mars/Olympus", "date_format": "stardate", "theme": "plaid", "username": "root" });
    let fields = daedalus.patch(address, &wrong).await.expect(400).json();
    let names: Vec<&String> = fields.as_object().unwrap().keys().collect();
    assert_eq!(names, ["date_format", "theme", "time_zone"]);
    assert_eq!(
        daedalus.get(address).await.expect(200).json(),
        changed,
        "a part of it was saved"
    );
    for nothing in [json!(null), json!("")] {
        let changed = daedalus
            .patch(address, &json!({ "time_zone": nothing }))
            .await
            .expect(200)
            .json();
        assert_eq!(changed["time_zone"], json!(null));
    }
    let others = client.with("x-csrftoken", SECRET).get(address).await.expect(200);
    assert_eq!(others.json()["username"], USERNAME, "a session may ask as well");
    assert_eq!(
        app.stranger()
            .get(address)
            .await
            .expect(401)
            .header("www-authenticate"),
        "Basic realm=\"mnemosyne\""
    );
}

#[tokio::test]
async fn programs_change_their_own_password_over_rest() {
    let app = TestApp::start().await;
    let address = "/library/api/profile/password/";
    let daedalus = app.daedalus();
    let (client, session) = browser(&app, USERNAME).await;
    let client = client.with("x-csrftoken", SECRET);
    daedalus.get("/library/api/profile/").await.expect(200);
    for (body, field) in [
        (json!({}), "old_password"),
        (json!({ "new_password": NEW }), "old_password"),
        (json!({ "old_password": PASSWORD }), "new_password"),
        (
            json!({ "old_password": PASSWORD, "new_password": "12345678" }),
            "new_password",
        ),
        (
            json!({ "old_password": PASSWORD, "new_password": "daedalus1" }),
            "new_password",
        ),
    ] {
        let fields = daedalus.post(address, &body).await.expect(400).json();
        assert_eq!(
            fields.as_object().unwrap().keys().collect::<Vec<_>>(),
            [field],
            "{body}"
        );
    }
    let wrong = json!({ "old_password": "no", "new_password": NEW });
    let told = daedalus.post(address, &wrong).await.expect(400).json();
    assert!(
        told["old_password"][0]
            .as_str()
            .unwrap()
            .contains("entered incorrectly")
    );
    assert!(is_open(&app, &session).await && entries(&app, AuditEvent::PasswordChanged).await.is_empty());

    let good = json!({ "old_password": PASSWORD, "new_password": NEW });
    let done = daedalus.post(address, &good).await.expect(204);
    assert!(
        done.headers.get("set-cookie").is_none(),
        "credentials open no session"
    );
    daedalus.get("/library/api/profile/").await.expect(401);
    let renewed = app.stranger().basic(USERNAME, NEW);
    renewed.get("/library/api/profile/").await.expect(200);
    assert!(!is_open(&app, &session).await, "every session is over");
    client.get("/library/api/profile/").await.expect(401);

    // With a session, that one goes on under a new key.
    let opened = app.services.sign_in(USERNAME, NEW).await.unwrap();
    let client = app
        .stranger()
        .cookie("sessionid", &opened.key)
        .cookie("csrftoken", SECRET);
    let another = json!({ "old_password": NEW, "new_password": "another-owl-12" });
    client.post(address, &another).await.expect(403);
    let client = client.with("x-csrftoken", SECRET);
    let done = client.post(address, &another).await.expect(204);
    let key = new_session(&done);
    assert!(is_open(&app, &key).await && !is_open(&app, &opened.key).await);
    assert!(
        done.headers
            .get_all("set-cookie")
            .iter()
            .any(|value| value.as_bytes().starts_with(b"csrftoken="))
    );
    let changed = entries(&app, AuditEvent::PasswordChanged).await;
    assert_eq!(
        (
            changed.len(),
            changed[0].actor.as_str(),
            changed[0].address.as_str()
        ),
        (2, USERNAME, "127.0.0.1")
    );

    // Guessing the old one is slowed down as a sign-in is.
    let program = app.stranger().basic(USERNAME, "another-owl-12");
    program.get("/library/api/profile/").await.expect(200);
    let mut last = program.post(address, &wrong).await;
    for _ in 0..20 {
        if last.code() == 429 {
            break;
        }
        last.expect(400);
        last = program.post(address, &wrong).await;
    }
    assert!(!last.expect(429).header("retry-after").is_empty());
    let ended = program
        .post("/library/api/profile/sign-out/", &json!({}))
        .await
        .expect(200);
    assert!(ended.json()["ended"].as_u64() >= Some(1));
    assert!(!is_open(&app, &key).await);
}

#[tokio::test]
async fn a_service_account_is_marked_and_no_mail_leads_to_its_password() {
    let (app, mut mails) = with_mail(false).await;
    app.add_user("root-of-all", true).await;
    let ensure = async |name: &str, password: &str| {
        app.services
            .ensure_service_user(&Principal::Local, name, password)
            .await
            .unwrap()
    };
    let is_service = async |name: &str| {
        app.relational
            .user_by_name(name)
            .await
            .unwrap()
            .unwrap()
            .is_service
    };
    assert_eq!(ensure("program", NEW).await, Ensured::Created);
    assert!(is_service("program").await);
    assert_eq!(ensure("program", NEW).await, Ensured::Unchanged);

    // A link that was sent to somebody who is a service account meanwhile is spent, and none is sent any more.
    let stranger = app.stranger().cookie("csrftoken", SECRET);
    let ask = async || {
        let fields = "email=daedalus@example.org";
        post(&stranger, "/accounts/password_reset/", fields)
            .await
            .expect(200);
    };
    ask().await;
    let link = link_in(&next_mail(&mut mails).await);
    let (chooser, form) = opened(&stranger, &link).await;
    assert_eq!(ensure(USERNAME, PASSWORD).await, Ensured::Marked);
    assert_eq!(ensure(USERNAME, PASSWORD).await, Ensured::Unchanged);
    assert!(is_service(USERNAME).await);
    stranger.get(&link).await.expect(404);
    let fields = format!("new_password1={NEW}&new_password2={NEW}");
    post(&chooser, &form, &fields).await.expect(404);
    ask().await;

    // An administrator has a person behind it.
    assert_eq!(ensure("root-of-all", PASSWORD).await, Ensured::Unchanged);
    assert!(!is_service("root-of-all").await);

    // It shows, and is otherwise a user like any other.
    let root = app.stranger().basic("root-of-all", PASSWORD);
    let listed = root.get("/library/api/users/").await.expect(200).json();
    let marks: Vec<_> = listed["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| {
            (
                user["username"].as_str().unwrap().to_owned(),
                user["is_service"] == true,
            )
        })
        .collect();
    let expected = [(USERNAME, true), ("program", true), ("root-of-all", false)];
    assert_eq!(marks, expected.map(|(name, mark)| (name.to_owned(), mark)));
    let (page, _) = browser(&app, "root-of-all").await;
    let people = page.get("/people/").await.expect(200);
    assert_eq!(people.text().matches("<span>service account</span>").count(), 2);
    app.daedalus().get("/library/api/workspaces/").await.expect(200);
    app.services.sign_in(USERNAME, PASSWORD).await.unwrap();

    // The mark can be taken away by whoever keeps users; then a link is sent again.
    let id = id_of(&app, USERNAME).await.0;
    let person = page.get(&format!("/people/{id}/")).await.expect(200);
    assert!(person.text().contains("name=\"is_service\" value=\"on\" checked"));
    let form = "email=daedalus@example.org&is_active=on";
    post(&page, &format!("/people/{id}/"), form).await.expect(303);
    assert!(!is_service(USERNAME).await);
    let one = format!("/library/api/users/{id}/");
    for mark in [true, false] {
        let changed = root
            .patch(&one, &json!({ "is_service": mark }))
            .await
            .expect(200)
            .json();
        assert_eq!(changed["is_service"], mark);
    }
    ask().await;
    next_mail(&mut mails).await;
    assert!(mails.try_recv().is_err(), "a mail went to a service account");
    let made = json!({ "username": "another", "password": NEW, "is_service": true });
    let made = root.post("/library/api/users/", &made).await.expect(201).json();
    assert_eq!(made["is_service"], true);
    let details: Vec<_> = entries(&app, AuditEvent::UserChanged)
        .await
        .into_iter()
        .map(|entry| entry.detail)
        .collect();
    assert!(
        details.contains(&"made a service account".to_owned()),
        "{details:?}"
    );
    assert!(
        details.contains(&"no service account any more".to_owned()),
        "{details:?}"
    );
}

#[tokio::test]
async fn a_profile_decides_how_pages_look() {
    let app = TestApp::start().await;
    let (client, _) = browser(&app, USERNAME).await;
    let plain = client.get("/profile/").await.expect(200);
    assert!(!plain.text().contains("data-theme="));
    post(
        &client,
        "/profile/",
        "time_zone=Mars/Olympus&date_format=iso&theme=dark",
    )
    .await
    .expect(422);
    post(
        &client,
        "/profile/",
        "time_zone=Asia/Tokyo&date_format=iso&theme=dark",
    )
    .await
    .expect(303);
    let dressed = client.get("/profile/").await.expect(200);
    assert!(dressed.text().contains("data-theme=\"dark\""));
    app.add_user("root-of-all", true).await;
    let (root, _) = browser(&app, "root-of-all").await;
    post(
        &root,
        "/profile/",
        "time_zone=Asia/Tokyo&date_format=iso&theme=system",
    )
    .await
    .expect(303);
    let audit = root.get("/audit/").await.expect(200);
    let day = (app
        .relational
        .audit(&AuditFilter::default(), PageRequest::first(1))
        .await
        .unwrap()
        .rows[0]
        .last_at
        + TimeDelta::hours(9))
    .format("title=\"%Y-%m-%d ")
    .to_string();
    assert!(
        audit.text().contains(&day) && audit.text().contains(" JST\""),
        "{}",
        audit.text()
    );
}

#[tokio::test]
async fn what_matters_is_written_down_with_its_address_and_without_secrets() {
    let app = TestApp::start().await;
    let job = crate::support::with_one_item(&app).await;
    let item = job["item_uid"].as_str().unwrap();
    let client = app.daedalus();
    for _ in 0..3 {
        client
            .get(&format!("/library/api/items/{item}/original/"))
            .await
            .expect(200);
    }
    client
        .delete(&format!("/library/api/items/{item}/"))
        .await
        .expect(204);
    client.delete("/library/api/workspaces/w/").await.expect(204);
    let downloads = entries(&app, AuditEvent::OriginalDownloaded).await;
    let count: u64 = downloads.iter().map(|entry| entry.count).sum();
    assert!(
        count == 3 && downloads.len() <= 2,
        "downloads of one hour are one row"
    );
    for event in [
        AuditEvent::SignedIn,
        AuditEvent::OriginalDownloaded,
        AuditEvent::ItemDeleted,
        AuditEvent::LibraryDeleted,
    ] {
        let entry = entries(&app, event).await.remove(0);
        assert_eq!(entry.actor, USERNAME, "{event:?}");
        assert!(!entry.address.is_empty(), "{event:?}");
        assert!(!format!("{entry:?}").contains(PASSWORD), "{event:?}");
    }
    app.clock.advance(TimeDelta::days(366));
    app.services
        .mend(mnemosyne_services::upkeep::Reach::Jobless)
        .await
        .unwrap();
    assert!(entries(&app, AuditEvent::ItemDeleted).await.is_empty());
}

#[tokio::test]
async fn many_who_come_at_once_with_one_password_wait_for_one_check_and_not_for_one_each() {
    let app = TestApp::start().await;
    let together = (0..40).map(|_| app.services.authenticate_basic(USERNAME, PASSWORD));
    for answer in futures::future::join_all(together).await {
        answer.unwrap();
    }
    let checks = entries(&app, AuditEvent::SignedIn).await;
    let checks: u64 = checks.iter().map(|entry| entry.count).sum();
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    assert!((1..=cores).contains(&checks), "{checks} checks on {cores} cores");

    // A minute later it is noted anew, by one of them.
    app.clock.advance(TimeDelta::seconds(61));
    let together = (0..40).map(|_| app.services.authenticate_basic(USERNAME, PASSWORD));
    for answer in futures::future::join_all(together).await {
        answer.unwrap();
    }
    let noted = entries(&app, AuditEvent::SignedIn).await;
    assert_eq!(noted.iter().map(|entry| entry.count).sum::<u64>(), checks + 1);
}

#[tokio::test]
async fn a_name_with_a_control_character_is_nobodys_and_told_like_any_other() {
    let app = TestApp::start().await;
    let guess = app.stranger().basic("a\0b", "x");
    for _ in 0..5 {
        let answer = guess.get("/library/api/libraries/").await.expect(401);
        assert_eq!(answer.json()["code"], "authentication_failed");
    }
    guess.get("/library/api/libraries/").await.expect(429);
    let page = app.stranger().cookie("csrftoken", SECRET).from("192.0.2.8");
    let with_nul = post(&page, "/accounts/login/", "username=%00&password=x").await;
    let with_letters = post(&page, "/accounts/login/", "username=zz&password=x").await;
    assert_eq!(with_nul.code(), with_letters.code());
    let told = |answer: &Answer| answer.text().matches("Please enter a correct").count();
    assert_eq!(told(&with_nul), told(&with_letters));
    let failed = entries(&app, AuditEvent::SignInFailed).await;
    assert!(failed.iter().all(|entry| entry.subject.is_empty()), "{failed:?}");
}

/// The bucket of all failures with [`USERNAME`]: the beginning of its SHA-256.
const NAME_BUCKET: &str = "name|6afe40611ff94485d186f84f94336318";

/// Notes failures as those of others are.
async fn note_failures(app: &TestApp, bucket: &str, times: usize) {
    let now = app.clock.now();
    for _ in 0..times {
        app.relational
            .note_failure(bucket, now, now - TimeDelta::hours(1))
            .await
            .unwrap();
    }
}

async fn failures(app: &TestApp, bucket: &str) -> u32 {
    let an_hour_ago = app.clock.now() - TimeDelta::hours(1);
    app.relational
        .attempts(bucket, an_hour_ago)
        .await
        .unwrap()
        .failures
}

const LIBRARIES: &str = "/library/api/libraries/";

#[tokio::test]
async fn a_steady_caller_is_let_in_whatever_others_fail_to_do_at_its_address() {
    let app = TestApp::start().await;
    let steady = app.daedalus().from("203.0.113.5");
    let neighbour = app.stranger().basic("neighbour", PASSWORD).from("203.0.113.5");
    app.add_user("neighbour", false).await;
    // One who guesses its password next door gets no new guesses by its calls.
    steady.get(LIBRARIES).await.expect(200);
    let guess = app.stranger().basic(USERNAME, "wrong").from("203.0.113.5");
    guess.get(LIBRARIES).await.expect(401);
    let began = app.clock.now();
    while app.clock.now() - began < TimeDelta::hours(26) {
        app.clock.advance(TimeDelta::seconds(100));
        steady.get(LIBRARIES).await.expect(200);
    }
    let signed_in = entries(&app, AuditEvent::SignedIn).await;
    let checks: u64 = signed_in.iter().map(|entry| entry.count).sum();
    assert!(
        checks > 900,
        "{checks}: it was remembered and renewed all the time"
    );
    note_failures(&app, "address|203.0.113.5", 40).await;
    neighbour.get(LIBRARIES).await.expect(429);
    // Nothing that is remembered holds for another hash.
    weaken(&app).await;
    steady.get(LIBRARIES).await.expect(200);
}

#[tokio::test]
async fn renewing_what_is_remembered_forgives_no_failure() {
    let app = TestApp::start().await;
    let steady = app.daedalus().from("203.0.113.5");
    steady.get(LIBRARIES).await.expect(200);
    let guess = app.stranger().basic(USERNAME, "wrong").from("203.0.113.5");
    for _ in 0..5 {
        guess.get(LIBRARIES).await.expect(401);
        app.clock.advance(TimeDelta::seconds(70));
        steady.get(LIBRARIES).await.expect(200);
    }
    guess.get(LIBRARIES).await.expect(401);
    guess.get(LIBRARIES).await.expect(429);
}

#[tokio::test]
async fn whoever_has_many_addresses_has_no_more_guesses_at_one_name() {
    let app = TestApp::start().await;
    let at_home = app.daedalus().from("203.0.113.5");
    at_home.get(LIBRARIES).await.expect(200);
    let wrong = app.stranger().basic(USERNAME, "wrong");
    wrong
        .clone()
        .from("2001:db8:1:1::1")
        .get(LIBRARIES)
        .await
        .expect(401);
    wrong
        .clone()
        .from("198.51.100.1")
        .get(LIBRARIES)
        .await
        .expect(401);
    assert_eq!(failures(&app, NAME_BUCKET).await, 2, "both count for the name");
    note_failures(&app, NAME_BUCKET, 108).await;
    for password in [PASSWORD, "wrong"] {
        let elsewhere = app.stranger().basic(USERNAME, password).from("198.51.100.2");
        let answer = elsewhere.get(LIBRARIES).await.expect(429);
        let wait: i64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=300).contains(&wait), "{wait}");
    }
    // Where it is used, it goes on, even when nothing is remembered.
    app.clock.advance(TimeDelta::minutes(4));
    weaken(&app).await;
    note_failures(&app, NAME_BUCKET, 1).await;
    at_home.get(LIBRARIES).await.expect(200);
    // Elsewhere it waits as long as it was told.
    app.clock.advance(TimeDelta::seconds(301));
    app.daedalus()
        .from("198.51.100.2")
        .get(LIBRARIES)
        .await
        .expect(200);
    // Other names have nothing to do with it.
    app.add_user("neighbour", false).await;
    note_failures(&app, NAME_BUCKET, 1).await;
    let other = app.stranger().basic("neighbour", PASSWORD).from("198.51.100.7");
    other.get(LIBRARIES).await.expect(200);
}

#[tokio::test]
async fn the_networks_of_one_site_count_together_as_well() {
    let app = TestApp::start().await;
    let guess = app.stranger().basic("zz", "wrong");
    guess
        .clone()
        .from("2001:db8:1:1::1")
        .get(LIBRARIES)
        .await
        .expect(401);
    guess
        .clone()
        .from("2001:db8:1:2::1")
        .get(LIBRARIES)
        .await
        .expect(401);
    guess.clone().from("192.0.2.77").get(LIBRARIES).await.expect(401);
    assert_eq!(failures(&app, "site|2001:db8:1::/48").await, 2);
    note_failures(&app, "site|2001:db8:1::/48", 308).await;
    app.daedalus()
        .from("2001:db8:1:3::1")
        .get(LIBRARIES)
        .await
        .expect(429);
    app.daedalus()
        .from("2001:db8:2:3::1")
        .get(LIBRARIES)
        .await
        .expect(200);
}

#[tokio::test]
async fn a_deactivated_account_is_not_made_sure_of() {
    let app = TestApp::start().await;
    let id = id_of(&app, USERNAME).await;
    let deactivate = UserChange {
        is_active: Some(false),
        ..UserChange::default()
    };
    app.relational.update_user(id, &deactivate).await.unwrap();
    let before = app.relational.user(id).await.unwrap().unwrap();
    for password in [PASSWORD, NEW] {
        let refused = app
            .services
            .ensure_service_user(&Principal::Local, USERNAME, password)
            .await;
        let Err(ServiceError::Conflict { code, message }) = refused else {
            panic!("this was taken: {refused:?}");
        };
        assert_eq!(code, "account_inactive");
        assert!(
            message.contains("deactivated") && message.contains(USERNAME),
            "{message}"
        );
    }
    assert_eq!(app.relational.user(id).await.unwrap().unwrap(), before);
    assert!(entries(&app, AuditEvent::UserChanged).await.is_empty());
    assert!(entries(&app, AuditEvent::PasswordChanged).await.is_empty());
}
