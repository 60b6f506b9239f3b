//! Who did what, when and from where.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use chrono::{DateTime, NaiveDate, Utc};
use mnemosyne_domain::{AuditEvent, AuditFilter, PageRequest, Principal};
use mnemosyne_services::tokens::parse_validity;
use mnemosyne_services::{Services, wire};

use super::output::{self, explain};
use crate::cli::AuditArgs;

pub(super) async fn run(args: AuditArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let event = match &args.event {
        None => None,
        Some(word) => match AuditEvent::parse(word) {
            Some(event) => Some(event),
            None => bail!(
                "--event: there is no event {word:?}; there are {}",
                AuditEvent::ALL.map(AuditEvent::as_str).join(", ")
            ),
        },
    };
    let since = match &args.since {
        None => None,
        Some(text) => Some(
            moment(text, Utc::now())
                .with_context(|| format!("--since: {text:?} is no time; write 2026-11-26, 24h or 7d"))?,
        ),
    };
    let filter = AuditFilter {
        since,
        user: args.user,
        event,
    };
    let mut entries = Vec::new();
    while entries.len() < args.limit as usize {
        let wanted = args.limit - u32::try_from(entries.len()).unwrap_or(args.limit);
        let page = PageRequest::new(entries.len() as u64, wanted.min(PageRequest::MAX_LIMIT));
        let found = services
            .audit(&Principal::Local, &filter, page)
            .await
            .map_err(explain)?;
        if found.rows.is_empty() {
            break;
        }
        entries.extend(found.rows);
    }
    if args.json {
        let entries: Vec<wire::AuditEntry> = entries.into_iter().map(Into::into).collect();
        output::json(&entries)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for entry in entries {
        let or_dash = |value: String| if value.is_empty() { "-".to_owned() } else { value };
        let times = if entry.count > 1 {
            format!(" ({} times)", entry.count)
        } else {
            String::new()
        };
        text.push_str(&format!(
            "{}  {:19}  {:15}  {:15}  {} {}{times}\n",
            entry.last_at.format("%Y-%m-%d %H:%M:%SZ"),
            entry.event.as_str(),
            or_dash(entry.actor),
            or_dash(entry.address),
            entry.subject,
            entry.detail,
        ));
    }
    output::print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A moment as people write one: a day, an exact time, or a span before now.
fn moment(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Some(day.and_hms_opt(0, 0, 0)?.and_utc());
    }
    if let Ok(exact) = DateTime::parse_from_rfc3339(text) {
        return Some(exact.with_timezone(&Utc));
    }
    now.checked_sub_signed(parse_validity(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_days_times_or_spans() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default();
        let text = |text: &str| moment(text, now).map(|at| at.to_rfc3339());
        assert_eq!(text("2026-11-26").as_deref(), Some("2026-11-26T00:00:00+00:00"));
        assert_eq!(
            text("2026-11-26T01:00:00+01:00").as_deref(),
            Some("2026-11-26T00:00:00+00:00")
        );
        assert_eq!(moment("24h", now), Some(now - chrono::TimeDelta::hours(24)));
        assert_eq!(moment("yesterday", now), None);
    }
}
