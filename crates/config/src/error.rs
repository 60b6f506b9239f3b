use std::fmt;

/// One thing that is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable to change.
    pub name: String,
    /// What is wrong with it, as the rest of a sentence that begins with the name. Never holds a secret.
    pub message: String,
    /// A value that would do, where there is one to show.
    pub example: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.message)?;
        if let Some(example) = &self.example {
            write!(f, " Example: {}={example}", self.name)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with the environment, in the order of the settings table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "setting is" } else { "settings are" };
        write!(f, "{count} {noun} wrong:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
