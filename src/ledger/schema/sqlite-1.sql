-- Version 1 of the ledger. docs/ledger.md explains it to those who query it.
-- Times are whole milliseconds since 1970-01-01 UTC. Amounts are exact decimals, as text.

-- number rises with each order that begins. Rows that are written together lie together that way: an order's later events
-- touch pages that its neighbours in time touch too, whatever its id looks like. Under random ids that is worth a factor.
CREATE TABLE orders (
    number     INTEGER NOT NULL PRIMARY KEY,
    order_id   TEXT    NOT NULL UNIQUE,
    user_id    TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    amount     TEXT    NOT NULL,
    paid       TEXT    NOT NULL,
    refunded   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX orders_by_user ON orders (user_id);

-- The streams and groups that events came from.
CREATE TABLE sources (
    source INTEGER NOT NULL PRIMARY KEY,
    stream TEXT    NOT NULL,
    grp    TEXT    NOT NULL,
    UNIQUE (stream, grp)
) STRICT;

-- One row for every event that was ever applied, so it has to be small. ms and sub are the two halves of the entry id; as
-- unsigned numbers of 64 bits they wrap around to negative ones above 2^63.
CREATE TABLE inbox (
    source INTEGER NOT NULL,
    ms     INTEGER NOT NULL,
    sub    INTEGER NOT NULL,
    PRIMARY KEY (source, ms, sub)
) STRICT, WITHOUT ROWID;

-- seq rises in the order of the commits: there is one writer at a time.
CREATE TABLE history (
    seq        INTEGER NOT NULL PRIMARY KEY,
    number     INTEGER NOT NULL,
    source     INTEGER NOT NULL,
    ms         INTEGER NOT NULL,
    sub        INTEGER NOT NULL,
    action     TEXT    NOT NULL,
    amount     TEXT,
    state      TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

CREATE INDEX history_by_order ON history (number);

-- The history and the inbox for people.
CREATE VIEW order_events AS
    SELECT h.seq, s.stream, s.grp, printf('%llu-%llu', h.ms, h.sub) AS entry_id, o.order_id, h.action, h.amount, h.state,
        h.version, h.applied_at
    FROM history AS h
    JOIN orders AS o ON o.number = h.number
    JOIN sources AS s ON s.source = h.source;

CREATE VIEW inbox_entries AS
    SELECT s.stream, s.grp, printf('%llu-%llu', i.ms, i.sub) AS entry_id
    FROM inbox AS i
    JOIN sources AS s ON s.source = i.source;
