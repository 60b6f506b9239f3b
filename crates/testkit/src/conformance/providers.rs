//! What every store of registered servers of models promises.

use std::time::Duration;

use chrono::TimeDelta;
use mnemosyne_domain::ports::Relational;
use mnemosyne_domain::{
    KeyChange, ModelDraft, ModelRole, ModelUid, ProviderDraft, ProviderKind, ProviderLimits, ProviderUid,
    SigningKey, StoreError,
};

use super::{Pair, at};

type Databases = Pair<dyn Relational>;

fn server(name: &str) -> ProviderDraft {
    ProviderDraft {
        name: name.to_owned(),
        kind: ProviderKind::Synesis,
        base_url: format!("https://{name}.example.org/v1"),
        verify_tls: false,
        allow_private: true,
        limits: ProviderLimits {
            timeout: Duration::from_secs(7),
            batch_size: 16,
            batch_tokens: 9_000,
            text_tokens: 512,
            max_parallel: 3,
        },
    }
}

fn embedding(name: &str, is_default: bool) -> ModelDraft {
    ModelDraft {
        name: name.to_owned(),
        role: ModelRole::Embedding,
        dimension: Some(1_024),
        takes_instructions: Some(false),
        is_default,
    }
}

/// A server is read back as it was registered, by either handle, by uid and by name.
pub async fn a_server_is_read_back_as_it_was_registered(databases: Databases) {
    let (first, second) = (databases.handle(0), databases.handle(1));
    let made = first
        .create_provider(&server("b"), Some("sealed"), at(5))
        .await
        .unwrap();
    assert_eq!(made.draft, server("b"));
    assert_eq!(made.sealed_key.as_deref(), Some("sealed"));
    assert_eq!((made.created_at, made.updated_at), (at(5), at(5)));
    assert_eq!(second.provider(&made.uid).await.unwrap(), Some(made.clone()));
    assert_eq!(second.provider_by_name("b").await.unwrap(), Some(made));
    assert_eq!(second.provider_by_name("B").await.unwrap(), None);
    first.create_provider(&server("a"), None, at(6)).await.unwrap();
    let names: Vec<String> = second
        .providers()
        .await
        .unwrap()
        .into_iter()
        .map(|provider| provider.draft.name)
        .collect();
    assert_eq!(names, ["a", "b"]);
    let taken = second.create_provider(&server("a"), None, at(7)).await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
}

/// A change replaces what is said, and of the key what is asked for.
pub async fn a_change_keeps_removes_or_replaces_the_key(databases: Databases) {
    let store = databases.handle(0);
    let made = store
        .create_provider(&server("a"), Some("one"), at(0))
        .await
        .unwrap();
    store.create_provider(&server("b"), None, at(0)).await.unwrap();
    let draft = ProviderDraft {
        name: "c".to_owned(),
        kind: ProviderKind::OpenAi,
        verify_tls: true,
        allow_private: false,
        ..server("c")
    };
    let mut seen = made.updated_at;
    for (key, expected) in [
        (KeyChange::Keep, Some("one")),
        (KeyChange::Replace("two".to_owned()), Some("two")),
        (KeyChange::Keep, Some("two")),
        (KeyChange::Remove, None),
        (KeyChange::Keep, None),
    ] {
        let changed = store
            .update_provider(&made.uid, seen, &draft, &key, at(9))
            .await
            .unwrap();
        assert_eq!(changed.draft, draft);
        assert_eq!(changed.sealed_key.as_deref(), expected, "{key:?}");
        assert_eq!(changed.created_at, at(0));
        // Two changes of one moment have different times.
        let expected = at(9).max(seen + TimeDelta::microseconds(1));
        assert_eq!(changed.updated_at, expected);
        seen = changed.updated_at;
        assert_eq!(
            databases.handle(1).provider(&made.uid).await.unwrap(),
            Some(changed)
        );
    }
    let taken = store
        .update_provider(&made.uid, seen, &server("b"), &KeyChange::Keep, at(9))
        .await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
    let nobody = store
        .update_provider(
            &ProviderUid::generate(),
            seen,
            &server("d"),
            &KeyChange::Keep,
            at(9),
        )
        .await;
    assert!(matches!(nobody, Err(StoreError::NotFound)), "{nobody:?}");
}

/// What somebody else changed since it was read is not overwritten: of several changes of what was read at once, one is done.
pub async fn what_was_changed_since_it_was_read_is_not_overwritten(databases: Databases) {
    let store = databases.handle(0);
    let made = store
        .create_provider(&server("a"), Some("one"), at(0))
        .await
        .unwrap();
    let model = store
        .create_model(&made.uid, &embedding("m", false), at(0))
        .await
        .unwrap();
    let (mut seen, mut seen_model) = (made.updated_at, model.updated_at);
    for round in 0..5 {
        let changes = (0..6).map(|turn| {
            let (store, uid) = (databases.handle(turn), made.uid.clone());
            let (draft, key) = (server(&format!("a{turn}")), format!("key of {turn}"));
            tokio::spawn(async move {
                let key = KeyChange::Replace(key);
                // All at the moment of the last change: the clock alone tells nothing apart.
                store.update_provider(&uid, seen, &draft, &key, at(round)).await
            })
        });
        let mut done = Vec::new();
        for change in changes.collect::<Vec<_>>() {
            match change.await.unwrap() {
                Ok(provider) => done.push(provider),
                Err(StoreError::Conflict("updated_at")) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(done.len(), 1, "{done:?}");
        let now = store.provider(&made.uid).await.unwrap().unwrap();
        assert_eq!(done, std::slice::from_ref(&now));
        let turn = now.draft.name.replace('a', "");
        assert_eq!(now.sealed_key, Some(format!("key of {turn}")));
        assert!(now.updated_at > seen);
        seen = now.updated_at;

        let changes = (0..6).map(|turn| {
            let (store, uid) = (databases.handle(turn), model.uid.clone());
            let draft = embedding(&format!("m{turn}"), false);
            tokio::spawn(async move { store.update_model(&uid, seen_model, &draft, at(round)).await })
        });
        let mut done = Vec::new();
        for change in changes.collect::<Vec<_>>() {
            match change.await.unwrap() {
                Ok(model) => done.push(model),
                Err(StoreError::Conflict("updated_at")) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(done, [store.model(&model.uid).await.unwrap().unwrap()]);
        assert!(done[0].updated_at > seen_model);
        seen_model = done[0].updated_at;
    }
}

/// Another seal takes the place of the one that was read, and of no other.
pub async fn a_seal_is_replaced_only_where_it_is_still_there(databases: Databases) {
    let store = databases.handle(0);
    let made = store
        .create_provider(&server("a"), Some("one"), at(0))
        .await
        .unwrap();
    assert!(store.reseal_provider_key(&made.uid, "one", "two").await.unwrap());
    assert!(
        !store
            .reseal_provider_key(&made.uid, "one", "three")
            .await
            .unwrap()
    );
    let sealed = databases
        .handle(1)
        .provider(&made.uid)
        .await
        .unwrap()
        .unwrap()
        .sealed_key;
    assert_eq!(sealed.as_deref(), Some("two"));
    let nobody = ProviderUid::generate();
    assert!(!store.reseal_provider_key(&nobody, "one", "two").await.unwrap());

    let key = SigningKey {
        kid: "k".to_owned(),
        sealed_secret: "one".to_owned(),
        created_at: at(0),
        retired_at: None,
    };
    store.create_signing_key(key, false).await.unwrap();
    assert!(store.reseal_signing_key("k", "one", "two").await.unwrap());
    assert!(!store.reseal_signing_key("k", "one", "three").await.unwrap());
    assert!(!store.reseal_signing_key("j", "one", "two").await.unwrap());
    let read = databases.handle(1).signing_key("k").await.unwrap().unwrap();
    assert_eq!(read.sealed_secret, "two");
}

/// A model is read back as it was registered; models come in the order in which they were.
pub async fn a_model_is_read_back_as_it_was_registered(databases: Databases) {
    let (first, second) = (databases.handle(0), databases.handle(1));
    let provider = first
        .create_provider(&server("a"), None, at(0))
        .await
        .unwrap()
        .uid;
    let made = first
        .create_model(&provider, &embedding("z", false), at(1))
        .await
        .unwrap();
    assert_eq!(made.draft, embedding("z", false));
    assert_eq!((&made.provider, made.created_at), (&provider, at(1)));
    assert_eq!(second.model(&made.uid).await.unwrap(), Some(made));
    let chat = ModelDraft {
        role: ModelRole::Chat,
        dimension: None,
        takes_instructions: None,
        ..embedding("z", true)
    };
    let of_chat = second.create_model(&provider, &chat, at(2)).await.unwrap();
    assert_eq!(of_chat.draft, chat);
    let shorter = ModelDraft {
        dimension: Some(256),
        ..embedding("z", false)
    };
    second.create_model(&provider, &shorter, at(3)).await.unwrap();
    let models = first.models().await.unwrap();
    assert_eq!(
        models
            .iter()
            .map(|model| model.draft.dimension)
            .collect::<Vec<_>>(),
        [Some(1_024), None, Some(256)]
    );
    for draft in [embedding("z", false), chat] {
        let twice = first.create_model(&provider, &draft, at(4)).await;
        assert!(matches!(twice, Err(StoreError::Conflict("name"))), "{twice:?}");
    }
    let homeless = first
        .create_model(&ProviderUid::generate(), &embedding("y", false), at(4))
        .await;
    assert!(matches!(homeless, Err(StoreError::NotFound)), "{homeless:?}");
}

/// The system has one model for each role: another one takes its place, those of other roles stay.
pub async fn a_role_has_one_system_model(databases: Databases) {
    let (first, second) = (databases.handle(0), databases.handle(1));
    let provider = first
        .create_provider(&server("a"), None, at(0))
        .await
        .unwrap()
        .uid;
    let chat = ModelDraft {
        role: ModelRole::Chat,
        dimension: None,
        ..embedding("c", true)
    };
    first.create_model(&provider, &chat, at(0)).await.unwrap();
    let one = first
        .create_model(&provider, &embedding("one", true), at(1))
        .await
        .unwrap();
    let two = second
        .create_model(&provider, &embedding("two", true), at(2))
        .await
        .unwrap();
    let defaults = |models: Vec<mnemosyne_domain::ProviderModel>| -> Vec<String> {
        models
            .into_iter()
            .filter(|model| model.draft.is_default)
            .map(|model| model.draft.name)
            .collect()
    };
    assert_eq!(defaults(first.models().await.unwrap()), ["c", "two"]);
    let stale = first
        .update_model(&one.uid, one.updated_at, &embedding("one again", true), at(3))
        .await;
    assert!(
        matches!(stale, Err(StoreError::Conflict("updated_at"))),
        "to be the system's no more is a change: {stale:?}"
    );
    assert_eq!(defaults(first.models().await.unwrap()), ["c", "two"]);
    let seen = first.model(&one.uid).await.unwrap().unwrap().updated_at;
    let changed = first
        .update_model(&one.uid, seen, &embedding("one again", true), at(3))
        .await
        .unwrap();
    assert_eq!((changed.created_at, changed.updated_at), (at(1), at(3)));
    assert_eq!(defaults(second.models().await.unwrap()), ["c", "one again"]);
    let seen = first.model(&two.uid).await.unwrap().unwrap().updated_at;
    let taken = second
        .update_model(&two.uid, seen, &embedding("one again", true), at(4))
        .await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
    assert_eq!(
        defaults(second.models().await.unwrap()),
        ["c", "one again"],
        "what failed changed nothing"
    );
    let nobody = second
        .update_model(&ModelUid::generate(), seen, &embedding("three", true), at(4))
        .await;
    assert!(matches!(nobody, Err(StoreError::NotFound)), "{nobody:?}");
    assert_eq!(defaults(second.models().await.unwrap()), ["c", "one again"]);
}

/// Of many that become the system's model at once one remains.
pub async fn processes_that_choose_at_once_leave_one_system_model(databases: Databases) {
    let store = databases.handle(0);
    let provider = store
        .create_provider(&server("a"), None, at(0))
        .await
        .unwrap()
        .uid;
    let mut uids = Vec::new();
    for number in 0..6 {
        let draft = embedding(&format!("m{number}"), false);
        uids.push(store.create_model(&provider, &draft, at(0)).await.unwrap().uid);
    }
    let choices: Vec<_> = uids
        .into_iter()
        .enumerate()
        .map(|(number, uid)| {
            let store = databases.handle(number);
            tokio::spawn(async move {
                let draft = embedding(&format!("m{number}"), true);
                store.update_model(&uid, at(0), &draft, at(1)).await
            })
        })
        .collect();
    let mut chosen = 0;
    for choice in choices {
        match choice.await.unwrap() {
            Ok(_) => chosen += 1,
            Err(StoreError::Conflict("is_default")) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(chosen > 0);
    let models = store.models().await.unwrap();
    assert_eq!(models.iter().filter(|model| model.draft.is_default).count(), 1);
}

/// The system's model stays, and so does its server; everything else goes, models with their server.
pub async fn the_system_model_is_not_removed(databases: Databases) {
    let store = databases.handle(0);
    let provider = store
        .create_provider(&server("a"), None, at(0))
        .await
        .unwrap()
        .uid;
    let made = store
        .create_model(&provider, &embedding("one", true), at(0))
        .await
        .unwrap();
    store
        .create_model(&provider, &embedding("two", false), at(0))
        .await
        .unwrap();
    let kept = store.delete_model(&made.uid).await;
    assert!(
        matches!(kept, Err(StoreError::Conflict("is_default"))),
        "{kept:?}"
    );
    let kept = store.delete_provider(&provider).await;
    assert!(
        matches!(kept, Err(StoreError::Conflict("is_default"))),
        "{kept:?}"
    );
    assert_eq!(store.models().await.unwrap().len(), 2);
    store
        .update_model(&made.uid, at(0), &embedding("one", false), at(1))
        .await
        .unwrap();
    assert!(store.delete_model(&made.uid).await.unwrap());
    assert!(!store.delete_model(&made.uid).await.unwrap());
    assert!(databases.handle(1).delete_provider(&provider).await.unwrap());
    assert!(!store.delete_provider(&provider).await.unwrap());
    assert_eq!(store.models().await.unwrap(), []);
    assert_eq!(store.providers().await.unwrap(), []);
}

/// Runs every rule of the suite; the argument is a path to an async function that makes a [`Pair`] of fresh databases.
#[macro_export]
macro_rules! providers_conformance {
    ($make:path) => {
        $crate::conformance_suite!(
            providers,
            $make,
            [
                a_server_is_read_back_as_it_was_registered,
                a_change_keeps_removes_or_replaces_the_key,
                what_was_changed_since_it_was_read_is_not_overwritten,
                a_seal_is_replaced_only_where_it_is_still_there,
                a_model_is_read_back_as_it_was_registered,
                a_role_has_one_system_model,
                processes_that_choose_at_once_leave_one_system_model,
                the_system_model_is_not_removed,
            ]
        );
    };
}
