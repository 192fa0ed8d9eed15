-- Version 4: what the ledger forgets, and its name.

-- A name of its own for each ledger, so that another file in its place is noticed.
CREATE TABLE identity (
    ledger TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

INSERT INTO identity VALUES (lower(hex(randomblob(8))));

-- The bounds below which nothing could be delivered any more, each with the time at which that was so. The inbox is pruned below
-- what held for as long as ledger.keep_inbox.
CREATE TABLE bounds (
    source   INTEGER NOT NULL,
    noted_at INTEGER NOT NULL,
    ms       INTEGER NOT NULL,
    sub      INTEGER NOT NULL,
    PRIMARY KEY (source, noted_at)
) STRICT, WITHOUT ROWID;

-- An event that came by a replay stands in the inbox under the id of the entry that carried it first. That row is remembered for as
-- long as the replay itself could be delivered again: by_ms and by_sub are the halves of its id.
CREATE TABLE replays (
    source INTEGER NOT NULL,
    ms     INTEGER NOT NULL,
    sub    INTEGER NOT NULL,
    by_ms  INTEGER NOT NULL,
    by_sub INTEGER NOT NULL,
    PRIMARY KEY (source, ms, sub)
) STRICT, WITHOUT ROWID;
