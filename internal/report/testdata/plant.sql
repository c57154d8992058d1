-- What the questions of docs/sql-reporting.md find, in one transaction whose
-- now() is the same throughout.
INSERT INTO users (id, username, fullname, password_hash, roles, created_at, last_login_at, password_changed_at) VALUES
    ('00000000-0000-7000-8000-0000000000a1', 'alice', 'Alice A.', '$argon2id$hidden', '{admin}', now() - interval '300 days',
     now() - interval '2 hours', now() - interval '5 days'),
    ('00000000-0000-7000-8000-0000000000b1', 'bob', 'Bob B.', '$argon2id$hidden', '{reader}', now() - interval '9 days', NULL, NULL),
    ('00000000-0000-7000-8000-0000000000d1', 'dave', 'Dave D.', '$argon2id$hidden', '{contributor}', now() - interval '200 days',
     now() - interval '1 day', NULL),
    ('00000000-0000-7000-8000-0000000000e1', 'guest', 'Guest', '*', '{reader}', now() - interval '300 days', NULL, NULL);
INSERT INTO groups (id, name, created_by) VALUES ('00000000-0000-7000-8000-0000000000f1', 'lab', 'alice');
INSERT INTO group_members (group_id, user_id)
VALUES ('00000000-0000-7000-8000-0000000000f1', '00000000-0000-7000-8000-0000000000a1');

-- alice: a live session, one of last night, one whose token was stolen, one of long ago.
INSERT INTO sessions (id, user_id, generation, created_at, last_seen_at, expires_at, absolute_expires_at, ended_at, end_reason,
    address, user_agent) VALUES
    ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-0000000000a1', 3, now() - interval '2 hours',
     now() - interval '1 minute', now() + interval '1 day', now() + interval '30 days', NULL, NULL, '192.0.2.10', 'scanner/1.0'),
    ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-0000000000a1', 1, now() - interval '3 days',
     now() - interval '70 hours', now() + interval '1 day', now() + interval '27 days', now() - interval '70 hours', 'reuse',
     '192.0.2.11', 'Firefox'),
    -- ran out, not swept away yet
    ('00000000-0000-7000-8000-000000000005', '00000000-0000-7000-8000-0000000000d1', 1, now() - interval '20 days',
     now() - interval '478 hours', now() - interval '1 minute', now() - interval '1 minute', NULL, NULL, '192.0.2.20', 'curl/8');
INSERT INTO auth_events (id, at, kind, username, session_id, address, user_agent, detail) VALUES
    (gen_random_uuid(), now() - interval '2 hours', 'login', 'alice', '00000000-0000-7000-8000-000000000001', '192.0.2.10', 'scanner/1.0', ''),
    (gen_random_uuid(), now() - interval '90 minutes', 'refresh', 'alice', '00000000-0000-7000-8000-000000000001', '192.0.2.10', 'scanner/1.0', ''),
    (gen_random_uuid(), now() - interval '60 minutes', 'refresh', 'alice', '00000000-0000-7000-8000-000000000001', '192.0.2.10', 'scanner/1.0', ''),
    (gen_random_uuid(), now() - interval '30 minutes', 'refresh', 'alice', '00000000-0000-7000-8000-000000000001', '192.0.2.10', 'scanner/1.0', ''),
    (gen_random_uuid(), CURRENT_DATE - interval '2 hours', 'login', 'alice', '00000000-0000-7000-8000-000000000002', '198.51.100.7', 'Night Owl', ''),
    (gen_random_uuid(), CURRENT_DATE - interval '90 minutes', 'logout', 'alice', '00000000-0000-7000-8000-000000000002', '198.51.100.7', 'Night Owl', 'logout'),
    (gen_random_uuid(), now() - interval '3 days', 'login', 'alice', '00000000-0000-7000-8000-000000000003', '192.0.2.11', 'Firefox', ''),
    (gen_random_uuid(), now() - interval '71 hours', 'refresh', 'alice', '00000000-0000-7000-8000-000000000003', '192.0.2.11', 'Firefox', ''),
    (gen_random_uuid(), now() - interval '70 hours', 'reuse', 'alice', '00000000-0000-7000-8000-000000000003', '203.0.113.66', 'Thief', 'reuse'),
    (gen_random_uuid(), now() - interval '5 days', 'password', 'alice', NULL, '192.0.2.10', 'Firefox', ''),
    (gen_random_uuid(), now() - interval '200 days', 'password', 'alice', NULL, '192.0.2.10', 'Firefox', ''),
    (gen_random_uuid(), now() - interval '400 days', 'login', 'alice', '00000000-0000-7000-8000-000000000009', '192.0.2.12', 'Ancient', '');
-- dave: a session that an administrator ended, one that ran out, one opened after guesses.
INSERT INTO auth_events (id, at, kind, username, session_id, address, user_agent, detail) VALUES
    (gen_random_uuid(), now() - interval '10 days', 'login', 'dave', '00000000-0000-7000-8000-000000000004', '192.0.2.20', 'curl/8', ''),
    (gen_random_uuid(), now() - interval '9 days', 'revoke', 'dave', '00000000-0000-7000-8000-000000000004', '192.0.2.10', 'Firefox', 'revoked; by alice'),
    (gen_random_uuid(), now() - interval '20 days', 'login', 'dave', '00000000-0000-7000-8000-000000000005', '192.0.2.20', 'curl/8', ''),
    (gen_random_uuid(), now() - interval '478 hours', 'refresh', 'dave', '00000000-0000-7000-8000-000000000005', '192.0.2.20', 'curl/8', ''),
    (gen_random_uuid(), now() - interval '1 day', 'login', 'dave', '00000000-0000-7000-8000-000000000006', '2001:db8:0:ff::1', 'curl/8', ''),
    (gen_random_uuid(), now() - interval '6 days', 'password_reset', 'dave', NULL, '192.0.2.10', 'Firefox', 'by alice');
INSERT INTO auth_events (id, at, kind, username, address, user_agent)
SELECT gen_random_uuid(), now() - interval '1 day' - i * interval '10 minutes', 'login_failed', 'dave', '2001:db8:0:ff::1', 'curl/8'
FROM generate_series(1, 3) i;
-- Somebody tries names that do not exist, of which a hash is kept.
INSERT INTO auth_events (id, at, kind, username, address, user_agent)
SELECT gen_random_uuid(), now(), 'login_failed', '? Zm9yIHJvb3Qwcm9' || i % 2, ('203.0.113.' || i)::inet, 'hydra'
FROM generate_series(1, 5) i;
INSERT INTO auth_events (id, at, kind, username, address, user_agent, detail)
VALUES (gen_random_uuid(), now(), 'lock', '? Zm9yIHJvb3Qwcm91', '203.0.113.5', 'hydra', 'network 203.0.113.0/24');
INSERT INTO login_attempts (username, network, failures, last_failed_at, locked_until) VALUES
    ('? Zm9yIHJvb3Qwcm91', '203.0.113.0/24', 3, now(), now() + interval '15 minutes'),
    ('alice', '192.0.2.0/24', 3, now() - interval '1 hour', now() - interval '45 minutes');

INSERT INTO api_tokens (id, user_id, name, datasets, created_at, expires_at, last_used_at, revoked_at) VALUES
    ('00000000-0000-7000-8000-0000000000b1', '00000000-0000-7000-8000-0000000000a1', 'night scanner', '{"night_*": ["read", "write"]}', now() - interval '90 days',
     now() + interval '3 days', now() - interval '1 hour', NULL),
    (gen_random_uuid(), '00000000-0000-7000-8000-0000000000a1', 'forgotten', '{"*": ["read"]}', now() - interval '60 days',
     now() + interval '300 days', NULL, NULL),
    (gen_random_uuid(), '00000000-0000-7000-8000-0000000000a1', 'taken back', '{"*": ["read"]}', now() - interval '60 days',
     now() + interval '2 days', NULL, now() - interval '1 day');

INSERT INTO scans (id, name, owner, sharing, visibility, document, metadata, changed_at, broken, file_count, byte_count, signature) VALUES
    (gen_random_uuid(), 'maize_1', 'alice', '{lab,lab}', 'public', '{}', jsonb_build_object('created', to_char(now(), 'YYYY-MM-DD"T"HH24:MI:SS.US')),
     now(), NULL, 60, 5000000, ''),
    (gen_random_uuid(), 'maize_2', 'alice', '{lab}', 'private', '{}', '{"created": "2020-02-31T00:00:00"}', now() - interval '9 days', NULL, 40, 1000000, ''),
    (gen_random_uuid(), 'orphan', NULL, '{}', 'public', '{}', '{"created": "yesterday"}', now() - interval '1 day', NULL, 1, 10, ''),
    (gen_random_uuid(), 'left_behind', 'erin', '{}', 'public', '{}', '{"created": "2020-13-99"}', now() - interval '1 day', NULL, 1, 10, ''),
    (gen_random_uuid(), 'torn', 'bob', '{gone}', 'public', '{}', '{"created": ["0000-01"]}', now() - interval '1 day',
     'files.json: unexpected end', 0, 0, '');

INSERT INTO auth_events (id, at, kind, username, token_id, address, user_agent, detail) VALUES
    (gen_random_uuid(), now() - interval '90 days', 'token_create', 'alice', '00000000-0000-7000-8000-0000000000b1', '192.0.2.10', 'Firefox', 'night_*/READ,WRITE'),
    (gen_random_uuid(), now() - interval '2 hours', 'scan_shared', 'alice', '00000000-0000-7000-8000-0000000000b1', '192.0.2.30', 'scanner/1.0', 'maize_1: shared with lab');
INSERT INTO scan_events (id, at, kind, username, token_kind, token_id, request_id, scan, fileset, file) VALUES
    (gen_random_uuid(), now() - interval '1 hour', 'file.created', 'alice', 'api_token', '00000000-0000-7000-8000-0000000000b1', 'r-1', 'maize_1', 'images', '00001'),
    (gen_random_uuid(), now() - interval '1 hour', 'file.created', 'alice', 'api_token', '00000000-0000-7000-8000-0000000000b2', 'r-2', 'maize_1', 'images', '00002'),
    (gen_random_uuid(), now() - interval '1 hour', 'scan.metadata', 'alice', 'session', NULL, 'r-3', 'maize_1', NULL, NULL);
