//! Files made to break a reader, through the real readers under real limits: each fails alone, with a code that fits.

use std::time::Duration;

use mnemosyne_domain::FailureCode;
use mnemosyne_sandbox::SandboxSettings;

use crate::pool::{Bench, Test, settings};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("bytes_of_no_kind_fail_with_every_name", || {
        Box::pin(bytes_of_no_kind_fail_with_every_name())
    }),
    ("nesting_without_end", || Box::pin(nesting_without_end())),
    ("cut_pdfs", || Box::pin(cut_pdfs())),
    ("one_endless_paragraph", || Box::pin(one_endless_paragraph())),
];

fn small() -> SandboxSettings {
    SandboxSettings {
        wall: Duration::from_secs(20),
        cpu: Duration::from_secs(20),
        memory_bytes: 700 * 1024 * 1024,
        ..settings()
    }
}

async fn bytes_of_no_kind_fail_with_every_name() {
    let bench = Bench::new(small());
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise: Vec<u8> = Vec::new();
    for _ in 0..4096 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    for name in ["a.pdf", "a.docx", "a.epub", "a.html", "a.md", "a.txt", "a"] {
        for head in [
            &b""[..],
            b"%PDF-1.5\n",
            b"PK\x03\x04",
            b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1",
        ] {
            let bytes = [head, &noise].concat();
            let code = bench.read(name, &bytes).await.expect_err("noise is no document");
            assert!(
                matches!(code, FailureCode::Damaged | FailureCode::UnsupportedFormat),
                "{name} {head:?}: {code}"
            );
        }
    }
    assert_eq!(bench.read("a.txt", b"").await, Err(FailureCode::EmptyFile));
    assert_eq!(
        bench.read("a.txt", b" \n\t\n").await,
        Err(FailureCode::NoTextExtracted)
    );
    assert!(bench.read("b.txt", b"fine").await.is_ok());
}

async fn nesting_without_end() {
    let bench = Bench::new(SandboxSettings {
        wall: Duration::from_secs(4),
        ..small()
    });
    let html = format!("<html>{}deep", "<div><b>".repeat(200_000));
    let markdown = format!("{}deep", "> ".repeat(100_000));
    for (name, bytes) in [("a.html", html.as_bytes()), ("a.md", markdown.as_bytes())] {
        match bench.read(name, bytes).await {
            Ok(text) => assert!(text.contains("deep")),
            Err(code) => assert_eq!(code, FailureCode::ParserLimit, "{name}"),
        }
    }
    assert!(bench.read("b.txt", b"fine").await.is_ok());
}

async fn cut_pdfs() {
    let bench = Bench::new(small());
    let whole = include_bytes!("../../../../tests/fixtures/documents/keeper.libreoffice.pdf");
    assert!(bench.read("whole.pdf", whole).await.is_ok());
    for part in 1..8 {
        let cut = &whole[..whole.len() * part / 8];
        // A reader may mend what is left; what it may not do is die or give another code.
        if let Err(code) = bench.read("cut.pdf", cut).await {
            assert!(
                matches!(
                    code,
                    FailureCode::Damaged | FailureCode::NoTextExtracted | FailureCode::ParserCrashed
                ),
                "{part}: {code}"
            );
        }
    }
}

async fn one_endless_paragraph() {
    let bench = Bench::new(small());
    let text = "All work and no play makes a dull day. ".repeat(900_000);
    assert_eq!(
        bench.read("a.txt", text.as_bytes()).await,
        Err(FailureCode::ParserLimit)
    );
    let html = format!("<p>{text}");
    assert_eq!(
        bench.read("a.html", html.as_bytes()).await,
        Err(FailureCode::ParserLimit)
    );
    let million = "Short line.\n\n".repeat(1_000_000);
    let read = bench.read("b.txt", million.as_bytes()).await;
    assert!(read.is_ok() || read == Err(FailureCode::ParserLimit), "{read:?}");
}
