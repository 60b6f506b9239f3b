-- How many attempts ended with a failure: the pause before the next one grows with it. What is left in `attempts` never came
-- to an end.
ALTER TABLE mnemosyne_job ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
