//! The address of a running server, for `honelm ps` and `honelm stop`.

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
    /// Address of the server: http://HOST:PORT or unix:PATH
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "HONELM_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080"
    )]
    server: String,

    /// File with the API key of the server [default: the variable HONELM_API_KEY]
    #[arg(long, value_name = "FILE", env = "HONELM_API_KEY_FILE", hide_env_values = true)]
    api_key_file: Option<PathBuf>,
}

impl Remote {
    /// Sends a request and returns the document of the response.
    pub fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let config = Config { api_key_file: self.api_key_file.clone(), ..Config::default() };
        let client = Client::new(&self.server, config.api_key(std::env::var("HONELM_API_KEY").ok())?);
        let failed = |error| Failure::Io(self.server.clone(), error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (status, document) = runtime.block_on(client.json(method, path, body)).map_err(failed)?;
        if status.is_success() {
            return Ok(document);
        }
        let message = document["error"]["message"].as_str().unwrap_or("the server refuses the request").to_owned();
        Err(Failure::Io(self.server.clone(), std::io::Error::other(message)))
    }
}
