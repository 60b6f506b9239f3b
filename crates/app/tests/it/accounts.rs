//! Users, tokens and keys, as commands and the sign-in page make them.

use std::collections::BTreeSet;

use axum::body::Body;
use http::Method;
use mnemosyne_domain::ports::Accounts;
use mnemosyne_domain::{LibraryUid, Principal};
use mnemosyne_services::ServiceError;
use mnemosyne_services::accounts::{Ensured, Role};
use mnemosyne_services::signing_keys::{OtherKeys, Seeded};
use mnemosyne_services::tokens::TokenRequest;
use mnemosyne_testkit::app::{PASSWORD, TestApp, USERNAME};

use crate::support::{text, workspace};

const LOCAL: &Principal = &Principal::Local;
const SECRET: &str = "abcdefghijklmnopqrstuvwxyz012345";

#[track_caller]
fn wrong_field<T>(outcome: Result<T, ServiceError>, field: &str) -> String {
    match outcome {
        Err(ServiceError::Invalid(fields)) => fields[field][0].clone(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("this was accepted"),
    }
}

#[tokio::test]
async fn the_first_administrator_is_nobody_elses_account() {
    let app = TestApp::start().await;
    app.add_user("admin", false).await;
    let before = app.relational.user_by_name("admin").await.unwrap().unwrap();
    let made = app.services.first_administrator(LOCAL).await.unwrap().unwrap();
    assert_eq!(made.username, "admin-2");
    assert_eq!(
        app.relational.user_by_name("admin").await.unwrap().unwrap(),
        before,
        "the account of somebody else was changed"
    );
    let administrator = app.relational.user_by_name("admin-2").await.unwrap().unwrap();
    assert!(administrator.is_superuser && administrator.is_active);
    app.services
        .authenticate_basic(&made.username, &made.password)
        .await
        .unwrap();
    // The next start finds it.
    assert!(app.services.first_administrator(LOCAL).await.unwrap().is_none());
    assert_eq!(
        app.services.default_token_owner(LOCAL).await.unwrap().username,
        "admin-2"
    );
}

#[tokio::test]
async fn an_administrator_without_a_password_is_given_one() {
    let app = TestApp::start().await;
    app.add_user("admin", false).await;
    let owner = app.services.default_token_owner(LOCAL).await.unwrap();
    assert_eq!((owner.username.as_str(), owner.is_superuser), ("admin-2", true));
    let again = app.services.default_token_owner(LOCAL).await.unwrap();
    assert_eq!(again.id, owner.id);
    let made = app.services.first_administrator(LOCAL).await.unwrap().unwrap();
    assert_eq!(made.username, "admin-2");
    let now = app.relational.user_by_name("admin-2").await.unwrap().unwrap();
    assert!(now.id == owner.id && !now.password.starts_with('!'));
}

#[tokio::test]
async fn a_name_is_kept_without_the_space_around_it() {
    let app = TestApp::start().await;
    let made = app
        .services
        .create_user(LOCAL, " anna ", PASSWORD, Role::User)
        .await
        .unwrap();
    assert_eq!(made.username, "anna");
    let ensured = app
        .services
        .ensure_service_user(LOCAL, &format!(" {USERNAME}\n"), PASSWORD)
        .await
        .unwrap();
    assert_eq!(ensured, Ensured::Marked);
    let users = app.services.users(LOCAL).await.unwrap();
    assert!(users.iter().all(|user| user.username.trim() == user.username));
    let inside = app
        .services
        .create_user(LOCAL, "an na", PASSWORD, Role::User)
        .await;
    wrong_field(inside, "username");
}

#[tokio::test]
async fn a_stored_token_is_not_made_for_a_library_that_it_could_never_see() {
    let app = TestApp::start().await;
    let uid = workspace(&app.daedalus(), "w").await;
    let uid = LibraryUid::parse(text(&uid, "library_uid")).unwrap();
    let owner = app.services.default_token_owner(LOCAL).await.unwrap();
    let request = TokenRequest {
        name: "t".to_owned(),
        libraries: Some(BTreeSet::from([uid])),
        ..TokenRequest::default()
    };
    let said = wrong_field(
        app.services.create_token(LOCAL, Some(owner.id), request).await,
        "libraries",
    );
    assert_eq!(
        said,
        "This library belongs to a workspace; stored tokens see global libraries only."
    );
}

#[tokio::test]
async fn the_name_of_a_signing_key_is_one_line() {
    let app = TestApp::start().await;
    for kid in ["a\nb", "a\tb", "a\rb", "a\u{7f}b"] {
        wrong_field(
            app.services.seed_signing_key(LOCAL, kid, OtherKeys::Keep).await,
            "kid",
        );
    }
    let seeded = app.services.seed_signing_key(LOCAL, "a b", OtherKeys::Keep).await;
    assert!(matches!(seeded, Ok(Seeded::Created { .. })));
}

#[tokio::test]
async fn signing_in_ends_the_session_that_the_browser_had() {
    let app = TestApp::start().await;
    let former = app.services.sign_in(USERNAME, PASSWORD).await.unwrap();
    let elsewhere = app.services.sign_in(USERNAME, PASSWORD).await.unwrap();
    let browser = app
        .stranger()
        .cookie("sessionid", &former.key)
        .cookie("csrftoken", SECRET);
    let body = |password: &str| {
        Body::from(format!(
            "csrfmiddlewaretoken={SECRET}&username={USERNAME}&password={password}"
        ))
    };
    let send = async |body| {
        let kind = Some("application/x-www-form-urlencoded");
        browser.send(Method::POST, "/accounts/login/", kind, body).await
    };
    let is_open = async |key: &str| app.services.session_principal(key).await.unwrap().is_some();
    send(body("wrong")).await.expect(422);
    assert!(is_open(&former.key).await, "a wrong password ends nothing");
    send(body(PASSWORD)).await.expect(303);
    assert!(!is_open(&former.key).await);
    assert!(is_open(&elsewhere.key).await, "other browsers stay signed in");
}
