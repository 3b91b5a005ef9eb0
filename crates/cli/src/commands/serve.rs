//! `honelm serve`: local models behind the protocols of existing clients.

use std::io::Error as IoError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use honelm::policy::Settings as GatewaySettings;
use honelm::{DeviceChoice, Pooling, RunOptions};
use honelm_server::gateway::store::{Location, Store, StoredAccounts};
use honelm_server::{Config, Gateway, LogFormat, Server, models};
use serde_json::json;

use crate::arguments::{Global, at_least_one, size};
use crate::commands::generation::Speculation;
use crate::commands::web;
use crate::failure::Failure;
use crate::shell::quoted;
use crate::{help, interrupt, output};

/// The interval at which the server looks for Ctrl-C.
const POLL: Duration = Duration::from_millis(50);

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm serve", "the shipped model, and on demand those that `honelm list` shows"),
            ("honelm serve small/model.gguf ORG/REPO:Q4_K_M --port 9000", "two models; the first one is the default"),
            ("honelm serve --memory 8GB --idle-timeout 300", "models share 8 GB and leave after 5 minutes"),
            ("honelm serve --print-config > honelm.toml", "all settings with comments, to change and pass by --config"),
            (
                "honelm serve --gateway gateway.toml",
                "answers of the device and the cloud; deploy/gateway.toml is an example",
            ),
            ("HONELM_API_KEY=secret honelm serve --host 0.0.0.0 --allow-host my-machine", "for other machines"),
        ],
        &[
            "Speaks the protocols of OpenAI (/v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings), \
             Anthropic (/v1/messages) and Ollama (/api/...). `honelm ps` shows what is loaded, `honelm stop MODEL` \
             unloads a model. / is a page to talk to the models, /status one about the server, /metrics are its counters.",
            "Only this machine can reach the server unless --host says otherwise. Pages of other sites cannot use it \
             unless --allow-origin names them. Flags have authority over the environment, and both over --config.",
        ],
    )
}

/// Serve models to the clients of other servers
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Serve {
    /// The models: folders, GGUF files or names. The first one answers requests without a model [default: the shipped
    /// model]
    #[arg(value_name = "MODEL")]
    models: Vec<String>,

    /// Read settings from a TOML file
    #[arg(long, value_name = "FILE", env = "HONELM_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,

    /// Answer on the device or in the cloud, as a gateway file says (docs/gateway.md)
    #[arg(long, value_name = "FILE", env = "HONELM_GATEWAY", hide_env_values = true)]
    gateway: Option<PathBuf>,

    /// Print the settings that apply as a TOML file, and do not serve
    #[arg(long)]
    print_config: bool,

    /// Serve only the named models, not those that `honelm list` shows
    #[arg(long)]
    only: bool,

    #[command(flatten)]
    address: Address,

    #[command(flatten)]
    access: Access,

    #[command(flatten)]
    bounds: Bounds,

    /// Way from the hidden states of a text to its embedding: mean, last or cls [default: the model's own, or mean]
    #[arg(long, value_name = "NAME", env = "HONELM_POOLING", hide_env_values = true, value_parser = pooling)]
    pooling: Option<Pooling>,

    /// Folder of the built page for / [default: `web` beside the executable, or in a source checkout `web/dist`; without it,
    /// a small page]
    #[arg(long, value_name = "DIR", env = "HONELM_WEB", hide_env_values = true, conflicts_with = "no_web")]
    web: Option<PathBuf>,

    /// Serve a small page at /, even where the page of the browser is built
    #[arg(long)]
    no_web: bool,

    #[command(flatten)]
    speculation: Speculation,

    /// Refuse requests with unknown fields
    #[arg(long)]
    strict_fields: bool,

    /// Form of the log on stderr [default: text]
    #[arg(long, value_enum, value_name = "FORM", env = "HONELM_LOG_FORMAT", hide_env_values = true)]
    log_format: Option<LogName>,
}

/// The place where the server listens.
#[derive(Debug, Args)]
struct Address {
    /// Port; 0 takes a free one [default: 8080]
    #[arg(long, value_name = "N", env = "HONELM_PORT", hide_env_values = true)]
    port: Option<u16>,

    /// Address to listen on; 0.0.0.0 lets other machines reach the server [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", env = "HONELM_HOST", hide_env_values = true)]
    host: Option<String>,

    /// Listen on a Unix socket instead: unix:PATH
    #[arg(long, value_name = "unix:PATH", env = "HONELM_BIND", hide_env_values = true)]
    bind: Option<String>,
}

/// The clients that may use the server.
#[derive(Debug, Args)]
struct Access {
    /// Ask clients for the key in the first line of FILE [default: the variable HONELM_API_KEY, or no key]
    #[arg(long, value_name = "FILE", env = "HONELM_API_KEY_FILE", hide_env_values = true)]
    api_key_file: Option<PathBuf>,

    /// Accept requests that address the server by this name; can be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// Accept requests of pages of this origin, such as `https://example.com`; can be repeated; * accepts all
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
}

/// The bounds of memory, time and numbers.
#[derive(Debug, Args)]
struct Bounds {
    /// Memory that all loaded models may take; others are unloaded to make room [default: three quarters of the machine's]
    #[arg(long, value_name = "SIZE", env = "HONELM_MEMORY", hide_env_values = true, value_parser = size)]
    memory: Option<u64>,

    /// Memory for a model's cached keys and values [default: that of four full contexts]
    #[arg(long, value_name = "SIZE", env = "HONELM_CACHE_MEMORY", hide_env_values = true, value_parser = size)]
    cache_memory: Option<u64>,

    /// Unload a model after SECONDS without use; 0 keeps it [default: 600]
    #[arg(long, value_name = "SECONDS", env = "HONELM_IDLE_TIMEOUT", hide_env_values = true)]
    idle_timeout: Option<u64>,

    /// End an answer after SECONDS [default: 600]
    #[arg(long, value_name = "SECONDS", env = "HONELM_REQUEST_TIMEOUT", hide_env_values = true)]
    request_timeout: Option<u64>,

    /// Answers of a model that are computed together; others wait [default: 16]
    #[arg(long, value_name = "N", env = "HONELM_PARALLEL", hide_env_values = true, value_parser = at_least_one)]
    parallel: Option<usize>,

    /// Requests of a model that wait or are answered; others are refused [default: 128]
    #[arg(long, value_name = "N", env = "HONELM_QUEUE", hide_env_values = true, value_parser = at_least_one)]
    queue: Option<usize>,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogName {
    Text,
    Json,
    Off,
}

pub(super) fn pooling(text: &str) -> Result<Pooling, String> {
    Pooling::named(text).ok_or_else(|| format!("expected one of {}", Pooling::NAMES.join(", ")))
}

/// Opens the records of a gateway, and creates it.
async fn gateway(settings: &GatewaySettings, format: LogFormat) -> Result<Gateway, Failure> {
    let location = Location::new(settings.records.url.as_deref()).map_err(Failure::Records)?;
    let store = Store::new(location, &settings.currency).map_err(Failure::Records)?;
    let accounts = StoredAccounts::open(store, settings.records.keep_days, format).await.map_err(Failure::Records)?;
    Ok(Gateway::new(settings.clone(), Arc::new(accounts))?)
}

/// Sets a setting that a flag or the environment gives.
fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *setting = value;
    }
}

impl Serve {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let (print, speculation) = (self.print_config, self.speculation.clone());
        let mut config = self.settings()?;
        if print {
            output::write(&config.to_toml())?;
            return Ok(0);
        }
        let hybrid = match &config.gateway {
            Some(path) => Some(honelm::open_gateway(path)?),
            None => None,
        };
        if let Some(settings) = &hybrid {
            put_first(&mut config.models, &settings.local.model);
        }
        let key = config.api_key(std::env::var("HONELM_API_KEY").ok())?;
        config.web_dir = match &config.web_dir {
            _ if !config.web => None,
            Some(folder) => Some(web::find(Some(folder))?),
            // A page that is not built leaves the small one.
            None => web::find(None).ok(),
        };
        let run = speculation.apply(global, run_options(&config, global))?;
        run.check_draft()?;
        let registry = models(&config, &run, global.model_dir.as_deref())?;
        let failed = |error| Failure::Io("the server".to_owned(), error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(async {
            let gateway = match &hybrid {
                Some(settings) => Some(gateway(settings, config.log_format).await?),
                None => None,
            };
            let place = config.bind.clone().unwrap_or_else(|| format!("{}:{}", config.host, config.port));
            let server = Server::bind_with(config.clone(), registry, key.clone(), gateway).await.map_err(|error| {
                let hint = match error.kind() {
                    std::io::ErrorKind::AddrInUse => " (another program uses it; --port 0 takes a free port)",
                    _ => "",
                };
                Failure::Io(place, IoError::new(error.kind(), format!("{error}{hint}")))
            })?;
            announce(&server, &config, hybrid.as_ref(), key.is_some(), global)?;
            server.preload();
            server.run(stopped()).await;
            Ok::<(), Failure>(())
        })?;
        // Does not wait for work that reads from a disk.
        runtime.shutdown_background();
        Ok(0)
    }

    /// Returns the settings of the file, the environment and the flags.
    fn settings(self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(path) => Config::from_file(path)?,
            None => Config::default(),
        };
        config.gateway = self.gateway.or(config.gateway);
        let Self { address, access, bounds, .. } = self;
        if !self.models.is_empty() {
            config.models = self.models;
        }
        config.all_models &= !self.only;
        config.strict_fields |= self.strict_fields;
        config.web = self.web.is_some() || config.web && !self.no_web;
        config.web_dir = self.web.or(config.web_dir);
        set(&mut config.port, address.port);
        set(&mut config.host, address.host);
        config.bind = address.bind.or(config.bind);
        config.pooling = self.pooling.or(config.pooling);
        config.api_key_file = access.api_key_file.or(config.api_key_file);
        config.allow_hosts.extend(access.allow_host);
        config.allow_origins.extend(access.allow_origin);
        config.memory_bytes = bounds.memory.or(config.memory_bytes);
        config.cache_bytes = bounds.cache_memory.map(|bytes| bytes as usize).or(config.cache_bytes);
        set(&mut config.idle_seconds, bounds.idle_timeout);
        set(&mut config.limits.request_seconds, bounds.request_timeout);
        set(&mut config.parallel, bounds.parallel);
        set(&mut config.limits.queue, bounds.queue);
        set(
            &mut config.log_format,
            self.log_format.map(|name| match name {
                LogName::Text => LogFormat::Text,
                LogName::Json => LogFormat::Json,
                LogName::Off => LogFormat::Off,
            }),
        );
        config.check().map_err(Failure::Usage)?;
        Ok(config)
    }
}

/// Makes a model the first one: one of `models`, as it is written there or by its name, or else another.
fn put_first(models: &mut Vec<String>, first: &str) {
    let is_first = |model: &String| model == first || honelm::model_name(Path::new(model)) == first;
    let found = models.iter().position(is_first).map(|at| models.remove(at));
    models.insert(0, found.unwrap_or_else(|| first.to_owned()));
}

/// Returns the options for running models: those of the command line, else those of the configuration.
fn run_options(config: &Config, global: &Global) -> RunOptions {
    let mut run = global.run_options();
    run.context = run.context.or(config.context);
    run.threads = run.threads.or(config.threads);
    if run.device == DeviceChoice::Auto
        && let Some(device) = config.device.as_deref().and_then(|name| name.parse().ok())
    {
        run.device = device;
    }
    run
}

/// Tells where the server listens, with which models and limits, and how to try it.
fn announce(
    server: &Server,
    config: &Config,
    gateway: Option<&GatewaySettings>,
    has_key: bool,
    global: &Global,
) -> Result<(), Failure> {
    let address = server.address();
    let known = server.app().registry.known();
    let names: Vec<&str> = known.iter().map(|known| known.name.as_str()).collect();
    if global.json {
        return output::json_line(&json!({"url": address, "models": names}));
    }
    output::line(&address)?;
    let others = if config.all_models { ", and those that `honelm list` shows" } else { "" };
    let memory = server.app().registry.budget().map_or("all".to_owned(), honelm::units::bytes);
    let idle = match config.idle_seconds {
        0 => "never unloaded".to_owned(),
        seconds => format!("unloaded after {seconds} s without use"),
    };
    let limits = &config.limits;
    let page = match &config.web_dir {
        Some(folder) => format!("/ talks to the models ({})", folder.display()),
        None => "/ talks to the models; the larger page for browsers is off or not built".to_owned(),
    };
    let mut rows = vec![
        ("models", format!("{}{others}; {idle}", names.join(", "))),
        ("memory", memory),
        (
            "limits",
            format!(
                "{} answers together, {} requests in the queue, {} s an answer",
                config.parallel, limits.queue, limits.request_seconds
            ),
        ),
        ("page", page),
        ("key", if has_key { "clients must send the API key" } else { "none" }.to_owned()),
    ];
    if let Some(gateway) = gateway {
        let upstreams: Vec<&str> = gateway.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        rows.push(("gateway", format!("{}; upstreams {}", gateway.policy, upstreams.join(", "))));
    }
    global.note(output::facts(&rows).trim_end());
    if !has_key && !server.is_local() {
        global.note("warning: other machines can reach this server, and it asks for no key (--api-key-file)");
    }
    let url = match address.strip_prefix("unix:") {
        Some(path) => format!("--unix-socket {} http://localhost", quoted(path)),
        None => address,
    };
    let key = if has_key { " -H \"authorization: Bearer $HONELM_API_KEY\"" } else { "" };
    let body = json!({"model": names.first(), "messages": [{"role": "user", "content": "Hello"}]});
    let body = quoted(&body.to_string());
    global.note("Try it:");
    global.note_command(&format!("curl {url}/v1/chat/completions{key} -H 'content-type: application/json' -d {body}"));
    global.note("Press Ctrl-C to stop.");
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM.
async fn stopped() {
    let interrupted = async {
        while !interrupt::pressed() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        () = interrupted => {}
        () = honelm_server::terminated() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_model_of_a_gateway_is_found_by_its_path_and_by_its_name() {
        for (first, expected) in [
            ("b", ["/models/b.gguf", "a"].as_slice()),
            ("/models/b.gguf", &["/models/b.gguf", "a"]),
            ("a", &["a", "/models/b.gguf"]),
            ("c", &["c", "a", "/models/b.gguf"]),
        ] {
            let mut models = vec!["a".to_owned(), "/models/b.gguf".to_owned()];
            put_first(&mut models, first);
            assert_eq!(models, expected, "{first}");
        }
    }
}
