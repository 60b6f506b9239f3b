//! The description of this API, for programs.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr, ResponseBuilder};

use crate::auth::ApiCaller;
use crate::{routes, session};

/// This document: OpenAPI 3.1, with whole paths.
#[utoipa::path(
    get, path = "/library/api/schema/", tag = "description", operation_id = "get_schema",
    responses((status = 200, body = Object)),
)]
pub(crate) async fn get(_caller: ApiCaller) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

/// The document never changes while the program runs, and writing it takes longer than a request should.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let text = routes::openapi().to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the OpenAPI document could not be written");
        "{}".to_owned()
    });
    Bytes::from(text)
});

/// Adds an answer where the handler does not describe one of this status itself.
fn answer(operation: &mut Operation, status: &str, description: &str, schema: &str) {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema)))
        .build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .build();
    operation
        .responses
        .responses
        .entry(status.to_owned())
        .or_insert(response.into());
}

/// Adds to what stands at the handlers what holds for all of them.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("Mnemosyne")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Libraries of documents, made searchable: by meaning, by words and by the concepts they share.\n\n\
             Errors are `{\"detail\": …, \"code\": …}`; where fields of a request are wrong, `{\"field\": [\"…\"]}`.",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("basic", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
    components.add_security_scheme(
        "session",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
            session::COOKIE,
            "For pages of this site; requests that change something also need the header X-CSRFToken.",
        ))),
    );
    let every = [
        ("401", "Nobody known is asking."),
        ("403", "The caller may not do this."),
        ("503", "Try again later."),
    ];
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            for (status, description) in every {
                answer(operation, status, description, "Problem");
            }
            let is_a_list = operation
                .parameters
                .iter()
                .flatten()
                .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "limit"));
            if is_a_list {
                answer(
                    operation,
                    "400",
                    "A parameter is not as it must be.",
                    "WrongFields",
                );
            }
            let takes_json = matches!(
                &operation.request_body,
                Some(RefOr::T(body)) if body.content.contains_key("application/json")
            );
            if takes_json {
                answer(
                    operation,
                    "413",
                    "The body is larger than allowed here.",
                    "Problem",
                );
                answer(
                    operation,
                    "415",
                    "The body is of a type that is not read here.",
                    "Problem",
                );
            }
        }
    }
    document.security = Some(vec![
        SecurityRequirement::new("basic", Vec::<String>::new()),
        SecurityRequirement::new("session", Vec::<String>::new()),
    ]);
    document
}
