//! Readers, one file a format. Each turns bytes into the same structured [`Document`].

mod builder;
mod docx;
mod epub;
mod html;
pub(crate) mod lines;
mod markdown;
mod pdf;
mod pdf_layout;
mod text;

use std::borrow::Cow;

pub(crate) use builder::single_line;
use mnemosyne_domain::Failure;

use crate::detect::{detect, utf16_without_mark};
use crate::document::{Document, FileHint, Format};

/// Reads a file. Nothing is fetched, whatever the file names.
///
/// Readers of foreign formats do break down: run this where a panic, an endless loop or a hunger for memory costs one file
/// only (`mnemosyne-sandbox`).
///
/// # Errors
/// What [`detect`] says; `Encrypted`, `Damaged`, `ParserLimit` for files that cannot be opened; `NoTextExtracted` for files
/// without text.
pub fn parse(bytes: &[u8], hint: &FileHint) -> Result<Document, Failure> {
    match detect(bytes, hint)? {
        Format::Text => text::parse(&decode_text(bytes)),
        Format::Markdown => markdown::parse(&decode_text(bytes)),
        Format::Html => html::parse(&html::decode(bytes)),
        Format::Pdf => pdf::parse(bytes),
        Format::Docx => docx::parse(bytes),
        Format::Epub => epub::parse(bytes),
    }
}

/// Text in whatever encoding: a byte order mark, UTF-8, UTF-16 by its zeros, then the guess of a detector.
pub(crate) fn decode_text(bytes: &[u8]) -> Cow<'_, str> {
    if let Some((encoding, mark)) = encoding_rs::Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[mark..]).0;
    }
    if let Some(encoding) = utf16_without_mark(bytes) {
        return encoding.decode_without_bom_handling(bytes).0;
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    // A few damaged bytes in UTF-8 do not make it another encoding.
    let lossy = String::from_utf8_lossy(bytes);
    let broken = lossy
        .chars()
        .filter(|c| *c == char::REPLACEMENT_CHARACTER)
        .count();
    let wide = lossy.chars().filter(|c| !c.is_ascii()).count();
    if broken * 10 < wide {
        return lossy;
    }
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    detector.feed(&bytes[..bytes.len().min(256 * 1024)], true);
    let encoding = detector.guess(None, chardetng::Utf8Detection::Deny);
    encoding.decode_without_bom_handling(bytes).0
}

/// Numbers for a sentence: the first few, then how many more.
pub(crate) fn number_list(numbers: &[u32]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> = numbers.iter().take(SHOWN).map(u32::to_string).collect();
    match numbers.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_recognised() {
        assert_eq!(decode_text("Grüße".as_bytes()), "Grüße");
        assert_eq!(
            decode_text(b"Die Gr\xfc\xdfe aus M\xfcnchen sind sch\xf6n."),
            "Die Grüße aus München sind schön."
        );
        let wide: Vec<u8> = [0xFF, 0xFE]
            .into_iter()
            .chain("Grüße".encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        assert_eq!(decode_text(&wide), "Grüße");
        assert_eq!(decode_text("Smart “quotes”".as_bytes()), "Smart “quotes”");
        assert_eq!(
            decode_text(b"Smart \x93quotes\x94 and a dash \x97 here"),
            "Smart “quotes” and a dash — here"
        );
    }
}
