-- What is sold. The CHECKs are the last line of defence: whatever the service gets wrong, the store sells nothing twice.
CREATE TABLE items (
    sku       TEXT PRIMARY KEY NOT NULL,
    price     INTEGER NOT NULL CHECK (price BETWEEN 1 AND 1000000000000),
    currency  TEXT NOT NULL CHECK (length(currency) = 3),
    on_hand   INTEGER NOT NULL,
    reserved  INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    received  INTEGER NOT NULL,
    CHECK (reserved BETWEEN 0 AND on_hand),
    CHECK (received = on_hand + confirmed)
) STRICT, WITHOUT ROWID;

-- Ids rise with time, so that new rows are always written at the end. `lines` is [["SKU",quantity,price],...].
CREATE TABLE orders (
    id           INTEGER PRIMARY KEY,
    user_id      TEXT NOT NULL,
    status       INTEGER NOT NULL,
    reason       INTEGER,
    shipped      INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    lines        TEXT NOT NULL,
    total        INTEGER NOT NULL CHECK (total > 0),
    currency     TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    pay_deadline INTEGER,
    answer       BLOB NOT NULL
) STRICT;
CREATE INDEX orders_by_user ON orders (user_id, id);
CREATE INDEX orders_to_settle ON orders (id) WHERE status = 0;
CREATE INDEX orders_due ON orders (pay_deadline) WHERE status = 1;

-- Held pieces. That of an order has the order's id and no time of its own.
CREATE TABLE reservations (
    id         INTEGER PRIMARY KEY,
    state      INTEGER NOT NULL,
    lines      TEXT NOT NULL,
    expires_at INTEGER
) STRICT;
CREATE INDEX reservations_due ON reservations (expires_at) WHERE state = 0 AND expires_at IS NOT NULL;

-- The history of each order, and at the same time the outbox: what is told to others is read from here by position.
CREATE TABLE order_events (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id    INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    event       TEXT NOT NULL,
    from_status INTEGER,
    to_status   INTEGER NOT NULL,
    actor       TEXT NOT NULL,
    at          INTEGER NOT NULL,
    trace       TEXT,
    release     TEXT
) STRICT;
CREATE UNIQUE INDEX order_events_by_order ON order_events (order_id, seq);

-- Answers by the key of their request. That of an order is in the order's row: this table is written at random places.
CREATE TABLE requests (
    key         BLOB PRIMARY KEY NOT NULL,
    fingerprint BLOB NOT NULL,
    target      INTEGER NOT NULL,
    status      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    answer      BLOB
) STRICT, WITHOUT ROWID;

-- Who makes ids with which slot.
CREATE TABLE id_slots (
    slot       INTEGER PRIMARY KEY,
    holder     TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_ms    INTEGER NOT NULL
) STRICT;

-- The highest epoch under which background work was done.
CREATE TABLE fences (
    name  TEXT PRIMARY KEY NOT NULL,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
