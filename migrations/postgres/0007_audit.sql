-- Who did what, when and from where. Times are microseconds since 1970, UTC.
CREATE TABLE mnemosyne_audit (
    id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    count BIGINT NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    address TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    -- Entries of one key are counted in one row, so that a flood of failures cannot fill the disk.
    merge_key TEXT UNIQUE
);
CREATE INDEX mnemosyne_audit_last_at ON mnemosyne_audit (last_at);

-- Failed attempts to sign in, counted for all processes together.
CREATE TABLE mnemosyne_throttle (
    bucket TEXT PRIMARY KEY,
    failures BIGINT NOT NULL,
    failed_at BIGINT,
    succeeded_at BIGINT,
    touched_at BIGINT NOT NULL
);
CREATE INDEX mnemosyne_throttle_touched_at ON mnemosyne_throttle (touched_at);
