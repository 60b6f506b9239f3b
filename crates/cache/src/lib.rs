//! What may be forgotten. The only user of `memcache` and `moka`.

pub mod memcached;
pub mod memory;
