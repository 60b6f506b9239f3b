//! Every page with made-up data, for whoever works on how they look: realistic, empty and ugly.
//!
//! `cargo run -p mnemosyne-app --example gallery -- FOLDER` writes one HTML file for each page, an `index.html`, and the
//! static files under the names the pages ask for. Serve the folder at the root of any local web server
//! (`python3 -m http.server --directory FOLDER`) and look at it at 375, 900 and 1,440 px, light and dark. The names of
//! files say what they show: `library.html` is realistic, `library-empty.html` has no data, `library-ugly.html` has a
//! title of 300 characters, 50,000 items and half of everything failed.

use std::error::Error;
use std::path::Path;

use askama::Template;
use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_app::pages::view::*;
use mnemosyne_domain::{
    Chunk, ChunkUid, ConceptKind, Failure, FailureCode, ItemUid, JobCounts, JobId, JobStatus, Leg,
    LibraryType, LibraryUid, ModelKind, PlaceKind, Stage, Tool,
};
use mnemosyne_services::{Block, BlockKind};

const WORKS: [(&str, LibraryType, &str); 6] = [
    (
        "Field notes",
        LibraryType::Journal,
        "What was seen, planted and repaired, day by day.",
    ),
    (
        "Harbour engineering",
        LibraryType::Technical,
        "Manuals and specifications for pumps, gates and moorings.",
    ),
    ("Sea stories", LibraryType::Fiction, ""),
    (
        "Accounts of the society",
        LibraryType::Finance,
        "Yearly statements since 2009.",
    ),
    (
        "Songs of the coast",
        LibraryType::Music,
        "Lyrics with their sources.",
    ),
    (
        "On memory",
        LibraryType::Nonfiction,
        "Essays and studies on remembering and forgetting.",
    ),
];

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_600_000, 0).unwrap_or_default()
}

fn ago(minutes: i64) -> DateTime<Utc> {
    now() - TimeDelta::minutes(minutes)
}

fn ugly_title() -> String {
    "Proceedings of the Twenty-Seventh Intergovernmental Symposium on the Conservation, Digitisation, Cataloguing & <b>Long-Term</b> Preservation of Water-Damaged Municipal Archives, Part IV: Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft, Annex C (revised, unabridged, with errata and 図版目録).pdf".to_owned()
}

fn library(at: usize) -> LibraryRef {
    let (name, kind, _) = WORKS[at % WORKS.len()];
    LibraryRef {
        uid: LibraryUid::from_store(format!("0193{at:04}-7c1e-7000-8000-5f0c0a9b1d2e")),
        name: name.to_owned(),
        kind,
    }
}

fn ugly_library() -> LibraryRef {
    LibraryRef {
        name: ugly_title().chars().take(200).collect(),
        ..library(1)
    }
}

fn lexical() -> ModelLabel {
    ModelLabel {
        name: "mnemosyne/lexical-1".to_owned(),
        kind: ModelKind::Lexical,
    }
}

fn neural() -> ModelLabel {
    ModelLabel {
        name: "sentence-transformers/all-MiniLM-L6-v2".to_owned(),
        kind: ModelKind::Neural,
    }
}

fn row(at: usize) -> LibraryRow {
    LibraryRow {
        library: library(at),
        description: WORKS[at % WORKS.len()].2.to_owned(),
        workspace: (at == 3).then(|| "daedalus-accounts".to_owned()),
        items: [128, 1204, 37, 16, 1, 412][at % 6],
        passages: [2_310, 48_112, 6_204, 611, 9, 15_870][at % 6],
        open_jobs: if at == 1 { 14 } else { 0 },
        failed_jobs: if at == 1 { 3 } else { 0 },
        model: Some(if at.is_multiple_of(2) { lexical() } else { neural() }),
        created_at: ago(60 * 24 * 9 * (at as i64 + 1)),
    }
}

fn ugly_row(at: usize) -> LibraryRow {
    LibraryRow {
        library: ugly_library(),
        description: ugly_title().repeat(3),
        workspace: Some("workspace-with-a-name-".repeat(8)),
        items: 50_000,
        passages: 12_345_678,
        open_jobs: 24_871,
        failed_jobs: 25_000,
        ..row(at)
    }
}

fn item(at: usize) -> ItemRow {
    let titles = [
        ("Sluice gate maintenance", "sluice-gate-maintenance.pdf", "PDF"),
        ("Pump curves and how to read them", "pump-curves.docx", "DOCX"),
        ("notes-2026-11.md", "notes-2026-11.md", "Markdown"),
        ("A short history of the breakwater", "breakwater.epub", "EPUB"),
        (
            "Mooring loads in heavy weather",
            "mooring-loads-v3-final.pdf",
            "PDF",
        ),
    ];
    let (title, filename, format) = titles[at % titles.len()];
    ItemRow {
        uid: ItemUid::from_store(format!("0194{at:04}-aaaa")),
        title: title.to_owned(),
        filename: filename.to_owned(),
        library: Some(library(at)),
        format: format.to_owned(),
        bytes: 48_211 * (at as u64 + 1) * 7,
        pages: (format == "PDF").then_some(12 + at as u32),
        page_kind: PlaceKind::Page,
        passages: 18 + 11 * at as u64,
        missing: (at == 4).then(|| "Pages 3 to 5 hold only images.".to_owned()),
        added_at: ago(7 + (at as i64) * 190),
    }
}

fn ugly_item(at: usize) -> ItemRow {
    ItemRow {
        title: ugly_title(),
        filename: ugly_title().replace(' ', "_"),
        passages: 123_456,
        bytes: 4_812_345_678,
        pages: Some(18_204),
        missing: Some("Pages 3 to 9,999 hold only images.".to_owned()),
        ..item(at)
    }
}

fn running(at: usize) -> RunningJob {
    RunningJob {
        id: JobId::from_store(format!("job-{at}")),
        filename: item(at).filename,
        library: library(at),
        stage: [Stage::Embed, Stage::Parse, Stage::Concepts, Stage::Fetch][at % 4],
        progress: [0.64, 0.12, 0.93, 0.02][at % 4],
        passages_per_second: [Some(41.7), None, Some(8.2), None][at % 4],
        eta_ms: [Some(38_000), None, Some(4_000), None][at % 4],
        attempts: if at == 2 { 2 } else { 1 },
        started_at: Some(ago(1)),
    }
}

fn ugly_running(at: usize) -> RunningJob {
    RunningJob {
        filename: ugly_title(),
        library: ugly_library(),
        eta_ms: Some(98_000_000),
        attempts: 5,
        ..running(at)
    }
}

fn failures() -> Vec<FailureGroup> {
    [
        (
            FailureCode::NoTextExtracted,
            2,
            "“scan-014.pdf” has 31 pages, and none of them holds text.",
        ),
        (
            FailureCode::Encrypted,
            1,
            "“minutes.pdf” is protected by a password.",
        ),
    ]
    .map(|(code, count, message)| FailureGroup {
        library: None,
        code,
        count,
        latest_message: message.to_owned(),
    })
    .into()
}

fn ugly_failures() -> Vec<FailureGroup> {
    FailureCode::ALL
        .into_iter()
        .enumerate()
        .map(|(at, code)| FailureGroup {
            library: None,
            code,
            count: 25_000 / (at as u64 + 1),
            latest_message: format!("“{}” could not be read.", ugly_title()),
        })
        .collect()
}

fn chart(minutes: impl Fn(usize) -> (u64, u64)) -> Chart {
    let (completed, failed) = (0..60).map(minutes).unzip();
    Chart { completed, failed }
}

fn job(at: usize) -> JobRow {
    let status = JobStatus::ALL[[1, 0, 2, 3, 2, 5, 4][at % 7]];
    let failed = status == JobStatus::Failed;
    JobRow {
        id: JobId::from_store(format!("0195{at:04}-7d42-7000-9000-1a2b3c4d5e6f")),
        filename: item(at).filename,
        library: (at != 5).then(|| library(at)),
        item: (status == JobStatus::Completed).then(|| item(at).uid),
        status,
        stage: match status {
            JobStatus::Pending => Stage::Queued,
            JobStatus::Completed => Stage::Complete,
            JobStatus::Failed => Stage::Parse,
            _ => Stage::Embed,
        },
        progress: 0.64,
        attempts: if failed { 3 } else { 1 },
        counts: JobCounts {
            chunks: if status == JobStatus::Completed { 42 } else { 0 },
            images: 0,
            concepts: 17,
        },
        created_at: ago(2 + 13 * at as i64),
        took_ms: status.is_final().then_some(2_310),
        error: failed.then(|| {
            Failure::new(
                FailureCode::Encrypted,
                "“minutes.pdf” is protected by a password.",
            )
        }),
    }
}

fn ugly_job(at: usize) -> JobRow {
    let status = if at.is_multiple_of(2) {
        JobStatus::Failed
    } else {
        JobStatus::Processing
    };
    JobRow {
        filename: ugly_title(),
        library: Some(ugly_library()),
        item: None,
        status,
        stage: Stage::Embed,
        counts: JobCounts {
            chunks: 1_234_567,
            images: 0,
            concepts: 0,
        },
        took_ms: Some(98_765_432),
        error: (status == JobStatus::Failed).then(|| {
            Failure::new(
                FailureCode::ParserCrashed,
                format!("The reader broke down on “{}”.", ugly_title()),
            )
        }),
        ..job(at)
    }
}

fn frame(title: &str, section: Option<Section>) -> Frame {
    let mut frame = Frame::new(title, "c5rf-t0ken", now());
    frame.section = section;
    frame.viewer = Some(Viewer {
        username: "admin".to_owned(),
        is_superuser: true,
    });
    frame.badge = ActivityBadge { open: 14, failed: 3 };
    frame
}

fn ugly_frame(title: &str, section: Option<Section>) -> Frame {
    let mut frame = frame(title, section);
    frame.viewer = Some(Viewer {
        username: "a-very-long-user-name-that-somebody-imported-from-a-directory@example.org".to_owned(),
        is_superuser: true,
    });
    frame.badge = ActivityBadge {
        open: 24_871,
        failed: 25_000,
    };
    frame.query = ugly_title();
    frame
}

const TEXT: [(&[&str], &str); 7] = [
    (
        &["Sluice gate maintenance"],
        "Sluice gate maintenance\n\nA sluice gate that is moved every week lasts twice as long as one that is only moved in need. What follows is the routine of the harbour office: what is looked at, how often, and what is written down.\n\nKeep the log beside the gate. A gate without a log is a gate that nobody maintains.",
    ),
    (
        &["Sluice gate maintenance", "Every week"],
        "Every week\n\nKeep the log beside the gate. A gate without a log is a gate that nobody maintains.\n\nOpen and close the gate over its whole travel. Listen: a grinding noise in the lower third means sand in the guides. Flush the guides with clean water before anything else is tried.\n\n- Grease the spindle above the water line.\n\n- Check the seal for cracks with a fingernail.\n\n- Note the water level on both sides.",
    ),
    (
        &["Sluice gate maintenance", "Every year", "Seals"],
        "Every year\n\nSeals\n\nA rubber seal loses a tenth of its thickness in about four years. Measure it at three points and compare with the table; replace it before it reaches the minimum, not after.\n\nPoint | New | Minimum\nSill | 18 mm | 14 mm\nLeft guide | 12 mm | 9 mm\nRight guide | 12 mm | 9 mm",
    ),
    (
        &["Sluice gate maintenance", "Every year", "Drive"],
        "Drive\n\nThe drive stops by itself when the torque exceeds the set limit. Test it: hold the gate with the wooden wedge and start the drive in slow motion.\n\ngate --slow --limit 180Nm | tee log\nstopped: torque 181 Nm\n\nIf it does not stop within two seconds, take it out of service and call the workshop.",
    ),
    (
        &["Sluice gate maintenance", "In a storm"],
        "In a storm\n\nClose the gate when the tide gauge passes 2.40 m and is still rising. Two people go together; one stays on the landward side with the radio.\n\nWhen the tide has gone\nopen slowly, by a hand,\nand let the basin breathe.",
    ),
    (
        &["Sluice gate maintenance", "In a storm"],
        "Afterwards, walk the whole quay. What the sea has moved, the sea will move again: fix it the same week, and write down where it lay.",
    ),
    (
        &["Sluice gate maintenance", "Records"],
        "Records\n\nThe log is kept for ten years. Each entry has a date, a name, the water levels and one sentence. “Nothing to report” is a sentence.",
    ),
];

fn chunks() -> Vec<Chunk> {
    let mut start = 0;
    TEXT.iter()
        .enumerate()
        .map(|(at, (path, text))| {
            // The second passage begins with the last paragraph of the first, as an overlap does.
            let text = if at == 1 {
                text.trim_start_matches("Every week\n\n")
            } else {
                text
            };
            if at == 1 {
                start -= text.find("\n\n").unwrap_or(0) as u64 + 2;
            }
            let chunk = Chunk {
                uid: ChunkUid::from_store(format!("chunk-{at}")),
                item_uid: item(0).uid,
                item_title: item(0).title,
                library_uid: library(1).uid,
                position: at as u32,
                text: text.to_owned(),
                heading_path: path.iter().map(|heading| (*heading).to_owned()).collect(),
                page: Some(1 + at as u32 / 3),
                page_kind: PlaceKind::Page,
                byte_start: start,
                byte_end: start + text.len() as u64,
                previous: None,
                next: None,
            };
            start += text.len() as u64 + 2;
            chunk
        })
        .collect()
}

/// What a reader would have found the parts of the text to be.
fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for chunk in chunks() {
        let mut start = chunk.byte_start as usize;
        for text in chunk.text.split("\n\n") {
            let kind = if chunk.heading_path.iter().any(|heading| heading == text) {
                BlockKind::Heading { level: 2 }
            } else if text.starts_with("- ") {
                BlockKind::ListItem
            } else if text.starts_with("gate --") {
                BlockKind::Code
            } else if text.contains(" | ") {
                BlockKind::Table
            } else {
                BlockKind::Paragraph
            };
            let block = Block {
                kind,
                span: start..start + text.len(),
                page: chunk.page,
                page_turns: Vec::new(),
            };
            // The overlap stands in two chunks.
            if blocks
                .last()
                .is_none_or(|last: &Block| last.span.end <= block.span.start)
            {
                blocks.push(block);
            }
            start += text.len() + 2;
        }
    }
    blocks
}

fn questions() -> Vec<QuestionLink> {
    [
        "Who founded the ropeworks?",
        "When were seahorses seen in the eelgrass?",
    ]
    .map(|text| QuestionLink {
        text: text.to_owned(),
    })
    .into()
}

fn orders(path: &str, labels: &[&str]) -> Vec<Choice> {
    labels
        .iter()
        .enumerate()
        .map(|(at, label)| Choice {
            label: (*label).to_owned(),
            href: path.to_owned(),
            count: None,
            is_chosen: at == 0,
            kind: None,
        })
        .collect()
}

fn hit(at: usize, query: &str) -> Hit {
    let chunk = &chunks()[[2, 1, 4, 3, 5][at % 5]];
    let share = [0.62, 0.40, 0.33, 0.21, 0.11][at % 5];
    Hit {
        chunk_uid: chunk.uid.clone(),
        item_uid: item(at).uid,
        item_title: item(at).title,
        library: library(at + 1),
        heading_path: chunk.heading_path.clone(),
        page: chunk.page.filter(|_| at != 2),
        page_kind: if at == 1 {
            PlaceKind::Section
        } else {
            chunk.page_kind
        },
        rank: at as u64 + 1,
        score: 0.0325 - at as f32 * 0.003,
        excerpt: Highlighter::new(query).excerpt(&chunk.text, 340),
        legs: vec![
            LegBar {
                leg: Leg::Vector,
                model: ModelKind::Lexical,
                found: Some((at as u64 + 2, 0.83 - at as f32 * 0.04)),
                share,
            },
            LegBar {
                leg: Leg::Fulltext,
                model: ModelKind::Lexical,
                found: (at != 3).then_some((at as u64 + 1, 11.2 - at as f32)),
                share: if at == 3 { 0.0 } else { 1.0 - share },
            },
            LegBar {
                leg: Leg::Graph,
                model: ModelKind::Lexical,
                found: None,
                share: 0.0,
            },
        ],
    }
}

fn choices(all: &str, query: &str) -> (Vec<Choice>, Vec<Choice>) {
    let first = |label: &str| Choice {
        label: label.to_owned(),
        href: href("/search/", &[("q", query)]),
        count: Some(12),
        is_chosen: true,
        kind: None,
    };
    let mut types = vec![first(&format!("All {all}"))];
    types.extend(
        LibraryType::ALL
            .into_iter()
            .take(6)
            .enumerate()
            .map(|(at, kind)| Choice {
                label: kind.profile().title.clone(),
                href: href("/search/", &[("q", query), ("type", kind.as_str())]),
                count: Some(7 - at as u64),
                is_chosen: false,
                kind: Some(kind),
            }),
    );
    let mut libraries = vec![first("All libraries")];
    libraries.extend((0..6).map(|at| Choice {
        label: library(at).name,
        href: href("/search/", &[("q", query), ("library", library(at).uid.as_str())]),
        count: Some(5),
        is_chosen: false,
        kind: Some(library(at).kind),
    }));
    (types, libraries)
}

fn live(ugly: &str) -> ActivityLive {
    let idle = ActivityLive {
        csrf: "c5rf-t0ken".to_owned(),
        now: now().with_timezone(&chrono_tz::Tz::UTC),
        badge: ActivityBadge::default(),
        running: Vec::new(),
        running_count: 0,
        next: Vec::new(),
        waiting_count: 0,
        queue_eta_ms: None,
        failures: Vec::new(),
        chart: chart(|_| (0, 0)),
    };
    let waiting = |at: usize| WaitingJob {
        id: JobId::from_store(format!("wait-{at}")),
        filename: item(at + 1).filename,
        library: library(at),
        created_at: ago(3),
        retry: (at == 1).then(|| {
            let failure = Failure::new(
                FailureCode::EmbedderUnavailable,
                "The embedding server did not answer.",
            );
            (now() + TimeDelta::seconds(40), failure)
        }),
    };
    match ugly {
        "empty" => idle,
        "ugly" => ActivityLive {
            badge: ActivityBadge {
                open: 24_871,
                failed: 25_000,
            },
            running: (0..20).map(ugly_running).collect(),
            running_count: 64,
            next: (0..5)
                .map(|at| WaitingJob {
                    filename: ugly_title(),
                    library: ugly_library(),
                    ..waiting(at)
                })
                .collect(),
            waiting_count: 24_807,
            queue_eta_ms: Some(86_400_000 * 3),
            failures: ugly_failures(),
            chart: chart(|minute| {
                if minute % 2 == 0 {
                    (0, 900)
                } else {
                    (minute as u64 * 40, minute as u64 * 40)
                }
            }),
            ..idle
        },
        _ => ActivityLive {
            badge: ActivityBadge { open: 14, failed: 3 },
            running: (0..3).map(running).collect(),
            running_count: 3,
            next: (0..3).map(waiting).collect(),
            waiting_count: 11,
            queue_eta_ms: Some(94_000),
            failures: failures(),
            chart: chart(|minute| {
                let wave = [3, 5, 8, 6, 9, 12, 7, 4, 0, 0, 2, 6][minute % 12];
                (
                    wave * (minute as u64 / 12 + 1) / 2,
                    u64::from(minute == 31) * 2 + u64::from(minute == 50),
                )
            }),
            ..idle
        },
    }
}

fn token(at: usize) -> TokenRow {
    TokenRow {
        id: at as i64 + 1,
        name: ["My editor", "Research agent", "Old laptop", "Night job"][at % 4].to_owned(),
        prefix: ["mnm_7Qd2", "mnm_k0Xp", "mnm_Zr91", "mnm_aa3c"][at % 4].to_owned(),
        owner: None,
        tools: (at == 1).then(|| vec![Tool::Search, Tool::GetChunk]),
        library_count: (at == 1).then_some(2),
        created_at: ago(60 * 24 * 30),
        last_used_at: (at != 3).then(|| ago(4 + 600 * at as i64)),
        expires_at: (at != 0).then(|| now() + TimeDelta::days(60 * (at as i64 * -2 + 5))),
        revoked_at: (at == 2).then(|| ago(60 * 30)),
    }
}

struct Gallery<'a> {
    folder: &'a Path,
    names: Vec<String>,
}

impl Gallery<'_> {
    fn add(&mut self, name: &str, page: &impl Template) -> Result<(), Box<dyn Error>> {
        std::fs::write(self.folder.join(format!("{name}.html")), page.render()?)?;
        self.names.push(name.to_owned());
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name the folder to write to")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder.join("static"))?;
    for asset in ASSETS {
        std::fs::write(folder.join("static").join(asset.hashed_name()), asset.bytes)?;
    }
    let mut gallery = Gallery {
        folder,
        names: Vec::new(),
    };
    account_pages(&mut gallery)?;
    home_pages(&mut gallery)?;
    library_pages(&mut gallery)?;
    item_pages(&mut gallery)?;
    search_pages(&mut gallery)?;
    activity_pages(&mut gallery)?;
    connect_pages(&mut gallery)?;
    models_pages(&mut gallery)?;
    let links: String = gallery
        .names
        .iter()
        .map(|name| format!("<li><a href=\"{name}.html\">{name}</a></li>"))
        .collect();
    std::fs::write(
        folder.join("index.html"),
        format!("<!doctype html><html lang=en><title>Gallery</title><ul>{links}</ul>"),
    )?;
    Ok(())
}

fn account_pages(gallery: &mut Gallery<'_>) -> Result<(), Box<dyn Error>> {
    let sign_in = |username: &str, problem: Option<&str>| SignInPage {
        frame: Frame::new("Sign in", "c5rf-t0ken", now()),
        username: username.to_owned(),
        next: "/".to_owned(),
        problem: problem.map(str::to_owned),
        kept: Vec::new(),
        is_first_start: problem.is_none(),
    };
    gallery.add("sign-in", &sign_in("", None))?;
    let problem = "The user name or the password is wrong. After five attempts, wait a minute.";
    gallery.add("sign-in-ugly", &sign_in("admin", Some(problem)))?;
    for (status, title, message) in [
        (
            400,
            "That request could not be read",
            "Something in it is not as it should be. Go back and try again.",
        ),
        (
            403,
            "Not allowed",
            "Your account may not do this. An administrator can change that.",
        ),
        (
            404,
            "There is nothing here",
            "The page does not exist, or what it showed was deleted.",
        ),
        (
            500,
            "That went wrong here",
            "The mistake is ours and stands in the log with the number below. Trying again may help.",
        ),
    ] {
        gallery.add(
            &format!("error-{status}"),
            &ErrorPage {
                frame: if status == 403 {
                    Frame::new(title, "", now())
                } else {
                    frame(title, None)
                },
                status,
                message: message.to_owned(),
                code: (status == 400).then(|| "csrf_failed".to_owned()),
                request_id: (status == 500).then(|| "0193a1f2-6a55-7f10-a3d9-b1b8b6c2c111".to_owned()),
            },
        )?;
    }
    Ok(())
}

fn home_pages(gallery: &mut Gallery<'_>) -> Result<(), Box<dyn Error>> {
    let empty = || HomePage {
        frame: Frame {
            badge: ActivityBadge::default(),
            ..frame("Home", Some(Section::Home))
        },
        totals: Totals::default(),
        libraries: Vec::new(),
        recent: Vec::new(),
        running: Vec::new(),
        waiting: 0,
        failures: Vec::new(),
        model: lexical(),
        questions: Vec::new(),
        first_steps: Some(FirstSteps {
            upload_href: None,
            demo_available: true,
            is_ingesting: false,
        }),
    };
    gallery.add("home-empty", &empty())?;
    gallery.add(
        "home-second-step",
        &HomePage {
            totals: Totals {
                libraries: 1,
                items: 0,
                passages: 0,
            },
            libraries: vec![LibraryRow {
                items: 0,
                passages: 0,
                ..row(0)
            }],
            first_steps: Some(FirstSteps {
                upload_href: Some(format!("{}#add", library(0).href())),
                demo_available: true,
                is_ingesting: false,
            }),
            ..empty()
        },
    )?;
    gallery.add(
        "home",
        &HomePage {
            frame: frame("Home", Some(Section::Home)),
            totals: Totals {
                libraries: 6,
                items: 1798,
                passages: 73_116,
            },
            libraries: (0..6).map(row).collect(),
            recent: (0..5).map(item).collect(),
            running: (0..2).map(running).collect(),
            waiting: 11,
            failures: failures(),
            questions: questions(),
            model: neural(),
            first_steps: None,
        },
    )?;
    gallery.add(
        "home-ugly",
        &HomePage {
            frame: ugly_frame("Home", Some(Section::Home)),
            totals: Totals {
                libraries: 812,
                items: 50_000,
                passages: 12_345_678,
            },
            libraries: (0..8).map(ugly_row).collect(),
            recent: (0..8).map(ugly_item).collect(),
            running: (0..3).map(ugly_running).collect(),
            waiting: 24_871,
            questions: questions(),
            failures: ugly_failures().into_iter().take(4).collect(),
            model: lexical(),
            first_steps: None,
        },
    )?;
    Ok(())
}

fn library_pages(gallery: &mut Gallery<'_>) -> Result<(), Box<dyn Error>> {
    let section = Some(Section::Libraries);
    let (types, _) = choices("types", "");
    let list = |libraries: Vec<LibraryRow>, total: u64| LibrariesPage {
        frame: frame("Libraries", section),
        is_empty: total == 0,
        libraries,
        filter: String::new(),
        kind: String::new(),
        sort: String::new(),
        sorts: orders(
            "/libraries/",
            &["Name", "Newest first", "Most items", "Most passages"],
        ),
        types: types.clone(),
        pager: Pager::new(total, 1, 50, "/libraries/", &[]),
        demo_available: true,
    };
    gallery.add("libraries", &list((0..6).map(row).collect(), 6))?;
    gallery.add("libraries-empty", &list(Vec::new(), 0))?;
    let mut ugly = list((0..12).map(ugly_row).collect(), 812);
    ugly.frame = ugly_frame("Libraries", section);
    ugly.filter = "proceedings".to_owned();
    gallery.add("libraries-ugly", &ugly)?;

    let crumbs = vec![Crumb::new("Libraries", "/libraries/")];
    let mut new = LibraryNewPage {
        frame: Frame {
            crumbs: crumbs.clone(),
            ..frame("New library", section)
        },
        name: Field::default(),
        library_type: Field::default(),
        description: Field::default(),
    };
    gallery.add("library-new", &new)?;
    new.name = Field {
        value: "Papers".to_owned(),
        errors: vec!["There is a library of this name already.".to_owned()],
    };
    new.library_type = Field::of("technical");
    gallery.add("library-new-ugly", &new)?;

    let mut wrong = Field::of("12");
    wrong.errors.push("At least 64.".to_owned());
    gallery.add(
        "library-edit",
        &LibraryEditPage {
            frame: Frame {
                crumbs: vec![
                    Crumb::new("Libraries", "/libraries/"),
                    Crumb::new(library(1).name, library(1).href()),
                ],
                ..frame("Edit Harbour engineering", section)
            },
            library: library(1),
            name: Field::of(library(1).name),
            description: Field::of(WORKS[1].2),
            sizes: LibraryEditPage::sizes(
                LibraryType::Technical,
                [wrong, Field::default(), Field::default()],
            ),
            instructions: LibraryEditPage::instructions(LibraryType::Technical, Default::default()),
            items: 1204,
        },
    )?;
    gallery.add(
        "library-delete",
        &DeletePage {
            frame: Frame {
                crumbs: crumbs.clone(),
                ..frame("Delete “Harbour engineering”?", section)
            },
            what_goes: vec![
                "the library “Harbour engineering” with its settings".to_owned(),
                "1,204 items and their originals, 812 MB".to_owned(),
                "48,112 passages with their vectors".to_owned(),
                "14 jobs that run or wait, and the record of 1,207 that ended".to_owned(),
            ],
            remarks: vec!["Concepts that other libraries mention stay.".to_owned()],
            button: "Delete the library".to_owned(),
            back: library(1).href(),
        },
    )?;

    let upload = Upload {
        accept: ".pdf,.docx,.epub,.html,.htm,.md,.txt".to_owned(),
        formats: "PDF, DOCX, EPUB, HTML, Markdown, plain text".to_owned(),
        max_bytes: 512_000_000,
        origin: "http://127.0.0.1:8000".to_owned(),
        username: "admin".to_owned(),
        problem: None,
    };
    let page = |row: LibraryRow| LibraryPage {
        frame: Frame {
            crumbs: crumbs.clone(),
            ..frame(&row.library.name, section)
        },
        profile: row.library.kind.profile().clone(),
        live: LibraryLive {
            library: row.library.clone(),
            csrf: "c5rf-t0ken".to_owned(),
            running: Vec::new(),
            waiting: 0,
            failures: Vec::new(),
            items: row.items,
            passages: row.passages,
        },
        items: Vec::new(),
        query: ItemListQuery::default(),
        pager: Pager::new(row.items, 1, 50, &row.library.href(), &[]),
        upload: Some(upload.clone()),
        sample: None,
        row,
    };
    gallery.add(
        "library-empty",
        &page(LibraryRow {
            items: 0,
            passages: 0,
            model: None,
            ..row(1)
        }),
    )?;
    let mut full = page(row(1));
    full.live.running = (0..2).map(running).collect();
    full.live.waiting = 11;
    full.live.failures = failures();
    full.items = (0..20)
        .map(|at| ItemRow {
            library: None,
            ..item(at)
        })
        .collect();
    full.sample = Some(SamplePassage {
        item_title: item(0).title,
        href: "/items/x/#c-2".to_owned(),
        heading_path: vec!["Sluice gate maintenance".to_owned(), "Every week".to_owned()],
        text: TEXT[1].1.trim_start_matches("## Every week\n\n").to_owned(),
    });
    gallery.add("library", &full)?;
    let mut ugly = page(ugly_row(1));
    ugly.frame.viewer = ugly_frame("", None).viewer;
    ugly.live.running = (0..5).map(ugly_running).collect();
    ugly.live.waiting = 24_807;
    ugly.live.failures = ugly_failures().into_iter().take(5).collect();
    ugly.items = (0..50)
        .map(|at| ItemRow {
            library: None,
            ..ugly_item(at)
        })
        .collect();
    ugly.query = ItemListQuery::parse(
        "proceedings of the twenty-seventh intergovernmental symposium",
        "-size",
    );
    ugly.pager = ugly.query.pager(50_000, 500, 50, "/libraries/x/");
    ugly.upload = Some(Upload {
        problem: Some("“archive.zip” is not a kind of file that can be read.".to_owned()),
        ..upload
    });
    ugly.sample = Some(SamplePassage {
        item_title: ugly_title(),
        href: "/items/x/".to_owned(),
        heading_path: vec![ugly_title(), ugly_title()],
        text: "x".repeat(900),
    });
    gallery.add("library-ugly", &ugly)?;
    Ok(())
}

fn item_pages(gallery: &mut Gallery<'_>) -> Result<(), Box<dyn Error>> {
    let crumbs = vec![
        Crumb::new("Libraries", "/libraries/"),
        Crumb::new(library(1).name, library(1).href()),
    ];
    let facts = ItemFacts {
        filename: "sluice-gate-maintenance.pdf".to_owned(),
        format: "PDF".to_owned(),
        bytes: 1_403_221,
        pages: Some(12),
        page_kind: PlaceKind::Page,
        authors: vec!["Harbour office".to_owned(), "E. Lind".to_owned()],
        language: Some("en".to_owned()),
        collection: "General".to_owned(),
        source_ref: "sluice-gate-maintenance.pdf".to_owned(),
        missing: None,
        model: Some(lexical()),
        passages: 7,
        created_at: ago(7),
        updated_at: ago(6),
        metadata: vec![("shelf".to_owned(), "B 14".to_owned())],
    };
    let concept = |name: &str, kind, mentions| ConceptChip {
        name: name.to_owned(),
        kind,
        mentions,
    };
    let page = |query: &str, target: Option<&ChunkUid>| ItemPage {
        frame: Frame {
            crumbs: crumbs.clone(),
            ..frame("Sluice gate maintenance", Some(Section::Libraries))
        },
        uid: item(0).uid,
        library: library(1),
        facts: facts.clone(),
        passages: passages(&chunks(), &blocks(), &Highlighter::new(query), target),
        outline: outline(&chunks()),
        pager: Pager::new(7, 1, 200, "/items/x/", &[]),
        concepts: vec![
            concept("sluice gate", ConceptKind::Topic, 6),
            concept("tide gauge", ConceptKind::Technique, 2),
            concept("Harbour office", ConceptKind::Place, 2),
            concept("rubber seal", ConceptKind::Topic, 1),
            concept("E. Lind", ConceptKind::Person, 1),
        ],
        concepts_are_local: true,
        walk: None,
        has_original: true,
        may_delete: true,
    };
    gallery.add("item", &page("", None))?;
    let mut from_search = page(
        "seal thickness",
        Some(&ChunkUid::from_store("chunk-2".to_owned())),
    );
    from_search.frame.query = "seal thickness".to_owned();
    from_search.walk = Some(HitWalk {
        query: "seal thickness".to_owned(),
        number: Some(1),
        total: 3,
        previous: None,
        next: Some("/items/x/?chunk=chunk-1&q=seal#c-chunk-1".to_owned()),
        back: "/search/?q=seal%20thickness".to_owned(),
    });
    gallery.add("item-from-search", &from_search)?;
    let mut empty = page("", None);
    empty.passages.clear();
    empty.outline.clear();
    empty.concepts.clear();
    empty.facts.passages = 0;
    empty.facts.missing = Some("none of its 31 pages holds text.".to_owned());
    gallery.add("item-empty", &empty)?;
    let mut ugly = page("the", Some(&ChunkUid::from_store("chunk-u1".to_owned())));
    ugly.frame = ugly_frame(&ugly_title(), Some(Section::Libraries));
    ugly.frame.crumbs = vec![
        Crumb::new("Libraries", "/libraries/"),
        Crumb::new(ugly_title(), "/"),
    ];
    ugly.library = ugly_library();
    let ugly_chunks: Vec<Chunk> = (0..60_u32)
        .map(|at| Chunk {
            uid: ChunkUid::from_store(format!("chunk-u{at}")),
            position: 49_000 + at,
            text: if at % 3 == 0 {
                "x".repeat(1500)
            } else {
                format!("{} {}", ugly_title(), "| wide | table |\n".repeat(12))
            },
            heading_path: vec![ugly_title(); (at as usize / 8) % 4 + 1],
            page: Some(18_000 + at),
            byte_start: u64::from(at) * 4000,
            byte_end: u64::from(at) * 4000 + 1500,
            ..chunks()[0].clone()
        })
        .collect();
    ugly.passages = passages(
        &ugly_chunks,
        &[],
        &Highlighter::new("the archives"),
        ugly_chunks.get(1).map(|chunk| &chunk.uid),
    );
    ugly.outline = outline(&ugly_chunks);
    ugly.pager = Pager::new(50_000, 246, 200, "/items/x/", &[("q", "x")]);
    ugly.facts.filename = ugly_title();
    ugly.facts.source_ref = ugly_title();
    ugly.facts.authors = vec!["Somebody Important".to_owned(); 40];
    ugly.facts.bytes = 4_812_345_678;
    ugly.facts.pages = Some(18_204);
    ugly.facts.passages = 50_000;
    ugly.facts.missing = Some("pages 3 to 9,999 hold only images.".to_owned());
    ugly.facts.metadata = (0..12)
        .map(|at| (format!("a_rather_long_key_{at}"), ugly_title()))
        .collect();
    ugly.concepts = (0..60)
        .map(|at| concept(&ugly_title()[..20 + at], ConceptKind::Theme, 12_345))
        .collect();
    gallery.add("item-ugly", &ugly)?;
    gallery.add(
        "item-delete",
        &DeletePage {
            frame: Frame {
                crumbs,
                ..frame("Delete “Sluice gate maintenance”?", Some(Section::Libraries))
            },
            what_goes: vec![
                "the item and its original, 1.4 MB".to_owned(),
                "7 passages with their vectors".to_owned(),
            ],
            remarks: Vec::new(),
            button: "Delete the item".to_owned(),
            back: "/items/x/".to_owned(),
        },
    )?;
    Ok(())
}

fn search_pages(gallery: &mut Gallery<'_>) -> Result<(), Box<dyn Error>> {
    let page = |query: &str, answer: Option<Answer>| {
        let (types, libraries) = choices("types", query);
        SearchPage {
            frame: Frame {
                query: query.to_owned(),
                ..frame("Search", Some(Section::Search))
            },
            library: String::new(),
            kind: String::new(),
            libraries,
            types,
            answer,
            problem: None,
            pager: Pager::new(57, 1, 20, "/search/", &[("q", query)]),
            questions: questions(),
            passages: 73_116,
        }
    };
    let query = "how thick must a rubber seal be";
    gallery.add("search-blank", &page("", None))?;
    gallery.add(
        "search",
        &page(
            query,
            Some(Answer {
                hits: (0..5).map(|at| hit(at, query)).collect(),
                took_ms: 12,
                degraded: Vec::new(),
                model: Some(neural()),
            }),
        ),
    )?;
    let mut nothing = page(
        "zeppelin mooring mast",
        Some(Answer {
            hits: Vec::new(),
            took_ms: 4,
            degraded: Vec::new(),
            model: Some(lexical()),
        }),
    );
    nothing.library = library(1).uid.to_string();
    gallery.add("search-empty", &nothing)?;
    let mut ugly = page(
        &ugly_title(),
        Some(Answer {
            hits: (0..20)
                .map(|at| Hit {
                    item_title: ugly_title(),
                    library: ugly_library(),
                    heading_path: vec![ugly_title(), ugly_title()],
                    page: Some(18_204),
                    excerpt: Highlighter::new("proceedings archive")
                        .excerpt(&format!("{} {}", ugly_title().repeat(3), "x".repeat(400)), 420),
                    ..hit(at, query)
                })
                .map(|hit| Hit {
                    rank: hit.rank + 20,
                    ..hit
                })
                .enumerate()
                .map(|(at, hit)| Hit {
                    rank: at as u64 + 1,
                    ..hit
                })
                .collect(),
            took_ms: 4_812,
            degraded: vec![
                "The vector leg was left out: the embedding server did not answer within 2 s.".to_owned(),
                "Two libraries were left out: their model is not available here.".to_owned(),
            ],
            model: Some(lexical()),
        }),
    );
    ugly.frame.viewer = ugly_frame("", None).viewer;
    gallery.add("search-ugly", &ugly)?;
    let mut problem = page("x", None);
    problem.problem = Some("A question may have at most 1,000 characters.".to_owned());
    gallery.add("search-problem", &problem)?;
    Ok(())
}

fn activity_pages(gallery: &mut Gallery<'_>) -> Result<(), Box<dyn Error>> {
    let states = |scale: u64| {
        [
            ("All", 1240),
            ("Running", 3),
            ("Waiting", 11),
            ("Done", 1220),
            ("Failed", 3),
            ("Cancelled", 2),
            ("Superseded", 1),
        ]
        .into_iter()
        .map(|(label, count)| Choice {
            label: label.to_owned(),
            href: href("/activity/", &[("status", label)]),
            count: Some(count * scale),
            is_chosen: label == "All",
            kind: None,
        })
        .collect::<Vec<_>>()
    };
    let page = |kind: &str, jobs: Vec<JobRow>, total: u64, scale: u64| ActivityPage {
        frame: frame("Activity", Some(Section::Activity)),
        live: live(kind),
        states: states(scale),
        sorts: orders("/activity/", &["Newest first", "Oldest first", "File name"]),
        filter: String::new(),
        kept: Vec::new(),
        narrowed: Vec::new(),
        jobs,
        pager: Pager::new(total, 1, 50, "/activity/", &[]),
    };
    gallery.add("activity", &page("", (0..14).map(job).collect(), 1240, 1))?;
    gallery.add("activity-empty", &page("empty", Vec::new(), 0, 0))?;
    let mut ugly = page("ugly", (0..50).map(ugly_job).collect(), 50_000, 97);
    ugly.frame = ugly_frame("Activity", Some(Section::Activity));
    ugly.narrowed = vec![
        (
            "cause parser_crashed".to_owned(),
            "/activity/?status=failed".to_owned(),
        ),
        ("library Harbour engineering".to_owned(), "/activity/".to_owned()),
    ];
    gallery.add("activity-ugly", &ugly)?;
    let job_page = |job: JobRow| JobPage {
        frame: Frame {
            crumbs: vec![Crumb::new("Activity", "/activity/")],
            ..frame(&job.filename, Some(Section::Activity))
        },
        live: JobLive {
            csrf: "c5rf-t0ken".to_owned(),
            now: now(),
            steps: Stage::ALL[1..7]
                .iter()
                .enumerate()
                .map(|(at, stage)| StageStep {
                    stage: *stage,
                    took_ms: (*stage <= job.stage).then_some(12 + at as u64 * 431),
                })
                .collect(),
            source_ref: job.filename.clone(),
            started_at: Some(ago(1)),
            finished_at: job.status.is_final().then(now),
            job,
        },
    };
    gallery.add("job-running", &job_page(job(0)))?;
    gallery.add("job-done", &job_page(job(2)))?;
    gallery.add("job-failed", &job_page(job(3)))?;
    gallery.add("job-ugly", &job_page(ugly_job(2)))?;
    Ok(())
}

fn connect_pages(gallery: &mut Gallery<'_>) -> Result<(), Box<dyn Error>> {
    let page = || ConnectPage {
        frame: frame("Connect", Some(Section::Connect)),
        mcp_url: "http://127.0.0.1:8001/mcp/".to_owned(),
        can_test: true,
        new_token: None,
        form: TokenForm {
            expires_in: Field::of("90d"),
            ..TokenForm::default()
        },
        tokens: (0..4).map(token).collect(),
        has_tokens: true,
        filter: String::new(),
        pager: Pager::new(4, 1, 20, "/connect/", &[]),
        libraries: (0..6).map(library).collect(),
        other_libraries: 0,
        test: None,
        requires_token: true,
    };
    gallery.add("connect", &page())?;
    gallery.add(
        "connect-new-token",
        &ConnectPage {
            new_token: Some(NewToken {
                name: "My editor".to_owned(),
                token: "mnm_7Qd2vYk0XpZr91aa3cU5mTqLwE8sHdG4nRbVfJ6o".to_owned(),
            }),
            test: Some(ConnectionTest {
                is_good: true,
                message: "mnemosyne 0.1.0 answered with six tools.".to_owned(),
                took_ms: 9,
            }),
            ..page()
        },
    )?;
    gallery.add(
        "connect-empty",
        &ConnectPage {
            tokens: Vec::new(),
            has_tokens: false,
            pager: Pager::default(),
            libraries: Vec::new(),
            ..page()
        },
    )?;
    let wrong = Field {
        value: ugly_title(),
        errors: vec!["You have a token of this name already.".to_owned()],
    };
    gallery.add("connect-ugly", &ConnectPage {
        frame: ugly_frame("Connect", Some(Section::Connect)),
        form: TokenForm {
            name: wrong,
            tools: vec![Tool::Search],
            libraries: vec![library(1).uid.to_string()],
            ..TokenForm::default()
        },
        tokens: (0..40).map(|at| TokenRow { name: ugly_title(), owner: Some("somebody-else".to_owned()), ..token(at) }).collect(),
        pager: Pager::new(812, 1, 40, "/connect/", &[]),
        libraries: (0..60).map(|_| ugly_library()).collect(),
        other_libraries: 4_501,
        test: Some(ConnectionTest {
            is_good: false,
            message: "Nothing answers at this address. Is the role mcp running, and does the firewall let it through?".to_owned(),
            took_ms: 5_003,
        }),
        requires_token: false,
        ..page()
    })?;
    Ok(())
}

fn models_pages(gallery: &mut Gallery<'_>) -> Result<(), Box<dyn Error>> {
    let role = |title, hint, model: Option<&str>| RoleRow {
        title,
        hint,
        model: model.map(|name| ModelLabel {
            name: name.to_owned(),
            kind: ModelKind::Neural,
        }),
        source: "of gpu".to_owned(),
    };
    let model = |at: usize, name: &str| ModelRow {
        uid: format!("model-{at}"),
        name: name.to_owned(),
        role: "embedding",
        dimension: Some(1_024),
        is_default: at == 0,
    };
    let provider = |at: usize, name: &str| ProviderRow {
        uid: format!("provider-{at}"),
        name: name.to_owned(),
        kind: "openai",
        base_url: "https://models.example.org/v1".to_owned(),
        key: "key …4f2a".to_owned(),
        key_is_unreadable: false,
        verify_tls: true,
        allow_private: false,
        models: vec![model(0, "Qwen3-Embedding-0.6B"), model(1, "bge-m3")],
    };
    let page = || ModelsPage {
        frame: frame("Models", Some(Section::Models)),
        roles: vec![
            role(
                "Embedding",
                "nothing makes vectors.",
                Some("Qwen3-Embedding-0.6B"),
            ),
            role(
                "Reranker",
                "results stay in the order in which they were found.",
                None,
            ),
            role("Chat", "concepts are found without a model.", None),
            role("Vision", "pictures are not described.", None),
        ],
        providers: vec![provider(0, "gpu"), provider(1, "spare")],
        pager: Pager::new(2, 1, 20, "/models/", &[]),
        test: None,
    };
    gallery.add("models", &page())?;
    gallery.add(
        "models-tested",
        &ModelsPage {
            test: Some(TestOutcome {
                subject: "gpu".to_owned(),
                is_good: true,
                message: "It offers 2 models.".to_owned(),
                took_ms: Some(41.3),
                models: vec!["Qwen3-Embedding-0.6B".to_owned(), "bge-m3".to_owned()],
            }),
            ..page()
        },
    )?;
    gallery.add(
        "models-empty",
        &ModelsPage {
            providers: Vec::new(),
            pager: Pager::default(),
            ..page()
        },
    )?;
    let ugly = || ProviderRow {
        base_url: format!("https://{}.example.org/v1", "x".repeat(300)),
        key: "its key cannot be opened with the configured keys".to_owned(),
        key_is_unreadable: true,
        verify_tls: false,
        allow_private: true,
        models: (0..40).map(|at| model(at, &ugly_title())).collect(),
        ..provider(0, &ugly_title())
    };
    gallery.add(
        "models-ugly",
        &ModelsPage {
            frame: ugly_frame("Models", Some(Section::Models)),
            providers: vec![ugly()],
            pager: Pager::new(812, 1, 20, "/models/", &[]),
            test: Some(TestOutcome {
                subject: ugly_title(),
                is_good: false,
                message: format!(
                    "models.example.org answered with status 500: {}.",
                    "x".repeat(300)
                ),
                took_ms: None,
                models: Vec::new(),
            }),
            ..page()
        },
    )?;
    let wrong = Field {
        value: "http://10.1.2.3/".to_owned(),
        errors: vec![
            "10.1.2.3 has the private address 10.1.2.3, and calls to private addresses are refused."
                .to_owned(),
        ],
    };
    gallery.add(
        "provider-form",
        &ProviderFormPage {
            frame: frame("New provider", Some(Section::Models)),
            action: "/models/providers/new/".to_owned(),
            button: "Add the provider",
            seen: String::new(),
            name: Field::of("gpu"),
            kind: Field::of("openai"),
            kinds: vec![WordChoice {
                value: "openai",
                label: "OpenAI’s way, as most servers do",
            }],
            base_url: wrong,
            api_key: Field::default(),
            stored_key: Some("A key is stored; it ends in 4f2a.".to_owned()),
            remove_key: false,
            verify_tls: true,
            numbers: vec![NumberField {
                name: "batch_size",
                label: "Texts in one request",
                hint: "1 to 1024.",
                field: Field::of("8"),
            }],
            numbers_are_wrong: false,
        },
    )?;
    gallery.add(
        "model-form",
        &ModelFormPage {
            frame: frame("New model", Some(Section::Models)),
            action: "/models/new/".to_owned(),
            button: "Add the model",
            seen: String::new(),
            provider: "provider-0".to_owned(),
            provider_name: "gpu".to_owned(),
            name: Field::of("Qwen3-Embedding-0.6B"),
            role: Field::of("embedding"),
            roles: vec![WordChoice {
                value: "embedding",
                label: "Embedding: makes vectors",
            }],
            dimension: Field::of("1024"),
            takes_instructions: Field::of("yes"),
            is_default: true,
        },
    )?;
    Ok(())
}
