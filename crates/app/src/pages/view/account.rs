//! Pages for people who are not, or cannot be, let in.

use askama::Template;

use super::assets::icon;
use super::format::{compact, count, middle};
use super::frame::Frame;

/// `/accounts/login/`. Posts `username`, `password`, `next` to the same address.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    /// The frame, without a viewer.
    pub frame: Frame,
    /// What was typed as the name.
    pub username: String,
    /// Where to go after signing in; a path on this site, checked by the handler.
    pub next: String,
    /// One sentence about what went wrong; the same for an unknown name and a wrong password.
    pub problem: Option<String>,
    /// Fields of a form that the end of a session interrupted: names and values of hidden inputs.
    pub kept: Vec<(String, String)>,
    /// How an administrator of a fresh installation finds the password; shown before the first sign-in only.
    pub is_first_start: bool,
}

/// An error in the same frame as every other page.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// The frame, with or without a viewer; its title is the page's heading.
    pub frame: Frame,
    /// The HTTP status.
    pub status: u16,
    /// One or two sentences: what happened, and what can be done.
    pub message: String,
    /// The stable word to search the documentation for.
    pub code: Option<String>,
    /// The request's id, which the log has as well.
    pub request_id: Option<String>,
}
