-- Who runs a job: one instance at a time. A higher epoch refuses all that is written under a lower one.
CREATE TABLE stream_patterns.lease (
    job text PRIMARY KEY,
    epoch bigint NOT NULL,
    holder text NOT NULL,                   -- JSON: instance, machine, process
    given_back boolean NOT NULL,
    renewed_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON stream_patterns.lease TO patterns_writer;
