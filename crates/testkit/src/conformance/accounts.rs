//! What every store of users, sessions, tokens, keys and settings promises.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_domain::ports::Relational;
use mnemosyne_domain::{
    LibraryUid, NewMcpToken, NewUser, SessionRecord, SigningKey, StoreError, Tool, User, UserChange, UserId,
};

use super::{Pair, at};

type Databases = Pair<dyn Relational>;

const NOBODY: UserId = UserId(999_999);

fn new_user(username: &str) -> NewUser {
    NewUser {
        username: username.to_owned(),
        password: "pbkdf2_sha256$1000000$salt$hash".to_owned(),
        email: format!("{username}@example.org"),
        is_superuser: false,
        is_staff: true,
        is_service: false,
    }
}

async fn user(accounts: &dyn Relational, username: &str) -> User {
    accounts.create_user(new_user(username), at(0)).await.unwrap()
}

fn new_token(owner: UserId, name: &str, digest: &str) -> NewMcpToken {
    NewMcpToken {
        name: name.to_owned(),
        prefix: "mns_abcd".to_owned(),
        digest: digest.to_owned(),
        user_id: owner,
        tools: None,
        libraries: None,
        expires_at: None,
    }
}

fn key(kid: &str, created: i64) -> SigningKey {
    SigningKey {
        kid: kid.to_owned(),
        sealed_secret: format!("sealed {kid}"),
        created_at: at(created),
        retired_at: None,
    }
}

fn session(key: &str, expires_at: DateTime<Utc>) -> SessionRecord {
    SessionRecord {
        key: key.to_owned(),
        data: format!("data of {key}"),
        expires_at,
    }
}

/// A user is read back as made, to the microsecond, by name and by key.
pub async fn a_user_is_kept_as_made(databases: Databases) {
    let now = at(0) + TimeDelta::microseconds(120_003);
    let wanted = NewUser {
        is_superuser: true,
        is_staff: false,
        ..new_user("Żaneta")
    };
    let made = databases.first.create_user(wanted.clone(), now).await.unwrap();
    assert_eq!(
        (&made.username, &made.password, &made.email),
        (&wanted.username, &wanted.password, &wanted.email)
    );
    assert_eq!(
        (made.is_superuser, made.is_staff, made.is_active),
        (true, false, true)
    );
    assert_eq!((made.date_joined, made.last_login), (now, None));
    assert_eq!((made.first_name.as_str(), made.last_name.as_str()), ("", ""));
    assert!(databases.second.user_by_name("Żaneta").await.unwrap() == Some(made.clone()));
    assert!(databases.second.user(made.id).await.unwrap() == Some(made));
    assert!(databases.second.user(NOBODY).await.unwrap().is_none());
}

/// The mark of a service account is kept beside Django's table, by whichever way it came and whoever asks.
pub async fn a_service_account_is_marked_and_unmarked(databases: Databases) {
    let (first, second) = (databases.first.as_ref(), databases.second.as_ref());
    let wanted = NewUser {
        is_service: true,
        ..new_user("daedalus")
    };
    let made = first.create_user(wanted, at(0)).await.unwrap();
    let person = user(first, "ada").await;
    assert_eq!((made.is_service, person.is_service), (true, false));
    let marks = async || {
        let by_id = second.user(made.id).await.unwrap().unwrap().is_service;
        let by_name = second.user_by_name("daedalus").await.unwrap().unwrap().is_service;
        let listed: Vec<bool> = second
            .users()
            .await
            .unwrap()
            .iter()
            .map(|user| user.is_service)
            .collect();
        // By name: ada, daedalus.
        (by_id, by_name, listed)
    };
    assert_eq!(marks().await, (true, true, vec![false, true]));
    let change = |is_service| UserChange {
        is_service,
        ..UserChange::default()
    };
    for (is_service, expected) in [
        (None, true),
        (Some(true), true),
        (Some(false), false),
        (Some(false), false),
        (None, false),
        (Some(true), true),
    ] {
        first.update_user(made.id, &change(is_service)).await.unwrap();
        assert_eq!(
            marks().await,
            (expected, expected, vec![false, expected]),
            "{is_service:?}"
        );
    }
    let nobody = first.update_user(NOBODY, &change(Some(true))).await;
    assert!(matches!(nobody, Err(StoreError::NotFound)));
    let taken = first
        .create_user(
            NewUser {
                is_service: true,
                ..new_user("ada")
            },
            at(1),
        )
        .await;
    assert!(matches!(taken, Err(StoreError::Conflict("username"))));
    assert_eq!(marks().await.2, [false, true], "what failed marked nobody");
}

/// Names are unique, and compared exactly.
pub async fn names_of_users_are_unique_and_exact(databases: Databases) {
    let accounts = databases.first.as_ref();
    user(accounts, "ada").await;
    let taken = databases.second.create_user(new_user("ada"), at(1)).await;
    assert!(matches!(taken, Err(StoreError::Conflict("username"))));
    user(accounts, "Ada").await;
    user(accounts, "'; DROP TABLE auth_user; --").await;
    assert!(accounts.user_by_name("ADA").await.unwrap().is_none());
    assert!(accounts.user_by_name("ad%").await.unwrap().is_none());
    let names: Vec<String> = accounts
        .users()
        .await
        .unwrap()
        .into_iter()
        .map(|user| user.username)
        .collect();
    assert_eq!(names, ["'; DROP TABLE auth_user; --", "Ada", "ada"]);
}

/// Of several processes that make one user at the same moment, one does.
pub async fn one_process_makes_a_user(databases: Databases) {
    let tasks = (0..6).map(|turn| {
        let accounts = databases.handle(turn);
        tokio::spawn(async move { accounts.create_user(new_user("ada"), at(0)).await })
    });
    let mut made = 0;
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, StoreError::Conflict("username")), "{error}"),
        }
    }
    assert_eq!(made, 1);
}

/// A password is replaced and a sign-in noted; of nobody, neither.
pub async fn passwords_and_sign_ins_are_noted(databases: Databases) {
    let accounts = databases.first.as_ref();
    let ada = user(accounts, "ada").await;
    let other = user(accounts, "bob").await;
    let replaced = accounts.replace_password(ada.id, &ada.password, "new").await;
    assert!(replaced.unwrap());
    accounts.set_last_login(ada.id, at(5)).await.unwrap();
    let seen = databases.second.user(ada.id).await.unwrap().unwrap();
    assert_eq!((seen.password.as_str(), seen.last_login), ("new", Some(at(5))));
    assert!(databases.second.user(other.id).await.unwrap() == Some(other));
    assert!(!accounts.replace_password(NOBODY, "", "x").await.unwrap());
    assert!(matches!(
        accounts.set_last_login(NOBODY, at(5)).await,
        Err(StoreError::NotFound)
    ));
}

/// A new hash takes the place of the one that was read, and of no other: of several that were read at once, one is replaced.
pub async fn a_password_is_replaced_only_where_it_is_still_the_one_that_was_read(databases: Databases) {
    let ada = user(databases.first.as_ref(), "ada").await;
    let bob = user(databases.first.as_ref(), "bob").await;
    let replace = async |from: &str, to: &str| {
        let accounts = databases.second.as_ref();
        accounts.replace_password(ada.id, from, to).await.unwrap()
    };
    assert!(replace(&ada.password, "one").await);
    assert!(
        !replace(&ada.password, "two").await,
        "it is not the one that was read"
    );
    assert!(!replace("ONE", "two").await && !replace("on%", "two").await && !replace("", "two").await);
    let password = async |id| databases.first.user(id).await.unwrap().unwrap().password;
    assert_eq!(password(ada.id).await, "one");
    assert!(replace("one", "one").await, "the same once more is no loss");

    let mut read = "one".to_owned();
    for round in 0..8 {
        let tasks = (0..6).map(|turn| {
            let (accounts, from) = (databases.handle(turn), read.clone());
            let to = format!("{round}-{turn}");
            tokio::spawn(async move {
                let is_ours = accounts.replace_password(ada.id, &from, &to).await.unwrap();
                is_ours.then_some(to)
            })
        });
        let mut winners = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            winners.extend(task.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        read = winners.remove(0);
        assert_eq!(password(ada.id).await, read);
    }
    assert_eq!(password(bob.id).await, bob.password);
}

/// A session can be written again, is over at its moment, and can be ended.
pub async fn a_session_is_over_at_its_moment(databases: Databases) {
    let (accounts, other) = (databases.first.as_ref(), databases.second.as_ref());
    let end = at(100) + TimeDelta::microseconds(500_000);
    accounts.save_session(&session("k1", end)).await.unwrap();
    assert!(other.session("k1", at(100)).await.unwrap() == Some(session("k1", end)));
    assert!(other.session("k1", end).await.unwrap().is_none());
    assert!(other.session("k2", at(0)).await.unwrap().is_none());
    let longer = SessionRecord {
        data: "other".to_owned(),
        ..session("k1", at(200))
    };
    other.save_session(&longer).await.unwrap();
    assert!(accounts.session("k1", end).await.unwrap() == Some(longer));
    accounts.delete_session("k1").await.unwrap();
    accounts.delete_session("k1").await.unwrap();
    assert!(other.session("k1", at(0)).await.unwrap().is_none());
}

/// Sessions that are over can be removed; the others stay.
pub async fn sessions_that_are_over_are_removed(databases: Databases) {
    let accounts = databases.first.as_ref();
    for (name, end) in [("a", 10), ("b", 20), ("c", 30)] {
        accounts.save_session(&session(name, at(end))).await.unwrap();
    }
    assert_eq!(accounts.delete_expired_sessions(at(20)).await.unwrap(), 2);
    assert_eq!(accounts.delete_expired_sessions(at(20)).await.unwrap(), 0);
    assert!(accounts.session("c", at(20)).await.unwrap().is_some());
}

/// A token is read back as made, by its digest.
pub async fn a_token_is_kept_as_made(databases: Databases) {
    let tokens = databases.first.as_ref();
    let ada = user(tokens, "ada").await;
    let wanted = NewMcpToken {
        tools: Some(BTreeSet::from([Tool::Search, Tool::GetChunk])),
        libraries: Some(BTreeSet::from([
            LibraryUid::from_store("l1".into()),
            LibraryUid::from_store("l2".into()),
        ])),
        expires_at: Some(at(500)),
        ..new_token(ada.id, "laptop", "d1")
    };
    let made = tokens.create_token(wanted.clone(), at(1)).await.unwrap();
    assert_eq!(
        (&made.tools, &made.libraries, made.expires_at),
        (&wanted.tools, &wanted.libraries, wanted.expires_at)
    );
    assert_eq!(
        (made.user_id, made.created_at, made.last_used_at, made.revoked_at),
        (ada.id, at(1), None, None)
    );
    assert_eq!(
        (made.name.as_str(), made.prefix.as_str(), made.digest.as_str()),
        ("laptop", "mns_abcd", "d1")
    );
    assert_eq!(databases.second.token_by_digest("d1").await.unwrap(), Some(made));
    assert_eq!(databases.second.token_by_digest("d2").await.unwrap(), None);

    let nothing = NewMcpToken {
        tools: Some(BTreeSet::new()),
        libraries: Some(BTreeSet::new()),
        ..new_token(ada.id, "nothing", "d2")
    };
    let made = tokens.create_token(nothing, at(2)).await.unwrap();
    assert_eq!(
        (made.tools, made.libraries),
        (Some(BTreeSet::new()), Some(BTreeSet::new())),
        "no tool is not all tools"
    );
}

/// A name is its owner's once while its token is not revoked; a digest is one token's for ever.
pub async fn names_of_tokens_are_unique_for_their_owner(databases: Databases) {
    let tokens = databases.first.as_ref();
    let (ada, bob) = (user(tokens, "ada").await.id, user(tokens, "bob").await.id);
    let first = tokens
        .create_token(new_token(ada, "laptop", "d1"), at(1))
        .await
        .unwrap();
    let taken = databases
        .second
        .create_token(new_token(ada, "laptop", "d2"), at(2))
        .await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))));
    tokens
        .create_token(new_token(bob, "laptop", "d2"), at(2))
        .await
        .unwrap();
    assert!(tokens.revoke_token(first.id, None, at(3)).await.unwrap());
    tokens
        .create_token(new_token(ada, "laptop", "d3"), at(4))
        .await
        .unwrap();
    let known = tokens.create_token(new_token(ada, "phone", "d1"), at(5)).await;
    assert!(matches!(known, Err(StoreError::Conflict("digest"))));
    let nobodys = tokens.create_token(new_token(NOBODY, "x", "d9"), at(6)).await;
    assert!(matches!(nobodys, Err(StoreError::NotFound)));
}

/// Only the owner (or whoever may act for all) revokes a token; it stays on the list, with its moment.
pub async fn a_token_is_revoked_by_its_owner(databases: Databases) {
    let (tokens, other) = (databases.first.as_ref(), databases.second.as_ref());
    let (ada, bob) = (user(tokens, "ada").await.id, user(tokens, "bob").await.id);
    let first = tokens
        .create_token(new_token(ada, "one", "d1"), at(1))
        .await
        .unwrap();
    let second = tokens
        .create_token(new_token(ada, "two", "d2"), at(2))
        .await
        .unwrap();
    let bobs = tokens
        .create_token(new_token(bob, "one", "d3"), at(3))
        .await
        .unwrap();
    assert!(!other.revoke_token(first.id, Some(bob), at(4)).await.unwrap());
    assert!(other.revoke_token(first.id, Some(ada), at(5)).await.unwrap());
    assert!(!other.revoke_token(12_345, None, at(5)).await.unwrap());
    let seen = tokens.token_by_digest("d1").await.unwrap().unwrap();
    assert_eq!(seen.revoked_at, Some(at(5)));
    other.revoke_token(first.id, Some(ada), at(9)).await.unwrap();
    let seen = tokens.token_by_digest("d1").await.unwrap().unwrap();
    assert_eq!(seen.revoked_at, Some(at(5)), "the first time counts");
    let ids = async |owner| {
        tokens
            .tokens(owner)
            .await
            .unwrap()
            .iter()
            .map(|token| token.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(Some(ada)).await, [second.id, first.id]);
    assert_eq!(ids(None).await, [bobs.id, second.id, first.id]);
    assert_eq!(ids(Some(NOBODY)).await, [0_i64; 0]);
}

/// The use of a token is noted.
pub async fn the_use_of_a_token_is_noted(databases: Databases) {
    let tokens = databases.first.as_ref();
    let ada = user(tokens, "ada").await.id;
    let made = tokens
        .create_token(new_token(ada, "one", "d1"), at(1))
        .await
        .unwrap();
    tokens.touch_token(made.id, at(3_600)).await.unwrap();
    let seen = databases
        .second
        .token_by_digest("d1")
        .await
        .unwrap()
        .unwrap()
        .last_used_at
        .unwrap();
    assert!((at(3_600) - seen).abs() < TimeDelta::minutes(1), "{seen}");
}

/// A signing key is read back as stored, newest first; a name is taken once.
pub async fn signing_keys_are_kept_as_stored(databases: Databases) {
    let (keys, other) = (databases.first.as_ref(), databases.second.as_ref());
    let retired = SigningKey {
        retired_at: Some(at(5)),
        ..key("k0", 0)
    };
    for stored in [&key("k2", 2), &key("k1", 1), &retired] {
        keys.create_signing_key(stored.clone(), false).await.unwrap();
    }
    assert!(other.signing_keys().await.unwrap() == [key("k2", 2), key("k1", 1), retired.clone()]);
    assert!(other.signing_key("k0").await.unwrap() == Some(retired));
    assert!(other.signing_key("k9").await.unwrap().is_none());
    let taken = other.create_signing_key(key("k1", 9), true).await;
    assert!(matches!(taken, Err(StoreError::Conflict("kid"))));
    assert!(
        keys.signing_key("k2").await.unwrap() == Some(key("k2", 2)),
        "what failed retired nothing"
    );
}

/// Other keys are retired with a new one or by themselves; one that is retired keeps its moment.
pub async fn other_signing_keys_are_retired(databases: Databases) {
    let keys = databases.first.as_ref();
    keys.create_signing_key(key("k1", 1), true).await.unwrap();
    keys.create_signing_key(key("k2", 2), true).await.unwrap();
    keys.create_signing_key(key("k3", 3), false).await.unwrap();
    assert_eq!(keys.retire_other_signing_keys("k3", at(10)).await.unwrap(), 1);
    assert_eq!(keys.retire_other_signing_keys("k3", at(11)).await.unwrap(), 0);
    let retired: Vec<_> = databases
        .second
        .signing_keys()
        .await
        .unwrap()
        .into_iter()
        .map(|key| key.retired_at)
        .collect();
    assert_eq!(retired, [None, Some(at(10)), Some(at(2))]);
}

/// One key is retired by its name, once; the others stay.
pub async fn a_signing_key_is_retired_by_its_name(databases: Databases) {
    let keys = databases.first.as_ref();
    for (kid, created) in [("k1", 1), ("k2", 2)] {
        keys.create_signing_key(key(kid, created), false).await.unwrap();
    }
    assert!(databases.second.retire_signing_key("k1", at(10)).await.unwrap());
    assert!(!keys.retire_signing_key("k1", at(11)).await.unwrap());
    assert!(!keys.retire_signing_key("k9", at(11)).await.unwrap());
    let retired = async |kid| keys.signing_key(kid).await.unwrap().unwrap().retired_at;
    assert_eq!((retired("k1").await, retired("k2").await), (Some(at(10)), None));
}

/// A turn may come again with the same content only, until its time is over.
pub async fn a_turn_belongs_to_one_content(databases: Databases) {
    let turn = async |handle: usize, kid: &str, jti: &str, content: &str, now: i64| {
        databases
            .handle(handle)
            .remember_turn(kid, jti, content, at(now + 100), at(now))
            .await
            .unwrap()
    };
    assert!(turn(0, "k1", "t1", "c1", 0).await);
    assert!(turn(1, "k1", "t1", "c1", 10).await);
    assert!(!turn(1, "k1", "t1", "c2", 10).await);
    assert!(turn(1, "k1", "t2", "c2", 10).await);
    assert!(
        turn(1, "k2", "t1", "c2", 10).await,
        "a turn of another key is another turn"
    );
    assert!(
        turn(0, "k1", "t1", "c1", 99).await,
        "what was refused changed nothing"
    );
    assert!(
        turn(0, "k1", "t1", "c3", 1_000).await,
        "what is over is forgotten"
    );
}

/// Of several processes that use one turn with different contents at the same moment, one is let through.
pub async fn one_process_wins_a_turn(databases: Databases) {
    for round in 0..5 {
        let tasks = (0..6).map(|turn| {
            let keys = databases.handle(turn);
            let (jti, content) = (format!("t{round}"), format!("c{turn}"));
            tokio::spawn(async move {
                keys.remember_turn("k", &jti, &content, at(100), at(0))
                    .await
                    .unwrap()
            })
        });
        let mut accepted = 0;
        for task in tasks.collect::<Vec<_>>() {
            accepted += usize::from(task.await.unwrap());
        }
        assert_eq!(accepted, 1);
    }
}

/// Settings are written, replaced, listed by the beginning of their names, and removed.
pub async fn settings_are_kept(databases: Databases) {
    let (settings, other) = (databases.first.as_ref(), databases.second.as_ref());
    for (name, value) in [
        ("a_b.2", "two"),
        ("a_b.1", "old"),
        ("aXb.1", "other"),
        ("A_b.1", "upper"),
        ("ü%", "ß"),
    ] {
        settings.set_setting(name, value).await.unwrap();
    }
    other.set_setting("a_b.1", "one").await.unwrap();
    assert_eq!(settings.setting("a_b.1").await.unwrap().as_deref(), Some("one"));
    assert_eq!(settings.setting("a_b").await.unwrap(), None);
    let named = async |prefix| settings.settings_with_prefix(prefix).await.unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        named("a_b.").await,
        [pair("a_b.1", "one"), pair("a_b.2", "two")],
        "no character stands for others"
    );
    assert_eq!(named("ü%").await, [pair("ü%", "ß")]);
    assert_eq!(named("").await.len(), 5);
    other.delete_setting("a_b.1").await.unwrap();
    other.delete_setting("a_b.1").await.unwrap();
    assert_eq!(settings.setting("a_b.1").await.unwrap(), None);
}

/// The backend can serve.
pub async fn the_database_is_healthy(databases: Databases) {
    databases.first.check().await.unwrap();
    databases.second.check().await.unwrap();
}

/// Runs the suite over a backend: a function that makes two handles on one empty database,
/// `async fn() -> Pair<dyn Relational>`.
#[macro_export]
macro_rules! accounts_conformance {
    ($make:path) => {
        $crate::conformance_suite!(
            accounts,
            $make,
            [
                a_user_is_kept_as_made,
                a_service_account_is_marked_and_unmarked,
                names_of_users_are_unique_and_exact,
                one_process_makes_a_user,
                passwords_and_sign_ins_are_noted,
                a_password_is_replaced_only_where_it_is_still_the_one_that_was_read,
                a_session_is_over_at_its_moment,
                sessions_that_are_over_are_removed,
                a_token_is_kept_as_made,
                names_of_tokens_are_unique_for_their_owner,
                a_token_is_revoked_by_its_owner,
                the_use_of_a_token_is_noted,
                signing_keys_are_kept_as_stored,
                other_signing_keys_are_retired,
                a_signing_key_is_retired_by_its_name,
                a_turn_belongs_to_one_content,
                one_process_wins_a_turn,
                settings_are_kept,
                the_database_is_healthy,
            ]
        );
    };
}
