//! Jobs in a browser: `web/test/prove.mjs` in node, with Chromium.

use std::env;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Stop;
use super::context::{Context, is_installed, parse};
use crate::web;

/// Runs a job of `web/test/prove.mjs` and returns its JSON document.
pub fn run(context: &Context, job: &str, arguments: &Value) -> Result<Value, Stop> {
    let needs = |what: &str| Stop::Needs(what.to_owned());
    if !is_installed("node") || !is_installed("npm") {
        return Err(needs("node with npm"));
    }
    let chromium = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| is_installed(name));
    let chromium = env::var_os("CHROMIUM").or_else(|| chromium.map(Into::into));
    let chromium = chromium.ok_or_else(|| needs("Chromium"))?;
    if !web::has_target() && !is_installed("wasm-ld-19") {
        return Err(needs("a wasm32 target from rustup or Debian"));
    }
    context.page()?;
    let mut node = Command::new("node");
    node.arg(context.root.join("web/test/prove.mjs")).arg(job).arg(arguments.to_string());
    node.env("HONELM_BINARY", context.binary()?).env("CHROMIUM", chromium).stdin(Stdio::null());
    parse(&node.output().map_err(|e| format!("node: {e}"))?, "node")
}
