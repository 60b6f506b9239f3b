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
            page_turns: Vec::new(),
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

/// The days of which the chunks of a journal tell, in order; complains of a chunk that tells of several, or stands under another
/// date than its own. The text of an entry names its day as `<2>`.
fn days_of_chunks(document: &Document) -> Vec<String> {
    let mut days: Vec<String> = Vec::new();
    for draft in chunk(document, LibraryType::Journal.profile()) {
        let text = &document.text[draft.span.clone()];
        let mut told: Vec<&str> = text
            .split('<')
            .skip(1)
            .filter_map(|rest| rest.split_once('>').map(|(day, _)| day))
            .collect();
        told.dedup();
        assert!(told.len() <= 1, "several entries in {text:?}");
        let Some(day) = told.first() else {
            continue;
        };
        let dates: Vec<&String> = draft
            .heading_path
            .iter()
            .filter(|part| part.contains("2022"))
            .collect();
        assert!(
            matches!(dates.as_slice(), [date] if date.ends_with(&format!("-0{day}")) || date.starts_with(day)),
            "{:?} over {text:?}",
            draft.heading_path
        );
        if days.last().is_none_or(|last| last != day) {
            days.push((*day).to_owned());
        }
    }
    days
}

#[test]
fn short_entries_stand_alone_under_their_own_date() {
    // An entry that fits into a chunk with the one before, and one that does not.
    for times in [20, 60] {
        let next = "Fog again <3> and the stove went out. ".repeat(times);
        let document = markdown(&format!(
            "# Log\n\n## 2022-02-02\n\nDid not sail <2>.\n\n## 2022-02-03\n\n{next}\n\n## 2022-02-04\n\n\
             ## 2022-02-05\n\nLeft <5>.\n\n## 2022-02-06\n"
        ));
        assert_eq!(days_of_chunks(&document), ["2", "3", "5"]);
        // The same where dates are lines of text.
        let document = markdown(&format!(
            "# Log\n\n2 February 2022\n\nDid not sail <2>.\n\n3 February 2022\n\n{next}\n\n4 February 2022\n\n\
             5 February 2022\n\nLeft <5>."
        ));
        assert_eq!(days_of_chunks(&document), ["2", "3", "5"]);
    }
}

#[test]
fn a_date_holds_over_the_headings_of_its_entry() {
    let long = |day: u32| format!("Fog again <{day}> and the stove went out. ").repeat(60);
    // Dates as text, headings inside the entries.
    let document = markdown(&format!(
        "# Log\n\n2 February 2022\n\n{}\n\n## Weather\n\n{}\n\n### Wind\n\n{}\n\n## Work\n\n{}\n\n\
         3 February 2022\n\n{}\n\n## Weather\n\n{}",
        long(2),
        long(2),
        long(2),
        long(2),
        long(3),
        long(3)
    ));
    assert_eq!(days_of_chunks(&document), ["2", "3"]);
    let drafts = chunk(&document, LibraryType::Journal.profile());
    for path in [
        &["Log", "2 February 2022", "Weather", "Wind"][..],
        &["Log", "3 February 2022"],
        &["Log", "3 February 2022", "Weather"],
    ] {
        assert!(drafts.iter().any(|draft| draft.heading_path == path), "{path:?}");
    }
    // Dates as headings, and headings inside the entries that are no lower.
    let document = markdown(&format!(
        "# 2022-02-02\n\n{}\n\n# Weather\n\n{}\n\n# 2022-02-03\n\n{}",
        long(2),
        long(2),
        long(3)
    ));
    assert_eq!(days_of_chunks(&document), ["2", "3"]);
    // The next part of the book is no part of the last entry.
    let document = markdown(&format!(
        "# Winter\n\n2 February 2022\n\n{}\n\n# Spring\n\n3 March 2022\n\n{}",
        long(2),
        long(3)
    ));
    assert_eq!(days_of_chunks(&document), ["2", "3"]);
    let drafts = chunk(&document, LibraryType::Journal.profile());
    assert_eq!(
        drafts.last().expect("some").heading_path,
        ["Spring", "3 March 2022"]
    );
}

#[test]
fn a_short_first_song_is_a_work_of_its_own() {
    let verse = "The tide came in on a whistle of tin\\\nAnd the boats leaned over to hear\n\n".repeat(4);
    let document = markdown(&format!("# Hum\n\nLa la.\n\n# Tide\n\n{verse}"));
    let drafts = chunk(&document, LibraryType::Music.profile());
    assert_eq!(drafts[0].heading_path, ["Hum"]);
    assert_eq!(&document.text[drafts[0].span.clone()], "Hum\n\nLa la.");
    assert_eq!(drafts[1].heading_path, ["Tide"]);
    // What works are collected in leads into the first.
    let document = markdown(&format!("# Songs\n\nby Us\n\n## Tide\n\n{verse}"));
    let drafts = chunk(&document, LibraryType::Music.profile());
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts[0].heading_path, ["Songs", "Tide"]);
}

fn plain(source: &str) -> Document {
    let hint = FileHint {
        filename: "a.txt".to_owned(),
        content_type: None,
    };
    crate::parse(source.as_bytes(), &hint).expect("parses")
}

#[test]
fn a_screenplay_is_cut_by_scene_and_not_by_speech() {
    for apart in ["\n", "\n\n"] {
        let speech = |name: &str, line: &str| format!("{name}{apart}{line}\n\n");
        let source = [
            "THE LAMP\n\nby Ilse Marrow\n\nINT. KITCHEN - NIGHT\n\nA table, a lamp. Rain.\n\n".to_owned(),
            speech(
                "ODILE",
                "The boat did not come, and there are forty-one matches in the tin.",
            ),
            speech(
                "MATTHIS (O.S.)",
                "You hear it too, then? It began at noon and has not left off.",
            ),
            speech("ODILE (CONT'D)", "At noon you were still speaking of the boat."),
            "EXT. BEACH - DAY\n\nA piano in the sand, upright and wet.\n\n".to_owned(),
            speech("MATTHIS", "That is what we heard."),
            speech(
                "CRAB",
                "It was walking here, and nobody who saw it could say where it had been before.",
            ),
            "THE END\n".to_owned(),
        ]
        .concat();
        let document = plain(&source);
        let drafts = chunk(&document, LibraryType::Film.profile());
        let paths: Vec<&[String]> = drafts.iter().map(|draft| draft.heading_path.as_slice()).collect();
        assert_eq!(
            paths,
            [["INT. KITCHEN - NIGHT"], ["EXT. BEACH - DAY"]],
            "{}",
            document.text
        );
        assert!(document.text[drafts[1].span.clone()].contains("CRAB"));
    }
}

#[test]
fn slug_lines_that_are_no_headings_name_their_scene() {
    let document = markdown(
        "# The Lamp\n\nINT. KITCHEN - NIGHT\n\nOdile counts.\n\nEXT. BEACH - DAY\n\nA piano in the sand.",
    );
    let drafts = chunk(&document, LibraryType::Film.profile());
    let paths: Vec<&[String]> = drafts.iter().map(|draft| draft.heading_path.as_slice()).collect();
    assert_eq!(
        paths,
        [
            ["The Lamp", "INT. KITCHEN - NIGHT"],
            ["The Lamp", "EXT. BEACH - DAY"]
        ]
    );
}

#[test]
fn chapters_named_for_who_tells_them_stay_chapters() {
    let long = "He walked along the shore and thought of the lamp that had gone out. ".repeat(80);
    let source: String = ["ODILE", "MATTHIS", "ODILE"]
        .iter()
        .map(|name| format!("{name}\n\n{long}\n\n"))
        .collect();
    let drafts = chunk(&plain(&source), LibraryType::Fiction.profile());
    assert!(drafts.iter().all(|draft| draft.heading_path.len() == 1));
    let mut names: Vec<&str> = drafts
        .iter()
        .map(|draft| draft.heading_path[0].as_str())
        .collect();
    names.dedup();
    assert_eq!(names, ["ODILE", "MATTHIS", "ODILE"]);
}

#[test]
fn a_part_of_a_block_is_on_its_own_page() {
    let sentence = "This is one of the sentences that fill the pages of it. ";
    let mut document = build(&[(BlockKind::Paragraph, sentence.repeat(100))]);
    let half = sentence.len() * 50;
    document.blocks[0].page_turns = vec![(half, 2)];
    for draft in chunk(&document, LibraryType::Technical.profile()) {
        let expected = if draft.span.start < half { 1 } else { 2 };
        assert_eq!(draft.page, Some(expected), "{:?}", draft.span);
    }
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
