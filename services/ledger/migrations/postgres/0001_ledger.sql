-- What is sold. The CHECKs are the last line of defence: whatever the service gets wrong, the store sells nothing twice.
CREATE TABLE items (
    sku       TEXT PRIMARY KEY NOT NULL,
    price     BIGINT NOT NULL CHECK (price BETWEEN 1 AND 1000000000000),
    currency  TEXT NOT NULL CHECK (length(currency) = 3),
    on_hand   BIGINT NOT NULL,
    reserved  BIGINT NOT NULL,
    confirmed BIGINT NOT NULL,
    received  BIGINT NOT NULL,
    CHECK (reserved BETWEEN 0 AND on_hand),
    CHECK (received = on_hand + confirmed)
);

-- Ids rise with time, so that new rows are always written at the end. `lines` is [["SKU",quantity,price],...].
CREATE TABLE orders (
    id           BIGINT PRIMARY KEY,
    user_id      TEXT NOT NULL,
    status       BIGINT NOT NULL,
    reason       BIGINT,
    shipped      BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    lines        TEXT NOT NULL,
    total        BIGINT NOT NULL CHECK (total > 0),
    currency     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    pay_deadline BIGINT,
    answer       BYTEA NOT NULL
);
CREATE INDEX orders_by_user ON orders (user_id, id);
CREATE INDEX orders_to_settle ON orders (id) WHERE status = 0;
CREATE INDEX orders_due ON orders (pay_deadline) WHERE status = 1;

-- Held pieces. That of an order has the order's id and no time of its own.
CREATE TABLE reservations (
    id         BIGINT PRIMARY KEY,
    state      BIGINT NOT NULL,
    lines      TEXT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX reservations_due ON reservations (expires_at) WHERE state = 0 AND expires_at IS NOT NULL;

-- The history of each order, and at the same time the outbox: what is told to others is read from here by position.
CREATE TABLE order_events (
    position    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id    BIGINT NOT NULL,
    seq         BIGINT NOT NULL,
    event       TEXT NOT NULL,
    from_status BIGINT,
    to_status   BIGINT NOT NULL,
    actor       TEXT NOT NULL,
    at          BIGINT NOT NULL,
    trace       TEXT,
    release     TEXT,
    -- A transaction that is still running may hold a lower position than one that is done. Who reads by position takes rows with
    -- tx < pg_snapshot_xmin(pg_current_snapshot()) only, and misses none.
    tx          XID8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE UNIQUE INDEX order_events_by_order ON order_events (order_id, seq);

-- Answers by the key of their request. That of an order is in the order's row: this table is written at random places.
CREATE TABLE requests (
    key         BYTEA PRIMARY KEY NOT NULL,
    fingerprint BYTEA NOT NULL,
    target      BIGINT NOT NULL,
    status      BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    answer      BYTEA
);

-- Who makes ids with which slot.
CREATE TABLE id_slots (
    slot       BIGINT PRIMARY KEY,
    holder     TEXT NOT NULL,
    epoch      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_ms    BIGINT NOT NULL
);

-- The highest epoch under which background work was done.
CREATE TABLE fences (
    name  TEXT PRIMARY KEY NOT NULL,
    epoch BIGINT NOT NULL
);
