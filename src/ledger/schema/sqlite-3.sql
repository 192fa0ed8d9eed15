-- Version 3: generations. After its stream was deleted, or after a failover, Redis may give out an id again for another entry.
-- generation counts the lives of a stream, from 0; digest tells entries of the same id apart (NULL: noted before there were digests).
ALTER TABLE sources ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

DROP VIEW inbox_entries;

ALTER TABLE inbox RENAME TO inbox_2;

CREATE TABLE inbox (
    source     INTEGER NOT NULL,
    ms         INTEGER NOT NULL,
    sub        INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    digest     INTEGER,
    PRIMARY KEY (source, ms, sub, generation)
) STRICT, WITHOUT ROWID;

INSERT INTO inbox SELECT source, ms, sub, 0, NULL FROM inbox_2;

DROP TABLE inbox_2;

CREATE VIEW inbox_entries AS
    SELECT s.stream, s.grp, printf('%llu-%llu', i.ms, i.sub) AS entry_id, i.generation
    FROM inbox AS i
    JOIN sources AS s ON s.source = i.source;
