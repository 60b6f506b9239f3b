//! Per-turn tokens (contract §5), made here as Daedalus makes them: JSON Web Tokens under a key that
//! `seed_signing_key` printed.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Hmac;
use mnemosyne_tests::{Client, Installation, Server};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use crate::mcp::{call_with, filled, message, request, tool};

/// The bytes of a new key.
fn seed(installation: &Installation, arguments: &[&str]) -> Vec<u8> {
    let mut words = vec!["python", "manage.py", "seed_signing_key"];
    words.extend(arguments);
    let output = installation.run(&words).succeeded();
    let printed = output
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("secret_hex:"))
        .expect("no secret was printed")
        .trim();
    assert!(
        printed.len() >= 64
            && printed
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    );
    hex::decode(printed).unwrap()
}

/// A moment so many seconds from now, as tokens write it.
fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + seconds
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signature<M: hmac::Mac + hmac::digest::KeyInit>(key: &[u8], signed: &str) -> String {
    let mut mac = <M as hmac::Mac>::new_from_slice(key).unwrap();
    mac.update(signed.as_bytes());
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

fn signed(key: &[u8], header: &Value, claims: &Value) -> String {
    let content = format!("{}.{}", part(header), part(claims));
    let signature = signature::<Hmac<Sha256>>(key, &content);
    format!("{content}.{signature}")
}

/// A good token of key `d1`, valid for five minutes, with further claims.
fn turn(key: &[u8], claims: Value) -> String {
    let mut all = json!({ "iss": "daedalus", "exp": in_seconds(300) });
    all.as_object_mut()
        .unwrap()
        .extend(claims.as_object().unwrap().clone());
    signed(key, &json!({ "alg": "HS256", "typ": "JWT", "kid": "d1" }), &all)
}

fn found(client: &Client, arguments: Value) -> String {
    tool(client, "search", arguments)["structuredContent"]["results"].to_string()
}

fn chunk_uid(client: &Client) -> Value {
    let answer = tool(client, "search", json!({ "query": "cobalt whale" }));
    let uid = answer["structuredContent"]["results"][0]["chunk_uid"].clone();
    assert!(uid.is_string(), "{answer}");
    uid
}

/// What a call answers that may be an error of the tool.
fn said(client: &Client, name: &str, arguments: Value) -> String {
    let body = request("tools/call", json!({ "name": name, "arguments": arguments }));
    message(call_with(client, &[], &body)).to_string()
}

fn make_library(server: &Server<'_>, name: &str) -> String {
    let body = json!({ "name": name, "library_type": "technical" });
    let made = server
        .api()
        .post("/library/api/libraries/", &body)
        .expect(201)
        .json();
    made["library_uid"].as_str().unwrap().to_owned()
}

#[test]
fn a_turn_sees_its_workspace_and_nothing_else() {
    let installation = Installation::new();
    let (server, common) = filled(&installation);
    let key = seed(&installation, &["--kid", "d1"]);
    let inside = server.mcp().bearer(&turn(&key, json!({ "ws": "closed" })));
    let outside = server.mcp().bearer(&server.token());
    let (own, global) = (chunk_uid(&inside), chunk_uid(&outside));
    assert_ne!(own, global);

    // No argument reaches beyond the claims: not an empty one, which elsewhere stands for the global libraries.
    for arguments in [
        json!({}),
        json!({ "workspace_id": "" }),
        json!({ "workspace_id": "other" }),
    ] {
        let with = |more: Value| {
            let mut all = arguments.clone();
            all.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            all
        };
        let passages = found(&inside, with(json!({ "query": "cobalt whale" })));
        assert!(
            passages.contains("is silent") && !passages.contains("seventeen"),
            "{arguments}: {passages}"
        );
        let libraries = tool(&inside, "list_libraries", with(json!({})))["structuredContent"].clone();
        assert_eq!(
            (&libraries["count"], &libraries["libraries"][0]["name"]),
            (&json!(1), &json!("closed")),
            "{arguments}: {libraries}"
        );
        let collections = tool(&inside, "list_collections", with(json!({})))["structuredContent"].clone();
        assert_eq!(collections["count"], 1, "{arguments}: {collections}");
        let items = tool(&inside, "list_items", with(json!({})))["structuredContent"].clone();
        assert_eq!(
            (&items["count"], &items["items"][0]["filename"]),
            (&json!(1), &json!("closed.md")),
            "{arguments}: {items}"
        );
        let chunk = tool(&inside, "get_chunk", with(json!({ "chunk_uid": own })));
        assert!(chunk.to_string().contains("is silent"), "{arguments}: {chunk}");
        let foreign = said(&inside, "get_chunk", with(json!({ "chunk_uid": global })));
        assert!(!foreign.contains("seventeen"), "{arguments}: {foreign}");
        for (name, arguments) in [
            (
                "search",
                json!({ "query": "cobalt whale", "library_uid": common }),
            ),
            ("list_items", json!({ "library_uid": common })),
            ("list_collections", json!({ "library_uid": common })),
        ] {
            let foreign = said(&inside, name, with(arguments));
            assert!(
                foreign.contains("not found") && !foreign.contains("Whales"),
                "{name}: {foreign}"
            );
        }
    }
    // And a token for the global libraries does not see into the workspace.
    let foreign = said(&outside, "get_chunk", json!({ "chunk_uid": own }));
    assert!(!foreign.contains("is silent"), "{foreign}");
}

#[test]
fn the_libraries_of_a_turn_narrow_what_it_sees() {
    let installation = Installation::new();
    let (server, common) = filled(&installation);
    let other = make_library(&server, "Other");
    let closed = server
        .api()
        .get("/library/api/workspaces/closed/")
        .expect(200)
        .json();
    let closed = closed["library_uid"].as_str().unwrap();
    let key = seed(&installation, &["--kid", "d1"]);
    let question = || json!({ "query": "cobalt whale" });
    for (claims, names) in [
        (json!({ "libs": [other] }), vec!["Other"]),
        (json!({ "libs": [common, other] }), vec!["Common", "Other"]),
        (json!({ "ws": "closed", "libs": [] }), vec!["closed"]),
        (json!({ "ws": "closed", "libs": [closed] }), vec!["closed"]),
        // Neither the workspace's libraries nor the global ones: what both claims leave over.
        (json!({ "ws": "closed", "libs": [common] }), vec![]),
        (json!({ "libs": [closed] }), vec![]),
        (json!({ "ws": "", "libs": [closed] }), vec![]),
    ] {
        let client = server.mcp().bearer(&turn(&key, claims.clone()));
        let listed = tool(&client, "list_libraries", json!({}))["structuredContent"].clone();
        let seen: Vec<&str> = listed["libraries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|library| library["name"].as_str().unwrap())
            .collect();
        assert_eq!(seen, names, "{claims}");
        let passages = found(&client, question());
        assert_eq!(
            passages.contains("seventeen"),
            names.contains(&"Common"),
            "{claims}"
        );
        assert_eq!(
            passages.contains("is silent"),
            names.contains(&"closed"),
            "{claims}"
        );
    }
}

#[test]
fn what_is_not_exactly_a_turn_is_refused() {
    let installation = Installation::new();
    let (server, common) = filled(&installation);
    let key = seed(&installation, &["--kid", "d1"]);
    let header = |alg: &str, kid: &str| json!({ "alg": alg, "typ": "JWT", "kid": kid });
    let claims = || json!({ "iss": "daedalus", "exp": in_seconds(300), "ws": "closed" });
    let with = |name: &str, value: Value| {
        let mut changed = claims();
        changed[name] = value;
        changed
    };
    let without = |name: &str| {
        let mut changed = claims();
        changed.as_object_mut().unwrap().remove(name);
        changed
    };
    let good = header("HS256", "d1");
    let under = |header: &Value, claims: &Value| signed(&key, header, claims);
    let none = format!("{}.{}.", part(&header("none", "d1")), part(&claims()));
    let content = format!("{}.{}", part(&header("HS512", "d1")), part(&claims()));
    let hs512 = format!("{content}.{}", signature::<Hmac<Sha512>>(&key, &content));
    let genuine = under(&good, &claims());
    let (_, genuine_signature) = genuine.rsplit_once('.').unwrap();
    let widened = part(&json!({ "iss": "daedalus", "exp": in_seconds(300), "libs": [common] }));
    let tampered = format!("{}.{widened}.{genuine_signature}", part(&good));

    let refused = [
        ("no scope", under(&good, &without("ws"))),
        ("an empty scope", under(&good, &with("ws", json!("")))),
        ("no algorithm", none),
        ("another algorithm", hs512),
        ("a false algorithm", under(&header("HS512", "d1"), &claims())),
        ("an unknown key", under(&header("HS256", "d9"), &claims())),
        ("no key", under(&json!({ "alg": "HS256" }), &claims())),
        ("another secret", signed(&[7; 32], &good, &claims())),
        ("other claims than were signed", tampered),
        ("an hour", under(&good, &with("exp", json!(in_seconds(3_600))))),
        ("no end", under(&good, &without("exp"))),
        (
            "an end that is over",
            under(&good, &with("exp", json!(in_seconds(-1)))),
        ),
        ("an end that is a text", under(&good, &with("exp", json!("soon")))),
        (
            "a beginning to come",
            under(&good, &with("nbf", json!(in_seconds(120)))),
        ),
        (
            "a workspace that is a number",
            under(&good, &with("ws", json!(7))),
        ),
        (
            "libraries that are no list",
            under(&good, &with("libs", json!(common))),
        ),
        (
            "a library that is a number",
            under(&good, &with("libs", json!([7]))),
        ),
        ("another issuer", under(&good, &with("iss", json!("somebody")))),
        ("no issuer", under(&good, &without("iss"))),
    ];
    let list = request("tools/list", json!({}));
    assert_eq!(call_with(&server.mcp().bearer(&genuine), &[], &list).status, 200);
    for (what, token) in &refused {
        let answer = call_with(&server.mcp().bearer(token), &[], &list);
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert!(
            answer.header("www-authenticate").starts_with("Bearer"),
            "{what}: {:?}",
            answer.headers
        );
    }
}

#[test]
fn a_turn_may_be_used_again_and_not_changed() {
    let installation = Installation::new();
    let (server, common) = filled(&installation);
    let key = seed(&installation, &["--kid", "d1"]);
    let list = request("tools/list", json!({}));
    let exp = in_seconds(300);
    let first = turn(&key, json!({ "ws": "closed", "jti": "turn-1", "exp": exp }));
    for _ in 0..3 {
        call_with(&server.mcp().bearer(&first), &[], &list).expect(200);
    }
    for other in [
        json!({ "libs": [common], "jti": "turn-1", "exp": exp }),
        json!({ "ws": "closed", "jti": "turn-1", "exp": exp + 1 }),
    ] {
        let answer = call_with(&server.mcp().bearer(&turn(&key, other)), &[], &list).expect(401);
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    let next = turn(&key, json!({ "libs": [common], "jti": "turn-2", "exp": exp }));
    call_with(&server.mcp().bearer(&next), &[], &list).expect(200);
    call_with(&server.mcp().bearer(&first), &[], &list).expect(200);
}

#[test]
fn a_retired_key_is_refused_at_once() {
    let installation = Installation::new();
    let (server, _) = filled(&installation);
    let key = seed(&installation, &["--kid", "d1"]);
    let list = request("tools/list", json!({}));
    let token = turn(&key, json!({ "ws": "closed", "jti": "a" }));
    call_with(&server.mcp().bearer(&token), &[], &list).expect(200);
    let newer = seed(&installation, &["--kid", "d2", "--retire-other"]);
    for old in [token, turn(&key, json!({ "ws": "closed" }))] {
        let answer = call_with(&server.mcp().bearer(&old), &[], &list).expect(401);
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    let claims = json!({ "iss": "daedalus", "exp": in_seconds(300), "ws": "closed" });
    let token = signed(&newer, &json!({ "alg": "HS256", "kid": "d2" }), &claims);
    call_with(&server.mcp().bearer(&token), &[], &list).expect(200);
}
