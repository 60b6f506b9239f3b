-- Times in our own tables are microseconds since 1970, UTC.
CREATE TABLE mnemosyne_mcp_token (
    id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    user_id BIGINT NOT NULL REFERENCES auth_user (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    -- Lower-case hexadecimal SHA-256 of the token; the token itself is nowhere.
    digest TEXT NOT NULL,
    -- JSON lists; NULL means all.
    tools TEXT,
    libraries TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX mnemosyne_mcp_token_digest ON mnemosyne_mcp_token (digest);
CREATE UNIQUE INDEX mnemosyne_mcp_token_name ON mnemosyne_mcp_token (user_id, name) WHERE revoked_at IS NULL;

CREATE TABLE mnemosyne_signing_key (
    kid TEXT PRIMARY KEY,
    -- Fernet under a key derived from SECRET_KEY.
    sealed_secret TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);

-- Turns that were seen: the same `jti` may come again with the same content only.
CREATE TABLE mnemosyne_turn (
    kid TEXT NOT NULL,
    jti TEXT NOT NULL,
    content_digest TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (kid, jti)
);
CREATE INDEX mnemosyne_turn_expires_at ON mnemosyne_turn (expires_at);
