-- Users, their sessions and the keys that their tokens are signed with. Times are milliseconds since 1970.
-- The same text is run by SQLite and PostgreSQL.
CREATE TABLE users (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL UNIQUE,
    display_name  TEXT NOT NULL,
    -- A PHC string; absent: the user logs in by another provider.
    password      TEXT,
    roles         TEXT NOT NULL,
    token_version BIGINT NOT NULL,
    created_at    BIGINT NOT NULL
);

-- Accounts at providers, of which a user has been made.
CREATE TABLE identities (
    provider TEXT NOT NULL,
    app      TEXT NOT NULL,
    subject  TEXT NOT NULL,
    user_id  TEXT NOT NULL,
    PRIMARY KEY (provider, app, subject)
);
CREATE INDEX identities_by_user ON identities (user_id);

-- Refresh tokens by their fingerprint; a used one stays until it expires, so that its second use is noticed.
CREATE TABLE refresh_tokens (
    fingerprint   TEXT PRIMARY KEY NOT NULL,
    session       TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    token_version BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    used_at       BIGINT
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);

-- Access tokens that are not good any more although their time is not over: by id, by session, or by user below a version.
CREATE TABLE revocations (
    subject       TEXT PRIMARY KEY NOT NULL,
    below_version BIGINT,
    created_at    BIGINT NOT NULL,
    until         BIGINT NOT NULL
);
CREATE INDEX revocations_by_time ON revocations (created_at);

-- What signs tokens. `live` is 1 for the one that signs now and absent for those before it.
CREATE TABLE signing_keys (
    kid        TEXT PRIMARY KEY NOT NULL,
    pkcs8      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT,
    live       BIGINT UNIQUE
);
