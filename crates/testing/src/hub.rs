//! A small Hugging Face Hub in the test process. It serves the routes that the Hub's tools use over plain HTTP/1.1,
//! and has a hook that can change any answer to simulate faults.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit of the served repository.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as received by the server.
#[derive(Debug, Clone)]
pub struct HubRequest {
    /// The method, `GET` or `HEAD`.
    pub method: String,
    /// The path and query.
    pub target: String,
    headers: Vec<(String, String)>,
}

impl HubRequest {
    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An answer. The hook may change any part of it.
#[derive(Debug, Clone)]
pub struct HubAnswer {
    /// The status code.
    pub status: u16,
    /// The headers. `Content-Length` is added if it is missing.
    pub headers: Vec<(String, String)>,
    /// The range of the body in `contents`.
    pub body: std::ops::Range<usize>,
    /// The bytes of which the body is a part.
    pub contents: Arc<Vec<u8>>,
    /// The number of bytes of the body after which the connection is cut.
    pub cut: Option<usize>,
    /// The length of the pieces in which the headers are sent, and the pause after each.
    pub slow_head: Option<(usize, Duration)>,
    /// The length of the pieces in which the body is sent, and the pause after each.
    pub slow_body: Option<(usize, Duration)>,
}

impl HubAnswer {
    /// Returns an answer with a body.
    #[must_use]
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let contents = Arc::new(body.into());
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { status, headers, body: 0..contents.len(), contents, cut: None, slow_head: None, slow_body: None }
    }

    /// Returns the answer with another value for a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A function that replaces the server's correct answer to a request.
pub type Hook = Box<dyn FnMut(&HubRequest, HubAnswer) -> HubAnswer + Send>;

struct State {
    repository: String,
    files: BTreeMap<String, Arc<Vec<u8>>>,
    seen: Vec<HubRequest>,
    sent: u64,
    hook: Hook,
}

/// A server whose threads end with the process.
#[derive(Clone)]
pub struct HubServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl HubServer {
    /// Serves one repository at [`COMMIT`], which is its `main`.
    ///
    /// # Panics
    /// Panics if no port is available.
    #[must_use]
    pub fn start(repository: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), Arc::new(bytes.clone()))).collect();
        let hook: Hook = Box::new(|_, answer| answer);
        let state = State { repository: repository.to_owned(), files, seen: Vec::new(), sent: 0, hook };
        let server = Self { address, state: Arc::new(Mutex::new(state)) };
        let of_thread = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = of_thread.clone();
                // A client that disconnects ends only its own thread.
                std::thread::spawn(move || drop(server.serve(stream)));
            }
        });
        server
    }

    /// Returns the value for `HF_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Passes all further answers through `hook`.
    pub fn misbehave(&self, hook: impl FnMut(&HubRequest, HubAnswer) -> HubAnswer + Send + 'static) {
        self.lock().hook = Box::new(hook);
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<HubRequest> {
        self.lock().seen.clone()
    }

    /// Returns the number of bytes of files sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.lock().sent
    }

    /// Returns the id of a file: SHA-256 for weights, Git's SHA-1 for other files.
    ///
    /// # Panics
    /// Panics if there is no such file.
    #[must_use]
    pub fn id(&self, path: &str) -> String {
        id(path, &self.lock().files[path])
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None => break,
            }
        }
        let request = HubRequest { method, target, headers };
        let answer = {
            let mut state = self.lock();
            state.seen.push(request.clone());
            let honest = state.answer(&request);
            (state.hook)(&request, honest)
        };
        self.send(stream, &request, answer)
    }

    fn send(&self, mut stream: TcpStream, request: &HubRequest, answer: HubAnswer) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Any\r\nConnection: close\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !answer.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-length")) {
            head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
        }
        let pieces = |slow: Option<(usize, Duration)>| slow.unwrap_or((16 << 10, Duration::ZERO));
        let (piece, pause) = pieces(answer.slow_head);
        for part in format!("{head}\r\n").as_bytes().chunks(piece) {
            stream.write_all(part)?;
            std::thread::sleep(pause);
        }
        if request.method == "HEAD" {
            return Ok(());
        }
        let (piece, pause) = pieces(answer.slow_body);
        let body = &answer.contents[answer.body.clone()];
        for chunk in body[..answer.cut.map_or(body.len(), |cut| cut.min(body.len()))].chunks(piece) {
            stream.write_all(chunk)?;
            std::thread::sleep(pause);
            if matches!(answer.status, 200 | 206) && !request.target.starts_with("/api") {
                self.lock().sent += chunk.len() as u64;
            }
        }
        Ok(())
    }
}

impl State {
    fn answer(&self, request: &HubRequest) -> HubAnswer {
        let not_found = |code| HubAnswer::new(404, &[("X-Error-Code", code)], "not found");
        let target = request.target.split('?').next().unwrap_or_default();
        if let Some(id_) = target.strip_prefix("/cdn/") {
            let file = self.files.iter().find(|(path, bytes)| id(path, bytes) == id_);
            return file.map_or_else(|| not_found("EntryNotFound"), |(_, bytes)| contents(request, bytes, &id_[..16]));
        }
        if let Some(rest) = target.strip_prefix(&format!("/api/models/{}/revision/", self.repository)) {
            return match rest {
                "main" | COMMIT | "refs%2Fpr%2F1" => {
                    HubAnswer::new(200, &[("Content-Type", "application/json; charset=utf-8")], self.listing())
                }
                _ => not_found("RevisionNotFound"),
            };
        }
        let Some(path) = target.strip_prefix(&format!("/{}/resolve/{COMMIT}/", self.repository)) else {
            return not_found("RepoNotFound");
        };
        let Some(bytes) = self.files.get(path) else { return not_found("EntryNotFound") };
        let id = id(path, bytes);
        if id.len() == 40 {
            return contents(request, bytes, &id).with("X-Repo-Commit", COMMIT);
        }
        HubAnswer::new(302, &[("Location", &format!("/cdn/{id}")), ("X-Repo-Commit", COMMIT)], "")
            .with("X-Linked-Etag", &format!("\"{id}\""))
            .with("X-Linked-Size", &bytes.len().to_string())
    }

    fn listing(&self) -> String {
        let sibling = |(path, bytes): (&String, &Arc<Vec<u8>>)| {
            let (id, size) = (id(path, bytes), bytes.len());
            if id.len() == 40 {
                return format!(r#"{{"rfilename": "{path}", "size": {size}, "blobId": "{id}"}}"#);
            }
            let pointer = git_id(id.as_bytes());
            let lfs = format!(r#"{{"sha256": "{id}", "size": {size}, "pointerSize": 134}}"#);
            format!(r#"{{"rfilename": "{path}", "size": {size}, "blobId": "{pointer}", "lfs": {lfs}}}"#)
        };
        let siblings: Vec<String> = self.files.iter().map(sibling).collect();
        format!(r#"{{"id": "{}", "sha": "{COMMIT}", "siblings": [{}]}}"#, self.repository, siblings.join(", "))
    }
}

/// Returns a file, or the requested range of it.
fn contents(request: &HubRequest, bytes: &Arc<Vec<u8>>, etag: &str) -> HubAnswer {
    let etag = format!("\"{etag}\"");
    let mut answer = HubAnswer::new(200, &[("ETag", &etag), ("Accept-Ranges", "bytes")], "")
        .with("Content-Type", "application/octet-stream");
    answer.contents = Arc::clone(bytes);
    answer.body = 0..bytes.len();
    let start = request.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let same = request.header("if-range").is_none_or(|tag| tag == etag);
    match start {
        Some(start) if same && start < bytes.len() => {
            answer.status = 206;
            answer.body = start..bytes.len();
            answer.with("Content-Range", &format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))
        }
        Some(_) if same => HubAnswer::new(416, &[("Content-Range", &format!("bytes */{}", bytes.len()))], ""),
        _ => answer,
    }
}

fn id(path: &str, bytes: &[u8]) -> String {
    let large = [".safetensors", ".gguf", ".bin"].iter().any(|ending| path.ends_with(ending));
    if large { hex(&Sha256::digest(bytes)) } else { git_id(bytes) }
}

fn git_id(bytes: &[u8]) -> String {
    let mut hash = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
