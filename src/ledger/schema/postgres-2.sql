-- Version 2: what the ledger forgets, and its name.

-- A name of its own for each ledger, so that another database in its place is noticed.
CREATE TABLE orderd.identity (
    ledger text PRIMARY KEY
);

INSERT INTO orderd.identity VALUES (left(translate(gen_random_uuid()::text, '-', ''), 16));

-- The bounds below which nothing could be delivered any more, each with the time at which that was so. The inbox is pruned below
-- what held for as long as ledger.keep_inbox.
CREATE TABLE orderd.bounds (
    source   integer     NOT NULL,
    noted_at timestamptz NOT NULL,
    ms       bigint      NOT NULL,
    sub      bigint      NOT NULL,
    PRIMARY KEY (source, noted_at)
);

-- An event that came by a replay stands in the inbox under the id of the entry that carried it first. That row is remembered for as
-- long as the replay itself could be delivered again: by_ms and by_sub are the halves of its id.
CREATE TABLE orderd.replays (
    source integer NOT NULL,
    ms     bigint  NOT NULL,
    sub    bigint  NOT NULL,
    by_ms  bigint  NOT NULL,
    by_sub bigint  NOT NULL,
    PRIMARY KEY (source, ms, sub)
);
