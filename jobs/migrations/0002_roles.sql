-- Roles without a login: grant one to the user that a job connects as.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['patterns_reader', 'patterns_writer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA stream_patterns TO patterns_writer;
GRANT SELECT, INSERT ON stream_patterns.ledger TO patterns_writer;     -- append-only: no UPDATE, no DELETE
GRANT USAGE, CREATE ON SCHEMA stream_patterns_staging TO patterns_writer;
