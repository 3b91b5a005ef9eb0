//! The address of a running server, for `honelm ps` and `honelm stop`.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;

use clap::Args;
use honelm_server::Config;
use honelm_server::client::Client;
use hyper::Method;
use serde_json::Value;

use crate::failure::Failure;

/// The server to ask.
#[derive(Debug, Args)]
pub struct Remote {
    /// Address of the server: http://HOST:PORT or unix:PATH [default: that of `honelm serve` with the same HONELM_BIND,
    /// HONELM_HOST and HONELM_PORT]
    #[arg(long, value_name = "ADDRESS", env = "HONELM_SERVER", hide_env_values = true)]
    server: Option<String>,

    /// File with the API key of the server [default: the variable HONELM_API_KEY]
    #[arg(long, value_name = "FILE", env = "HONELM_API_KEY_FILE", hide_env_values = true)]
    api_key_file: Option<PathBuf>,
}

impl Remote {
    /// Sends a request and returns the document of the response.
    pub fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let config = Config { api_key_file: self.api_key_file.clone(), ..Config::default() };
        let server = self.server.clone().unwrap_or_else(|| own_server(|name| std::env::var(name).ok()));
        let client = Client::new(&server, config.api_key(std::env::var("HONELM_API_KEY").ok())?);
        let failed = |error| Failure::Io(server.clone(), error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let answer = runtime.block_on(client.json(method, path, body));
        let (status, document) = answer.map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
                    " (no server listens there; --server names another address)"
                }
                _ => "",
            };
            failed(Error::new(error.kind(), format!("{error}{hint}")))
        })?;
        if status.is_success() {
            return Ok(document);
        }
        let message = document["error"]["message"].as_str().unwrap_or("the server refuses the request").to_owned();
        Err(failed(Error::other(message)))
    }
}

/// Returns the address of the server that `honelm serve` starts under the same variables.
fn own_server(variable: impl Fn(&str) -> Option<String>) -> String {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(socket) = set("HONELM_BIND") {
        return socket;
    }
    let host = match set("HONELM_HOST").as_deref() {
        // A server that listens on all addresses is reached on this machine's own.
        None | Some("0.0.0.0") => "127.0.0.1".to_owned(),
        Some("::") => "[::1]".to_owned(),
        Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        Some(host) => host.to_owned(),
    };
    format!("http://{host}:{}", set("HONELM_PORT").unwrap_or_else(|| Config::default().port.to_string()))
}

#[cfg(test)]
mod tests {
    use super::own_server;

    #[test]
    fn the_server_is_that_of_the_same_variables() {
        let with = |pairs: &[(&str, &str)]| {
            own_server(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned()))
        };
        assert_eq!(with(&[]), "http://127.0.0.1:8080");
        assert_eq!(with(&[("HONELM_PORT", "9000")]), "http://127.0.0.1:9000");
        assert_eq!(with(&[("HONELM_PORT", ""), ("HONELM_HOST", "0.0.0.0")]), "http://127.0.0.1:8080");
        assert_eq!(with(&[("HONELM_HOST", "::"), ("HONELM_PORT", "1")]), "http://[::1]:1");
        assert_eq!(with(&[("HONELM_HOST", "fe80::1")]), "http://[fe80::1]:8080");
        assert_eq!(with(&[("HONELM_HOST", "10.0.0.2")]), "http://10.0.0.2:8080");
        assert_eq!(with(&[("HONELM_BIND", "unix:/run/h.sock"), ("HONELM_PORT", "1")]), "unix:/run/h.sock");
    }
}
