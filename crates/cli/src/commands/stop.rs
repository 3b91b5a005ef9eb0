//! `honelm stop`: unloads a model of a running server.

use clap::Args;
use hyper::Method;
use serde_json::json;

use super::remote::Remote;
use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  honelm stop pocket
  honelm stop pocket --server http://127.0.0.1:9000";

/// Unload a model of a running server, after the answers in progress
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Stop {
    /// The name of the model, as `honelm ps` shows it
    #[arg(value_name = "MODEL")]
    model: String,

    #[command(flatten)]
    remote: Remote,
}

impl Stop {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let done = self.remote.send(Method::POST, "/models/unload", Some(&json!({"model": self.model})))?;
        if global.json {
            output::json(&done)?;
        } else if done["was_loaded"] == true {
            output::line(&format!("{} is unloaded, after its answers in progress", self.model))?;
        } else {
            output::line(&format!("{} was not loaded", self.model))?;
        }
        Ok(0)
    }
}
