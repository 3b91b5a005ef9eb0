//! The configuration: defaults, a TOML file, the environment and flags, in ascending order of authority.

use std::path::{Path, PathBuf};
use std::time::Duration;

use honelm_engine::Pooling;
use serde::{Deserialize, Serialize};

/// The bounds of requests, connections and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most bytes of a body.
    pub body_bytes: usize,
    /// The most bytes of the headers of a request.
    pub header_bytes: usize,
    /// The most headers of a request.
    pub headers: usize,
    /// The most messages of a conversation, and items of other lists.
    pub messages: usize,
    /// The most tokens of an answer; by default those that the context holds. Requests for more get this many.
    pub answer_tokens: Option<usize>,
    /// The most answers to a request (`n`), all prompts together.
    pub choices: usize,
    /// The most stop texts.
    pub stops: usize,
    /// The most bytes of a stop text.
    pub stop_bytes: usize,
    /// The most tokens with a bias.
    pub logit_biases: usize,
    /// The most likely tokens that are returned with each token.
    pub logprobs: usize,
    /// The most jobs of a model that wait or are answered. Others get 429.
    pub queue: usize,
    /// The most connections. Others get 503.
    pub connections: usize,
    /// The seconds that an answer may take.
    pub request_seconds: u64,
    /// The seconds within which the headers, and then the body, of a request must arrive.
    pub receive_seconds: u64,
    /// The seconds for which a client may read nothing of its answer.
    pub client_seconds: u64,
    /// The seconds that answers in progress have after SIGTERM.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            header_bytes: 32 << 10,
            headers: 100,
            messages: 4096,
            answer_tokens: None,
            choices: 16,
            stops: 16,
            stop_bytes: 1024,
            logit_biases: 1024,
            logprobs: 20,
            queue: 128,
            connections: 256,
            request_seconds: 600,
            receive_seconds: 30,
            client_seconds: 30,
            drain_seconds: 30,
        }
    }
}

/// The configuration of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The models to serve: folders, GGUF files or names. Without any, the shipped one.
    pub models: Vec<String>,
    /// Serves all models that `honelm list` shows, too.
    pub all_models: bool,
    /// The address to listen on.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// `unix:PATH` to listen on a socket instead of a port.
    pub bind: Option<String>,
    /// The names by which clients may address the server, besides those of this machine.
    pub allow_hosts: Vec<String>,
    /// The origins of pages that may use the server; `*` allows all.
    pub allow_origins: Vec<String>,
    /// The gateway file, for answers of the device and the cloud. The local model is the one that it names.
    pub gateway: Option<PathBuf>,
    /// The file with the API key. Without it, `HONELM_API_KEY` counts.
    pub api_key_file: Option<PathBuf>,
    /// The context in tokens; by default the model's own, at most 8192.
    pub context: Option<usize>,
    /// The number of threads; by default one per CPU.
    pub threads: Option<usize>,
    /// The device: `cpu`, `gpu`, `gpu:N` or `auto`.
    pub device: Option<String>,
    /// The most bytes that all loaded models may take; by default three quarters of the machine's memory.
    pub memory_bytes: Option<u64>,
    /// The seconds after which an unused model is unloaded; 0 keeps it.
    pub idle_seconds: u64,
    /// The number of answers of a model that are computed together. Others wait.
    pub parallel: usize,
    /// The most bytes of a model's cached keys and values; by default those of four full contexts.
    pub cache_bytes: Option<usize>,
    /// The way from the hidden states of a text to its embedding; by default that of the model's files, or else the mean.
    pub pooling: Option<Pooling>,
    /// Serves the page of the browser at `/`, where it is built; otherwise a small page.
    pub web: bool,
    /// The folder of the built page.
    pub web_dir: Option<PathBuf>,
    /// Refuses requests with unknown fields.
    pub strict_fields: bool,
    /// The form of the log.
    pub log_format: LogFormat,
    /// The bounds.
    pub limits: Limits,
}

/// The form of the log on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// JSON objects.
    Json,
    /// No log.
    Off,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            all_models: true,
            host: "127.0.0.1".to_owned(),
            port: 8080,
            bind: None,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            gateway: None,
            api_key_file: None,
            context: None,
            threads: None,
            device: None,
            memory_bytes: None,
            idle_seconds: 600,
            parallel: 16,
            cache_bytes: None,
            pooling: None,
            web: true,
            web_dir: None,
            strict_fields: false,
            log_format: LogFormat::Text,
            limits: Limits::default(),
        }
    }
}

/// The default configuration with comments. Settings without a default are commented out.
const COMMENTED: &str = include_str!("config.toml");

/// The largest size of a configuration file and of a key file, in bytes.
const MOST: u64 = 1 << 20;

impl Config {
    /// Reads a TOML file. What it leaves out has its default.
    ///
    /// # Errors
    /// A file that cannot be read, or a field that is unknown or has a wrong type or value.
    pub fn from_file(path: &Path) -> Result<Self, honelm::Error> {
        let wrong = |problem: String| honelm::Error::Text { path: path.display().to_string(), problem };
        let text = honelm::read_input(path, MOST).map_err(honelm::Error::from)?;
        let text = String::from_utf8(text).map_err(|_| wrong("found bytes that are not UTF-8".to_owned()))?;
        let config: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        config.check().map_err(wrong)?;
        Ok(config)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The first wrong one, with what was found and expected.
    pub fn check(&self) -> Result<(), String> {
        let limits = &self.limits;
        let least_one = [
            ("parallel", self.parallel),
            ("limits.body_bytes", limits.body_bytes),
            ("limits.messages", limits.messages),
            ("limits.answer_tokens", limits.answer_tokens.unwrap_or(1)),
            ("limits.choices", limits.choices),
            ("limits.queue", limits.queue),
            ("limits.connections", limits.connections),
            ("limits.headers", limits.headers),
            ("limits.request_seconds", limits.request_seconds as usize),
            ("limits.receive_seconds", limits.receive_seconds as usize),
            ("limits.client_seconds", limits.client_seconds as usize),
        ];
        if let Some((name, _)) = least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name}: found 0, expected at least 1"));
        }
        if limits.header_bytes < 8192 {
            return Err(format!("limits.header_bytes: found {}, expected at least 8192", limits.header_bytes));
        }
        for (name, seconds) in [
            ("limits.request_seconds", limits.request_seconds),
            ("limits.receive_seconds", limits.receive_seconds),
            ("limits.client_seconds", limits.client_seconds),
            ("limits.drain_seconds", limits.drain_seconds),
            ("idle_seconds", self.idle_seconds),
        ] {
            if seconds > 366 * 86_400 {
                return Err(format!("{name}: found {seconds}, expected at most a year"));
            }
        }
        if let Some(device) = &self.device {
            let known = device.parse::<honelm::DeviceChoice>();
            known.map_err(|expected| format!("device: found {device:?}, {expected}"))?;
        }
        if self.context == Some(0) || self.threads == Some(0) {
            return Err("context and threads: found 0, expected at least 1".to_owned());
        }
        if let Some(bind) = &self.bind
            && bind.strip_prefix("unix:").is_none_or(str::is_empty)
        {
            return Err(format!("bind: found {bind:?}, expected unix:PATH"));
        }
        for origin in self.allow_origins.iter().filter(|origin| *origin != "*") {
            if crate::security::origin_of(origin).is_none() {
                return Err(format!("allow_origins: found {origin:?}, expected an origin such as https://example.com"));
            }
        }
        for host in &self.allow_hosts {
            if crate::security::host_name(host).is_none() {
                return Err(format!("allow_hosts: found {host:?}, expected a host name"));
            }
        }
        Ok(())
    }

    /// Returns the configuration as a commented TOML file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let values = serde_json::to_value(self).unwrap_or_default();
        let mut table = &values;
        let mut out = String::new();
        for line in COMMENTED.lines() {
            let setting = line.trim_start_matches("# ").split_once(" = ").map(|(name, _)| name);
            match setting.and_then(|name| Some((name, table.get(name)?))) {
                Some((name, value)) if !value.is_null() => out.push_str(&format!("{name} = {value}")),
                _ => out.push_str(line),
            }
            out.push('\n');
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table = &values[name];
            }
        }
        out
    }

    /// Reads the API key: the first line of the file, or `from_environment`. `None` asks clients for no key.
    ///
    /// # Errors
    /// A file that cannot be read, or a key that is empty or has characters that no header can carry.
    pub fn api_key(&self, from_environment: Option<String>) -> Result<Option<String>, honelm::Error> {
        let (place, key) = match (&self.api_key_file, from_environment) {
            (Some(path), _) => {
                let text = honelm::read_input(path, MOST).map_err(honelm::Error::from)?;
                let text = String::from_utf8_lossy(&text);
                (path.display().to_string(), text.lines().next().unwrap_or_default().trim().to_owned())
            }
            (None, Some(key)) => ("HONELM_API_KEY".to_owned(), key.trim().to_owned()),
            (None, None) => return Ok(None),
        };
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "found no key, expected a line of visible ASCII characters".to_owned();
            return Err(honelm::Error::Text { path: place, problem });
        }
        Ok(Some(key))
    }
}

impl Limits {
    pub(crate) fn receive(&self) -> Duration {
        Duration::from_secs(self.receive_seconds)
    }

    pub(crate) fn client(&self) -> Duration {
        Duration::from_secs(self.client_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_file_is_the_default_and_has_every_setting() {
        let read: Config = toml::from_str(COMMENTED).expect("valid");
        assert_eq!(read, Config::default());
        let all = Config {
            models: vec!["a".to_owned(), "b\"c".to_owned()],
            bind: Some("unix:/run/h.sock".to_owned()),
            gateway: Some("/g.toml".into()),
            api_key_file: Some("/k".into()),
            web: false,
            web_dir: Some("/w".into()),
            memory_bytes: Some(1),
            cache_bytes: Some(2),
            port: 7,
            limits: Limits { answer_tokens: Some(3), queue: 4, ..Limits::default() },
            ..Config::default()
        };
        assert_eq!(toml::from_str::<Config>(&all.to_toml()).expect("valid"), all);
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        for (text, part) in [
            ("prot = 1", "prot"),
            ("port = 99999", "port"),
            ("port = -1", "port"),
            ("parallel = 0", "parallel"),
            ("bind = \"tcp:1\"", "unix:PATH"),
            ("allow_origins = [\"example.com\"]", "allow_origins"),
            ("allow_hosts = [\"a b\"]", "allow_hosts"),
            ("[limits]\nqueue = 0", "limits.queue"),
            ("[limits]\nqueue = -3", "queue"),
            ("[limits]\nrequest_seconds = 99999999999", "request_seconds"),
        ] {
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().join("honelm.toml");
            std::fs::write(&path, text).expect("written");
            let error = Config::from_file(&path).expect_err(text).to_string();
            assert!(error.contains(part) && error.contains("honelm.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn keys_are_read_from_a_file_or_the_environment() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        let config = Config { api_key_file: Some(path.clone()), ..Config::default() };
        assert!(config.api_key(None).is_err(), "no file");
        std::fs::write(&path, "secret-1\nmore\n").expect("written");
        assert_eq!(config.api_key(Some("other".to_owned())).expect("read"), Some("secret-1".to_owned()));
        std::fs::write(&path, "\n").expect("written");
        assert!(config.api_key(None).is_err(), "an empty key");
        let plain = Config::default();
        assert_eq!(plain.api_key(Some(" k ".to_owned())).expect("read"), Some("k".to_owned()));
        assert_eq!(plain.api_key(None).expect("read"), None);
        assert!(plain.api_key(Some("two words".to_owned())).is_err());
    }
}
