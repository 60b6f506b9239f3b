//! What kind of file some bytes are: by their signature, then by the name, then by what the text looks like.

use mnemosyne_domain::{Failure, FailureCode};

use crate::archive::Archive;
use crate::document::{FileHint, Format};

/// The kind of a file. The bytes decide; name and claimed media type only tell plain text, Markdown and HTML apart
/// where the bytes are text.
///
/// # Errors
/// `EmptyFile` for no bytes, `Encrypted` for password-protected Office files, `UnsupportedFormat` with a sentence that names
/// what the file seems to be, `Damaged` for containers that cannot be opened.
pub fn detect(bytes: &[u8], hint: &FileHint) -> Result<Format, Failure> {
    if bytes.is_empty() {
        return Err(Failure::new(
            FailureCode::EmptyFile,
            "The file is empty: it has no bytes.",
        ));
    }
    if has_pdf_signature(bytes) {
        return Ok(Format::Pdf);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return detect_container(bytes);
    }
    if bytes.starts_with(&OLE_SIGNATURE) {
        return Err(describe_ole(bytes));
    }
    if let Some(name) = known_binary(bytes) {
        return Err(unsupported(name));
    }
    if !looks_like_text(bytes) {
        return Err(describe_damaged_or_unknown(hint));
    }
    Ok(detect_text(bytes, hint))
}

/// First bytes of an OLE compound file (Word 97, protected OOXML, Outlook).
const OLE_SIGNATURE: [u8; 8] = [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// A PDF may carry up to a kilobyte of something else before its header (ISO 32000, annex H).
fn has_pdf_signature(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    contains(head, b"%PDF-")
}

fn detect_container(bytes: &[u8]) -> Result<Format, Failure> {
    let mut archive = Archive::open(bytes, "file")?;
    if archive.contains("word/document.xml") || archive.contains("word/document2.xml") {
        return Ok(Format::Docx);
    }
    if let Ok(Some(mimetype)) = archive.read("mimetype", "file") {
        if mimetype.starts_with(b"application/epub+zip") {
            return Ok(Format::Epub);
        }
        if mimetype.starts_with(b"application/vnd.oasis.opendocument") {
            return Err(unsupported("an OpenDocument file"));
        }
    }
    if archive.contains("META-INF/container.xml") {
        return Ok(Format::Epub);
    }
    let mut kind = "a ZIP archive";
    for name in archive.names() {
        kind = match name.as_str() {
            "xl/workbook.xml" => "an Excel workbook",
            "ppt/presentation.xml" => "a PowerPoint presentation",
            "AndroidManifest.xml" => "an Android package",
            "META-INF/MANIFEST.MF" => "a Java archive",
            _ if name.ends_with(".fdseq") => "an XPS document",
            _ => continue,
        };
        break;
    }
    Err(unsupported(kind))
}

fn describe_ole(bytes: &[u8]) -> Failure {
    let names = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        contains(bytes, &wide)
    };
    if names("EncryptedPackage") {
        return Failure::new(
            FailureCode::Encrypted,
            "The file is an Office document protected by a password.",
        );
    }
    unsupported(if names("WordDocument") {
        "a Word document of the old binary kind (.doc)"
    } else if names("Workbook") {
        "an Excel workbook of the old binary kind (.xls)"
    } else if names("PowerPoint Document") {
        "a PowerPoint presentation of the old binary kind (.ppt)"
    } else if names("__substg1.0_") {
        "an Outlook message"
    } else {
        "an OLE compound file"
    })
}

/// Signatures of common files that hold no text for us, with the words a person meets.
const BINARIES: &[(usize, &[u8], &str)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xFF\xD8\xFF", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"BM", "a BMP image"),
    (8, b"WEBP", "a WebP image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftypheic", "a HEIC image"),
    (4, b"ftyp", "an MP4 video or audio file"),
    (0, b"\x1A\x45\xDF\xA3", "a Matroska or WebM video"),
    (0, b"ID3", "an MP3 audio file"),
    (0, b"OggS", "an Ogg audio file"),
    (0, b"fLaC", "a FLAC audio file"),
    (8, b"WAVE", "a WAV audio file"),
    (8, b"AVI ", "an AVI video"),
    (0, b"\x1F\x8B", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xFD7zXZ\0", "an xz archive"),
    (0, b"7z\xBC\xAF\x27\x1C", "a 7-Zip archive"),
    (0, b"Rar!\x1A\x07", "a RAR archive"),
    (0, b"\x28\xB5\x2F\xFD", "a Zstandard archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x7FELF", "an executable program"),
    (0, b"MZ", "a Windows program"),
    (0, b"SQLite format 3\0", "a SQLite database"),
    (60, b"BOOKMOBI", "a Kindle (MOBI) book"),
    (0, b"AT&TFORM", "a DjVu document"),
    (0, b"{\\rtf", "an RTF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"wOFF", "a font"),
    (0, b"wOF2", "a font"),
];

fn known_binary(bytes: &[u8]) -> Option<&'static str> {
    BINARIES
        .iter()
        .find(|(offset, signature, _)| {
            // "BM", "GIF8" and "WAVE" also stand in ordinary sentences. What an archive packs may be text all the same.
            let may_be_words = signature
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ')
                && *signature != b"ustar";
            bytes
                .get(*offset..)
                .is_some_and(|rest| rest.starts_with(signature))
                && !(may_be_words && begins_as_text(bytes))
        })
        .map(|(_, _, name)| *name)
}

/// Whether the part in which files of other kinds keep their numbers holds printable characters only, and the rest is text.
fn begins_as_text(bytes: &[u8]) -> bool {
    const HEADER_BYTES: usize = 64;
    let header = &bytes[..bytes.len().min(HEADER_BYTES)];
    !header.iter().any(is_control) && looks_like_text(bytes)
}

/// A byte that no text holds: no white space, and not the escape of terminals.
fn is_control(byte: &u8) -> bool {
    matches!(byte, 0..=8 | 14..=26 | 28..=31 | 127)
}

/// Text has next to no NULs or control characters, in its first part at least, unless a mark says UTF-16.
fn looks_like_text(bytes: &[u8]) -> bool {
    if encoding_rs::Encoding::for_bom(bytes).is_some() || utf16_without_mark(bytes).is_some() {
        return true;
    }
    let head = &bytes[..bytes.len().min(64 * 1024)];
    let controls = head.iter().filter(|byte| is_control(byte)).count();
    controls * 100 <= head.len()
}

/// UTF-16 of mostly Latin text shows every second byte as zero.
pub(crate) fn utf16_without_mark(bytes: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let head = &bytes[..bytes.len().min(4096) & !1];
    if head.len() < 8 {
        return None;
    }
    let zeros = |odd: usize| {
        head.iter()
            .skip(odd)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let half = head.len() / 2;
    match (zeros(0), zeros(1)) {
        (even, odd) if odd * 10 > half * 8 && even * 20 < half => Some(encoding_rs::UTF_16LE),
        (even, odd) if even * 10 > half * 8 && odd * 20 < half => Some(encoding_rs::UTF_16BE),
        _ => None,
    }
}

fn detect_text(bytes: &[u8], hint: &FileHint) -> Format {
    let head = crate::parse::decode_text(&bytes[..bytes.len().min(4096)]);
    let trimmed = head.trim_start_matches('\u{feff}').trim_start();
    let lower = trimmed
        .get(..trimmed.floor_char_boundary(1024))
        .unwrap_or_default()
        .to_lowercase();
    let is_html_start = lower.starts_with("<!doctype html")
        || lower.starts_with("<html")
        || (lower.starts_with("<?xml") && lower.contains("<html"))
        || (lower.starts_with("<!--") && lower.contains("<html"));
    if is_html_start {
        return Format::Html;
    }
    let extension = hint
        .filename
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_lowercase());
    if let Some(extension) = &extension {
        for format in [Format::Text, Format::Markdown, Format::Html] {
            if format.extensions().contains(&extension.as_str()) {
                return format;
            }
        }
    }
    let claimed = hint.content_type.as_deref().unwrap_or_default();
    if claimed.starts_with("text/html") || claimed.starts_with("application/xhtml") {
        return Format::Html;
    }
    if claimed.starts_with("text/markdown") {
        return Format::Markdown;
    }
    if lower.starts_with("<head") || lower.starts_with("<body") || lower.contains("</p>") {
        return Format::Html;
    }
    if looks_like_markdown(trimmed) {
        Format::Markdown
    } else {
        Format::Text
    }
}

fn looks_like_markdown(text: &str) -> bool {
    let count = |is_mark: fn(&str) -> bool| text.lines().filter(|line| is_mark(line)).count();
    // A single "#" also begins the comments of many other kinds of text.
    let sure = count(|line| line.starts_with("## ") || line.starts_with("```") || line.contains("](http"));
    sure >= 1 && sure + count(|line| line.starts_with("# ")) >= 2
}

fn unsupported(what: &str) -> Failure {
    Failure::new(
        FailureCode::UnsupportedFormat,
        format!("The file is {what}, which cannot be read as a document here."),
    )
}

fn describe_damaged_or_unknown(hint: &FileHint) -> Failure {
    let extension = hint
        .filename
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_lowercase());
    let binary = [Format::Pdf, Format::Docx, Format::Epub]
        .into_iter()
        .find(|format| {
            extension
                .as_deref()
                .is_some_and(|extension| format.extensions().contains(&extension))
        });
    match binary {
        Some(format) => Failure::new(
            FailureCode::Damaged,
            format!(
                "The file is named like {} but its content is not: it is damaged or something else.",
                format.title()
            ),
        ),
        None => unsupported("binary data of a kind that is not known"),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(name: &str) -> FileHint {
        FileHint {
            filename: name.to_owned(),
            content_type: None,
        }
    }

    fn code(bytes: &[u8], name: &str) -> FailureCode {
        detect(bytes, &hint(name)).expect_err("must fail").code
    }

    #[test]
    fn signatures_win_over_names() {
        assert_eq!(detect(b"%PDF-1.7\n", &hint("a.txt")), Ok(Format::Pdf));
        assert_eq!(detect(b"<!DOCTYPE html><p>x", &hint("a.md")), Ok(Format::Html));
        assert_eq!(detect(b"# T\n\ntext", &hint("a.md")), Ok(Format::Markdown));
        assert_eq!(
            detect(b"# T\n\n## U\n\ntext", &hint("noname")),
            Ok(Format::Markdown)
        );
        assert_eq!(
            detect(b"BMW is a car, MZ a motorcycle.", &hint("a")),
            Ok(Format::Text)
        );
    }

    #[test]
    fn words_that_are_signatures_elsewhere_stay_words() {
        for text in [
            "# About WEBP and other pictures\n\nIt is small.",
            "A Sound WAVE travels through air.",
            "This is AVI rather than MOV.",
            "GIF89a is a format of pictures.",
            "ID3 tags name the artist.",
            "OggS begins every page of an Ogg file.",
            "fLaC, wOFF and wOF2 are marks, too.",
            "BZh is the mark of bzip2.",
            "The ftyp box comes first.",
        ] {
            assert_eq!(
                detect(text.as_bytes(), &hint("a.txt")),
                Ok(Format::Text),
                "{text}"
            );
        }
        for (bytes, words) in [
            (b"RIFF\x24\x08\0\0WAVEfmt \x10\0\0\0".to_vec(), "WAV"),
            (b"RIFF\x24\x08\0\0WEBPVP8 ".to_vec(), "WebP"),
            (b"GIF89a\x40\x01\xf0\0".to_vec(), "GIF"),
            // Silence of eight bits has no control characters but in its header.
            (
                [
                    b"RIFF\x24\xff\x01\0WAVEfmt \x10\0\0\0".as_slice(),
                    &[0x80; 60_000],
                ]
                .concat(),
                "WAV",
            ),
            // A tar archive of texts is text for the most part.
            ([&[b'a'; 257][..], b"ustar\0", &[b'x'; 60_000]].concat(), "tar"),
        ] {
            let failure = detect(&bytes, &hint("a.txt")).expect_err("no text");
            assert_eq!(failure.code, FailureCode::UnsupportedFormat);
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert_eq!(code(b"", "a.txt"), FailureCode::EmptyFile);
        let png = detect(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &hint("scan.pdf")).expect_err("an image");
        assert_eq!(png.code, FailureCode::UnsupportedFormat);
        assert!(png.message.contains("PNG image"), "{}", png.message);
        assert_eq!(
            code(b"\0\x01\x02\x03\x04\x05\x06\x07", "a.docx"),
            FailureCode::Damaged
        );
        assert_eq!(
            code(b"\0\x01\x02\x03\x04\x05\x06\x07", "a.xyz"),
            FailureCode::UnsupportedFormat
        );
        assert_eq!(code(b"PK\x03\x04truncated", "a.docx"), FailureCode::Damaged);
        let mut ole = OLE_SIGNATURE.to_vec();
        ole.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(code(&ole, "a.docx"), FailureCode::Encrypted);
    }

    #[test]
    fn wide_text_is_text() {
        let wide: Vec<u8> = "Hello, wide world"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(detect(&wide, &hint("a.txt")), Ok(Format::Text));
    }
}
