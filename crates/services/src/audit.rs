//! Writing down who did what, when and from where, and reading it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_domain::{AuditEntry, AuditEvent, AuditFilter, NewAuditEntry, Page, PageRequest, Principal};

use crate::context::Services;
use crate::error::ServiceResult;
use crate::origin;
use crate::permission::{self, Action};

/// Entries that are counted in one row are so for an hour.
const MERGE_SECONDS: i64 = 3_600;
/// Rows for failures that one process begins in an hour; what goes beyond is counted in one row.
const MAX_ROWS: usize = 100;
/// Characters of a subject or a detail that are kept.
const MAX_TEXT: usize = 200;

/// The rows for failures that were begun in this hour.
#[derive(Debug, Default)]
pub(crate) struct FloodGate(Mutex<(i64, HashSet<String>)>);

impl FloodGate {
    /// Whether a row of this key may be written in an hour.
    fn lets_in(&self, hour: i64, key: &str) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != hour {
            *held = (hour, HashSet::new());
        }
        if held.1.contains(key) {
            return true;
        }
        held.1.len() < MAX_ROWS && held.1.insert(key.to_owned())
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

fn shortened(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
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

    /// Counts what may come often in one row for each hour, actor, address and subject.
    pub(crate) async fn audited_often(&self, actor: &str, event: AuditEvent, subject: &str, detail: &str) {
        let hour = self.clock.now().timestamp().div_euclid(MERGE_SECONDS);
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
        let is_flood = matches!(event, AuditEvent::SignInFailed | AuditEvent::ResetRequested);
        if is_flood && !self.flood_gate.lets_in(hour, &key) {
            entry.address.clear();
            entry.subject.clear();
            entry.detail = "many more, from many addresses or with many names".to_owned();
            entry.merge_key = Some(format!("{hour}|{word}|flood"));
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
        for number in 0..MAX_ROWS {
            assert!(gate.lets_in(1, &number.to_string()));
        }
        assert!(gate.lets_in(1, "0"), "a row that was begun goes on");
        assert!(!gate.lets_in(1, "one more"));
        assert!(gate.lets_in(2, "one more"), "the next hour is another");
    }
}
