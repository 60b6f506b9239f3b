//! Sessions and stored tokens with something done to them, through the use cases and over HTTP: what is not, byte for byte,
//! what was handed out is nobody's, and nothing breaks. Long runs: `PROPTEST_CASES=100000`.

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use mnemosyne_domain::ports::Accounts;
use mnemosyne_domain::{Principal, SessionRecord};
use mnemosyne_services::ServiceError;
use mnemosyne_services::tokens::TokenRequest;
use mnemosyne_testkit::app::{PASSWORD, TestApp, USERNAME};
use mnemosyne_testkit::mutate::{mutated, mutated_text, mutations};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

/// Runs a property in an application that all of its cases share.
fn check<S: Strategy>(
    strategy: S,
    property: impl Fn(&Runtime, &Fixture, S::Value) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fixture = runtime.block_on(Fixture::make());
    let result =
        TestRunner::new(Config::default()).run(&strategy, |value| property(&runtime, &fixture, value));
    result.unwrap();
}

struct Fixture {
    app: TestApp,
    /// Of the user of the test application, and of another one.
    sessions: [SessionRecord; 2],
    tokens: [String; 2],
}

impl Fixture {
    async fn make() -> Self {
        let app = TestApp::start().await;
        app.add_user("ada", true).await;
        let mut sessions = Vec::new();
        let mut tokens = Vec::new();
        for name in [USERNAME, "ada"] {
            let opened = app.services.sign_in(name, PASSWORD).await.unwrap();
            let record = app
                .relational
                .session(&opened.key, chrono::Utc::now())
                .await
                .unwrap();
            sessions.push(record.unwrap());
            let owner = app.relational.user_by_name(name).await.unwrap().unwrap();
            let request = TokenRequest {
                name: "t".to_owned(),
                ..TokenRequest::default()
            };
            let made = app
                .services
                .create_token(&Principal::Local, Some(owner.id), request)
                .await;
            tokens.push(made.unwrap().token);
        }
        Self {
            app,
            sessions: sessions.try_into().map_err(drop).unwrap(),
            tokens: tokens.try_into().map_err(drop).unwrap(),
        }
    }
}

fn name_of(principal: Option<Principal>) -> Option<String> {
    match principal {
        Some(Principal::User { username, .. }) => Some(username),
        _ => None,
    }
}

#[test]
fn a_row_of_a_session_is_one_that_was_written() {
    check(mutations(), |runtime, fixture, mutations| {
        let [ours, theirs] = &fixture.sessions;
        let data = mutated_text(&ours.data, &[&theirs.data], &mutations).replace('\0', "");
        let expected = if data == ours.data {
            Some(USERNAME.to_owned())
        } else {
            // Who can write the table can write anybody's row; the signature is not bound to the key, as Django has it.
            (data == theirs.data).then(|| "ada".to_owned())
        };
        let record = SessionRecord {
            key: "k".repeat(32),
            data,
            expires_at: ours.expires_at,
        };
        let principal = runtime.block_on(async {
            fixture.app.relational.save_session(&record).await.unwrap();
            fixture.app.services.session_principal(&record.key).await.unwrap()
        });
        prop_assert_eq!(name_of(principal), expected);
        Ok(())
    });
}

#[test]
fn a_stored_token_is_one_that_was_handed_out() {
    check(mutations(), |runtime, fixture, mutations| {
        let [ours, theirs] = &fixture.tokens;
        let bearer = mutated_text(ours, &[theirs], &mutations);
        match runtime.block_on(fixture.app.services.authenticate_bearer(&bearer)) {
            Ok(_) => prop_assert!(fixture.tokens.contains(&bearer), "{}", bearer),
            Err(ServiceError::Unauthenticated) => prop_assert!(!fixture.tokens.contains(&bearer)),
            Err(other) => prop_assert!(false, "{other}"),
        }
        Ok(())
    });
}

#[test]
fn a_cookie_is_one_that_was_handed_out() {
    let where_to = prop::sample::select(vec!["/library/api/libraries/", "/profile/"]);
    check((mutations(), where_to), |runtime, fixture, (mutations, path)| {
        let cookies = fixture
            .sessions
            .each_ref()
            .map(|session| format!("csrftoken=abc; sessionid={}", session.key));
        let cookie = mutated(cookies[0].as_bytes(), &[cookies[1].as_bytes()], &mutations);
        let Ok(value) = HeaderValue::from_bytes(&cookie) else {
            return Ok(());
        };
        let status = ask(runtime, fixture, path, header::COOKIE, value);
        if status == StatusCode::OK {
            let text = String::from_utf8_lossy(&cookie);
            let keys: Vec<&str> = text
                .split(';')
                .filter_map(|pair| pair.trim().strip_prefix("sessionid="))
                .collect();
            let is_known = fixture
                .sessions
                .iter()
                .any(|session| keys.iter().any(|key| key.trim() == session.key));
            prop_assert!(is_known, "{text:?}");
        } else {
            prop_assert!(matches!(status.as_u16(), 303 | 400 | 401 | 431), "{status}");
        }
        Ok(())
    });
}

/// Not a right password with something done to it, whose check is slow on purpose: a wrong form, which is told before that.
#[test]
fn a_header_that_names_nobody_is_refused_without_harm() {
    check(mutations(), |runtime, fixture, mutations| {
        let header = mutated(
            b"Basic bm9jb2xvbg==",
            &[b"Bearer abc.def.ghi", b"Basic"],
            &mutations,
        );
        let Ok(value) = HeaderValue::from_bytes(&header) else {
            return Ok(());
        };
        let status = ask(
            runtime,
            fixture,
            "/library/api/libraries/",
            header::AUTHORIZATION,
            value,
        );
        prop_assert!(matches!(status.as_u16(), 401 | 429 | 431), "{status}");
        Ok(())
    });
}

fn ask(runtime: &Runtime, fixture: &Fixture, path: &str, name: HeaderName, value: HeaderValue) -> StatusCode {
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(name, value)
        .body(axum::body::Body::empty())
        .unwrap();
    runtime
        .block_on(fixture.app.send("127.0.0.1".parse().unwrap(), request))
        .status
}
