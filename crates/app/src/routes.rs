//! The table of contents: every address this role answers.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodFilter, get, on};
use http::StatusCode;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{
    audit, chunks, collections, concepts, docs, ingest, items, jobs, libraries, models, profile, providers,
    schema, search, users, workspaces,
};
use crate::error::{Audience, refuse};
use crate::state::AppState;
use crate::{api, middleware, pages, probes, static_files};

/// Where the API begins.
pub(crate) const API_ROOT: &str = "/library/api/";

/// Routes that take files: their time is bounded by how long a client may be silent, not as a whole.
pub(crate) const UPLOADS: &[&str] = &["/library/api/ingest/", "/libraries/{uid}/upload/"];

/// Addresses that have no slash at their end, and are not looked for with one.
pub(crate) fn is_unslashed(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/static/")
}

macro_rules! api_routes {
    ($($method:ident $path:literal $module:ident :: $handler:ident;)*) => {
        /// Every route of the API: its method and its path.
        pub const API_ROUTES: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        fn api_router() -> Router<AppState> {
            Router::new()$(.route($path, on(MethodFilter::$method, $module::$handler)))*
        }

        fn described() -> OpenApi {
            OpenApiRouter::<AppState>::new()$(.routes(routes!($module::$handler)))*.into_openapi()
        }
    };
}

api_routes! {
    GET    "/library/api/workspaces/"                       workspaces::list;
    POST   "/library/api/workspaces/"                       workspaces::create;
    GET    "/library/api/workspaces/{workspace_id}/"        workspaces::get;
    DELETE "/library/api/workspaces/{workspace_id}/"        workspaces::delete;

    POST   "/library/api/ingest/"                           ingest::create;
    GET    "/library/api/jobs/"                             jobs::list;
    GET    "/library/api/jobs/{job_id}/"                    jobs::get;
    POST   "/library/api/jobs/{job_id}/retry/"              jobs::retry;
    POST   "/library/api/jobs/{job_id}/cancel/"             jobs::cancel;

    POST   "/library/api/search/"                           search::search;

    GET    "/library/api/libraries/"                        libraries::list;
    POST   "/library/api/libraries/"                        libraries::create;
    GET    "/library/api/libraries/{library_uid}/"          libraries::get;
    PATCH  "/library/api/libraries/{library_uid}/"          libraries::update;
    DELETE "/library/api/libraries/{library_uid}/"          libraries::delete;

    GET    "/library/api/collections/"                      collections::list;
    POST   "/library/api/collections/"                      collections::create;
    GET    "/library/api/collections/{collection_uid}/"     collections::get;
    PATCH  "/library/api/collections/{collection_uid}/"     collections::update;
    DELETE "/library/api/collections/{collection_uid}/"     collections::delete;

    GET    "/library/api/items/"                            items::list;
    GET    "/library/api/items/{item_uid}/"                 items::get;
    PATCH  "/library/api/items/{item_uid}/"                 items::update;
    DELETE "/library/api/items/{item_uid}/"                 items::delete;
    GET    "/library/api/items/{item_uid}/text/"            items::text;
    GET    "/library/api/items/{item_uid}/original/"        items::original;
    GET    "/library/api/items/{item_uid}/chunks/"          items::chunks;

    GET    "/library/api/chunks/"                           chunks::list;
    GET    "/library/api/chunks/{chunk_uid}/"               chunks::get;

    GET    "/library/api/concepts/"                         concepts::list;
    GET    "/library/api/concepts/{concept_uid}/related/"   concepts::related;

    GET    "/library/api/providers/"                        providers::list;
    POST   "/library/api/providers/"                        providers::create;
    GET    "/library/api/providers/{provider_uid}/"         providers::get;
    PATCH  "/library/api/providers/{provider_uid}/"         providers::update;
    DELETE "/library/api/providers/{provider_uid}/"         providers::delete;
    POST   "/library/api/providers/{provider_uid}/test/"    providers::test;

    GET    "/library/api/models/"                           models::list;
    POST   "/library/api/models/"                           models::create;
    GET    "/library/api/models/{model_uid}/"               models::get;
    PATCH  "/library/api/models/{model_uid}/"               models::update;
    DELETE "/library/api/models/{model_uid}/"               models::delete;
    POST   "/library/api/models/{model_uid}/test/"          models::test;

    GET    "/library/api/users/"                            users::list;
    POST   "/library/api/users/"                            users::create;
    GET    "/library/api/users/{user_id}/"                  users::get;
    PATCH  "/library/api/users/{user_id}/"                  users::update;
    POST   "/library/api/users/{user_id}/password/"         users::set_password;
    POST   "/library/api/users/{user_id}/sign-out/"         users::sign_out;
    GET    "/library/api/profile/"                          profile::get;
    PATCH  "/library/api/profile/"                          profile::update;
    POST   "/library/api/profile/password/"                 profile::change_password;
    POST   "/library/api/profile/sign-out/"                 profile::sign_out;
    GET    "/library/api/audit/"                            audit::list;

    GET    "/library/api/schema/"                           schema::get;
    GET    "/library/api/docs/"                             docs::get;
}

/// The role: probes, static files, API and pages, behind everything a request passes first.
pub fn router(state: AppState) -> Router {
    let routes = Router::new()
        .route("/live/", get(probes::live))
        .route("/ready/", get(probes::ready))
        .route("/metrics", get(probes::metrics))
        .route("/static/{name}", get(static_files::serve))
        .merge(api_router())
        .merge(pages::router(&state))
        .fallback(no_such_address)
        .method_not_allowed_fallback(no_such_method)
        .with_state(state.clone());
    middleware::wrap(routes, &state)
}

/// The OpenAPI 3.1 document of the API.
pub fn openapi() -> OpenApi {
    api::schema::complete(described())
}

async fn no_such_address(request: Request) -> Response {
    let audience = Audience::of(request.uri().path(), request.headers());
    refuse(
        audience,
        StatusCode::NOT_FOUND,
        "not_found",
        "There is nothing at this address.",
    )
}

/// The router adds which methods there are.
async fn no_such_method(request: Request) -> Response {
    let audience = Audience::of(request.uri().path(), request.headers());
    let detail = format!("The method {} is not allowed here.", request.method());
    refuse(
        audience,
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        &detail,
    )
}
