//! Users and sessions: Django's tables.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::Accounts;
use mnemosyne_domain::{
    NewUser, SessionRecord, StoreError, StoreResult, User, UserChange, UserId, UserUpdate,
};

use super::SqliteDatabase;
use super::errors::{conflict, one_row, store_error};
use super::time::{from_django, to_django};

#[derive(sqlx::FromRow)]
struct UserRow {
    id: i64,
    password: String,
    last_login: Option<String>,
    is_superuser: bool,
    username: String,
    last_name: String,
    email: String,
    is_staff: bool,
    is_active: bool,
    date_joined: String,
    first_name: String,
    is_service: bool,
}

impl UserRow {
    fn read(self) -> StoreResult<User> {
        Ok(User {
            id: UserId(self.id),
            username: self.username,
            password: self.password,
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            is_superuser: self.is_superuser,
            is_staff: self.is_staff,
            is_active: self.is_active,
            date_joined: from_django(&self.date_joined)?,
            last_login: self.last_login.as_deref().map(from_django).transpose()?,
            is_service: self.is_service,
        })
    }
}

const INSERT_USER: &str = "INSERT INTO auth_user \
    (password, last_login, is_superuser, username, last_name, email, is_staff, is_active, date_joined, first_name) \
    VALUES (?1, NULL, ?2, ?3, '', ?4, ?5, 1, ?6, '') RETURNING *, FALSE AS is_service";
const USER_BY_NAME: &str = "SELECT u.*, EXISTS \
    (SELECT 1 FROM mnemosyne_service_account s WHERE s.user_id = u.id) AS is_service \
    FROM auth_user u WHERE username = ?1";
const USER_BY_ID: &str = "SELECT u.*, EXISTS \
    (SELECT 1 FROM mnemosyne_service_account s WHERE s.user_id = u.id) AS is_service \
    FROM auth_user u WHERE id = ?1";
const USERS: &str = "SELECT u.*, EXISTS \
    (SELECT 1 FROM mnemosyne_service_account s WHERE s.user_id = u.id) AS is_service \
    FROM auth_user u ORDER BY username";
const MARK_SERVICE: &str =
    "INSERT INTO mnemosyne_service_account (user_id) VALUES (?1) ON CONFLICT DO NOTHING";
const UNMARK_SERVICE: &str = "DELETE FROM mnemosyne_service_account WHERE user_id = ?1";
const SAVE_SESSION: &str = "INSERT INTO django_session (session_key, session_data, expire_date) VALUES (?1, ?2, ?3) \
    ON CONFLICT (session_key) DO UPDATE SET session_data = excluded.session_data, expire_date = excluded.expire_date";
const SESSION: &str = "SELECT session_key, session_data, expire_date FROM django_session WHERE session_key = ?1 AND expire_date > ?2";

const ADMINISTRATORS: &str = "SELECT id FROM auth_user \
    WHERE is_superuser AND is_active AND password NOT LIKE '!%' AND id <> ?1 LIMIT 1";
const UPDATE_USER: &str = "UPDATE auth_user SET email = coalesce(?2, email), \
    first_name = coalesce(?3, first_name), last_name = coalesce(?4, last_name), \
    is_superuser = coalesce(?5, is_superuser), is_staff = coalesce(?5, is_staff), \
    is_active = coalesce(?6, is_active) WHERE id = ?1";
const SESSIONS_AFTER: &str = "SELECT session_key, session_data, expire_date FROM django_session \
    WHERE session_key > ?1 AND expire_date > ?2 ORDER BY session_key LIMIT ?3";

#[async_trait::async_trait]
impl Accounts for SqliteDatabase {
    async fn create_user(&self, user: NewUser, now: DateTime<Utc>) -> StoreResult<User> {
        let mut transaction = self.begin().await?;
        let made = sqlx::query_as::<_, UserRow>(INSERT_USER)
            .bind(user.password)
            .bind(user.is_superuser)
            .bind(user.username)
            .bind(user.email)
            .bind(user.is_staff)
            .bind(to_django(now))
            .fetch_one(&mut *transaction)
            .await
            .map_err(conflict("username"))?;
        if user.is_service {
            sqlx::query(MARK_SERVICE)
                .bind(made.id)
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)?;
        UserRow {
            is_service: user.is_service,
            ..made
        }
        .read()
    }

    async fn user_by_name(&self, username: &str) -> StoreResult<Option<User>> {
        let row = sqlx::query_as::<_, UserRow>(USER_BY_NAME)
            .bind(username)
            .fetch_optional(&self.read)
            .await;
        row.map_err(store_error)?.map(UserRow::read).transpose()
    }

    async fn user(&self, id: UserId) -> StoreResult<Option<User>> {
        let row = sqlx::query_as::<_, UserRow>(USER_BY_ID)
            .bind(id.0)
            .fetch_optional(&self.read)
            .await;
        row.map_err(store_error)?.map(UserRow::read).transpose()
    }

    async fn users(&self) -> StoreResult<Vec<User>> {
        let rows = sqlx::query_as::<_, UserRow>(USERS)
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(UserRow::read).collect()
    }

    async fn replace_password(&self, id: UserId, from: &str, to: &str) -> StoreResult<bool> {
        sqlx::query("UPDATE auth_user SET password = ?3 WHERE id = ?1 AND password = ?2")
            .bind(id.0)
            .bind(from)
            .bind(to)
            .execute(&self.write)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(store_error)
    }

    async fn update_user(&self, id: UserId, change: &UserChange) -> StoreResult<UserUpdate> {
        let mut transaction = self.begin().await?;
        let user = sqlx::query_as::<_, UserRow>(USER_BY_ID)
            .bind(id.0)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?
            .ok_or(StoreError::NotFound)?;
        let was = user.is_superuser && user.is_active;
        let stays =
            change.is_superuser.unwrap_or(user.is_superuser) && change.is_active.unwrap_or(user.is_active);
        if was && !stays {
            let other: Option<i64> = sqlx::query_scalar(ADMINISTRATORS)
                .bind(id.0)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?;
            if other.is_none() {
                return Ok(UserUpdate::LastAdministrator);
            }
        }
        sqlx::query(UPDATE_USER)
            .bind(id.0)
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
        sqlx::query("UPDATE auth_user SET last_login = ?2 WHERE id = ?1")
            .bind(id.0)
            .bind(to_django(at))
            .execute(&self.write)
            .await
            .map_err(store_error)
            .and_then(one_row)
    }

    async fn save_session(&self, session: &SessionRecord) -> StoreResult<()> {
        sqlx::query(SAVE_SESSION)
            .bind(&session.key)
            .bind(&session.data)
            .bind(to_django(session.expires_at))
            .execute(&self.write)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn session(&self, key: &str, now: DateTime<Utc>) -> StoreResult<Option<SessionRecord>> {
        let row = sqlx::query_as::<_, (String, String, String)>(SESSION)
            .bind(key)
            .bind(to_django(now))
            .fetch_optional(&self.read)
            .await
            .map_err(store_error)?;
        let Some((key, data, expires_at)) = row else {
            return Ok(None);
        };
        Ok(Some(SessionRecord {
            key,
            data,
            expires_at: from_django(&expires_at)?,
        }))
    }

    async fn sessions_after(
        &self,
        key: &str,
        now: DateTime<Utc>,
        limit: u32,
    ) -> StoreResult<Vec<SessionRecord>> {
        let rows = sqlx::query_as::<_, (String, String, String)>(SESSIONS_AFTER)
            .bind(key)
            .bind(to_django(now))
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        rows.into_iter()
            .map(|(key, data, expires_at)| {
                Ok(SessionRecord {
                    key,
                    data,
                    expires_at: from_django(&expires_at)?,
                })
            })
            .collect()
    }

    async fn delete_session(&self, key: &str) -> StoreResult<()> {
        sqlx::query("DELETE FROM django_session WHERE session_key = ?1")
            .bind(key)
            .execute(&self.write)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn delete_expired_sessions(&self, now: DateTime<Utc>) -> StoreResult<u64> {
        sqlx::query("DELETE FROM django_session WHERE expire_date <= ?1")
            .bind(to_django(now))
            .execute(&self.write)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error)
    }
}
