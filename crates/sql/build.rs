//! `sqlx::migrate!` embeds the files it finds; without this a new one would not be noticed.

#![allow(clippy::print_stdout, reason = "this is how a build script speaks to Cargo")]

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/sqlite");
}
