//! `honelm web`: a local server for the browser page.

mod page;
mod server;

use std::io::Error as IoError;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{help, output};
pub(super) use page::find;
use server::{Served, serve};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm web", "the shipped model"),
            ("honelm web small/model.gguf", "another model"),
            ("honelm web --port 0 --no-open", "any free port; prints the address"),
        ],
        &[
            "Only this machine can reach the address. The model runs in the browser, and nothing that you write leaves it.",
        ],
    )
}

/// Serve a web page that runs models in the browser
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Web {
    /// The models to offer: folders, GGUF files or names [default: the shipped model]
    #[arg(value_name = "MODEL")]
    models: Vec<String>,

    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8417)]
    port: u16,

    /// Do not open the browser
    #[arg(long)]
    no_open: bool,

    /// Folder of the built page [default: `web` beside the executable, or in a source checkout `web/dist`]
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
}

impl Web {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let page = find(self.page.as_deref())?;
        let named: Vec<Option<&str>> = match self.models.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        let models = named.into_iter().map(|name| Served::new(&global.model(name)?)).collect::<Result<Vec<_>, _>>()?;
        for left_out in models.iter().flat_map(Served::links_out) {
            global
                .note(&format!("warning: {left_out} is not served: it is a link to a file outside the model's folder"));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).map_err(|error| {
            let hint = "another program may use it; --port 0 takes a free one";
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
        global.note("Press Ctrl-C to stop.");
        if !self.no_open
            && let Err(error) = opener::open_browser(&url)
        {
            global.note(&format!("No browser could be opened ({error}). Open the address yourself."));
        }
        serve(listener, &page, models)?;
        Ok(0)
    }
}
