//! The log: one line per request on stderr, without anything of prompts, answers and keys.

use std::io::Write;
use std::time::Duration;

use honelm::printable;
use serde_json::json;

use crate::app::unix_seconds;
use crate::config::LogFormat;

/// A request that was answered, or refused.
#[derive(Debug)]
pub struct Line<'a> {
    /// The method.
    pub method: &'a str,
    /// The path of the route.
    pub path: &'a str,
    /// The status of the response.
    pub status: u16,
    /// The time to the head of the response.
    pub time: Duration,
}

/// Writes a line about a request. A closed stderr is ignored.
pub fn request(format: LogFormat, line: &Line<'_>) {
    let Line { method, path, status, time } = line;
    let milliseconds = time.as_secs_f64() * 1e3;
    let text = match format {
        LogFormat::Off => return,
        LogFormat::Text => format!("{method} {path} {status} {milliseconds:.1} ms"),
        LogFormat::Json => json!({
            "time": unix_seconds(), "level": "info", "method": method, "path": path, "status": status,
            "milliseconds": (milliseconds * 1e3).round() / 1e3,
        })
        .to_string(),
    };
    let _ = writeln!(std::io::stderr(), "{}", printable(&text));
}

/// Writes a message. A closed stderr is ignored.
pub fn message(format: LogFormat, message: &str) {
    let text = match format {
        LogFormat::Off => return,
        LogFormat::Text => message.to_owned(),
        LogFormat::Json => json!({"time": unix_seconds(), "level": "info", "message": message}).to_string(),
    };
    let _ = writeln!(std::io::stderr(), "{}", printable(&text));
}
