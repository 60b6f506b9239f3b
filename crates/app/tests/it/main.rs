//! The role over HTTP, in one process, on the real embedded backends. One file for each part of the contract.
#![allow(
    clippy::unwrap_used,
    reason = "these are tests: what fails here is to be seen at once"
)]

mod accounts;
mod audit;
mod auth;
mod browse;
mod frame;
mod ingest;
mod jobs;
mod models;
mod mutations;
mod pages;
mod permissions;
mod probes;
mod routes;
mod search;
mod sessions;
mod settings;
mod static_files;
mod support;
mod workspaces;
