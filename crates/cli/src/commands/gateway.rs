//! `honelm gateway`: work on gateway files.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use honelm::policy::{Key, Route, Settings};
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{help, input, output};

fn notes() -> String {
    help::notes(
        &[
            ("honelm gateway check gateway.toml", ""),
            ("honelm gateway check gateway.toml --request '{\"prompt\": \"Hello\"}'", "where this request would go"),
            ("honelm gateway check gateway.toml --request @request.json --client editor", ""),
        ],
        &["deploy/gateway.toml is a commented example; docs/routing.md describes how a route is chosen."],
    )
}

/// Check the file of a gateway between the device and the cloud
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Gateway {
    #[command(subcommand)]
    command: GatewayCommand,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    Check(Check),
}

/// Validate a gateway file, and tell where a request would go
#[derive(Debug, Args)]
#[command(after_help = notes())]
struct Check {
    /// The gateway file, TOML
    file: PathBuf,

    /// Request as JSON with `prompt` or `messages`, or @FILE
    #[arg(long, value_name = "JSON")]
    request: Option<String>,

    /// Name of the client that sends the request
    #[arg(long, value_name = "NAME", requires = "request")]
    client: Option<String>,
}

impl Gateway {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let GatewayCommand::Check(command) = self.command;
        command.run(global)
    }
}

impl Check {
    fn run(self, global: &Global) -> Result<u8, Failure> {
        let settings = honelm::open_gateway(&self.file)?;
        let warnings = warnings(&settings);
        warnings.iter().for_each(|warning| global.note(&format!("warning: {warning}")));
        let request = self.request.as_deref().map(request).transpose()?;
        let route = match &request {
            Some(request) => Some(honelm::check_request(&settings, self.client.as_deref(), request)?),
            None => None,
        };
        if global.json {
            let upstreams: Vec<&str> = settings.upstreams.iter().map(|upstream| &*upstream.name).collect();
            let clients: Vec<&str> = settings.clients.iter().map(|client| &*client.name).collect();
            let route = route.map(|found| {
                json!({
                    "route": found.decision.route,
                    "reason": found.decision.reason,
                    "degraded": found.decision.degraded,
                    "upstreams": found.upstream_names,
                    "prompt_tokens": found.prompt_tokens,
                    "is_estimated": found.is_estimated,
                    "cost": found.cost,
                })
            });
            output::json(
                &json!({ "upstreams": upstreams, "clients": clients, "warnings": warnings, "request": route }),
            )?;
            return Ok(0);
        }
        let mut rows = vec![
            ("file", format!("{}: valid", self.file.display())),
            ("local model", format!("{}, context {}", settings.local.model, settings.local.context)),
            ("upstreams", settings.upstreams.iter().map(|u| u.name.clone()).collect::<Vec<_>>().join(", ")),
            ("clients", settings.clients.iter().map(|c| c.name.clone()).collect::<Vec<_>>().join(", ")),
        ];
        if let Some(found) = route {
            let route = format!("{:?}", found.decision.route).to_lowercase();
            let about = if found.is_estimated { " (estimated)" } else { "" };
            let is_cloud = found.decision.route == Route::Cloud;
            let names = found.upstream_names.join(", ");
            rows.extend([
                ("route", format!("{route}: {}", found.decision.reason)),
                (if is_cloud { "tried in order" } else { "if the device fails" }, names),
                ("prompt", format!("{} tokens{about}", found.prompt_tokens)),
            ]);
            if let Some(cost) = found.cost.filter(|_| is_cloud) {
                rows.push(("cost", format!("at most {cost:.6} {} at the first upstream", settings.currency)));
            }
        }
        rows.retain(|(_, value)| !value.is_empty());
        output::write(&output::facts(&rows))?;
        Ok(0)
    }
}

/// Reads a request from the command line, or from the file after `@`.
fn request(text: &str) -> Result<Value, Failure> {
    let contents = match text.strip_prefix('@') {
        Some(path) => input::named(path.as_ref(), input::MOST_JSON)?,
        None => text.as_bytes().to_vec(),
    };
    let bad = |e: serde_json::Error| honelm::Error::Text {
        path: text.strip_prefix('@').unwrap_or("--request").to_owned(),
        problem: format!("expected a request as JSON: {e}"),
    };
    Ok(serde_json::from_slice(&contents).map_err(bad)?)
}

/// Returns what is missing on this machine: keys whose variable is not set or whose file does not exist.
fn warnings(settings: &Settings) -> Vec<String> {
    let upstreams = settings.upstreams.iter().map(|upstream| ("upstream", &upstream.name, &upstream.key));
    let clients = settings.clients.iter().map(|client| ("client", &client.name, &client.key));
    let missing = |(kind, name, key): (&str, &String, &Key)| match key {
        Key::Env(variable) if std::env::var_os(variable).is_none() => {
            Some(format!("{kind} {name}: the environment variable {variable} is not set"))
        }
        Key::File(path) if !std::path::Path::new(path).is_file() => {
            Some(format!("{kind} {name}: there is no file {path}"))
        }
        _ => None,
    };
    upstreams.chain(clients).filter_map(missing).collect()
}
