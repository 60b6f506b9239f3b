CREATE TABLE mnemosyne_provider (
    uid TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    base_url TEXT NOT NULL,
    -- Fernet under LLM_API_SECRETS_ENCRYPTION_KEY, or a key derived from SECRET_KEY; NULL where the server asks for none.
    sealed_key TEXT,
    verify_tls BOOLEAN NOT NULL,
    -- Whether its host may have a private address: imported, or entered by somebody who may set the environment as well.
    allow_private BOOLEAN NOT NULL,
    timeout_seconds INTEGER NOT NULL,
    batch_size INTEGER NOT NULL,
    batch_tokens INTEGER NOT NULL,
    text_tokens INTEGER NOT NULL,
    max_parallel INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

CREATE TABLE mnemosyne_model (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    provider_uid TEXT NOT NULL REFERENCES mnemosyne_provider (uid) ON DELETE CASCADE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    -- NULL but for embeddings.
    dimension INTEGER,
    -- NULL: if the name says so.
    takes_instructions BOOLEAN,
    is_default BOOLEAN NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX mnemosyne_model_name ON mnemosyne_model (provider_uid, role, name, coalesce(dimension, 0));
-- One system model for each role at the most.
CREATE UNIQUE INDEX mnemosyne_model_default ON mnemosyne_model (role) WHERE is_default;
