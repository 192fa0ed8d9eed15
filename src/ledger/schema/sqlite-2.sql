-- Version 2: the id that the producer gave to an event. It stands in the history, so that it is forgotten together with it; an
-- event without one costs nothing.
ALTER TABLE history ADD COLUMN event_id TEXT;

CREATE UNIQUE INDEX history_by_event_id ON history (event_id) WHERE event_id IS NOT NULL;

DROP VIEW order_events;

CREATE VIEW order_events AS
    SELECT h.seq, s.stream, s.grp, printf('%llu-%llu', h.ms, h.sub) AS entry_id, o.order_id, h.action, h.amount, h.state,
        h.version, h.applied_at, h.event_id
    FROM history AS h
    JOIN orders AS o ON o.number = h.number
    JOIN sources AS s ON s.source = h.source;
