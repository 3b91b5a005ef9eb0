//! `honelm web`: the page in the browser, served from here.

mod files;
mod server;

use std::io::{Error as IoError, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;
use server::{Served, serve};

const EXAMPLES: &str = "\
Examples:
  honelm web                      the shipped model, in your browser
  honelm web small/model.gguf     another one
  honelm web --port 0 --no-open   any free port; the address is on stdout

Only this machine can reach the address. The model runs in the browser: nothing that you write is sent here.";

/// Run models in the browser: serves the page on this machine
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Web {
    /// Models to offer: folders, GGUF files, or names; by default the shipped one
    #[arg(value_name = "MODEL")]
    models: Vec<String>,

    /// Port of 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8417)]
    port: u16,

    /// Do not open the browser
    #[arg(long)]
    no_open: bool,

    /// The built page; by default `web` beside the executable, or that of the source checkout
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
}

impl Web {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let page = page(self.page.as_deref())?;
        let named: Vec<Option<&str>> = match self.models.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        let models = named.into_iter().map(|name| Served::new(&global.model(name)?)).collect::<Result<Vec<_>, _>>()?;
        for left_out in models.iter().flat_map(Served::links_out) {
            global
                .note(&format!("warning: {left_out} is a link that leads out of the model's folder; it is not served"));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).map_err(|error| {
            let hint = "another program may have it; --port 0 takes a free one";
            Failure::Io(format!("port {}", self.port), IoError::new(error.kind(), format!("{error} ({hint})")))
        })?;
        let port = listener.local_addr().map_err(|error| Failure::Io("the port".to_owned(), error))?.port();
        let url = format!("http://127.0.0.1:{port}/");
        if global.json {
            let models: Vec<_> = models.iter().map(Served::json).collect();
            output::json_line(&json!({"url": url, "models": models}))?;
        } else {
            output::line(&url)?;
        }
        global.note("Ctrl-C ends it.");
        if !self.no_open
            && let Err(error) = opener::open_browser(&url)
        {
            global.note(&format!("No browser could be opened ({error}); open the address yourself."));
        }
        serve(listener, &page, models)?;
        Ok(0)
    }
}

/// The folder with the built page.
fn page(wanted: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("web")));
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/dist");
    let candidates = match wanted {
        Some(folder) => vec![folder.to_owned()],
        None => beside.into_iter().chain([checkout]).collect(),
    };
    let found = candidates.iter().find(|folder| folder.join("index.html").is_file());
    found.cloned().ok_or_else(|| {
        let searched: Vec<String> = candidates.iter().map(|folder| folder.display().to_string()).collect();
        let problem = "no index.html there; in a source checkout `cargo xtask web` builds the page";
        Failure::Io(searched.join(", "), IoError::new(ErrorKind::NotFound, problem))
    })
}
