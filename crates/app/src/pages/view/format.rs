//! How numbers, sizes, times and long names are written. Each helper returns a value that prints safe HTML.

use std::fmt::{self, Write as _};

use askama::filters::HtmlSafe;
use chrono::{DateTime, Datelike, TimeZone, Utc};
use mnemosyne_domain::{ChunkStrategy, DateFormat, JobStatus, LibraryType, ModelKind, Stage};

use super::assets::{Icon, icon};

/// Writes text with the five characters escaped that mean something in HTML.
pub fn escape(text: &str, out: &mut impl fmt::Write) -> fmt::Result {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let entity = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => continue,
        };
        out.write_str(&text[from..at])?;
        out.write_str(entity)?;
        from = at + 1;
    }
    out.write_str(&text[from..])
}

/// HTML that was escaped where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeHtml(pub(super) String);

impl SafeHtml {
    /// The HTML as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafeHtml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for SafeHtml {}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    // A String takes everything that is written to it.
    let _ = escape(text, &mut out);
    out
}

/// What can be counted: unsigned integers, by value or by reference, as templates pass them.
pub trait Number {
    /// The number.
    fn number(&self) -> u64;
}

impl Number for u64 {
    fn number(&self) -> u64 {
        *self
    }
}

impl Number for usize {
    fn number(&self) -> u64 {
        *self as u64
    }
}

impl<T: Number> Number for &T {
    fn number(&self) -> u64 {
        (*self).number()
    }
}

/// A number with its thousands apart: `50,000`.
pub fn count(number: impl Number) -> String {
    let digits = number.number().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number where there is little room: `999`, `1.2k`, `25k`, `3.4M`. The exact one must stand somewhere else.
pub fn compact(number: impl Number) -> String {
    let number = number.number();
    match number {
        0..1000 => number.to_string(),
        1000..10_000 => format!("{}.{}k", number / 1000, number % 1000 / 100),
        10_000..1_000_000 => format!("{}k", number / 1000),
        _ => format!("{}.{}M", number / 1_000_000, number % 1_000_000 / 100_000),
    }
}

/// A number and what it counts: `1 item`, `50,000 items`.
pub fn plural(number: impl Number, one: &str, many: &str) -> String {
    let number = number.number();
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A size in bytes in decimal units, the exact one on hover.
pub fn size(bytes: impl Number) -> SafeHtml {
    SafeHtml(format!(
        r#"<span title="{}">{}</span>"#,
        plural(&bytes, "byte", "bytes"),
        size_text(&bytes)
    ))
}

/// A size in bytes in decimal units: `1.4 MB`.
pub fn size_text(bytes: impl Number) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let bytes = bytes.number();
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// A span of time in milliseconds: `340 ms`, `1.2 s`, `2 min 10 s`, `1 h 4 min`.
pub fn duration(milliseconds: impl Number) -> String {
    let milliseconds = milliseconds.number();
    let seconds = milliseconds / 1000;
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..10_000 => format!("{:.1} s", milliseconds as f64 / 1000.0),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A share of one as a whole percentage, held inside 0 to 100; 100 only when it is whole.
pub fn percent(share: &f32) -> u32 {
    // NaN becomes 0, which is what an unknown progress should show.
    (share.clamp(0.0, 1.0) * 100.0).floor() as u32
}

/// A moment as `<time>`: relative to now, the exact one on hover; both in the time zone of `now`.
pub fn when<Z: TimeZone<Offset: fmt::Display>>(at: &DateTime<Utc>, now: &DateTime<Z>) -> SafeHtml {
    when_as(at, now, DateFormat::Words)
}

/// The same with dates written in a way of the visitor's choice.
pub fn when_as<Z: TimeZone<Offset: fmt::Display>>(
    at: &DateTime<Utc>,
    now: &DateTime<Z>,
    format: DateFormat,
) -> SafeHtml {
    let exact = match format {
        DateFormat::Words => "%-d %B %Y, %H:%M:%S %Z",
        DateFormat::Iso => "%Y-%m-%d %H:%M:%S %Z",
        DateFormat::DayFirst => "%d.%m.%Y %H:%M:%S %Z",
        DateFormat::MonthFirst => "%m/%d/%Y %-I:%M:%S %p %Z",
    };
    SafeHtml(format!(
        r#"<time datetime="{}" title="{}">{}</time>"#,
        at.format("%Y-%m-%dT%H:%M:%SZ"),
        at.with_timezone(&now.timezone()).format(exact),
        relative_as(at, now, format)
    ))
}

/// A moment in words, as seen from now: `just now`, `3 minutes ago`, `in 2 hours`, `24 Nov`, `24 Nov 2025`.
pub fn relative<Z: TimeZone<Offset: fmt::Display>>(at: &DateTime<Utc>, now: &DateTime<Z>) -> String {
    relative_as(at, now, DateFormat::Words)
}

fn relative_as<Z: TimeZone<Offset: fmt::Display>>(
    at: &DateTime<Utc>,
    now: &DateTime<Z>,
    format: DateFormat,
) -> String {
    let at = at.with_timezone(&now.timezone());
    let seconds = now.clone().signed_duration_since(&at).num_seconds();
    let distance = seconds.unsigned_abs();
    let (number, one, many) = match distance {
        0..5 => return "just now".to_owned(),
        5..60 => (distance, "second", "seconds"),
        60..3600 => (distance / 60, "minute", "minutes"),
        3600..86_400 => (distance / 3600, "hour", "hours"),
        86_400..604_800 => (distance / 86_400, "day", "days"),
        _ => return at.format(date(format, at.year() == now.year())).to_string(),
    };
    let amount = plural(number, one, many);
    if seconds < 0 {
        format!("in {amount}")
    } else {
        format!("{amount} ago")
    }
}

/// How a date is written where there is little room.
fn date(format: DateFormat, is_this_year: bool) -> &'static str {
    match format {
        DateFormat::Words if is_this_year => "%-d %b",
        DateFormat::Words => "%-d %b %Y",
        DateFormat::Iso => "%Y-%m-%d",
        DateFormat::DayFirst => "%d.%m.%Y",
        DateFormat::MonthFirst => "%m/%d/%Y",
    }
}

/// A long name shortened in the middle (its end often tells it apart), the whole one on hover.
pub fn middle(name: impl AsRef<str>, at_most: usize) -> SafeHtml {
    let name = name.as_ref();
    let length = name.chars().count();
    if length <= at_most {
        return SafeHtml(escaped(name));
    }
    let keep = at_most.saturating_sub(1).max(2);
    let head: String = name.chars().take(keep * 3 / 5).collect();
    let tail: String = name.chars().skip(length - (keep - keep * 3 / 5)).collect();
    SafeHtml(format!(
        r#"<span title="{}">{}…{}</span>"#,
        escaped(name),
        escaped(head.trim_end()),
        escaped(tail.trim_start())
    ))
}

/// A bar that shows a share of one, drawn so that no inline style is needed. `label` says the same in words.
pub fn bar(share: &f32, label: impl AsRef<str>) -> SafeHtml {
    let width = percent(share).max(u32::from(*share > 0.0));
    SafeHtml(format!(
        r#"<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="{}"><rect class="bar-track" width="100" height="4"/><rect class="bar-fill" width="{width}" height="4"/></svg>"#,
        escaped(label.as_ref())
    ))
}

/// Percent-encodes what may not stand in a query string as it is.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // A String takes everything that is written to it.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A path with a query string; pairs with an empty value are left out.
pub fn href(path: &str, pairs: &[(&str, &str)]) -> String {
    let query: Vec<String> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", query.join("&"))
    }
}

/// The icon of a library type.
pub fn type_icon(kind: &LibraryType) -> Icon {
    icon(kind.as_str())
}

/// How a strategy cuts, as a sentence.
pub fn strategy_sentence(strategy: &ChunkStrategy) -> &'static str {
    match strategy {
        ChunkStrategy::Scene => "Cuts between scenes; dialogue stays together.",
        ChunkStrategy::Section => "Cuts between sections; paragraphs stay whole.",
        ChunkStrategy::Technical => "Cuts between sections; never inside a code block, table or list.",
        ChunkStrategy::Verse => "Cuts between verses; a verse stays whole.",
        ChunkStrategy::Entry => "Cuts between entries; each keeps its date.",
        ChunkStrategy::Clause => "Cuts between clauses; numbers stay with their text.",
        ChunkStrategy::Table => "Cuts between sections; tables and captions stay whole.",
    }
}

/// What a stage is doing, for a line that says what runs.
pub fn stage_word(stage: &Stage) -> &'static str {
    match stage {
        Stage::Queued => "waiting",
        Stage::Fetch => "fetching",
        Stage::Parse => "reading",
        Stage::Chunk => "cutting",
        Stage::Embed => "embedding",
        Stage::Concepts => "finding concepts",
        Stage::Publish => "publishing",
        Stage::Complete => "done",
    }
}

/// The state of a job: an icon and a word, in the colour of the state.
pub fn job_state(status: &JobStatus) -> SafeHtml {
    let (class, symbol, word) = match status {
        JobStatus::Pending => ("state", "clock", "waiting"),
        JobStatus::Processing => ("state state-accent", "activity", "running"),
        JobStatus::Completed => ("state state-good", "check", "done"),
        JobStatus::Failed => ("state state-bad", "error", "failed"),
        JobStatus::Superseded => ("state", "layers", "superseded"),
        JobStatus::Cancelled => ("state", "cancel", "cancelled"),
    };
    SafeHtml(format!(r#"<span class="{class}">{}{word}</span>"#, icon(symbol)))
}

/// The model that makes, or made, vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLabel {
    /// Its name.
    pub name: String,
    /// Whether it understands meaning or only spelling.
    pub kind: ModelKind,
}

impl ModelLabel {
    /// Whether it compares spelling only, which every page that shows its results says.
    pub fn is_lexical(&self) -> bool {
        self.kind == ModelKind::Lexical
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn numbers_sizes_and_spans_are_written_for_people() {
        assert_eq!(
            [0, 999, 1000, 50_000, 1_234_567].map(|n: u64| count(n)),
            ["0", "999", "1,000", "50,000", "1,234,567"]
        );
        assert_eq!(
            [999, 1_299, 25_000, 3_450_000].map(|n: u64| compact(n)),
            ["999", "1.2k", "25k", "3.4M"]
        );
        assert_eq!(plural(1_u64, "item", "items"), "1 item");
        assert_eq!(
            [0, 999, 1000, 1_403_221, 12_300_000, 999_960].map(|n: u64| size_text(n)),
            ["0 B", "999 B", "1.0 kB", "1.4 MB", "12 MB", "1.0 MB"]
        );
        assert_eq!(
            [340, 1200, 59_999, 120_000, 130_000, 3_840_000].map(|n: u64| duration(n)),
            ["340 ms", "1.2 s", "59 s", "2 min", "2 min 10 s", "1 h 4 min"]
        );
        assert_eq!(
            [f32::NAN, -1.0, 0.999, 1.0, 7.0].map(|share| percent(&share)),
            [0, 0, 99, 100, 100]
        );
    }

    #[test]
    fn times_are_relative_with_the_exact_one_on_hover() {
        let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let seen = |seconds: i64| relative(&(now - TimeDelta::seconds(seconds)), &now);
        assert_eq!(seen(2), "just now");
        assert_eq!(seen(60), "1 minute ago");
        assert_eq!(seen(-7200), "in 2 hours");
        assert_eq!(seen(3 * 86_400), "3 days ago");
        assert_eq!(seen(20 * 86_400), "29 Oct");
        assert_eq!(seen(400 * 86_400), "14 Oct 2025");
        assert!(when(&now, &now).as_str().contains("title=\"18 November 2026, "));
    }

    #[test]
    fn long_names_keep_both_ends_and_nothing_escapes_the_escaping() {
        let name = format!("<b>{}</b>.pdf", "x".repeat(300));
        let html = middle(&name, 20).0;
        assert!(!html.contains("<b>") && html.contains("&lt;b&gt;") && html.contains("…"));
        assert_eq!(middle("a \"b\" & 'c'", 20).0, "a &quot;b&quot; &amp; &#39;c&#39;");
        assert!(!bar(&0.5, "\"><script>").0.contains("<script>"));
    }

    #[test]
    fn a_query_string_holds_any_text_and_leaves_out_what_is_empty() {
        assert_eq!(
            href("/search/", &[("q", "a&b=ü /?"), ("type", "")]),
            "/search/?q=a%26b%3D%C3%BC%20%2F%3F"
        );
        assert_eq!(href("/search/", &[("q", "")]), "/search/");
    }
}
