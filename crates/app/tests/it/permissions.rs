//! Every route with every kind of caller, against the one function that says who may do what. A route without a rule here
//! fails.

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use mnemosyne_app::routes::API_ROUTES;
use mnemosyne_domain::ports::Accounts;
use mnemosyne_domain::{NewUser, Principal, SessionRecord};
use mnemosyne_services::permission::{self, Action};
use mnemosyne_services::tokens::TokenRequest;
use mnemosyne_testkit::app::{Answer, Client, PASSWORD, TestApp, USERNAME};
use mnemosyne_testkit::routes::routes_below;

const SECRET: &str = "abcdefghijklmnopqrstuvwxyz012345";
const FORM: &str = "application/x-www-form-urlencoded";
const SIGN_IN: &str = "/accounts/login/";

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Whoever reaches the server.
    Everybody,
    /// Whoever is known, and may do this.
    May(Action),
    /// Whoever is known.
    Known,
}

use Action::{Administer, Ingest, OwnTokens, Read, Write};
use Rule::{Everybody, Known, May};

const RULES: &[(&str, &str, Rule)] = &[
    ("GET", "/live/", Everybody),
    ("GET", "/ready/", Everybody),
    // Judged by the address that a request comes from; see `probes`.
    ("GET", "/metrics", Everybody),
    ("GET", "/static/{name}", Everybody),
    ("GET", "/library/api/workspaces/", May(Read)),
    ("POST", "/library/api/workspaces/", May(Write)),
    ("GET", "/library/api/workspaces/{workspace_id}/", May(Read)),
    ("DELETE", "/library/api/workspaces/{workspace_id}/", May(Write)),
    ("POST", "/library/api/ingest/", May(Ingest)),
    ("GET", "/library/api/jobs/", May(Ingest)),
    ("GET", "/library/api/jobs/{job_id}/", May(Ingest)),
    ("POST", "/library/api/jobs/{job_id}/retry/", May(Ingest)),
    ("POST", "/library/api/jobs/{job_id}/cancel/", May(Ingest)),
    ("POST", "/library/api/search/", May(Read)),
    ("GET", "/library/api/libraries/", May(Read)),
    ("POST", "/library/api/libraries/", May(Write)),
    ("GET", "/library/api/libraries/{library_uid}/", May(Read)),
    ("PATCH", "/library/api/libraries/{library_uid}/", May(Write)),
    ("DELETE", "/library/api/libraries/{library_uid}/", May(Write)),
    ("GET", "/library/api/collections/", May(Read)),
    ("POST", "/library/api/collections/", May(Write)),
    ("GET", "/library/api/collections/{collection_uid}/", May(Read)),
    ("PATCH", "/library/api/collections/{collection_uid}/", May(Write)),
    ("DELETE", "/library/api/collections/{collection_uid}/", May(Write)),
    ("GET", "/library/api/items/", May(Read)),
    ("GET", "/library/api/items/{item_uid}/", May(Read)),
    ("PATCH", "/library/api/items/{item_uid}/", May(Write)),
    ("DELETE", "/library/api/items/{item_uid}/", May(Write)),
    ("GET", "/library/api/items/{item_uid}/text/", May(Read)),
    ("GET", "/library/api/items/{item_uid}/original/", May(Read)),
    ("GET", "/library/api/items/{item_uid}/chunks/", May(Read)),
    ("GET", "/library/api/chunks/", May(Read)),
    ("GET", "/library/api/chunks/{chunk_uid}/", May(Read)),
    ("GET", "/library/api/concepts/", May(Read)),
    ("GET", "/library/api/concepts/{concept_uid}/related/", May(Read)),
    ("GET", "/library/api/providers/", May(Administer)),
    ("POST", "/library/api/providers/", May(Administer)),
    ("GET", "/library/api/providers/{provider_uid}/", May(Administer)),
    ("PATCH", "/library/api/providers/{provider_uid}/", May(Administer)),
    (
        "DELETE",
        "/library/api/providers/{provider_uid}/",
        May(Administer),
    ),
    (
        "POST",
        "/library/api/providers/{provider_uid}/test/",
        May(Administer),
    ),
    ("GET", "/library/api/models/", May(Administer)),
    ("POST", "/library/api/models/", May(Administer)),
    ("GET", "/library/api/models/{model_uid}/", May(Administer)),
    ("PATCH", "/library/api/models/{model_uid}/", May(Administer)),
    ("DELETE", "/library/api/models/{model_uid}/", May(Administer)),
    ("POST", "/library/api/models/{model_uid}/test/", May(Administer)),
    ("GET", "/library/api/users/", May(Administer)),
    ("POST", "/library/api/users/", May(Administer)),
    ("GET", "/library/api/users/{user_id}/", May(Administer)),
    ("PATCH", "/library/api/users/{user_id}/", May(Administer)),
    ("POST", "/library/api/users/{user_id}/password/", May(Administer)),
    ("POST", "/library/api/users/{user_id}/sign-out/", May(Administer)),
    ("GET", "/library/api/profile/", Known),
    ("PATCH", "/library/api/profile/", Known),
    ("POST", "/library/api/profile/password/", Known),
    ("POST", "/library/api/profile/sign-out/", Known),
    ("GET", "/library/api/audit/", May(Administer)),
    ("GET", "/library/api/schema/", Known),
    ("GET", "/library/api/docs/", Known),
    ("GET", "/", May(Read)),
    // The addresses of forms lead readers back to the page of the form.
    ("GET", "/demo/", Everybody),
    ("POST", "/demo/", May(Write)),
    ("GET", "/accounts/login/", Everybody),
    ("POST", "/accounts/login/", Everybody),
    ("GET", "/accounts/logout/", Everybody),
    ("POST", "/accounts/logout/", Everybody),
    ("GET", "/libraries/", May(Read)),
    ("GET", "/libraries/new/", Known),
    ("POST", "/libraries/new/", May(Write)),
    ("GET", "/libraries/{uid}/", May(Read)),
    ("GET", "/libraries/{uid}/edit/", May(Read)),
    ("POST", "/libraries/{uid}/edit/", May(Write)),
    ("GET", "/libraries/{uid}/delete/", May(Read)),
    ("POST", "/libraries/{uid}/delete/", May(Write)),
    ("GET", "/libraries/{uid}/upload/", Everybody),
    ("POST", "/libraries/{uid}/upload/", May(Ingest)),
    ("GET", "/items/{uid}/", May(Read)),
    ("GET", "/items/{uid}/original/", May(Read)),
    ("GET", "/items/{uid}/delete/", May(Read)),
    ("POST", "/items/{uid}/delete/", May(Write)),
    ("GET", "/search/", May(Read)),
    ("GET", "/activity/", May(Ingest)),
    ("GET", "/activity/retry/", Everybody),
    ("POST", "/activity/retry/", May(Ingest)),
    ("GET", "/activity/live/", May(Ingest)),
    ("GET", "/activity/stream/", May(Ingest)),
    ("GET", "/activity/jobs/{id}/", May(Ingest)),
    ("GET", "/activity/jobs/{id}/cancel/", Everybody),
    ("POST", "/activity/jobs/{id}/cancel/", May(Ingest)),
    ("GET", "/activity/jobs/{id}/retry/", Everybody),
    ("POST", "/activity/jobs/{id}/retry/", May(Ingest)),
    ("GET", "/connect/", May(OwnTokens)),
    ("GET", "/connect/test/", Everybody),
    ("POST", "/connect/test/", Known),
    ("GET", "/connect/tokens/", Everybody),
    ("POST", "/connect/tokens/", May(OwnTokens)),
    ("GET", "/connect/tokens/{id}/revoke/", Everybody),
    ("POST", "/connect/tokens/{id}/revoke/", May(OwnTokens)),
    ("GET", "/accounts/password_change/", Known),
    ("POST", "/accounts/password_change/", Known),
    ("GET", "/accounts/password_reset/", Everybody),
    ("POST", "/accounts/password_reset/", Everybody),
    ("GET", "/accounts/reset/{uid}/{token}/", Everybody),
    ("POST", "/accounts/reset/{uid}/{token}/", Everybody),
    ("GET", "/profile/", Known),
    ("POST", "/profile/", Known),
    ("GET", "/profile/sign_out/", Everybody),
    ("POST", "/profile/sign_out/", Known),
    ("GET", "/people/", May(Administer)),
    ("GET", "/people/new/", May(Administer)),
    ("POST", "/people/new/", May(Administer)),
    ("GET", "/people/{id}/", May(Administer)),
    ("POST", "/people/{id}/", May(Administer)),
    ("GET", "/people/{id}/password/", Everybody),
    ("POST", "/people/{id}/password/", May(Administer)),
    ("GET", "/people/{id}/sign_out/", Everybody),
    ("POST", "/people/{id}/sign_out/", May(Administer)),
    ("GET", "/audit/", May(Administer)),
    ("GET", "/models/", May(Administer)),
    ("GET", "/models/providers/new/", May(Administer)),
    ("POST", "/models/providers/new/", May(Administer)),
    ("GET", "/models/providers/{uid}/edit/", May(Administer)),
    ("POST", "/models/providers/{uid}/edit/", May(Administer)),
    ("GET", "/models/providers/{uid}/delete/", May(Administer)),
    ("POST", "/models/providers/{uid}/delete/", May(Administer)),
    ("GET", "/models/providers/{uid}/test/", Everybody),
    ("POST", "/models/providers/{uid}/test/", May(Administer)),
    ("GET", "/models/new/", May(Administer)),
    ("POST", "/models/new/", May(Administer)),
    ("GET", "/models/{uid}/edit/", May(Administer)),
    ("POST", "/models/{uid}/edit/", May(Administer)),
    ("GET", "/models/{uid}/delete/", May(Administer)),
    ("POST", "/models/{uid}/delete/", May(Administer)),
    ("GET", "/models/{uid}/test/", Everybody),
    ("POST", "/models/{uid}/test/", May(Administer)),
];

fn all_routes() -> BTreeSet<(String, String)> {
    let api = API_ROUTES
        .iter()
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()));
    api.chain(routes_below(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    ))))
    .collect()
}

#[test]
fn every_route_has_one_rule_and_every_rule_a_route() {
    let routes = all_routes();
    let ruled: BTreeSet<(String, String)> = RULES
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(ruled.len(), RULES.len(), "a route has two rules");
    let lacking: Vec<_> = routes.difference(&ruled).collect();
    assert!(lacking.is_empty(), "these routes have no rule: {lacking:?}");
    let idle: Vec<_> = ruled.difference(&routes).collect();
    assert!(idle.is_empty(), "these rules have no route: {idle:?}");
}

/// Somebody with an account.
struct Caller {
    name: &'static str,
    principal: Principal,
    session: SessionRecord,
}

impl Caller {
    async fn make(app: &TestApp, name: &'static str, is_superuser: bool, is_staff: bool) -> Self {
        let password = app
            .relational
            .user_by_name(USERNAME)
            .await
            .unwrap()
            .unwrap()
            .password;
        let user = NewUser {
            username: name.to_owned(),
            password,
            email: String::new(),
            is_superuser,
            is_staff,
            is_service: name == "service",
        };
        app.relational
            .create_user(user, chrono::Utc::now())
            .await
            .unwrap();
        let opened = app.services.sign_in(name, PASSWORD).await.unwrap();
        let session = app
            .relational
            .session(&opened.key, chrono::Utc::now())
            .await
            .unwrap()
            .unwrap();
        let principal = app
            .services
            .session_principal(&opened.key)
            .await
            .unwrap()
            .unwrap();
        Self {
            name,
            principal,
            session,
        }
    }

    async fn all(app: &TestApp) -> Vec<Self> {
        vec![
            Self::make(app, "administrator", true, true).await,
            Self::make(app, "staff", false, true).await,
            Self::make(app, "user", false, false).await,
            Self::make(app, "service", false, false).await,
        ]
    }

    /// In a browser, with the token of its forms.
    fn browser<'a>(&self, app: &'a TestApp) -> Client<'a> {
        app.stranger()
            .cookie("sessionid", &self.session.key)
            .cookie("csrftoken", SECRET)
    }

    fn may(&self, rule: Rule) -> bool {
        match rule {
            Everybody | Known => true,
            May(action) => permission::require(&self.principal, action).is_ok(),
        }
    }
}

fn concrete(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "some-id" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

fn is_api(path: &str) -> bool {
    path.starts_with("/library/api/")
}

/// Asks for a route, with a body that is none of its.
async fn ask(client: &Client<'_>, method: &str, path: &str) -> Answer {
    let path = concrete(path);
    // An answer that never ends is only begun.
    let method = if path.ends_with("/stream/") {
        "HEAD"
    } else {
        method
    };
    let method: Method = method.parse().unwrap();
    if is_api(&path) {
        let client = client.clone().with("x-csrftoken", SECRET);
        return client.send(method, &path, Some("application/json"), "{}").await;
    }
    if path.ends_with("/upload/") && method == Method::POST {
        let form = mnemosyne_testkit::app::Form::new().text("csrfmiddlewaretoken", SECRET);
        return client.post_form(&path, &form).await;
    }
    let body = format!("csrfmiddlewaretoken={SECRET}");
    client.send(method, &path, Some(FORM), body).await
}

fn is_sent_to_sign_in(answer: &Answer) -> bool {
    answer.code() == 303
        && answer.header("location").starts_with(SIGN_IN)
        && answer.header("location").contains("next=")
}

#[tokio::test]
async fn every_route_answers_every_caller_as_its_rule_says() {
    let app = TestApp::start().await;
    let callers = Caller::all(&app).await;
    let token = {
        let request = TokenRequest {
            name: "t".to_owned(),
            ..TokenRequest::default()
        };
        let made = app
            .services
            .create_token(&callers[0].principal, None, request)
            .await;
        made.unwrap().token
    };
    for (method, path, rule) in RULES {
        let strangers = [
            app.stranger().cookie("csrftoken", SECRET),
            app.stranger()
                .cookie("csrftoken", SECRET)
                .cookie("sessionid", "0123456789abcdef"),
            // A token of MCP is good for MCP.
            app.stranger()
                .cookie("csrftoken", SECRET)
                .with("authorization", &format!("Bearer {token}")),
        ];
        for stranger in strangers {
            let answer = ask(&stranger, method, path).await;
            let is_refused = match rule {
                _ if is_api(path) => {
                    answer.code() == 401 && answer.header("www-authenticate").starts_with("Basic")
                }
                Everybody => false,
                May(_) | Known => is_sent_to_sign_in(&answer),
            };
            let is_answered =
                !is_refused && answer.code() < 500 && answer.code() != 403 && answer.code() != 401;
            assert!(
                if *rule == Everybody {
                    is_answered
                } else {
                    is_refused
                },
                "{method} {path} for a stranger: {}",
                answer.status
            );
        }
        for caller in &callers {
            // Whatever a route before this one did to the session.
            app.relational.save_session(&caller.session).await.unwrap();
            let mut clients = vec![caller.browser(&app)];
            if is_api(path) {
                clients.push(app.stranger().basic(caller.name, PASSWORD));
            }
            for client in clients {
                let answer = ask(&client, method, path).await;
                let code = answer.code();
                if caller.may(*rule) {
                    let is_served =
                        code < 500 && !matches!(code, 401 | 403 | 405) && !is_sent_to_sign_in(&answer);
                    assert!(
                        is_served,
                        "{method} {path} for {}: {code} {}",
                        caller.name,
                        answer.text()
                    );
                } else {
                    assert!(
                        matches!(code, 403 | 404),
                        "{method} {path} for {}: {code}",
                        caller.name
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_changed_from_a_foreign_page() {
    let app = TestApp::start().await;
    let caller = Caller::make(&app, "administrator", true, true).await;
    let browser = app.stranger().cookie("sessionid", &caller.session.key);
    for (method, path, _) in RULES.iter().filter(|(method, ..)| *method != "GET") {
        let kind = if is_api(path) { "application/json" } else { FORM };
        let foreign = browser
            .clone()
            .cookie("csrftoken", SECRET)
            .with("x-csrftoken", SECRET)
            .with("origin", "https://evil.example");
        for client in [&browser, &foreign] {
            app.relational.save_session(&caller.session).await.unwrap();
            let answer = client
                .send(
                    method.parse().unwrap(),
                    &concrete(path),
                    Some(kind),
                    format!("csrfmiddlewaretoken={SECRET}"),
                )
                .await;
            // A form of something that is not there is not looked at; that of a new model names its server in the query.
            let names_something = path.contains('{') || *path == "/models/new/";
            let is_refused = answer.code() == 403 || (answer.code() == 404 && names_something);
            assert!(is_refused, "{method} {path}: {}", answer.text());
        }
        let session = app
            .relational
            .session(&caller.session.key, chrono::Utc::now())
            .await
            .unwrap();
        assert!(session.is_some(), "{method} {path} ended the session");
    }
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_as_if_it_were_not_there() {
    let app = TestApp::start().await;
    let callers = Caller::all(&app).await;
    let owner = &callers[2];
    let request = TokenRequest {
        name: "mine".to_owned(),
        ..TokenRequest::default()
    };
    let made = app
        .services
        .create_token(&owner.principal, None, request)
        .await
        .unwrap();
    let there = format!("/connect/tokens/{}/revoke/", made.stored.id);
    let absent = format!("/connect/tokens/{}/revoke/", made.stored.id + 1000);
    for other in callers.iter().filter(|caller| caller.name != owner.name) {
        let browser = other.browser(&app);
        let refused = ask(&browser, "POST", &there).await;
        let missing = ask(&browser, "POST", &absent).await;
        assert_eq!((refused.code(), missing.code()), (404, 404), "{}", other.name);
        let told = |answer: &Answer| answer.text().matches("There is no such token").count();
        assert_eq!(
            (told(&refused), refused.text().contains("mine")),
            (told(&missing), false)
        );
        let page = browser.get("/connect/").await.expect(200);
        assert!(
            !page.text().contains(&made.stored.prefix),
            "{} sees it",
            other.name
        );
    }
    let accepted = app.services.authenticate_bearer(&made.token).await;
    assert!(accepted.is_ok(), "somebody else revoked it");
    ask(&owner.browser(&app), "POST", &there).await.expect(303);
    assert!(app.services.authenticate_bearer(&made.token).await.is_err());
}
