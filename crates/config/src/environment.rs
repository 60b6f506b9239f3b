use std::collections::BTreeMap;
use std::io;

/// A file that holds a secret may be this long, in bytes.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// Where settings come from.
pub trait Environment {
    /// The value of a variable; `None` where it is not set. Bytes that are no UTF-8 become U+FFFD, which no setting accepts.
    fn get(&self, name: &str) -> Option<String>;
    /// The names of all variables, in any order.
    fn names(&self) -> Vec<String>;
    /// The text of a file that a `*_FILE` variable names.
    fn read_file(&self, path: &str) -> io::Result<String>;
}

/// The environment of this process: the only place in Mnemosyne that reads it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }

    fn read_file(&self, path: &str) -> io::Result<String> {
        use std::io::Read;
        let mut text = String::new();
        std::fs::File::open(path)?
            .take(MAX_SECRET_FILE_BYTES + 1)
            .read_to_string(&mut text)?;
        if text.len() as u64 > MAX_SECRET_FILE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the file is too large for a secret",
            ));
        }
        Ok(text)
    }
}

/// An environment made by hand, for tests.
#[derive(Clone, Debug, Default)]
pub struct MapEnvironment {
    variables: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

impl MapEnvironment {
    /// An environment in which nothing is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same with one more file.
    pub fn with_file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for MapEnvironment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        pairs.into_iter().fold(Self::new(), |environment, (name, value)| {
            environment.with(name, value)
        })
    }
}

impl Environment for MapEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.variables.keys().cloned().collect()
    }

    fn read_file(&self, path: &str) -> io::Result<String> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}
