//! What a worker can do, one file each. The name is the one that Celery's tools see.

mod ingest_from_daedalus;

pub(crate) use ingest_from_daedalus::{NAME as INGEST_FROM_DAEDALUS, ingest_from_daedalus, state_of_row};
