//! What a command printed and how it ended.

use serde_json::Value;

/// A command that has ended.
#[derive(Debug)]
pub struct Output {
    /// What was run, for messages.
    pub command: String,
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Demands success.
    ///
    /// # Panics
    /// With everything it printed, when it failed.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "`{}` failed\n{}\n{}",
            self.command,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Demands a failure that says why on standard error.
    ///
    /// # Panics
    /// When it succeeded, was killed by a signal, or kept silent.
    #[track_caller]
    pub fn failed(self) -> Self {
        assert!(
            self.code.is_some_and(|code| code != 0),
            "`{}` did not fail properly ({:?})\n{}\n{}",
            self.command,
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as the one JSON document it must be with `--json`.
    ///
    /// # Panics
    /// When it is anything else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("`{}` printed no JSON ({error}): {}", self.command, self.stdout))
    }
}
