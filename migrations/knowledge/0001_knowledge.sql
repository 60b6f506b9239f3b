-- The knowledge graph of the embedded default: nodes and edges as tables, vectors beside their chunks, and a log of
-- changes by which other processes bring what they hold in memory, and the text index, up to date.
--
-- Every `key` that something outside this file remembers is AUTOINCREMENT: a key is never given twice, so that a stale
-- copy can never mean another row. Times are microseconds since 1970 (UTC). Lists and maps are JSON texts.

-- One row: who this store is. The text index names the store it was built from.
CREATE TABLE store (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    uid TEXT NOT NULL
);
INSERT INTO store (id, uid) VALUES (1, lower(hex(randomblob(16))));

-- One row for each transaction that changed what a search can find. The stamp tells a log that was restored from a
-- backup from the one that was read before.
CREATE TABLE change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    stamp    INTEGER NOT NULL
);
INSERT INTO change (stamp) VALUES (random());

-- Items that were visible and no longer are.
CREATE TABLE removal (
    sequence INTEGER NOT NULL,
    item     INTEGER NOT NULL,
    PRIMARY KEY (sequence, item)
) WITHOUT ROWID;

-- A space of vectors: vectors of different spaces are never compared.
CREATE TABLE space (
    key       INTEGER PRIMARY KEY,
    model     TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    UNIQUE (model, dimension)
);

CREATE TABLE library (
    key          INTEGER PRIMARY KEY AUTOINCREMENT,
    uid          TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL UNIQUE,
    name_lower   TEXT NOT NULL,
    workspace_id TEXT UNIQUE,
    library_type TEXT NOT NULL,
    description  TEXT NOT NULL,
    overrides    TEXT NOT NULL,
    space        INTEGER REFERENCES space (key),
    item_count   INTEGER NOT NULL DEFAULT 0,
    chunk_count  INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL
);

CREATE TABLE collection (
    key         INTEGER PRIMARY KEY AUTOINCREMENT,
    uid         TEXT NOT NULL UNIQUE,
    library     INTEGER NOT NULL REFERENCES library (key) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    is_default  INTEGER NOT NULL,
    item_count  INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    UNIQUE (library, name)
);

-- status: 0 staged, 1 visible, 2 published without any text (never found by a search).
CREATE TABLE item (
    key             INTEGER PRIMARY KEY AUTOINCREMENT,
    uid             TEXT NOT NULL UNIQUE,
    library         INTEGER NOT NULL REFERENCES library (key) ON DELETE CASCADE,
    collection      INTEGER NOT NULL REFERENCES collection (key) ON DELETE CASCADE,
    status          INTEGER NOT NULL,
    title           TEXT NOT NULL,
    names_lower     TEXT NOT NULL,
    source_ref      TEXT NOT NULL,
    content_hash    TEXT NOT NULL,
    revision        INTEGER NOT NULL,
    filename        TEXT NOT NULL,
    content_type    TEXT NOT NULL,
    byte_size       INTEGER NOT NULL,
    original_digest TEXT NOT NULL,
    text_digest     TEXT NOT NULL,
    authors         TEXT NOT NULL,
    language        TEXT,
    page_count      INTEGER,
    extraction      TEXT NOT NULL,
    metadata        TEXT NOT NULL,
    chunk_count     INTEGER NOT NULL DEFAULT 0,
    -- The last change of what the text index, or the matrix of vectors, holds of it.
    text_change     INTEGER NOT NULL DEFAULT 0,
    vector_change   INTEGER NOT NULL DEFAULT 0,
    -- The items whose place it took, so that publishing it again answers the same.
    superseded      TEXT NOT NULL DEFAULT '[]',
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
);
CREATE INDEX item_by_library ON item (library, status, created_at);
CREATE INDEX item_by_collection ON item (collection, status, created_at);
CREATE INDEX item_by_source ON item (library, source_ref);
CREATE INDEX item_by_age ON item (status, created_at);
CREATE INDEX item_by_text_change ON item (text_change) WHERE status = 1;
CREATE INDEX item_by_vector_change ON item (vector_change) WHERE status = 1;

-- Why an item is gone, for a run that tries to publish it again: 'superseded' or 'library'.
CREATE TABLE gone_item (
    uid     TEXT PRIMARY KEY,
    reason  TEXT NOT NULL,
    gone_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE chunk (
    key          INTEGER PRIMARY KEY AUTOINCREMENT,
    uid          TEXT NOT NULL UNIQUE,
    item         INTEGER NOT NULL REFERENCES item (key) ON DELETE CASCADE,
    position     INTEGER NOT NULL,
    page         INTEGER,
    byte_start   INTEGER NOT NULL,
    byte_end     INTEGER NOT NULL,
    heading_path TEXT NOT NULL,
    text         TEXT NOT NULL,
    UNIQUE (item, position)
);

-- codes: one signed byte a dimension; times scale they are nearly the vector. vector: 32-bit floats, little-endian.
-- Rows go with their item; a chunk never goes without it.
CREATE TABLE vector (
    key    INTEGER PRIMARY KEY AUTOINCREMENT,
    space  INTEGER NOT NULL REFERENCES space (key),
    item   INTEGER NOT NULL REFERENCES item (key) ON DELETE CASCADE,
    chunk  INTEGER NOT NULL,
    scale  REAL NOT NULL,
    codes  BLOB NOT NULL,
    vector BLOB NOT NULL,
    UNIQUE (item, space, chunk)
);

-- terms: the words of the name as the text analysis makes them, what a query's words are compared with.
CREATE TABLE concept (
    key          INTEGER PRIMARY KEY AUTOINCREMENT,
    uid          TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    normal_name  TEXT NOT NULL,
    terms        TEXT NOT NULL,
    kind         TEXT NOT NULL,
    extracted_by TEXT NOT NULL
);
CREATE VIRTUAL TABLE concept_name USING fts5 (
    terms, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 0'
);
CREATE TRIGGER concept_named AFTER INSERT ON concept BEGIN
    INSERT INTO concept_name (rowid, terms) VALUES (new.key, new.terms);
END;
CREATE TRIGGER concept_unnamed AFTER DELETE ON concept BEGIN
    DELETE FROM concept_name WHERE rowid = old.key;
END;

-- The words of the names again, by library: what a search inside few libraries looks into, where most of what the index
-- above finds would lie outside. terms: how many words the name has.
CREATE TABLE concept_term (
    library INTEGER NOT NULL,
    term    TEXT NOT NULL,
    concept INTEGER NOT NULL,
    terms   INTEGER NOT NULL,
    PRIMARY KEY (library, term, concept)
) WITHOUT ROWID;
CREATE INDEX concept_term_by_concept ON concept_term (concept, library);

-- Concepts that lost a mention; a second transaction removes those that have none left.
CREATE TABLE orphan_candidate (
    concept INTEGER PRIMARY KEY
);

-- (Item)-[REFERENCES]->(Concept). mentions: in how many chunks of the item.
CREATE TABLE item_references (
    key      INTEGER PRIMARY KEY,
    concept  INTEGER NOT NULL REFERENCES concept (key),
    library  INTEGER NOT NULL,
    item     INTEGER NOT NULL REFERENCES item (key) ON DELETE CASCADE,
    weight   REAL NOT NULL,
    mentions INTEGER NOT NULL,
    UNIQUE (item, concept)
);
CREATE INDEX item_references_by_library ON item_references (concept, library, item);
CREATE INDEX item_references_by_weight ON item_references (concept, weight DESC, library, item);

-- (Chunk)-[MENTIONS]->(Concept)
CREATE TABLE chunk_mentions (
    item    INTEGER NOT NULL REFERENCES item (key) ON DELETE CASCADE,
    concept INTEGER NOT NULL,
    chunk   INTEGER NOT NULL,
    PRIMARY KEY (item, concept, chunk)
) WITHOUT ROWID;

-- (Concept)-[RELATED_TO]->(Concept), both ways, as one item shows it.
CREATE TABLE related_to (
    key     INTEGER PRIMARY KEY,
    source  INTEGER NOT NULL,
    target  INTEGER NOT NULL,
    library INTEGER NOT NULL,
    item    INTEGER NOT NULL REFERENCES item (key) ON DELETE CASCADE,
    weight  REAL NOT NULL
);
CREATE INDEX related_to_by_library ON related_to (source, library);
CREATE INDEX related_to_by_weight ON related_to (source, weight DESC, library);
CREATE INDEX related_to_by_item ON related_to (item);
