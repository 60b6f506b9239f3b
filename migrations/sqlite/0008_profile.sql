-- How pages look to a user. NULL as time zone: the installation's.
CREATE TABLE mnemosyne_profile (
    user_id INTEGER PRIMARY KEY REFERENCES auth_user (id) ON DELETE CASCADE,
    time_zone TEXT,
    date_format TEXT NOT NULL,
    theme TEXT NOT NULL
);
