//! Text from outside is never part of the query language of Lucene.

use mnemosyne_domain::ports::KnowledgeStore as _;
use mnemosyne_domain::{Scope, SearchFilter};

use super::support::{fresh, library, publish, space};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_words_and_nothing_else() {
    let (store, _turn) = fresh().await;
    let model = space("conformance", 48);
    let shelf = library(&store, "L", None, &model).await;
    let vector = |place: usize| {
        let mut vector = vec![0.0; 48];
        vector[place] = 1.0;
        vector
    };
    let texts = ["zeppelin engines", "gondola windows", "part ⑴ and ½ of x²"];
    let chunks: Vec<(String, Vec<f32>)> = texts
        .iter()
        .enumerate()
        .map(|(place, text)| ((*text).to_owned(), vector(place)))
        .collect();
    publish(&store, &shelf, &model, ("title", 1), &chunks).await;
    let filter = SearchFilter::within(Scope::global());
    let found = async |text: &str| -> Vec<String> {
        store.graph_leg(text, &filter, 2, 10).await.unwrap();
        let hits = store.fulltext_leg(text, &filter, 10).await.unwrap();
        let uids: Vec<_> = hits.into_iter().map(|hit| hit.chunk_uid).collect();
        let mut texts: Vec<String> = store
            .chunk_hits(&uids, &filter)
            .await
            .unwrap()
            .into_iter()
            .map(|hit| hit.text)
            .collect();
        texts.sort();
        texts
    };
    let first = vec![texts[0].to_owned()];
    // Every special character, before, inside and behind a word, single and double.
    for special in "+-&|!(){}[]^\"~*?:\\/<>=@#,;.'`$%\u{0}\t\n".chars() {
        for text in [
            format!("{special}zeppelin"),
            format!("zeppelin{special}"),
            format!("{special}{special}zeppelin{special}{special}"),
            format!("zeppelin {special} submarine"),
            format!("{special} zeppelin"),
        ] {
            assert_eq!(found(&text).await, first, "{text:?}");
        }
        let alone = special.to_string();
        assert!(found(&alone).await.is_empty(), "{alone:?}");
    }
    // Operators are words, and none of them leaves anything out.
    for text in [
        "zeppelin AND submarine",
        "zeppelin NOT zeppelin",
        "NOT zeppelin",
        "-zeppelin",
        "!zeppelin",
        "zeppelin && submarine || submarine",
        "+submarine zeppelin",
        "terms:zeppelin",
        "library_uid:x zeppelin",
        "zeppelin^0",
        "zeppelin^-1",
        "zeppelin~0.1",
        "zeppelin~99999999999",
        "\"zeppelin",
        "zeppelin\"",
        "((((zeppelin",
        "zeppelin))))",
        "zeppelin \\",
    ] {
        assert_eq!(found(text).await, first, "{text:?}");
    }
    // No wildcards, no ranges, no patterns, no fuzziness.
    for text in [
        "zep*",
        "*",
        "*ppelin",
        "zeppeli?",
        "[a TO z]",
        "{a TO z}",
        "terms:[* TO *]",
        "*:*",
        "/zep.*/",
        "zeppelum~",
        "_exists_:terms",
        "AND OR NOT",
        "",
        " ",
        "the of and",
    ] {
        assert!(found(text).await.is_empty(), "{text:?}");
    }
    // What the analysis itself makes special characters of.
    assert_eq!(found("⑴").await, [texts[2]]);
    assert_eq!(found("x²").await, [texts[2]]);
    let long = "a".repeat(100_000);
    assert!(found(&long).await.is_empty());
    let many: String = (0..5_000).map(|place| format!("word{place} ")).collect();
    assert!(found(&many).await.is_empty());
    let nested = format!("{}zeppelin{}", "(".repeat(20_000), ")".repeat(20_000));
    assert_eq!(found(&nested).await, first);
}
