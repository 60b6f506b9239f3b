//! Schemas and their versions: what the migrations of every database have in common.

use mnemosyne_domain::{StoreError, StoreResult};
use sqlx::migrate::{MigrateError, Migrator};

/// What a failed migration means to callers; `store_error` says it of the database's own errors.
pub(crate) fn migrate_error(
    migrations: &Migrator,
    error: MigrateError,
    store_error: fn(sqlx::Error) -> StoreError,
) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => newer(migrations, version),
        MigrateError::VersionMismatch(_)
        | MigrateError::VersionTooNew(..)
        | MigrateError::VersionTooOld(..) => StoreError::Schema(format!(
            "the database was written by another version of Mnemosyne: {error}"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => store_error(error),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// Whether a database of this version (`None`: of none) is the one that this program knows.
pub(crate) fn check_version(migrations: &Migrator, version: Option<i64>) -> StoreResult<()> {
    let known = known_version(migrations);
    match version.unwrap_or_default() {
        version if version > known => Err(newer(migrations, version)),
        version if version < known => Err(StoreError::Schema("`migrate` has not been run".to_owned())),
        _ => Ok(()),
    }
}

fn newer(migrations: &Migrator, version: i64) -> StoreError {
    StoreError::Schema(format!(
        "a newer version of Mnemosyne wrote this database (schema {version}, this program knows {}); use that version, or \
         the backup from before it",
        known_version(migrations)
    ))
}

fn known_version(migrations: &Migrator) -> i64 {
    migrations
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default()
}
