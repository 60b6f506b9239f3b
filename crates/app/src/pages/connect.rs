//! How clients reach Mnemosyne over MCP: the address, a test of it, and tokens.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::response::Redirect;
use http::{StatusCode, Uri};
use mnemosyne_domain::ports::LibraryFilter;
use mnemosyne_domain::{LibraryUid, McpToken, PageRequest, Scope, Tool};
use mnemosyne_services::ServiceError;
use mnemosyne_services::tokens::{TokenRequest, parse_validity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rows::library_ref;
use super::shell::{
    Done, Fields, FormProblems, PageError, PageResult, Params, Visitor, form_problems, typed, value, values,
};
use super::typed::TypedForm;
use super::view::{ConnectPage, ConnectionTest, Field, NewToken, Pager, Section, TokenForm, TokenRow};
use crate::csrf::CheckedForm;
use crate::state::AppState;

/// How long the test waits for an answer.
const TEST_PATIENCE: Duration = Duration::from_secs(3);
/// How much of an answer the test reads, in bytes.
const TEST_ANSWER: u64 = 4096;
/// Tokens on one page of the list.
const TOKENS_PER_PAGE: u64 = 20;
/// How long a new token lives where nothing else is chosen.
const USUAL_LIFE: &str = "90d";

/// What one visit of the page shows beside what is always there.
#[derive(Default)]
struct Extras {
    new_token: Option<NewToken>,
    form: Option<TokenForm>,
    test: Option<ConnectionTest>,
    /// What the list of tokens was asked for.
    list: Params,
}

/// The page.
pub(super) async fn show(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    let extras = Extras {
        list: params,
        ..Extras::default()
    };
    render(&state, &visitor, StatusCode::OK, extras).await
}

/// Where somebody lands who asks to read the address of one of the page's forms.
pub(super) async fn back() -> Redirect {
    Redirect::to("/connect/")
}

async fn render(state: &AppState, visitor: &Visitor, status: StatusCode, extras: Extras) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    // A stored token sees global libraries only.
    let filter = LibraryFilter {
        scope: Some(Scope::global()),
        ..LibraryFilter::default()
    };
    let libraries = services
        .libraries(caller, filter, PageRequest::first(PageRequest::MAX_LIMIT))
        .await?;
    let mut tokens = services.tokens(caller).await?;
    let has_tokens = !tokens.is_empty();
    let wanted = extras.list.get("q");
    tokens.retain(|token| contains(&token.name, wanted));
    tokens.sort_by_key(|token| token.revoked_at.is_some());
    let pager = Pager::new(
        tokens.len() as u64,
        extras.list.page(),
        TOKENS_PER_PAGE,
        "/connect/",
        &[("q", wanted)],
    );
    let skipped = usize::try_from(pager.offset()).unwrap_or(usize::MAX);
    let shown = tokens.into_iter().skip(skipped).take(TOKENS_PER_PAGE as usize);
    let usual = || TokenForm {
        expires_in: Field::of(USUAL_LIFE),
        ..TokenForm::default()
    };
    let page = ConnectPage {
        frame: visitor.frame(state, "Connect", Section::Connect).await,
        mcp_url: mcp_url(state, visitor),
        can_test: !visitor.info.via_proxy,
        new_token: extras.new_token,
        form: extras.form.unwrap_or_else(usual),
        tokens: shown.map(token_row).collect(),
        has_tokens,
        filter: wanted.to_owned(),
        pager,
        other_libraries: libraries.total.saturating_sub(libraries.rows.len() as u64),
        libraries: libraries.rows.iter().map(library_ref).collect(),
        test: extras.test,
        requires_token: state.settings().mcp_requires_token,
    };
    visitor.page(status, &page)
}

/// Where clients reach MCP: beside the pages where a proxy stands in front, and otherwise where it listens.
fn mcp_url(state: &AppState, visitor: &Visitor) -> String {
    match visitor.info.via_proxy {
        true => format!("{}/mcp/", visitor.info.origin()),
        false => state.settings().mcp_url.clone(),
    }
}

/// Whether a name contains a text, whatever its case.
fn contains(name: &str, text: &str) -> bool {
    name.to_lowercase().contains(&text.to_lowercase())
}

fn token_row(token: McpToken) -> TokenRow {
    TokenRow {
        id: token.id,
        name: token.name,
        prefix: token.prefix,
        owner: None,
        tools: token.tools.map(|tools| tools.into_iter().collect()),
        library_count: token.libraries.map(|libraries| libraries.len() as u64),
        created_at: token.created_at,
        last_used_at: token.last_used_at,
        expires_at: token.expires_at,
        revoked_at: token.revoked_at,
    }
}

/// What a form asks for. None ticked means every one, but a tick that is not understood must not widen a token.
fn token_request(fields: &Fields) -> Result<TokenRequest, FormProblems> {
    let mut problems = FormProblems::new();
    let mut problem = |field: &str, text: &str| {
        problems.insert(field.to_owned(), vec![text.to_owned()]);
    };
    let life = value(fields, "expires_in").trim();
    let valid_for = if life.is_empty() {
        None
    } else {
        parse_validity(life)
    };
    if !life.is_empty() && valid_for.is_none() {
        problem("expires_in", "Choose one of the spans.");
    }
    let tools: Option<BTreeSet<Tool>> = values(fields, "tool").map(Tool::parse).collect();
    let libraries: Option<BTreeSet<LibraryUid>> = values(fields, "library").map(LibraryUid::parse).collect();
    let (Some(tools), Some(libraries)) = (tools, libraries) else {
        problem(
            "name",
            "A tool or a library that was ticked does not exist; tick again.",
        );
        return Err(problems);
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(TokenRequest {
        name: value(fields, "name").to_owned(),
        tools: (!tools.is_empty()).then_some(tools),
        libraries: (!libraries.is_empty()).then_some(libraries),
        valid_for,
    })
}

/// The form as it was sent, with what is wrong with it.
fn token_form(fields: &Fields, problems: &FormProblems) -> TokenForm {
    TokenForm {
        name: typed("name", value(fields, "name"), problems),
        expires_in: typed("expires_in", value(fields, "expires_in"), problems),
        tools: values(fields, "tool").filter_map(Tool::parse).collect(),
        libraries: values(fields, "library").map(str::to_owned).collect(),
    }
}

/// The page with the form as it was sent, where nothing was done with it yet.
pub(super) async fn show_again(
    state: &AppState,
    visitor: &Visitor,
    status: StatusCode,
    fields: &Fields,
) -> PageResult {
    let extras = Extras {
        form: Some(token_form(fields, &FormProblems::new())),
        ..Extras::default()
    };
    render(state, visitor, status, extras).await
}

/// Makes a token. The answer shows it, once; it is in no address and in no other answer.
pub(super) async fn create_token(State(state): State<AppState>, form: TypedForm) -> PageResult {
    let TypedForm {
        visitor,
        fields,
        is_valid,
    } = form;
    if !is_valid {
        return show_again(&state, &visitor, StatusCode::FORBIDDEN, &fields).await;
    }
    let outcome = match token_request(&fields) {
        Ok(request) => {
            state
                .services()
                .create_token(&visitor.principal, None, request)
                .await
        }
        Err(problems) => Err(ServiceError::Invalid(problems)),
    };
    match outcome {
        Ok(issued) => {
            let new_token = Some(NewToken {
                name: issued.stored.name,
                token: issued.token,
            });
            render(
                &state,
                &visitor,
                StatusCode::OK,
                Extras {
                    new_token,
                    ..Extras::default()
                },
            )
            .await
        }
        Err(error) => {
            let mut problems = form_problems(error)?;
            // The page has no place of its own for problems with ticked libraries.
            if let Some(sentences) = problems.remove("libraries") {
                problems.entry("name".to_owned()).or_default().extend(sentences);
            }
            let extras = Extras {
                form: Some(token_form(&fields, &problems)),
                ..Extras::default()
            };
            render(&state, &visitor, StatusCode::UNPROCESSABLE_ENTITY, extras).await
        }
    }
}

/// Revokes a token.
pub(super) async fn revoke_token(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let id = id.parse().map_err(|_| PageError::not_found("token"))?;
    state.services().revoke_token(&visitor.principal, id).await?;
    Ok(visitor.done(Done::Revoked, "/connect/"))
}

/// Asks the MCP server for its health, as a client would reach it.
pub(super) async fn test(
    State(state): State<AppState>,
    visitor: Visitor,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let began = Instant::now();
    let outcome = match tokio::time::timeout(TEST_PATIENCE, ask(&state.settings().mcp_url)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!(
            "Nothing answered within {} s. Is the MCP server running?",
            TEST_PATIENCE.as_secs()
        )),
    };
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let test = match outcome {
        Ok(message) => ConnectionTest {
            is_good: true,
            message,
            took_ms,
        },
        Err(message) => ConnectionTest {
            is_good: false,
            message,
            took_ms,
        },
    };
    render(
        &state,
        &visitor,
        StatusCode::OK,
        Extras {
            test: Some(test),
            ..Extras::default()
        },
    )
    .await
}

/// Where the health of the server behind an address is asked for: host and port to connect to, and the path.
fn health_target(mcp_url: &str) -> Option<(String, u16, String)> {
    let uri: Uri = mcp_url.parse().ok()?;
    if uri.scheme_str() != Some("http") {
        return None;
    }
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    let path = format!("{}/health", uri.path().trim_end_matches('/'));
    Some((host, uri.port_u16().unwrap_or(80), path))
}

/// One request by hand: a whole HTTP client for one line of status would be too much.
async fn ask(mcp_url: &str) -> Result<String, String> {
    let Some((host, port, path)) = health_target(mcp_url) else {
        return Err("Only an address that begins with http:// can be tested from here.".to_owned());
    };
    let unreachable = |error: std::io::Error| {
        tracing::info!(%error, "the test of the MCP connection failed");
        "The address cannot be reached. Is the MCP server running?".to_owned()
    };
    let mut connection = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(unreachable)?;
    let name = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    );
    connection
        .write_all(request.as_bytes())
        .await
        .map_err(unreachable)?;
    let mut answer = Vec::new();
    connection
        .take(TEST_ANSWER)
        .read_to_end(&mut answer)
        .await
        .map_err(unreachable)?;
    match status_of(&answer) {
        Some(200) => Ok("The MCP server answers and is healthy.".to_owned()),
        Some(status) => Err(format!(
            "The MCP server answers with status {status}; its log has the details."
        )),
        None => Err("Something answers there, but it does not speak HTTP.".to_owned()),
    }
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Fields {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn nothing_ticked_means_everything_and_a_strange_tick_is_refused() {
        let all = token_request(&form(&[("name", "a"), ("expires_in", "")])).unwrap();
        assert_eq!((all.tools, all.libraries, all.valid_for), (None, None, None));
        let some = token_request(&form(&[
            ("name", "a"),
            ("expires_in", "30d"),
            ("tool", "search"),
            ("tool", "get_chunk"),
        ]));
        let some = some.unwrap();
        assert_eq!(some.tools, Some(BTreeSet::from([Tool::Search, Tool::GetChunk])));
        assert_eq!(some.valid_for, parse_validity("30d"));
        for bad in [("tool", "nonsense"), ("library", "a b"), ("expires_in", "soon")] {
            assert!(token_request(&form(&[("name", "a"), bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_health_of_an_address_is_asked_beside_it() {
        let target = |url| health_target(url).map(|(host, port, path)| format!("{host} {port} {path}"));
        assert_eq!(
            target("http://127.0.0.1:8001/mcp/").as_deref(),
            Some("127.0.0.1 8001 /mcp/health")
        );
        assert_eq!(target("http://[::1]/mcp/").as_deref(), Some("::1 80 /mcp/health"));
        assert_eq!(target("https://own.example/mcp/"), None);
    }

    #[test]
    fn a_status_is_read_or_there_is_none() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), Some(200));
        assert_eq!(status_of(b"HTTP/1.0 503 No\r\n"), Some(503));
        for bad in [&b""[..], b"SSH-2.0-x\r\n", b"HTTP/1.1\r\n", b"\xff\xfe"] {
            assert_eq!(status_of(bad), None);
        }
    }
}
