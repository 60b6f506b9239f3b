CREATE TABLE mnemosyne_job (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    item_uid TEXT NOT NULL UNIQUE,
    library_uid TEXT NOT NULL,
    collection_uid TEXT,
    source_ref TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    filename TEXT NOT NULL,
    content_type TEXT,
    title TEXT,
    metadata TEXT NOT NULL,
    -- Either an object of the bucket, or a blob that came with the request.
    bucket_key TEXT,
    blob_digest TEXT,
    blob_size INTEGER,
    queue TEXT NOT NULL,
    status TEXT NOT NULL,
    stage TEXT NOT NULL,
    progress REAL NOT NULL,
    attempts INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    images INTEGER NOT NULL,
    concepts INTEGER NOT NULL,
    timings_ms TEXT NOT NULL,
    error_code TEXT,
    error_message TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    due_at INTEGER NOT NULL,
    lease_holder TEXT,
    lease_token TEXT,
    lease_until INTEGER
);
-- One live job for one request, whichever process takes it.
CREATE UNIQUE INDEX mnemosyne_job_request ON mnemosyne_job (library_uid, source_ref, content_hash)
    WHERE status NOT IN ('superseded', 'cancelled');
CREATE INDEX mnemosyne_job_open ON mnemosyne_job (sequence) WHERE status IN ('pending', 'processing');
CREATE INDEX mnemosyne_job_status ON mnemosyne_job (status, sequence);
CREATE INDEX mnemosyne_job_library ON mnemosyne_job (library_uid, sequence);
CREATE INDEX mnemosyne_job_finished ON mnemosyne_job (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE mnemosyne_job_checkpoint (
    job_id TEXT NOT NULL REFERENCES mnemosyne_job (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
) WITHOUT ROWID;

-- Who needs which blob; see the port `BlobLedger`.
CREATE TABLE mnemosyne_blob_claim (
    holder TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (holder, digest)
) WITHOUT ROWID;
CREATE INDEX mnemosyne_blob_claim_digest ON mnemosyne_blob_claim (digest);

CREATE TABLE mnemosyne_setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
