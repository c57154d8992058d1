-- name: RecordEvents :exec
-- RecordEvents writes what was done, in the transaction that does it. Scan and
-- timelapse are found by their names where they are there, so that an event
-- that removes a scan is written while its row still is, and keeps who could
-- see it. A scan_id that is given is the one of the scan meant, where another may
-- have its name by now. The empty text and the zero id stand for null.
INSERT INTO scan_events (id, kind, username, token_kind, request_id, scan_id, scan, timelapse, fileset, file, access, detail)
SELECT i.id, i.kind, nullif(i.username, ''), nullif(i.token_kind, ''), i.request_id,
       coalesce(s.id, nullif(i.scan_id, '00000000-0000-0000-0000-000000000000')), nullif(i.scan, ''), coalesce(nullif(i.timelapse, ''), t.name), nullif(i.fileset, ''), nullif(i.file, ''),
       CASE WHEN i.removes THEN jsonb_build_object('owner', s.owner, 'sharing', s.sharing, 'visibility', s.visibility) END,
       nullif(i.detail, '')::jsonb
FROM (SELECT unnest(@ids::uuid[]) AS id,
             unnest(@kinds::text[]) AS kind,
             unnest(@usernames::text[]) AS username,
             unnest(@token_kinds::text[]) AS token_kind,
             unnest(@request_ids::text[]) AS request_id,
             unnest(@scan_ids::uuid[]) AS scan_id,
             unnest(@scans::text[]) AS scan,
             unnest(@timelapses::text[]) AS timelapse,
             unnest(@filesets::text[]) AS fileset,
             unnest(@files::text[]) AS file,
             unnest(@removes::boolean[]) AS removes,
             unnest(@details::text[]) AS detail) AS i
LEFT JOIN scans s ON s.name = i.scan AND i.scan_id IN (s.id, '00000000-0000-0000-0000-000000000000')
LEFT JOIN timelapses t ON t.id = s.timelapse_id
ORDER BY i.id;
