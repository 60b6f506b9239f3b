//! `search`: ranked passages, readable in a terminal.

use std::io::IsTerminal;
use std::process::ExitCode;

use mnemosyne_domain::words::running_text;
use mnemosyne_domain::{PlaceKind, Principal};
use mnemosyne_services::Services;
use mnemosyne_services::search::SearchRequest;
use mnemosyne_services::wire::{SearchAnswer, SearchResult};

use super::find_library;
use super::output::{self, explain};
use crate::cli::SearchArgs;

/// Lines are wrapped at this width, which fits beside another window.
const WIDTH: usize = 96;
/// Lines of a passage that are shown: a whole preview.
const LINES: usize = 6;

pub(super) async fn run(args: SearchArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let mut workspace = args.workspace.clone();
    let library_uid = match &args.library {
        Some(name) => {
            let library = find_library(services, name).await?;
            workspace = workspace.or_else(|| library.workspace_id.as_ref().map(|id| id.as_str().to_owned()));
            Some(library.uid.to_string())
        }
        None => None,
    };
    let request = SearchRequest {
        query: args.query.clone(),
        workspace_id: workspace,
        library_uid,
        library_type: args.library_type,
        limit: args.limit,
        ..SearchRequest::default()
    };
    let outcome = services
        .search(&Principal::Local, request)
        .await
        .map_err(explain)?;
    let answer = SearchAnswer::from(outcome);
    if args.json {
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print_text(&render(&answer, std::io::stdout().is_terminal()))?;
    Ok(ExitCode::SUCCESS)
}

fn render(answer: &SearchAnswer, colour: bool) -> String {
    let (bold, dim, plain) = if colour {
        ("\x1b[1m", "\x1b[2m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    let mut text = String::new();
    if answer.results.is_empty() {
        text.push_str("Nothing relevant was found.\n");
    }
    for result in &answer.results {
        text.push_str(&format!("{bold}{:>2}. {}{plain}", result.rank, result.item_title));
        text.push_str(&format!("  {dim}{}{plain}\n", place(result)));
        for line in wrap(&running_text(&result.text_preview), WIDTH - 4)
            .into_iter()
            .take(LINES)
        {
            text.push_str(&format!("    {line}\n"));
        }
        let legs: Vec<String> = result
            .legs
            .iter()
            .map(|(leg, at)| format!("{leg} #{}", at.rank))
            .collect();
        text.push_str(&format!(
            "    {dim}{} · {}{plain}\n\n",
            legs.join(", "),
            result.chunk_uid
        ));
    }
    for reason in &answer.degraded {
        text.push_str(&format!("note: {reason}\n"));
    }
    if answer.models.iter().any(|model| model.kind == "lexical") {
        text.push_str(
            "note: a lexical model compared spelling, not meaning; `mnemosyne models pull` fetches one that understands.\n",
        );
    }
    let total = answer.timings_ms.get("total").copied().unwrap_or_default();
    let count = match answer.results.len() {
        1 => "1 result".to_owned(),
        more => format!("{more} results"),
    };
    text.push_str(&format!("{dim}{count} in {total:.0} ms{plain}\n"));
    text
}

fn place(result: &SearchResult) -> String {
    let mut parts = Vec::new();
    if !result.heading_path.is_empty() {
        parts.push(result.heading_path.join(" › "));
    }
    if let Some(page) = result.page {
        let kind = result.page_kind.as_deref().and_then(PlaceKind::parse);
        parts.push(kind.unwrap_or(PlaceKind::Page).cite(page));
    }
    parts.push(result.library_type.clone());
    parts.join(" · ")
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut();
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_without_pages_are_cited_by_section() {
        let result = |page_kind: &str| SearchResult {
            chunk_uid: String::new(),
            item_uid: String::new(),
            item_title: "The Keeper".to_owned(),
            library_uid: String::new(),
            library_type: "fiction".to_owned(),
            text_preview: String::new(),
            heading_path: vec!["The Lamp".to_owned()],
            page: Some(2),
            page_kind: Some(page_kind.to_owned()),
            rank: 1,
            score: 1.0,
            legs: std::collections::BTreeMap::new(),
            rerank_score: None,
        };
        assert_eq!(place(&result("section")), "The Lamp · section 2 · fiction");
        assert_eq!(place(&result("page")), "The Lamp · p. 2 · fiction");
    }

    #[test]
    fn lines_are_wrapped_at_words() {
        assert_eq!(wrap("aa bb  cc\ndd", 5), ["aa bb", "cc dd"]);
        assert_eq!(wrap("a-long-word b", 5), ["a-long-word", "b"]);
    }
}
