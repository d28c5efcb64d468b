-- The ledger of every job that writes into this database, and the schema in which its batches are staged.
CREATE TABLE stream_patterns.ledger (
    job text NOT NULL,
    seq bigint NOT NULL,                    -- from 0, without holes: two writers cannot both take a number
    kind text NOT NULL,                     -- batch, release or recovery
    query_id text NOT NULL,                 -- the checkpoint's
    batch_id bigint NOT NULL,
    start_offsets text NOT NULL,            -- JSON, an offset a source
    end_offsets text NOT NULL,
    counts jsonb NOT NULL,                  -- outcome: records
    reasons jsonb NOT NULL,                 -- reason: dead letters
    note jsonb NOT NULL,                    -- what else a batch was made with, as its reference version
    written_at timestamptz NOT NULL,
    instance uuid NOT NULL,                 -- the process that wrote it, so that it knows its own record again
    PRIMARY KEY (job, seq)
);
CREATE UNIQUE INDEX ledger_batch ON stream_patterns.ledger (job, query_id, batch_id) WHERE kind = 'batch';
CREATE SCHEMA stream_patterns_staging;
