//! The description of this API, for people: a page that shows it and sends requests, made of files of our own.

use axum::response::Html;

use crate::auth::ApiCaller;
use crate::static_files::asset;

/// A page to read about this API and to try it.
#[utoipa::path(
    get, path = "/library/api/docs/", tag = "description", operation_id = "get_docs",
    responses((status = 200, body = String, content_type = "text/html")),
)]
pub(crate) async fn get(_caller: ApiCaller) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>API · Mnemosyne</title>\n\
         <link rel=\"icon\" type=\"image/svg+xml\" href=\"{favicon}\">\n\
         <link rel=\"stylesheet\" href=\"{style}\">\n\
         <script src=\"{script}\" defer></script>\n</head>\n<body>\n\
         <header><h1>Mnemosyne API</h1>\n\
         <p><a href=\"/\">Back to the pages</a> · <a href=\"/library/api/schema/\">OpenAPI 3.1 document</a></p></header>\n\
         <main id=\"api\"><noscript><p>This page draws the OpenAPI document with a script. Without it, read the document \
         itself.</p></noscript></main>\n</body>\n</html>\n",
        favicon = asset("favicon.svg"),
        style = asset("api-docs.css"),
        script = asset("api-docs.js"),
    ))
}
