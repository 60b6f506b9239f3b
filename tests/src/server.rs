//! A running `serve`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::client::{Client, Part};
use crate::installation::{FirstStart, Installation};
use crate::wait_for;

/// A server process; it is killed when this is dropped.
pub struct Server<'a> {
    installation: &'a Installation,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    app: String,
    mcp: String,
}

/// The last line of the announcement.
const READY: &str = "Press Ctrl-C";

impl<'a> Server<'a> {
    pub(crate) fn start(installation: &'a Installation, arguments: &[&str]) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(installation.path("log.txt"))
            .unwrap();
        let mut child = installation
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the executable cannot be started");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (reader, written) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                written.lock().unwrap().push(line);
            }
        });
        let mut server = Self {
            installation,
            child,
            lines,
            app: String::new(),
            mcp: String::new(),
        };
        wait_for("the announcement of the server", || {
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("the server ended at once ({status})\n{}", server.log());
            }
            server
                .printed()
                .iter()
                .any(|line| line.starts_with(READY))
                .then_some(())
        });
        server.app = server.announced("app:").expect("no `app:` line");
        server.mcp = server.announced("mcp:").expect("no `mcp:` line");
        if let Some(password) = server.announced("password:") {
            *installation.first_start.borrow_mut() = Some(FirstStart {
                administrator: server
                    .announced("administrator:")
                    .expect("no `administrator:` line"),
                password,
                token: server.announced("token:").expect("no `token:` line"),
            });
        }
        let probe = server.anonymous();
        wait_for("/live/", || {
            probe
                .try_send(http::Method::GET, "/live/", &[], None)
                .filter(|answer| answer.status == 200)
        });
        server
    }

    /// Every line it has printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// What stands behind a label at the beginning of a line, where it was printed.
    pub fn announced(&self, label: &str) -> Option<String> {
        self.printed()
            .iter()
            .find_map(|line| Some(line.strip_prefix(label)?.trim().to_owned()))
    }

    /// The address of the web application.
    pub fn app_address(&self) -> &str {
        &self.app
    }

    /// The whole MCP address.
    pub fn mcp_address(&self) -> &str {
        &self.mcp
    }

    /// The token that the first start printed.
    pub fn token(&self) -> String {
        self.first_start().token
    }

    /// Name and password that the first start printed.
    pub fn administrator(&self) -> (String, String) {
        let first = self.first_start();
        (first.administrator, first.password)
    }

    fn first_start(&self) -> FirstStart {
        self.installation
            .first_start
            .borrow()
            .clone()
            .expect("no start of this installation printed a password")
    }

    /// The REST interface as the administrator.
    pub fn api(&self) -> Client {
        let (name, password) = self.administrator();
        self.anonymous().basic(&name, &password)
    }

    /// The web application without credentials.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.app)
    }

    /// The MCP server without credentials; paths begin with `/mcp`.
    pub fn mcp(&self) -> Client {
        let base = self.mcp.trim_end_matches('/').trim_end_matches("/mcp");
        Client::new(base)
    }

    /// Makes a workspace; its library's uid.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn make_workspace(&self, workspace_id: &str, library_type: &str) -> String {
        let body =
            json!({ "workspace_id": workspace_id, "name": workspace_id, "library_type": library_type });
        let answer = self
            .api()
            .post("/library/api/workspaces/", &body)
            .expect(201)
            .json();
        answer["library_uid"].as_str().unwrap().to_owned()
    }

    /// Uploads a file into a workspace; the ingest answer.
    ///
    /// # Panics
    /// When it is not taken.
    #[track_caller]
    pub fn upload(&self, workspace_id: &str, filename: &str, content: &[u8]) -> Value {
        let parts = [
            Part::Field("workspace_id", workspace_id),
            Part::Field("source_ref", filename),
            Part::Field("filename", filename),
            Part::File("file", filename, content),
        ];
        let answer = self.api().post_multipart("/library/api/ingest/", &parts);
        assert!(
            matches!(answer.status, 200 | 202),
            "{filename}: {} {}",
            answer.status,
            answer.text()
        );
        answer.json()
    }

    /// A job as it stands.
    #[track_caller]
    pub fn job(&self, job_id: &str) -> Value {
        self.api()
            .get(&format!("/library/api/jobs/{job_id}/"))
            .expect(200)
            .json()
    }

    /// Waits until a job has ended, however it did.
    #[track_caller]
    pub fn ended(&self, job_id: &str) -> Value {
        let api = self.api();
        wait_for(&format!("the end of job {job_id}"), || {
            let job = api
                .get(&format!("/library/api/jobs/{job_id}/"))
                .expect(200)
                .json();
            let over = !matches!(job["status"].as_str(), Some("pending" | "processing"));
            over.then_some(job)
        })
    }

    /// Uploads a file and waits until it can be found; the job.
    ///
    /// # Panics
    /// When it cannot be ingested.
    #[track_caller]
    pub fn ingest(&self, workspace_id: &str, filename: &str, content: &[u8]) -> Value {
        let answer = self.upload(workspace_id, filename, content);
        let job = self.ended(answer["job_id"].as_str().unwrap());
        assert_eq!(job["status"], "completed", "{filename}: {job}");
        job
    }

    /// Searches; the whole answer.
    #[track_caller]
    pub fn search(&self, request: &Value) -> Value {
        self.api()
            .post("/library/api/search/", request)
            .expect(200)
            .json()
    }

    /// The whole text of a chunk.
    #[track_caller]
    pub fn chunk_text(&self, chunk_uid: &Value) -> String {
        let uid = chunk_uid.as_str().expect("no chunk");
        let chunk = self
            .api()
            .get(&format!("/library/api/chunks/{uid}/"))
            .expect(200)
            .json();
        chunk["text"].as_str().expect("a chunk without text").to_owned()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process as a power failure would, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to stop and waits for its end.
    pub fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        wait_for("the end of the server", || self.child.try_wait().unwrap())
    }

    /// The log of this installation, its last lines.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.installation.path("log.txt")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log ended with\n{}", self.log());
        }
        // Both fail only where the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
