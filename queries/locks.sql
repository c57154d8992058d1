-- name: LockNames :exec
-- LockNames holds names of scans or timelapses against every other writer on
-- this database until the transaction ends. It waits timeout milliseconds for
-- each, as does whatever else the transaction waits for. All the names that a
-- transaction needs are locked by one call and in the order of their keys, so
-- that two of them never wait for each other, not even when two names share a
-- key. The WHERE clause comes before the output is made: the timeout is set
-- before the first wait. holder, at most 63 bytes, is what ListLocks shows. Where
-- generic is true the transaction has its statements planned once a connection, and
-- not at each call.
SELECT pg_advisory_xact_lock(7353, k.key)
FROM (SELECT DISTINCT hashtext(n.name) AS key FROM unnest(@names::text[]) AS n(name) ORDER BY key) AS k
WHERE set_config('lock_timeout', @timeout::text, true) IS NOT NULL
  AND set_config('application_name', @holder::text, true) IS NOT NULL
  AND set_config('plan_cache_mode', CASE WHEN @generic::boolean THEN 'force_generic_plan' ELSE current_setting('plan_cache_mode') END, true) IS NOT NULL;

-- name: ListLocks :many
-- ListLocks returns who holds or waits for the locks of LockNames on any
-- server. PostgreSQL itself lets go of those of a server that is killed. The
-- name is empty for what has no row, such as a scan that is being made.
SELECT coalesce(n.name, '')::text AS name, l.granted::boolean AS granted, a.application_name::text AS holder,
       a.xact_start::timestamptz AS since
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
LEFT JOIN (SELECT s.name, hashtext(s.name)::bigint & 4294967295 AS key FROM scans s
           UNION ALL
           SELECT t.name, hashtext(t.name)::bigint & 4294967295 FROM timelapses t) AS n ON n.key = l.objid::bigint
WHERE l.locktype = 'advisory' AND l.classid = 7353 AND l.objsubid = 2
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
  AND a.xact_start IS NOT NULL
ORDER BY coalesce(n.name, '') COLLATE "C", since;
