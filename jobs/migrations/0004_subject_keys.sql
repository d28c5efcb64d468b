-- The keys under which event logs hold what is about a person: one for each subject, until it is forgotten.
CREATE TABLE stream_patterns.subject_keys (
    id uuid PRIMARY KEY,                    -- beside each event that it seals
    log_id text NOT NULL,                   -- the id of the log's table
    subject bytea,                          -- SHA-256 of its name; NULL once it is forgotten
    key bytea,                              -- AES-256; NULL once it is forgotten
    made_at timestamptz NOT NULL DEFAULT now(),
    forgotten_at timestamptz,
    CHECK ((forgotten_at IS NULL) = (key IS NOT NULL AND subject IS NOT NULL))
);
CREATE UNIQUE INDEX subject_keys_in_use ON stream_patterns.subject_keys (log_id, subject);
CREATE INDEX subject_keys_forgotten ON stream_patterns.subject_keys (log_id) WHERE forgotten_at IS NOT NULL;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'patterns_eraser') THEN
        CREATE ROLE patterns_eraser NOLOGIN;
    END IF;
END $$;
GRANT SELECT, INSERT ON stream_patterns.subject_keys TO patterns_writer;    -- who appends forgets nobody
GRANT USAGE ON SCHEMA stream_patterns TO patterns_eraser;
GRANT SELECT, UPDATE (subject, key, forgotten_at) ON stream_patterns.subject_keys TO patterns_eraser;
