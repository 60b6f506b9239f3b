//! Users and sessions: Django's tables.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::Accounts;
use mnemosyne_domain::{
    NewUser, SessionRecord, StoreError, StoreResult, User, UserChange, UserId, UserUpdate,
};

use super::PostgresDatabase;
use super::errors::{conflict, one_row, store_error};

#[derive(sqlx::FromRow)]
struct UserRow {
    id: i32,
    password: String,
    last_login: Option<DateTime<Utc>>,
    is_superuser: bool,
    username: String,
    last_name: String,
    email: String,
    is_staff: bool,
    is_active: bool,
    date_joined: DateTime<Utc>,
    first_name: String,
    is_service: bool,
}

impl UserRow {
    fn read(self) -> User {
        User {
            id: UserId(i64::from(self.id)),
            username: self.username,
            password: self.password,
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            is_superuser: self.is_superuser,
            is_staff: self.is_staff,
            is_active: self.is_active,
            date_joined: self.date_joined,
            last_login: self.last_login,
            is_service: self.is_service,
        }
    }
}

/// Django's key of a user. One that fits no `integer` is nobody's.
fn key(id: UserId) -> i32 {
    i32::try_from(id.0).unwrap_or(-1)
}

const INSERT_USER: &str = "INSERT INTO auth_user \
    (password, last_login, is_superuser, username, last_name, email, is_staff, is_active, date_joined, first_name) \
    VALUES ($1, NULL, $2, $3, '', $4, $5, TRUE, $6, '') RETURNING *, FALSE AS is_service";
const USER_BY_NAME: &str = "SELECT u.*, EXISTS \
    (SELECT 1 FROM mnemosyne_service_account s WHERE s.user_id = u.id) AS is_service \
    FROM auth_user u WHERE username = $1";
const USER_BY_ID: &str = "SELECT u.*, EXISTS \
    (SELECT 1 FROM mnemosyne_service_account s WHERE s.user_id = u.id) AS is_service \
    FROM auth_user u WHERE id = $1";
const USERS: &str = "SELECT u.*, EXISTS \
    (SELECT 1 FROM mnemosyne_service_account s WHERE s.user_id = u.id) AS is_service \
    FROM auth_user u ORDER BY username";
const MARK_SERVICE: &str =
    "INSERT INTO mnemosyne_service_account (user_id) VALUES ($1) ON CONFLICT DO NOTHING";
const UNMARK_SERVICE: &str = "DELETE FROM mnemosyne_service_account WHERE user_id = $1";
const SAVE_SESSION: &str = "INSERT INTO django_session (session_key, session_data, expire_date) VALUES ($1, $2, $3) \
    ON CONFLICT (session_key) DO UPDATE SET session_data = excluded.session_data, expire_date = excluded.expire_date";
const SESSION: &str = "SELECT session_key, session_data, expire_date FROM django_session WHERE session_key = $1 AND expire_date > $2";

const ADMINISTRATORS: &str = "SELECT id FROM auth_user \
    WHERE is_superuser AND is_active AND password NOT LIKE '!%' AND id <> $1 LIMIT 1";
const UPDATE_USER: &str = "UPDATE auth_user SET email = coalesce($2, email), \
    first_name = coalesce($3, first_name), last_name = coalesce($4, last_name), \
    is_superuser = coalesce($5, is_superuser), is_staff = coalesce($5, is_staff), \
    is_active = coalesce($6, is_active) WHERE id = $1";
const SESSIONS_AFTER: &str = "SELECT session_key, session_data, expire_date FROM django_session \
    WHERE session_key > $1 AND expire_date > $2 ORDER BY session_key LIMIT $3";

/// The key of the lock under which users are changed.
const CHANGES_OF_USERS: i64 = 0x6d6e_656d_7573_6572;

#[async_trait::async_trait]
impl Accounts for PostgresDatabase {
    async fn create_user(&self, user: NewUser, now: DateTime<Utc>) -> StoreResult<User> {
        let mut transaction = self.begin().await?;
        let made = sqlx::query_as::<_, UserRow>(INSERT_USER)
            .bind(user.password)
            .bind(user.is_superuser)
            .bind(user.username)
            .bind(user.email)
            .bind(user.is_staff)
            .bind(now)
            .fetch_one(&mut *transaction)
            .await
            .map_err(conflict("username"))?;
        if user.is_service {
            sqlx::query(MARK_SERVICE)
                .bind(i64::from(made.id))
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)?;
        let made = UserRow {
            is_service: user.is_service,
            ..made
        };
        Ok(made.read())
    }

    async fn user_by_name(&self, username: &str) -> StoreResult<Option<User>> {
        let row = sqlx::query_as::<_, UserRow>(USER_BY_NAME)
            .bind(username)
            .fetch_optional(&self.pool)
            .await;
        row.map(|row| row.map(UserRow::read)).map_err(store_error)
    }

    async fn user(&self, id: UserId) -> StoreResult<Option<User>> {
        let row = sqlx::query_as::<_, UserRow>(USER_BY_ID)
            .bind(key(id))
            .fetch_optional(&self.pool)
            .await;
        row.map(|row| row.map(UserRow::read)).map_err(store_error)
    }

    async fn users(&self) -> StoreResult<Vec<User>> {
        let rows = sqlx::query_as::<_, UserRow>(USERS)
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(rows.into_iter().map(UserRow::read).collect())
    }

    async fn replace_password(&self, id: UserId, from: &str, to: &str) -> StoreResult<bool> {
        sqlx::query("UPDATE auth_user SET password = $3 WHERE id = $1 AND password = $2")
            .bind(key(id))
            .bind(from)
            .bind(to)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(store_error)
    }

    async fn update_user(&self, id: UserId, change: &UserChange) -> StoreResult<UserUpdate> {
        let mut transaction = self.begin().await?;
        // One change of administrators after the other, so that two cannot take each other's right at once.
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(CHANGES_OF_USERS)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        let user = sqlx::query_as::<_, UserRow>(USER_BY_ID)
            .bind(key(id))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?
            .ok_or(StoreError::NotFound)?;
        let was = user.is_superuser && user.is_active;
        let stays =
            change.is_superuser.unwrap_or(user.is_superuser) && change.is_active.unwrap_or(user.is_active);
        if was && !stays {
            let other: Option<i32> = sqlx::query_scalar(ADMINISTRATORS)
                .bind(key(id))
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?;
            if other.is_none() {
                return Ok(UserUpdate::LastAdministrator);
            }
        }
        sqlx::query(UPDATE_USER)
            .bind(key(id))
            .bind(&change.email)
            .bind(&change.first_name)
            .bind(&change.last_name)
            .bind(change.is_superuser)
            .bind(change.is_active)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        if let Some(is_service) = change.is_service {
            let statement = if is_service { MARK_SERVICE } else { UNMARK_SERVICE };
            sqlx::query(statement)
                .bind(id.0)
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(UserUpdate::Done)
    }

    async fn set_last_login(&self, id: UserId, at: DateTime<Utc>) -> StoreResult<()> {
        sqlx::query("UPDATE auth_user SET last_login = $2 WHERE id = $1")
            .bind(key(id))
            .bind(at)
            .execute(&self.pool)
            .await
            .map_err(store_error)
            .and_then(one_row)
    }

    async fn save_session(&self, session: &SessionRecord) -> StoreResult<()> {
        sqlx::query(SAVE_SESSION)
            .bind(&session.key)
            .bind(&session.data)
            .bind(session.expires_at)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn session(&self, key: &str, now: DateTime<Utc>) -> StoreResult<Option<SessionRecord>> {
        let row = sqlx::query_as::<_, (String, String, DateTime<Utc>)>(SESSION)
            .bind(key)
            .bind(now)
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
        let Some((key, data, expires_at)) = row else {
            return Ok(None);
        };
        Ok(Some(SessionRecord {
            key,
            data,
            expires_at,
        }))
    }

    async fn sessions_after(
        &self,
        key: &str,
        now: DateTime<Utc>,
        limit: u32,
    ) -> StoreResult<Vec<SessionRecord>> {
        let rows = sqlx::query_as::<_, (String, String, DateTime<Utc>)>(SESSIONS_AFTER)
            .bind(key)
            .bind(now)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(rows
            .into_iter()
            .map(|(key, data, expires_at)| SessionRecord {
                key,
                data,
                expires_at,
            })
            .collect())
    }

    async fn delete_session(&self, key: &str) -> StoreResult<()> {
        sqlx::query("DELETE FROM django_session WHERE session_key = $1")
            .bind(key)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn delete_expired_sessions(&self, now: DateTime<Utc>) -> StoreResult<u64> {
        sqlx::query("DELETE FROM django_session WHERE expire_date <= $1")
            .bind(now)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error)
    }
}
