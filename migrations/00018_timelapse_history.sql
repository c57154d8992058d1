-- The history of a timelapse: its events keep which one was meant, since another
-- may have the name later.

-- +goose Up
ALTER TABLE scan_events ADD COLUMN timelapse_id uuid;
-- Of those there are, what was done since one of that name was last made. What
-- is purged is never the one that is there.
UPDATE scan_events e SET timelapse_id = t.id
FROM timelapses t
LEFT JOIN (SELECT timelapse, max(seq) AS seq FROM scan_events WHERE kind = 'timelapse.created' GROUP BY timelapse) made ON made.timelapse = t.name
WHERE e.timelapse = t.name AND e.scan IS NULL AND e.kind <> 'timelapse.purged' AND e.seq >= coalesce(made.seq, 0);
CREATE INDEX scan_events_timelapse_id_idx ON scan_events (timelapse_id, seq) WHERE timelapse_id IS NOT NULL;

-- +goose Down
DROP INDEX scan_events_timelapse_id_idx;
ALTER TABLE scan_events DROP COLUMN timelapse_id;
