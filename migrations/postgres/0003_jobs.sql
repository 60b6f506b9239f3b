CREATE TABLE mnemosyne_job (
    sequence BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
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
    blob_size BIGINT,
    queue TEXT NOT NULL,
    status TEXT NOT NULL,
    stage TEXT NOT NULL,
    progress DOUBLE PRECISION NOT NULL,
    attempts BIGINT NOT NULL,
    chunks BIGINT NOT NULL,
    images BIGINT NOT NULL,
    concepts BIGINT NOT NULL,
    timings_ms TEXT NOT NULL,
    error_code TEXT,
    error_message TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    due_at BIGINT NOT NULL,
    lease_holder TEXT,
    lease_token TEXT,
    lease_until BIGINT
);
-- One live job for one request, whichever process takes it. A source_ref may be longer than a row of an index, so the
-- index holds digests.
CREATE UNIQUE INDEX mnemosyne_job_request ON mnemosyne_job (library_uid, md5(source_ref), md5(content_hash))
    WHERE status NOT IN ('superseded', 'cancelled');
-- What a worker looks for: the oldest of those that wait or whose lease ran out.
CREATE INDEX mnemosyne_job_open ON mnemosyne_job (sequence) WHERE status IN ('pending', 'processing');
CREATE INDEX mnemosyne_job_leased ON mnemosyne_job (lease_until) WHERE status = 'processing';
-- Lists, newest first, and their lengths.
CREATE INDEX mnemosyne_job_status ON mnemosyne_job (status, sequence);
CREATE INDEX mnemosyne_job_library ON mnemosyne_job (library_uid, sequence);
CREATE INDEX mnemosyne_job_library_status ON mnemosyne_job (library_uid, status, sequence);
CREATE INDEX mnemosyne_job_failure ON mnemosyne_job (error_code, sequence) WHERE status = 'failed';
-- Throughput. A job that was completed keeps its stage when a later one takes its place.
CREATE INDEX mnemosyne_job_completed ON mnemosyne_job (finished_at) WHERE stage = 'complete';

CREATE TABLE mnemosyne_job_checkpoint (
    job_id TEXT NOT NULL REFERENCES mnemosyne_job (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
);

-- Who needs which blob; see the port `BlobLedger`.
CREATE TABLE mnemosyne_blob_claim (
    holder TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (holder, digest)
);
CREATE INDEX mnemosyne_blob_claim_digest ON mnemosyne_blob_claim (digest);

CREATE TABLE mnemosyne_setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
