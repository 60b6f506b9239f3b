-- Accounts of programs, as `ensure_service_user` makes them. A table of our own: `auth_user` is Django's, and stays as Django
-- makes it.
CREATE TABLE mnemosyne_service_account (
    user_id BIGINT PRIMARY KEY REFERENCES auth_user (id) ON DELETE CASCADE
);
