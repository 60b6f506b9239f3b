//! `extract` and `chunk`: what ingest would see, without a data folder.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mnemosyne_config::Config;
use mnemosyne_documents::{Coverage, Document, Extractor, FileHint};
use mnemosyne_domain::{LibraryType, PlaceKind};
use serde_json::json;

use super::output;
use crate::cli::{ChunkArgs, ExtractArgs};
use crate::context;

async fn read(file: &Path, config: &Config) -> anyhow::Result<Document> {
    let file = file
        .canonicalize()
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let filename = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let hint = FileHint {
        filename,
        content_type: None,
    };
    match context::sandbox(config)?.extract(&file, &hint).await {
        Ok(document) => Ok(document),
        Err(failure) => bail!("{failure}\n{}", failure.code.advice()),
    }
}

pub(super) async fn extract(args: ExtractArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let document = read(&args.file, config).await?;
    if !args.json {
        output::print_text(&format!("{}\n", document.text))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::json(&json!({
        "format": document.format.title(),
        "content_type": document.format.media_type(),
        "title": document.title,
        "authors": document.authors,
        "language": document.language,
        "page_count": document.page_count,
        "page_kind": document.page_count.map(|_| PlaceKind::of(document.format.media_type()).as_str()),
        "extraction": match &document.coverage {
            Coverage::Full => "ok".to_owned(),
            Coverage::Partial(missing) => format!("partial: {missing}"),
        },
        "blocks": document.blocks.iter().map(|block| json!({
            "kind": block.kind,
            "page": block.page,
            "byte_start": block.span.start,
            "byte_end": block.span.end,
        })).collect::<Vec<_>>(),
        "text": document.text,
    }))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn chunk(args: ChunkArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let Some(kind) = LibraryType::parse(&args.library_type) else {
        let known = LibraryType::ALL.map(LibraryType::as_str).join(", ");
        bail!(
            "--type: there is no library type {:?}; there are {known}",
            args.library_type
        );
    };
    let document = read(&args.file, config).await?;
    let chunks = mnemosyne_documents::chunk(&document, kind.profile());
    let page_kind = PlaceKind::of(document.format.media_type());
    if args.json {
        let rows: Vec<_> = chunks
            .iter()
            .enumerate()
            .map(|(position, chunk)| {
                json!({
                    "position": position,
                    "heading_path": chunk.heading_path,
                    "page": chunk.page,
                    "page_kind": chunk.page.map(|_| page_kind.as_str()),
                    "byte_start": chunk.span.start,
                    "byte_end": chunk.span.end,
                    "text": document.text[chunk.span.clone()],
                })
            })
            .collect();
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (position, chunk) in chunks.iter().enumerate() {
        let body = &document.text[chunk.span.clone()];
        text.push_str(&format!(
            "── chunk {position} · {} characters",
            body.chars().count()
        ));
        if let Some(page) = chunk.page {
            text.push_str(&format!(" · {}", page_kind.cite(page)));
        }
        if !chunk.heading_path.is_empty() {
            text.push_str(&format!(" · {}", chunk.heading_path.join(" › ")));
        }
        text.push_str(&format!("\n{body}\n\n"));
    }
    output::print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}
