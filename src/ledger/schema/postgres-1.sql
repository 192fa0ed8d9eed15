-- Version 1 of the ledger. docs/ledger.md explains it to those who query it.

CREATE TABLE orderd.orders (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- By its bytes, so that pages of orders are the same whatever the language of the database is.
    order_id   text COLLATE "C" NOT NULL UNIQUE,
    user_id    text        NOT NULL,
    state      text        NOT NULL,
    amount     numeric     NOT NULL,
    paid       numeric     NOT NULL,
    refunded   numeric     NOT NULL,
    version    bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 75); -- An order changes some times soon after it began: with room beside it, no index has to follow.

CREATE INDEX orders_by_user ON orderd.orders (user_id);

-- The streams and groups that events came from.
CREATE TABLE orderd.sources (
    source     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream     text   NOT NULL,
    grp        text   NOT NULL,
    -- Which of its lives the stream is in, from 0.
    generation bigint NOT NULL DEFAULT 0,
    UNIQUE (stream, grp)
);

-- One row for every event that was ever applied, so it has to be small. ms and sub are the two halves of the entry id; as
-- unsigned numbers of 64 bits they wrap around to negative ones above 2^63. digest tells entries of the same id apart.
CREATE TABLE orderd.inbox (
    source     integer NOT NULL,
    ms         bigint  NOT NULL,
    sub        bigint  NOT NULL,
    generation bigint  NOT NULL,
    digest     bigint  NOT NULL,
    PRIMARY KEY (source, ms, sub, generation)
);

-- seq rises in the order of the commits: writers take it one after the other, under a lock that ends with the commit.
CREATE TABLE orderd.history (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number     bigint      NOT NULL,
    source     integer     NOT NULL,
    ms         bigint      NOT NULL,
    sub        bigint      NOT NULL,
    action     text        NOT NULL,
    amount     numeric,
    state      text        NOT NULL,
    version    bigint      NOT NULL,
    applied_at timestamptz NOT NULL,
    -- What the producer calls the event. It is forgotten together with the history.
    event_id   text
);

CREATE INDEX history_by_order ON orderd.history (number);

CREATE UNIQUE INDEX history_by_event_id ON orderd.history (event_id) WHERE event_id IS NOT NULL;

-- A half of an entry id as it is meant.
CREATE FUNCTION orderd.unsigned(half bigint) RETURNS numeric LANGUAGE sql IMMUTABLE
    AS 'SELECT CASE WHEN half < 0 THEN half + 18446744073709551616 ELSE half END';

-- The history and the inbox for people.
CREATE VIEW orderd.order_events AS
    SELECT h.seq, s.stream, s.grp, orderd.unsigned(h.ms) || '-' || orderd.unsigned(h.sub) AS entry_id, o.order_id, h.action,
        h.amount, h.state, h.version, h.applied_at, h.event_id
    FROM orderd.history AS h
    JOIN orderd.orders AS o ON o.number = h.number
    JOIN orderd.sources AS s ON s.source = h.source;

CREATE VIEW orderd.inbox_entries AS
    SELECT s.stream, s.grp, orderd.unsigned(i.ms) || '-' || orderd.unsigned(i.sub) AS entry_id, i.generation
    FROM orderd.inbox AS i
    JOIN orderd.sources AS s ON s.source = i.source;
