use mnemosyne_domain::{LibraryType, ProfileOverrides};
use proptest::prelude::*;

use super::*;
use crate::document::{Block, BlockKind, Coverage, FileHint, Format};

fn build(blocks: &[(BlockKind, String)]) -> Document {
    let mut document = Document {
        format: Format::Text,
        title: None,
        authors: Vec::new(),
        language: None,
        page_count: None,
        text: String::new(),
        blocks: Vec::new(),
        coverage: Coverage::Full,
    };
    for (index, (kind, text)) in blocks.iter().enumerate() {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        if !document.text.is_empty() {
            document.text.push_str("\n\n");
        }
        let start = document.text.len();
        document.text.push_str(text);
        document.blocks.push(Block {
            kind: *kind,
            span: start..document.text.len(),
            page: Some(index as u32 / 5 + 1),
        });
    }
    document
}

fn markdown(source: &str) -> Document {
    let hint = FileHint {
        filename: "a.md".to_owned(),
        content_type: None,
    };
    crate::parse(source.as_bytes(), &hint).expect("parses")
}

fn texts(document: &Document, kind: LibraryType) -> Vec<&str> {
    chunk(document, kind.profile())
        .into_iter()
        .map(|draft| &document.text[draft.span])
        .collect()
}

fn kinds() -> impl Strategy<Value = BlockKind> {
    prop_oneof![
        3 => (1_u8..=6).prop_map(|level| BlockKind::Heading { level }),
        8 => Just(BlockKind::Paragraph),
        3 => Just(BlockKind::ListItem),
        2 => Just(BlockKind::Code),
        2 => Just(BlockKind::Table),
        1 => Just(BlockKind::Quote),
        2 => Just(BlockKind::Verse),
        1 => Just(BlockKind::Break),
    ]
}

fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        6 => "[a-z]{1,9}",
        2 => "[A-Z][a-z]{1,7}[.!?:]",
        1 => "[äöüéß漢字🎈]{1,6}",
        1 => Just("\n".to_owned()),
        1 => "3 July 20[0-9]{2}",
        1 => Just("\"Yes,".to_owned()),
        1 => "[x]{40,90}",
    ];
    (proptest::collection::vec(word, 1..60), 1_usize..12)
        .prop_map(|(words, times)| words.join(" ").repeat(times))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_strategy_covers_orders_and_bounds(
        blocks in proptest::collection::vec((kinds(), words()), 0..25),
        small in any::<bool>(),
    ) {
        let document = build(&blocks);
        for kind in LibraryType::ALL {
            let overrides = if small {
                ProfileOverrides { target_chars: Some(80), max_chars: Some(120), overlap_chars: Some(40), ..ProfileOverrides::default() }
            } else {
                ProfileOverrides::default()
            };
            let profile = kind.profile().with(&overrides);
            let drafts = chunk(&document, &profile);
            let mut covered = vec![false; document.text.len()];
            let mut last = (0, 0);
            for (index, draft) in drafts.iter().enumerate() {
                let text = &document.text[draft.span.clone()];
                prop_assert!(!text.trim().is_empty(), "{kind}: blank");
                prop_assert!(index == 0 || (draft.span.start > last.0 && draft.span.end > last.1), "{kind}: order");
                last = (draft.span.start, draft.span.end);
                let whole = document.blocks.iter().any(|block| {
                    matches!(block.kind, BlockKind::Code | BlockKind::Table)
                        && block.span.start >= draft.span.start && block.span.end <= draft.span.end
                });
                let bound = if whole { profile.max_chars * (HARD_CAP_FACTOR + 1) } else { profile.max_chars };
                prop_assert!(text.chars().count() <= bound, "{kind}: {} chars of {bound}", text.chars().count());
                covered[draft.span.clone()].fill(true);
            }
            for block in &document.blocks {
                if block.kind == BlockKind::Break { continue; }
                for (offset, c) in document.text[block.span.clone()].char_indices() {
                    prop_assert!(c.is_whitespace() || covered[block.span.start + offset], "{kind}: a gap at {c:?}");
                }
            }
            // Code and tables up to the cap are never cut.
            for block in &document.blocks {
                let length = document.text[block.span.clone()].chars().count();
                if matches!(block.kind, BlockKind::Code | BlockKind::Table) && length <= profile.max_chars * HARD_CAP_FACTOR {
                    prop_assert!(
                        drafts.iter().any(|draft| draft.span.start <= block.span.start && draft.span.end >= block.span.end),
                        "{kind}: cut {:?}", block.kind
                    );
                }
            }
        }
    }
}

#[test]
fn scenes_do_not_run_into_each_other_and_dialogue_stays() {
    let long = "He walked along the shore and thought of the lamp that had gone out. ".repeat(9);
    let source =
        format!("# One\n\n{long}\n\n“Yes?”\n\n“No.”\n\n“Why?”\n\n---\n\nShort scene.\n\n# Two\n\nEnd.");
    let document = markdown(&source);
    let found = texts(&document, LibraryType::Fiction);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].ends_with("“Why?”") && found[1] == "Short scene." && found[2].starts_with("Two"));
}

#[test]
fn small_sections_share_a_chunk_and_headings_lead() {
    let document = markdown("# Manual\n\n## A\n\n### A.1\n\nshort\n\n### A.2\n\nalso short\n\n## Empty\n");
    let drafts = chunk(&document, LibraryType::Technical.profile());
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts[0].heading_path[0], "Manual");
    let paragraph = "A sentence of documentation that says something useful. ".repeat(12);
    let document = markdown(&format!("# M\n\n{paragraph}\n\n## B\n\n{paragraph}"));
    let drafts = chunk(&document, LibraryType::Technical.profile());
    assert_eq!(drafts.len(), 2);
    assert!(document.text[drafts[1].span.clone()].starts_with("B\n\n"));
    assert_eq!(drafts[1].heading_path, ["M", "B"]);
}

#[test]
fn code_is_never_cut_and_keeps_its_announcement() {
    let code = "    let value = compute(input);\n".repeat(120);
    let filler = "Filler sentence for the section before. ".repeat(18);
    let document = markdown(&format!("# T\n\n{filler}\n\nRun this:\n\n```\n{code}```\n"));
    let found = texts(&document, LibraryType::Technical);
    let with_code: Vec<&&str> = found.iter().filter(|text| text.contains("let value")).collect();
    assert_eq!(with_code.len(), 1);
    assert!(with_code[0].starts_with("Run this:"), "{}", &with_code[0][..60]);
}

#[test]
fn each_entry_is_its_own_and_carries_its_date() {
    let long = "Fog all day and nothing but fog, and then the stove went out again. ".repeat(40);
    let document = markdown(&format!(
        "# Diary\n\n3 July 2021\n\nArrived.\n\n4 July 2021. {long}\n\nMore of it.\n\n## 5 July 2021\n\nLeft."
    ));
    let drafts = chunk(&document, LibraryType::Journal.profile());
    assert_eq!(drafts[0].heading_path, ["Diary", "3 July 2021"]);
    let second: Vec<_> = drafts
        .iter()
        .filter(|draft| draft.heading_path == ["Diary", "4 July 2021"])
        .collect();
    assert!(
        second.len() >= 2 && document.text[second[second.len() - 1].span.clone()].ends_with("More of it.")
    );
    assert_eq!(
        drafts.last().expect("some").heading_path,
        ["Diary", "5 July 2021"]
    );
}

#[test]
fn songs_give_their_data_first_and_keep_verses() {
    let verse = "The tide came in on a whistle of tin\\\nAnd the boats leaned over to hear\n\n".repeat(4);
    let document = markdown(&format!(
        "# Tide\n\nArtist: Us\\\nYear: 2019\n\n[Chorus]\n\n{verse}"
    ));
    let found = texts(&document, LibraryType::Music);
    assert_eq!(found[0], "Tide\n\nArtist: Us\nYear: 2019");
    assert!(found[1].starts_with("[Chorus]\n\nThe tide"));
}

#[test]
fn tables_keep_caption_and_notes() {
    let filler = "Revenue grew in all regions, as the following pages show in detail. ".repeat(12);
    let rows = "| North | 1,200 |\n".repeat(30);
    let document = markdown(&format!(
        "# Report\n\n{filler}\n\nTable 1: Revenue in thousands\n\n| Region | Sum |\n|---|---|\n{rows}\n\nSource: own books."
    ));
    let found = texts(&document, LibraryType::Finance);
    let table = found
        .iter()
        .find(|text| text.contains("Region | Sum"))
        .expect("a table");
    assert!(
        table.contains("Table 1: Revenue")
            && table.contains("Source: own books.")
            && table.matches("North").count() == 30
    );
}

#[test]
fn clauses_begin_chunks_with_their_numbers() {
    let clause = |number: u32| {
        format!(
            "{number}.1 The lessee shall keep the boat in good order. {}",
            "It shall not be lent. ".repeat(24)
        )
    };
    let document = build(&[
        (BlockKind::Paragraph, clause(1)),
        (BlockKind::Paragraph, clause(2)),
        (BlockKind::Paragraph, clause(3)),
    ]);
    let found = texts(&document, LibraryType::Business);
    assert_eq!(found.len(), 3);
    assert!(found[1].starts_with("2.1 The lessee"));
}

#[test]
fn prose_overlaps_by_whole_sentences_inside_a_section() {
    let paragraph = |n: usize| {
        format!(
            "Paragraph {n} begins. {} Last of {n}.",
            "It goes on for quite a while in this way. ".repeat(12)
        )
    };
    let document = build(
        &(0..6)
            .map(|n| (BlockKind::Paragraph, paragraph(n)))
            .collect::<Vec<_>>(),
    );
    let drafts = chunk(&document, LibraryType::Nonfiction.profile());
    assert!(drafts.len() >= 3);
    assert!(
        drafts
            .windows(2)
            .all(|pair| pair[1].span.start < pair[0].span.end)
    );
    for draft in &drafts[1..] {
        assert!(document.text[draft.span.clone()].starts_with(|c: char| c.is_uppercase()));
    }
}
