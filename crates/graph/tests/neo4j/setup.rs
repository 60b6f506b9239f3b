//! What `setup` makes, refuses and repeats, and what `check` says without it.

use mnemosyne_domain::StoreError;
use mnemosyne_domain::ports::{Health as _, KnowledgeStore as _};

use super::support::{
    connect, empty, fresh, library, narrows, number, publish, run, server, settings, space, texts,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_without_schema_is_said_to_have_none_and_several_set_it_up_at_once() {
    let _turn = empty().await;
    let graph = server();
    for command in [
        "DROP CONSTRAINT chunk_uid IF EXISTS",
        "DROP CONSTRAINT library_name IF EXISTS",
        "DROP INDEX chunk_terms_fulltext IF EXISTS",
        "DROP INDEX item_source IF EXISTS",
    ] {
        run(&graph, command).await;
    }
    let store = connect(settings());
    let missing = store.check().await;
    assert!(
        matches!(&missing, Err(StoreError::Schema(said)) if said.contains("setup")),
        "{missing:?}"
    );
    let missing = store.library_by_name("any").await;
    assert!(matches!(missing, Err(StoreError::Schema(_))), "{missing:?}");

    let stores = [(); 4].map(|()| connect(settings()));
    let [a, b, c, d] = &stores;
    let outcomes = tokio::join!(a.setup(), b.setup(), c.setup(), d.setup());
    assert!(
        outcomes.0.is_ok() && outcomes.1.is_ok() && outcomes.2.is_ok() && outcomes.3.is_ok(),
        "{outcomes:?}"
    );
    store.check().await.unwrap();
    assert!(store.library_by_name("any").await.unwrap().is_none());
    assert_eq!(
        number(&graph, "MATCH (s:MnemosyneSpace) RETURN count(s) AS n").await,
        1
    );

    run(&graph, "DROP INDEX item_source").await;
    let missing = connect(settings()).check().await;
    assert!(
        matches!(&missing, Err(StoreError::Schema(said)) if said.contains("item_source")),
        "{missing:?}"
    );
    store.setup().await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_indexes_of_the_deployment_are_there() {
    let (_store, _turn) = fresh().await;
    let graph = server();
    for (name, condition) in [
        (
            "vectors of chunks",
            "name = 'chunk_embedding_index' AND type = 'VECTOR' AND labelsOrTypes = ['Chunk'] \
             AND properties[0] = 'embedding' AND options.indexConfig['vector.dimensions'] = 48 \
             AND toLower(options.indexConfig['vector.similarity_function']) = 'cosine'",
        ),
        (
            "vectors of images",
            "type = 'VECTOR' AND labelsOrTypes = ['ImageEmbedding'] AND properties = ['embedding']",
        ),
        (
            "texts of chunks",
            "type = 'FULLTEXT' AND labelsOrTypes = ['Chunk'] AND 'text_preview' IN properties AND 'text' IN properties \
             AND options.indexConfig['fulltext.analyzer'] = 'english'",
        ),
        (
            "names of concepts",
            "type = 'FULLTEXT' AND labelsOrTypes = ['Concept'] AND 'name' IN properties \
             AND options.indexConfig['fulltext.analyzer'] = 'english'",
        ),
        (
            "workspaces",
            "labelsOrTypes = ['Library'] AND properties = ['workspace_id'] AND owningConstraint IS NOT NULL",
        ),
    ] {
        let found = number(
            &graph,
            &format!(
                "SHOW INDEXES YIELD name, type, labelsOrTypes, properties, options, owningConstraint WHERE {condition} \
                 RETURN count(*) AS n"
            ),
        )
        .await;
        assert_eq!(found, 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_another_dimension_stops_setup_and_nothing_else() {
    let (store, _turn) = fresh().await;
    let shelf = library(&store, "L", None, &space("conformance", 48)).await;
    let mut vector = vec![0.0; 48];
    vector[0] = 1.0;
    publish(
        &store,
        &shelf,
        &space("conformance", 48),
        ("s", 1),
        &[("text".to_owned(), vector)],
    )
    .await;

    let mut other = settings();
    other.system_space = Some(space("larger", 64));
    let other = connect(other);
    let refused = other.setup().await;
    let Err(StoreError::Schema(said)) = &refused else {
        panic!("{refused:?}");
    };
    for word in ["chunk_embedding_index", "48", "64", "larger", "reembed"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // The libraries keep their model, and another model gets an index of its own.
    other.check().await.unwrap();
    assert_eq!(other.library(&shelf.uid).await.unwrap().unwrap().chunk_count, 1);
    library(&other, "M", None, &space("larger", 64)).await;
    other.setup().await.unwrap();
    let graph = server();
    let own = "SHOW INDEXES YIELD name, options WHERE name = 'chunk_embedding_1_index' \
               RETURN options.indexConfig['vector.dimensions'] AS n";
    assert_eq!(number(&graph, own).await, 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_somebody_else_made_is_taken_where_it_fits() {
    let _turn = empty().await;
    let graph = server();
    let made = "CREATE VECTOR INDEX chunk_embedding_index FOR (c:Chunk) ON (c.embedding) OPTIONS {indexConfig: \
                {`vector.dimensions`: 48, `vector.similarity_function`: 'cosine'}}";
    run(&graph, made).await;
    connect(settings()).setup().await.unwrap();
    run(&graph, "MATCH (n) DETACH DELETE n").await;
    run(&graph, "DROP INDEX chunk_embedding_index").await;
    run(&graph, &made.replace("48", "47")).await;
    let refused = connect(settings()).setup().await;
    assert!(
        matches!(&refused, Err(StoreError::Schema(said)) if said.contains("47")),
        "{refused:?}"
    );
}

/// What the indexes over the vectors of chunks know, in the order of their names.
const INDEXED: &str = "SHOW INDEXES YIELD name, type, labelsOrTypes, properties \
    WHERE type = 'VECTOR' AND labelsOrTypes = ['Chunk'] \
    RETURN name + ': ' + reduce(all = '', one IN properties | all + one + ' ') AS n ORDER BY name";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_knows_the_libraries_of_chunks_where_the_server_can_and_one_that_is_there_stays() {
    let _turn = empty().await;
    let graph = server();
    let other = space("another", 16);
    run(
        &graph,
        "CREATE VECTOR INDEX chunk_embedding_index FOR (c:Chunk) ON (c.embedding) OPTIONS {indexConfig: \
         {`vector.dimensions`: 48, `vector.similarity_function`: 'cosine'}}",
    )
    .await;
    let store = connect(settings());
    store.setup().await.unwrap();
    library(&store, "L", None, &other).await;
    let own = if narrows(&graph).await { "library_uid " } else { "" };
    assert_eq!(
        texts(&graph, INDEXED).await,
        [
            format!("chunk_embedding_1_index: embedding_1 {own}"),
            "chunk_embedding_index: embedding ".to_owned()
        ]
    );
    // Whoever drops it has it made anew.
    run(&graph, "DROP INDEX chunk_embedding_index").await;
    store.setup().await.unwrap();
    assert_eq!(
        texts(&graph, INDEXED).await,
        [
            format!("chunk_embedding_1_index: embedding_1 {own}"),
            format!("chunk_embedding_index: embedding {own}")
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_of_a_later_program_is_left_alone() {
    let (_store, _turn) = fresh().await;
    let graph = server();
    run(&graph, "MATCH (s:MnemosyneStore) SET s.schema_version = 99").await;
    let store = connect(settings());
    for refused in [store.check().await, store.setup().await] {
        assert!(
            matches!(&refused, Err(StoreError::Schema(said)) if said.contains("99")),
            "{refused:?}"
        );
    }
    assert_eq!(
        number(&graph, "MATCH (s:MnemosyneStore) RETURN s.schema_version AS n").await,
        99
    );
}
