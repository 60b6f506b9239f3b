//! Profiles of users.

use mnemosyne_domain::{Profile, StoreError, Theme, UserId};

use super::recognise::ProfileColumns;
use super::values::{self, Row};
use super::{Import, Outcome};
use crate::context::Services;
use crate::error::ServiceResult;

/// The longest name of a time zone.
const MAX_ZONE: usize = 64;

impl Services {
    /// Takes a profile, unless its user has one here.
    pub(super) async fn import_profile(
        &self,
        import: &Import<'_>,
        columns: &ProfileColumns,
        row: &Row,
    ) -> ServiceResult<Outcome> {
        let Some(id) = values::number(row, Some(&columns.user)).map(UserId) else {
            return Ok(Outcome::left("it belongs to no user"));
        };
        if self.relational.user(id).await?.is_none() {
            return Ok(Outcome::left(format!("its user, {}, does not exist", id.0)));
        }
        let theirs = Profile {
            time_zone: values::text(row, columns.time_zone.as_ref())
                .filter(|name| is_zone(name))
                .map(str::to_owned),
            theme: values::text(row, columns.theme.as_ref())
                .and_then(|word| Theme::parse(&word.to_lowercase()))
                .unwrap_or_default(),
            ..Profile::default()
        };
        if theirs == Profile::default() {
            return Ok(Outcome::left("nothing in it is understood"));
        }
        let ours = self.relational.profile(id).await?;
        if ours == theirs {
            return Ok(Outcome::Known);
        }
        if ours != Profile::default() {
            return Ok(Outcome::left("its user has chosen another one here"));
        }
        if import.options.dry_run {
            return Ok(Outcome::Taken);
        }
        match self.relational.change_profile(id, &theirs.into()).await {
            Err(StoreError::NotFound) => Ok(Outcome::left(format!("its user, {}, does not exist", id.0))),
            other => Ok(other.map(|()| Outcome::Taken)?),
        }
    }
}

/// Whether this may be the name of a time zone. Pages show the installation's where there is none of this name.
fn is_zone(name: &str) -> bool {
    name.len() <= MAX_ZONE
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c))
}
