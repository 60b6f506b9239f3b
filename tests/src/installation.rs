//! One data folder, and the executable that works on it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::command::Output;
use crate::server::Server;

/// The executable under test: `MNEMOSYNE_EXECUTABLE`, else the newest that cargo has built.
///
/// # Panics
/// When there is none.
pub fn executable() -> PathBuf {
    if let Some(path) = std::env::var_os("MNEMOSYNE_EXECUTABLE") {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "MNEMOSYNE_EXECUTABLE: {} is no file",
            path.display()
        );
        return std::path::absolute(path).unwrap();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let built = |profile: &str| target.join(profile).join("mnemosyne");
    let newest = ["release", "debug"]
        .map(built)
        .into_iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok());
    newest.expect(
        "there is no executable; run `cargo build --release` first, or name one in MNEMOSYNE_EXECUTABLE",
    )
}

/// What a first start shows once.
#[derive(Clone, Debug)]
pub(crate) struct FirstStart {
    pub(crate) administrator: String,
    pub(crate) password: String,
    pub(crate) token: String,
}

/// A data folder, a folder that plays the Daedalus bucket, and settings. Nothing of the environment of the tests
/// reaches the program.
pub struct Installation {
    folder: TempDir,
    variables: Vec<(String, String)>,
    pub(crate) first_start: RefCell<Option<FirstStart>>,
}

impl Default for Installation {
    fn default() -> Self {
        Self::new()
    }
}

impl Installation {
    /// Empty folders; ports are chosen by the system.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mnemosyne-e2e-")
            .tempdir()
            .unwrap();
        fs::create_dir(folder.path().join("bucket")).unwrap();
        let mut installation = Self {
            folder,
            variables: Vec::new(),
            first_start: RefCell::new(None),
        };
        let (data, bucket) = (installation.data(), installation.bucket());
        installation.set("MNEMOSYNE_DATA", &data.to_string_lossy());
        installation.set("MNEMOSYNE_DAEDALUS_FOLDER", &bucket.to_string_lossy());
        installation.set("MNEMOSYNE_APP_LISTEN", "127.0.0.1:0");
        installation.set("MNEMOSYNE_MCP_LISTEN", "127.0.0.1:0");
        installation
    }

    /// The same with one more variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a variable for everything that is started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The data folder. It does not exist before the program makes it.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder that plays the bucket.
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    /// A place for files of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts an object into the bucket.
    pub fn put_object(&self, key: &str, content: &[u8]) {
        let file = self.bucket().join(key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// The executable with these arguments, in this installation's environment, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(executable());
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin");
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self
            .command(arguments)
            .output()
            .expect("the executable cannot be started");
        Output {
            command: format!("mnemosyne {}", arguments.join(" ")),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts `serve` and waits until it answers.
    pub fn serve(&self) -> Server<'_> {
        Server::start(self, &["serve"])
    }

    /// Starts `serve` with further arguments and waits until it answers.
    pub fn serve_with(&self, arguments: &[&str]) -> Server<'_> {
        let mut words = vec!["serve"];
        words.extend(arguments);
        Server::start(self, &words)
    }

    /// Starts `serve` on a folder that a command has set up, whose administrator is therefore known already.
    pub fn serve_as(&self, administrator: &str, password: &str) -> Server<'_> {
        *self.first_start.borrow_mut() = Some(FirstStart {
            administrator: administrator.to_owned(),
            password: password.to_owned(),
            token: String::new(),
        });
        self.serve()
    }

    /// The digests of everything in the blob store: the names of files of 64 hexadecimal digits below the data folder.
    pub fn blobs(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        collect(&self.data(), &mut found);
        found
    }
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    // A folder may vanish while a running server tidies up.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        } else if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            found.insert(name);
        }
    }
}
