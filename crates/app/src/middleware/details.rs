//! `DEBUG=True`: visitors see what went wrong inside, as in Django. Otherwise only the log says it.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::error::{Hidden, answer};
use crate::state::AppState;

/// Answers anew, with what an answer keeps to itself, where `DEBUG` says so.
pub(super) async fn show(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let hidden = response.extensions_mut().remove::<Hidden>();
    match hidden {
        Some(Hidden { audience, failure }) if state.settings.debug => {
            answer(audience, failure.with_details())
        }
        _ => response,
    }
}
