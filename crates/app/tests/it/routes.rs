//! The table of contents and the OpenAPI document are one.

use std::collections::BTreeSet;

use mnemosyne_app::openapi;
use mnemosyne_app::routes::API_ROUTES;
use mnemosyne_testkit::app::TestApp;
use serde_json::Value;

fn documented() -> Value {
    serde_json::to_value(openapi()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods
                .filter(|(method, _)| ["get", "post", "put", "patch", "delete"].contains(&method.as_str()))
                .map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
        })
        .collect()
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    let listed: BTreeSet<(String, String)> = API_ROUTES
        .iter()
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(listed.len(), API_ROUTES.len(), "a route is listed twice");
    let document = documented();
    let described: BTreeSet<(String, String)> = operations(&document)
        .into_iter()
        .map(|(method, path, _)| (method, path))
        .collect();
    assert_eq!(listed, described);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
}

#[test]
fn the_routes_are_a_promise() {
    let lines: Vec<String> = API_ROUTES
        .iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    let promised = [
        "GET /library/api/workspaces/",
        "POST /library/api/workspaces/",
        "GET /library/api/workspaces/{workspace_id}/",
        "DELETE /library/api/workspaces/{workspace_id}/",
        "POST /library/api/ingest/",
        "GET /library/api/jobs/",
        "GET /library/api/jobs/{job_id}/",
        "POST /library/api/jobs/{job_id}/retry/",
        "POST /library/api/jobs/{job_id}/cancel/",
        "POST /library/api/search/",
        "GET /library/api/libraries/",
        "POST /library/api/libraries/",
        "GET /library/api/libraries/{library_uid}/",
        "PATCH /library/api/libraries/{library_uid}/",
        "DELETE /library/api/libraries/{library_uid}/",
        "GET /library/api/collections/",
        "POST /library/api/collections/",
        "GET /library/api/collections/{collection_uid}/",
        "PATCH /library/api/collections/{collection_uid}/",
        "DELETE /library/api/collections/{collection_uid}/",
        "GET /library/api/items/",
        "GET /library/api/items/{item_uid}/",
        "PATCH /library/api/items/{item_uid}/",
        "DELETE /library/api/items/{item_uid}/",
        "GET /library/api/items/{item_uid}/text/",
        "GET /library/api/items/{item_uid}/original/",
        "GET /library/api/items/{item_uid}/chunks/",
        "GET /library/api/chunks/",
        "GET /library/api/chunks/{chunk_uid}/",
        "GET /library/api/concepts/",
        "GET /library/api/concepts/{concept_uid}/related/",
        "GET /library/api/providers/",
        "POST /library/api/providers/",
        "GET /library/api/providers/{provider_uid}/",
        "PATCH /library/api/providers/{provider_uid}/",
        "DELETE /library/api/providers/{provider_uid}/",
        "POST /library/api/providers/{provider_uid}/test/",
        "GET /library/api/models/",
        "POST /library/api/models/",
        "GET /library/api/models/{model_uid}/",
        "PATCH /library/api/models/{model_uid}/",
        "DELETE /library/api/models/{model_uid}/",
        "POST /library/api/models/{model_uid}/test/",
        "GET /library/api/users/",
        "POST /library/api/users/",
        "GET /library/api/users/{user_id}/",
        "PATCH /library/api/users/{user_id}/",
        "POST /library/api/users/{user_id}/password/",
        "POST /library/api/users/{user_id}/sign-out/",
        "GET /library/api/profile/",
        "PATCH /library/api/profile/",
        "POST /library/api/profile/password/",
        "POST /library/api/profile/sign-out/",
        "GET /library/api/audit/",
        "GET /library/api/schema/",
        "GET /library/api/docs/",
    ];
    assert_eq!(lines, promised);
}

#[test]
fn the_document_holds_together() {
    let document = documented();
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} is used twice");
        for status in ["401", "403", "503"] {
            assert!(
                operation["responses"][status].is_object(),
                "{method} {path} lacks {status}"
            );
        }
        let lists = operation["parameters"]
            .as_array()
            .is_some_and(|parameters| parameters.iter().any(|one| one["name"] == "limit"));
        assert!(
            !lists || operation["responses"]["400"].is_object(),
            "{method} {path} lacks 400"
        );
        let takes_json = operation["requestBody"]["content"]["application/json"].is_object();
        for status in ["413", "415"] {
            assert!(
                !takes_json || operation["responses"][status].is_object(),
                "{method} {path} lacks {status}"
            );
        }
        let variables = path.matches('{').count();
        let described = operation["parameters"].as_array().map_or(0, |parameters| {
            parameters.iter().filter(|one| one["in"] == "path").count()
        });
        assert_eq!(variables, described, "{method} {path}");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is referred to and not there");
    }
}

/// A path with something in the place of its variables.
fn concrete(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "some-id" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn no_route_answers_a_stranger() {
    let app = TestApp::start().await;
    let wrong = app.stranger().with("authorization", "Bearer abc");
    for (method, path) in API_ROUTES {
        for client in [
            app.stranger(),
            wrong.clone(),
            app.stranger().cookie("sessionid", "0123456789abcdef"),
        ] {
            let path = concrete(path);
            let answer = client
                .send(method.parse().unwrap(), &path, Some("application/json"), "{}")
                .await;
            assert_eq!(answer.code(), 401, "{method} {path}");
            assert_eq!(
                answer.header("www-authenticate"),
                "Basic realm=\"mnemosyne\"",
                "{method} {path}"
            );
            assert!(answer.json()["detail"].is_string() && answer.json()["code"].is_string());
        }
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let app = TestApp::start().await;
    let schema = app.daedalus().get("/library/api/schema/").await.expect(200);
    assert_eq!(schema.json(), documented());
    let page = app.daedalus().get("/library/api/docs/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    for address in page
        .text()
        .split(['"'])
        .filter(|text| text.starts_with("/static/"))
    {
        app.stranger().get(address).await.expect(200);
    }
    assert!(
        !page.text().contains("http"),
        "the page loads nothing from elsewhere"
    );
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_allowed_say_so_in_json() {
    let app = TestApp::start().await;
    let missing = app.daedalus().get("/library/api/nothing/").await.expect(404);
    assert_eq!(missing.json()["code"], "not_found");
    let wrong = app
        .daedalus()
        .delete("/library/api/workspaces/")
        .await
        .expect(405);
    assert_eq!(wrong.json()["code"], "method_not_allowed");
    assert_eq!(wrong.header("allow"), "GET,HEAD,POST");
    let put = app
        .daedalus()
        .send(http::Method::PUT, "/library/api/search/", None, "")
        .await
        .expect(405);
    assert_eq!(put.header("allow"), "POST");
}
