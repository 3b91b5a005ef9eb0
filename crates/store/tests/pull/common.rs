use std::path::{Path, PathBuf};
use std::time::Duration;

use honelm_store::StoreError;
use honelm_store::hub::{
    HttpTransport, HubSettings, Patience, PullEvent, PullOptions, Pulled, Timeouts, Token, Url, pull,
};
use honelm_testing::hub::HubServer;

pub const REPO: &str = "org/tiny";

/// Returns bytes without a pattern, which depend only on the seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// Returns the files of a small repository with safetensors, and files that must never be fetched.
pub fn folder(weights: usize) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("README.md", b"# Tiny".to_vec()),
        ("config.json", b"{\"model_type\": \"llama\"}".to_vec()),
        ("model.safetensors", noise(weights, 1)),
        ("pytorch_model.bin", noise(100, 2)),
        ("templates/own.jinja", b"{{ messages }}".to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
    ]
}

/// A server, a cache, and the events of pulls.
pub struct Bench {
    pub server: HubServer,
    pub dir: tempfile::TempDir,
    pub options: PullOptions,
    pub timeouts: Timeouts,
    pub warnings: Vec<String>,
    pub retries: usize,
    /// The number of bytes after which the pull is stopped.
    pub stop_at: Option<u64>,
}

impl Bench {
    pub fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let server = HubServer::start(REPO, files);
        let dir = tempfile::tempdir().expect("a folder");
        let settings = HubSettings {
            endpoint: Url::parse(&server.endpoint()).expect("an address"),
            cache: dir.path().join("hub"),
            token: None,
            token_file: dir.path().join("token"),
            offline: false,
            symlinks: true,
        };
        let patience = Patience {
            failures: 4,
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(1500),
            ..Patience::default()
        };
        let options = PullOptions { spec: REPO.parse().expect("a spec"), include: Vec::new(), settings, patience };
        let timeouts = Timeouts::default();
        Self { server, dir, options, timeouts, warnings: Vec::new(), retries: 0, stop_at: None }
    }

    pub fn with_token(mut self, token: &str) -> Self {
        self.options.settings.token = Token::new(token, "HF_TOKEN").expect("a token");
        self
    }

    pub fn pull(&mut self) -> Result<Pulled, StoreError> {
        let (warnings, retries, stop_at) = (&mut self.warnings, &mut self.retries, self.stop_at);
        let transport = HttpTransport::with_timeouts(self.timeouts).expect("a transport");
        pull(&self.options, &transport, &mut |event| {
            match event {
                PullEvent::Warning(text) => warnings.push((*text).to_owned()),
                PullEvent::Retry { problem, .. } => {
                    assert!(!problem.contains("pull again"), "it is tried again without the user: {problem}");
                    *retries += 1;
                }
                PullEvent::Progress { done, .. } => return stop_at.is_none_or(|stop| *done < stop),
                PullEvent::Waiting => {}
            }
            true
        })
    }

    /// Pulls a spec.
    pub fn pull_spec(&mut self, spec: &str) -> Result<Pulled, StoreError> {
        self.options.spec = spec.parse()?;
        self.pull()
    }

    pub fn repository(&self) -> PathBuf {
        self.options.settings.cache.join("models--org--tiny")
    }

    pub fn blob(&self, path: &str) -> PathBuf {
        self.repository().join("blobs").join(self.server.id(path))
    }

    pub fn partial(&self, path: &str) -> PathBuf {
        self.repository().join("blobs").join(format!("{}.incomplete", self.server.id(path)))
    }

    /// Returns the first byte of each request for weights.
    pub fn starts(&self) -> Vec<u64> {
        let start = |range: &str| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok();
        let files = self.server.seen().into_iter().filter(|r| r.target.starts_with("/cdn/"));
        files.map(|r| r.header("range").map_or(Some(0), start).expect("a range")).collect()
    }
}

/// Returns all paths below a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        if entry.file_type().expect("a type").is_dir() {
            out.extend(names(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            out.push(name);
        }
    }
    out.sort();
    out
}
