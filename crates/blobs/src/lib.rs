//! Whole files by their content: on the local file system, and the folder that plays the bucket of Daedalus.

pub mod files;
pub mod folder;
mod layout;
