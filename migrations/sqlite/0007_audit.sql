-- Who did what, when and from where. Times are microseconds since 1970, UTC.
CREATE TABLE mnemosyne_audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    count INTEGER NOT NULL,
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
    failures INTEGER NOT NULL,
    failed_at INTEGER,
    succeeded_at INTEGER,
    touched_at INTEGER NOT NULL
);
CREATE INDEX mnemosyne_throttle_touched_at ON mnemosyne_throttle (touched_at);
