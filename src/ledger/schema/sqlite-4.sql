-- Version 4: the bounds below which nothing could be delivered any more, each with the time at which that was so. The inbox is
-- pruned below what held for as long as ledger.keep_inbox.
CREATE TABLE bounds (
    source   INTEGER NOT NULL,
    noted_at INTEGER NOT NULL,
    ms       INTEGER NOT NULL,
    sub      INTEGER NOT NULL,
    PRIMARY KEY (source, noted_at)
) STRICT, WITHOUT ROWID;
