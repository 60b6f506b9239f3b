-- Whether a message was sent for the job since it became pending (the outbox; see the port `Jobs`). Where nudges stay in the
-- process nobody asks.
ALTER TABLE mnemosyne_job ADD COLUMN announced BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX mnemosyne_job_unannounced ON mnemosyne_job (due_at) WHERE status = 'pending' AND NOT announced;
