//! What every store of the audit, of failed attempts and of profiles promises.

use mnemosyne_domain::ports::Relational;
use mnemosyne_domain::{
    AuditEvent, AuditFilter, DateFormat, NewAuditEntry, NewUser, PageRequest, Profile, ProfileChange,
    SessionRecord, StoreError, Theme, UserChange, UserId, UserUpdate,
};

use super::{Pair, at};

type Databases = Pair<dyn Relational>;

fn entry(event: AuditEvent, actor: &str, subject: &str) -> NewAuditEntry {
    NewAuditEntry {
        event,
        actor: actor.to_owned(),
        address: "192.0.2.7".to_owned(),
        subject: subject.to_owned(),
        detail: "detail".to_owned(),
        merge_key: None,
    }
}

async fn user(accounts: &dyn Relational, username: &str, is_superuser: bool) -> UserId {
    let user = NewUser {
        username: username.to_owned(),
        password: "pbkdf2_sha256$1$a$b".to_owned(),
        email: String::new(),
        is_superuser,
        is_staff: is_superuser,
        is_service: false,
    };
    accounts.create_user(user, at(0)).await.unwrap().id
}

/// Entries are read back as written, the latest first, page by page, by each condition and by all together.
pub async fn entries_are_found_by_what_they_say(databases: Databases) {
    let (first, other) = (databases.first.as_ref(), databases.second.as_ref());
    first
        .record(&entry(AuditEvent::SignedIn, "ada", ""), at(1))
        .await
        .unwrap();
    first
        .record(&entry(AuditEvent::UserChanged, "ada", "bob"), at(2))
        .await
        .unwrap();
    first
        .record(&entry(AuditEvent::SignedIn, "bob", ""), at(3))
        .await
        .unwrap();
    let find = async |filter: AuditFilter, page: PageRequest| {
        let found = other.audit(&filter, page).await.unwrap();
        let times: Vec<i64> = found
            .rows
            .iter()
            .map(|entry| (entry.at - at(0)).num_seconds())
            .collect();
        (found.total, times)
    };
    let all = PageRequest::first(10);
    assert_eq!(find(AuditFilter::default(), all).await, (3, vec![3, 2, 1]));
    assert_eq!(
        find(AuditFilter::default(), PageRequest::new(1, 1)).await,
        (3, vec![2])
    );
    let since = AuditFilter {
        since: Some(at(2)),
        ..AuditFilter::default()
    };
    assert_eq!(find(since, all).await, (2, vec![3, 2]));
    let bob = AuditFilter {
        user: Some("bob".to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(
        find(bob.clone(), all).await,
        (2, vec![3, 2]),
        "what he did, and what was done to him"
    );
    let both = AuditFilter {
        event: Some(AuditEvent::SignedIn),
        ..bob
    };
    assert_eq!(find(both, all).await, (1, vec![3]));
    let seen = other
        .audit(&AuditFilter::default(), PageRequest::new(1, 1))
        .await
        .unwrap()
        .rows
        .remove(0);
    assert_eq!(
        (seen.last_at, seen.count, seen.event),
        (at(2), 1, AuditEvent::UserChanged)
    );
    assert_eq!((seen.actor.as_str(), seen.subject.as_str()), ("ada", "bob"));
    assert_eq!(
        (seen.address.as_str(), seen.detail.as_str()),
        ("192.0.2.7", "detail")
    );
}

/// Entries of one key are one row, whoever writes them; those without a key never are.
pub async fn entries_of_one_key_are_counted(databases: Databases) {
    let tasks = (0..8).map(|turn| {
        let database = databases.handle(turn);
        tokio::spawn(async move {
            let entry = NewAuditEntry {
                merge_key: Some("k".to_owned()),
                ..entry(AuditEvent::SignInFailed, "", "ada")
            };
            database
                .record(&entry, at(i64::try_from(turn).unwrap()))
                .await
                .unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    for _ in 0..2 {
        databases
            .first
            .record(&entry(AuditEvent::SignInFailed, "", "ada"), at(0))
            .await
            .unwrap();
    }
    let found = databases
        .second
        .audit(&AuditFilter::default(), PageRequest::first(10))
        .await
        .unwrap();
    let mut counts: Vec<u64> = found.rows.iter().map(|entry| entry.count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 8]);
}

/// What is too old goes, by when it happened last.
pub async fn old_entries_are_removed(databases: Databases) {
    let first = databases.first.as_ref();
    for seconds in [1, 2, 3] {
        first
            .record(&entry(AuditEvent::SignedIn, "ada", ""), at(seconds))
            .await
            .unwrap();
    }
    assert_eq!(first.delete_audit_before(at(3)).await.unwrap(), 2);
    let left = databases
        .second
        .audit(&AuditFilter::default(), PageRequest::first(10))
        .await
        .unwrap();
    assert_eq!(left.total, 1);
}

/// Failures of all processes count together, until a success or until they are old.
pub async fn failures_count_for_all_processes(databases: Databases) {
    let tasks = (0..6).map(|turn| {
        let database = databases.handle(turn);
        tokio::spawn(async move { database.note_failure("a", at(10), at(0)).await.unwrap() })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let (first, other) = (databases.first.as_ref(), databases.second.as_ref());
    let known = other.attempts("a", at(0)).await.unwrap();
    assert_eq!(
        (known.failures, known.failed_at, known.succeeded_at),
        (6, Some(at(10)), None)
    );
    assert_eq!(other.attempts("b", at(0)).await.unwrap(), Default::default());
    assert_eq!(
        other.attempts("a", at(11)).await.unwrap().failures,
        0,
        "they are old"
    );
    assert_eq!(
        first.note_failure("a", at(20), at(11)).await.unwrap().failures,
        1,
        "a new row of them"
    );
    first.note_success("a", at(30)).await.unwrap();
    let known = other.attempts("a", at(0)).await.unwrap();
    assert_eq!(
        (known.failures, known.failed_at, known.succeeded_at),
        (0, None, Some(at(30)))
    );
    assert_eq!(
        other.note_failure("a", at(40), at(0)).await.unwrap().succeeded_at,
        Some(at(30))
    );
    first.note_presence("a", at(45)).await.unwrap();
    let known = other.attempts("a", at(0)).await.unwrap();
    assert_eq!(
        (known.failures, known.failed_at, known.succeeded_at),
        (1, Some(at(40)), Some(at(45))),
        "presence forgives nothing"
    );
    first.note_presence("c", at(50)).await.unwrap();
    let known = other.attempts("c", at(0)).await.unwrap();
    assert_eq!((known.failures, known.succeeded_at), (0, Some(at(50))));
    first.note_failure("b", at(5), at(0)).await.unwrap();
    assert_eq!(first.delete_attempts_before(at(6)).await.unwrap(), 1);
    assert_eq!(other.attempts("a", at(0)).await.unwrap().failures, 1);
}

/// A profile is the usual one until it is saved, and can be saved again.
pub async fn a_profile_is_kept_as_saved(databases: Databases) {
    let (first, other) = (databases.first.as_ref(), databases.second.as_ref());
    let ada = user(first, "ada", false).await;
    assert_eq!(first.profile(ada).await.unwrap(), Profile::default());
    for profile in [
        Profile {
            time_zone: Some("Europe/Vienna".to_owned()),
            date_format: DateFormat::Iso,
            theme: Theme::Dark,
        },
        Profile::default(),
    ] {
        first.change_profile(ada, &profile.clone().into()).await.unwrap();
        assert_eq!(other.profile(ada).await.unwrap(), profile);
    }
    let nobodys = first
        .change_profile(UserId(999_999), &Profile::default().into())
        .await;
    assert!(matches!(nobodys, Err(StoreError::NotFound)));
    // Each of these names one thing; the others stay, whoever changed them meanwhile.
    let eve = user(first, "eve", false).await;
    let theme = ProfileChange {
        theme: Some(Theme::Dark),
        ..ProfileChange::default()
    };
    let zone = ProfileChange {
        time_zone: Some(Some("Asia/Tokyo".to_owned())),
        ..ProfileChange::default()
    };
    first.change_profile(eve, &theme).await.unwrap();
    other.change_profile(eve, &zone).await.unwrap();
    let expected = Profile {
        time_zone: Some("Asia/Tokyo".to_owned()),
        theme: Theme::Dark,
        ..Profile::default()
    };
    assert_eq!(first.profile(eve).await.unwrap(), expected);
}

/// What is named changes, and nothing else.
pub async fn a_user_changes_in_what_is_named(databases: Databases) {
    let first = databases.first.as_ref();
    let ada = user(first, "ada", false).await;
    let before = first.user(ada).await.unwrap().unwrap();
    let change = UserChange {
        email: Some("a@example.org".to_owned()),
        last_name: Some("L".to_owned()),
        ..UserChange::default()
    };
    assert_eq!(first.update_user(ada, &change).await.unwrap(), UserUpdate::Done);
    let after = databases.second.user(ada).await.unwrap().unwrap();
    assert_eq!(
        (after.email.as_str(), after.last_name.as_str()),
        ("a@example.org", "L")
    );
    assert!(after.password == before.password && after.is_active && !after.is_superuser);
    let change = UserChange {
        is_superuser: Some(true),
        ..UserChange::default()
    };
    first.update_user(ada, &change).await.unwrap();
    let after = databases.second.user(ada).await.unwrap().unwrap();
    assert!(after.is_superuser && after.is_staff && after.last_name == "L");
    let nobody = first.update_user(UserId(999_999), &change).await;
    assert!(matches!(nobody, Err(StoreError::NotFound)));
}

/// However many processes take the right from however many administrators at once, one who can sign in is left.
pub async fn one_administrator_is_left(databases: Databases) {
    let first = databases.first.as_ref();
    let mut administrators = Vec::new();
    for name in ["a", "b", "c", "d"] {
        administrators.push(user(first, name, true).await);
    }
    // One without a password cannot sign in, and so is none.
    let unusable = user(first, "e", true).await;
    let read = first.user(unusable).await.unwrap().unwrap().password;
    assert!(first.replace_password(unusable, &read, "!x").await.unwrap());
    let tasks = administrators.iter().enumerate().map(|(turn, id)| {
        let (database, id) = (databases.handle(turn), *id);
        let change = if turn.is_multiple_of(2) {
            UserChange {
                is_active: Some(false),
                ..UserChange::default()
            }
        } else {
            UserChange {
                is_superuser: Some(false),
                ..UserChange::default()
            }
        };
        tokio::spawn(async move { database.update_user(id, &change).await.unwrap() })
    });
    let mut refused = 0;
    for task in tasks.collect::<Vec<_>>() {
        refused += usize::from(task.await.unwrap() == UserUpdate::LastAdministrator);
    }
    assert_eq!(refused, 1);
    let users = first.users().await.unwrap();
    let left = users
        .iter()
        .filter(|user| user.is_superuser && user.is_active && user.id != unusable);
    assert_eq!(left.count(), 1);
}

/// Sessions that go on are listed by key, piece by piece.
pub async fn sessions_are_listed_piece_by_piece(databases: Databases) {
    let first = databases.first.as_ref();
    for (key, end) in [("c", 30), ("a", 30), ("over", 10), ("b", 30)] {
        let session = SessionRecord {
            key: key.to_owned(),
            data: format!("data of {key}"),
            expires_at: at(end),
        };
        first.save_session(&session).await.unwrap();
    }
    let list = async |after: &str, limit: u32| {
        let found = databases
            .second
            .sessions_after(after, at(20), limit)
            .await
            .unwrap();
        found.into_iter().map(|session| session.key).collect::<Vec<_>>()
    };
    assert_eq!(list("", 2).await, ["a", "b"]);
    assert_eq!(list("b", 2).await, ["c"]);
    assert_eq!(list("c", 2).await, [""; 0]);
}

/// Makes the tests of this suite for a function that makes two handles on one fresh database.
#[macro_export]
macro_rules! audit_conformance {
    ($make:path) => {
        $crate::conformance_suite!(
            audit,
            $make,
            [
                entries_are_found_by_what_they_say,
                entries_of_one_key_are_counted,
                old_entries_are_removed,
                failures_count_for_all_processes,
                a_profile_is_kept_as_saved,
                a_user_changes_in_what_is_named,
                one_administrator_is_left,
                sessions_are_listed_piece_by_piece,
            ]
        );
    };
}
