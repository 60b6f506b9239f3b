//! Writing down who did what, when and from where, and reading it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_domain::{AuditEntry, AuditEvent, AuditFilter, NewAuditEntry, Page, PageRequest, Principal};

use crate::context::Services;
use crate::error::ServiceResult;
use crate::origin;
use crate::permission::{self, Action};
use crate::validate::has_control;

/// Entries that are counted in one row are so for an hour.
const MERGE_SECONDS: i64 = 3_600;
/// Rows for failures that one process begins in an hour; what goes beyond is counted in one row.
const MAX_ROWS: usize = 100;
/// Characters of a subject or a detail that are kept.
const MAX_TEXT: usize = 200;

/// The rows for failures that were begun in this hour.
#[derive(Debug, Default)]
pub(crate) struct FloodGate(Mutex<Flood>);

#[derive(Debug, Default)]
struct Flood {
    hour: i64,
    /// By event and key, the second of the last entry.
    rows: HashMap<(AuditEvent, String), i64>,
}

/// Where an entry that strangers cause goes.
#[derive(Debug, PartialEq, Eq)]
enum Admitted {
    /// To the row of its key.
    Row,
    /// To the row of all that are too many.
    Flood,
    /// Nowhere: its row has one of this second.
    Nowhere,
}

/// Whether strangers can cause entries of this event.
fn is_strangers(event: AuditEvent) -> bool {
    matches!(
        event,
        AuditEvent::SignInFailed | AuditEvent::ResetRequested | AuditEvent::BearerRefused
    )
}

/// Whether an entry of this event costs those who cause it nothing: one password is checked in most of a second, and after
/// a few failures they wait, but bearers are refused as fast as they come.
fn is_cheap(event: AuditEvent) -> bool {
    event == AuditEvent::BearerRefused
}

impl FloodGate {
    /// Where an entry goes, at a moment in seconds.
    fn admit(&self, now: i64, event: AuditEvent, key: &str) -> Admitted {
        let hour = now.div_euclid(MERGE_SECONDS);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.hour != hour {
            *held = Flood {
                hour,
                ..Flood::default()
            };
        }
        let known = held
            .rows
            .keys()
            .filter(|(of, key)| *of == event && !key.is_empty());
        let is_full = known.count() >= MAX_ROWS;
        let own = (event, key.to_owned());
        let (row, admitted) = if is_full && !held.rows.contains_key(&own) {
            ((event, String::new()), Admitted::Flood)
        } else {
            (own, Admitted::Row)
        };
        match held.rows.insert(row, now) {
            Some(last) if last == now && is_cheap(event) => Admitted::Nowhere,
            _ => admitted,
        }
    }
}

/// Who a caller is, in the words of the list.
pub(crate) fn actor(caller: &Principal) -> String {
    match caller {
        Principal::User { username, .. } => username.clone(),
        Principal::Bearer(grant) => format!("token {}", grant.label),
        Principal::Local => "(command)".to_owned(),
    }
}

/// At most [`MAX_TEXT`] characters, on one line: PostgreSQL keeps no NUL, and a list no line breaks.
fn shortened(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_TEXT).map(plain).collect()
}

impl Services {
    /// Writes an entry of its own. What was done is done: where it cannot be written down, the log says so.
    pub(crate) async fn audited(&self, caller: &Principal, event: AuditEvent, subject: &str, detail: &str) {
        let entry = NewAuditEntry {
            event,
            actor: actor(caller),
            address: here(),
            subject: shortened(subject),
            detail: shortened(detail),
            merge_key: None,
        };
        self.write_down(entry).await;
    }

    /// Counts what may come often in one row for each hour, actor, address and subject; refused bearers, which cost nothing
    /// to send, once a second at the most.
    pub(crate) async fn audited_often(&self, actor: &str, event: AuditEvent, subject: &str, detail: &str) {
        let now = self.clock.now().timestamp();
        let hour = now.div_euclid(MERGE_SECONDS);
        let network = origin::network(origin::address());
        let word = event.as_str();
        let key = format!("{hour}|{word}|{actor}|{network}|{detail}|{subject}");
        let mut entry = NewAuditEntry {
            event,
            actor: actor.to_owned(),
            address: here(),
            subject: shortened(subject),
            detail: shortened(detail),
            merge_key: Some(key.clone()),
        };
        if is_strangers(event) {
            match self.flood_gate.admit(now, event, &key) {
                Admitted::Row => {}
                Admitted::Flood => {
                    entry.address.clear();
                    entry.subject.clear();
                    entry.detail = "many more, from many addresses or with many names".to_owned();
                    entry.merge_key = Some(format!("{hour}|{word}|flood"));
                }
                Admitted::Nowhere => return,
            }
        }
        self.write_down(entry).await;
    }

    async fn write_down(&self, entry: NewAuditEntry) {
        tracing::info!(
            event = entry.event.as_str(),
            actor = entry.actor,
            address = entry.address,
            subject = entry.subject,
            "audit"
        );
        if let Err(error) = self.relational.record(&entry, self.clock.now()).await {
            tracing::error!(%error, event = entry.event.as_str(), "an entry of the audit could not be written");
        }
    }

    /// What was written down, the latest first.
    pub async fn audit(
        &self,
        caller: &Principal,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> ServiceResult<Page<AuditEntry>> {
        permission::require(caller, Action::Administer)?;
        // No name has a control character; PostgreSQL would refuse to look for one.
        if filter.user.as_deref().is_some_and(has_control) {
            return Ok(Page::empty());
        }
        Ok(self.relational.audit(filter, page).await?)
    }

    /// Removes entries that are older than the installation keeps them, and says how many.
    pub(crate) async fn forget_audit(&self, now: DateTime<Utc>) -> ServiceResult<u64> {
        let days = i64::from(self.settings.audit_days);
        Ok(self
            .relational
            .delete_audit_before(now - TimeDelta::days(days))
            .await?)
    }
}

fn here() -> String {
    origin::address()
        .map(|address| address.to_canonical().to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_does_not_begin_rows_without_end() {
        let gate = FloodGate::default();
        let failed = |second, key: &str| gate.admit(second, AuditEvent::SignInFailed, key);
        for number in 0..MAX_ROWS {
            assert_eq!(failed(1, &number.to_string()), Admitted::Row);
        }
        assert_eq!(failed(1, "0"), Admitted::Row, "a row that was begun goes on");
        assert_eq!(failed(1, "one more"), Admitted::Flood);
        assert_eq!(failed(1, "one more"), Admitted::Flood, "each of them counts");
        let other = gate.admit(1, AuditEvent::BearerRefused, "0");
        assert_eq!(other, Admitted::Row, "one flood hides nothing of another kind");
        assert_eq!(failed(MERGE_SECONDS, "one more"), Admitted::Row, "the next hour");
    }

    #[test]
    fn what_costs_strangers_nothing_is_written_once_a_second() {
        let gate = FloodGate::default();
        let refused = |second, key: &str| gate.admit(second, AuditEvent::BearerRefused, key);
        assert_eq!(refused(1, "a"), Admitted::Row);
        assert_eq!(refused(1, "a"), Admitted::Nowhere);
        assert_eq!(refused(1, "b"), Admitted::Row);
        assert_eq!(refused(2, "a"), Admitted::Row);
        for number in 0..MAX_ROWS {
            refused(3, &number.to_string());
        }
        assert_eq!(
            refused(3, "one more"),
            Admitted::Nowhere,
            "the row of the flood has one"
        );
        assert_eq!(refused(4, "one more"), Admitted::Flood);
    }

    #[test]
    fn what_is_written_down_is_one_short_line() {
        assert_eq!(shortened("a\0b\nc"), "a b c");
        assert_eq!(shortened(&"ü".repeat(MAX_TEXT + 1)).chars().count(), MAX_TEXT);
    }
}
