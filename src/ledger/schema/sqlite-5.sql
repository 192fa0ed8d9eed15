-- Version 5: a name of its own for each ledger, so that another file in its place is noticed.
CREATE TABLE identity (
    ledger TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

INSERT INTO identity VALUES (lower(hex(randomblob(8))));
