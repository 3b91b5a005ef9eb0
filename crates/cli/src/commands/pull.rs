//! `honelm pull`: a model from the Hugging Face Hub.

use clap::Args;
use honelm::{ModelSpec, PullOptions, Pulled};

use crate::arguments::{Global, size};
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  honelm pull ORG/REPO                          safetensors, configuration, tokenizer
  honelm pull ORG/REPO:Q4_K_M                   one of several GGUF files, by its quant or name
  honelm pull ORG/REPO@v1.0                     a branch, tag or commit
  honelm pull https://huggingface.co/ORG/REPO   the address of the model, of a revision or of a GGUF file
  honelm pull ORG/REPO --include '*.json' --include 'onnx/'
  honelm chat ORG/REPO:Q4_K_M                   a pulled model has the same name everywhere
  honelm list                                   the models that have been pulled

The cache is shared with Hugging Face's own tools: HF_HUB_CACHE, else `hub` in HF_HOME, else ~/.cache/huggingface/hub.
Files that are in the cache are not fetched again, and an interrupted pull resumes. Private and gated models need a token:
HF_TOKEN, or the file that `hf auth login` writes. HF_ENDPOINT names a mirror; HF_HUB_OFFLINE=1 forbids fetching;
HF_HUB_DISABLE_SYMLINKS=1 stores files instead of links; HTTPS_PROXY and NO_PROXY name proxies, SSL_CERT_FILE the
certificates to trust.

Every file is checked against the repository's own hash. Pickles (.bin, .pt, .pth, .ckpt, .pkl) can run code when they are
loaded and are never fetched.";

/// Fetch a model from the Hugging Face Hub
///
/// Without --include and QUANT, this fetches the safetensors weights with configuration, tokenizer and chat template, or
/// the only GGUF model. If there are several GGUF models, they are listed, and none is preferred.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Pull {
    /// ORG/REPO, ORG/REPO@REVISION, ORG/REPO:QUANT, or an address of huggingface.co or hf.co
    #[arg(value_name = "ORG/REPO", value_parser = spec)]
    model: ModelSpec,

    /// Fetch the files that match, of any kind; may be given several times. `*` also matches `/`
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// Retry a connection that stays below SIZE per second for 30 s; 0 allows any rate
    #[arg(long, value_name = "SIZE", default_value = "1K", value_parser = speed, allow_negative_numbers = true)]
    min_speed: u64,
}

fn speed(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { size(text) }
}

fn spec(text: &str) -> Result<ModelSpec, String> {
    text.parse::<ModelSpec>().map_err(|e| e.to_string())
}

impl Pull {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let options = PullOptions { model: self.model, include: self.include, slowest: self.min_speed };
        let mut progress = Progress::new(global);
        let pulled = honelm::pull(&options, &mut |event| progress.event(event));
        progress.finish();
        let pulled = pulled?;
        if global.json {
            output::json(&pulled)?;
            return Ok(0);
        }
        output::line(&summary(&pulled))?;
        output::line(&pulled.model.as_ref().unwrap_or(&pulled.path).display().to_string())?;
        if pulled.model.is_some() {
            global.note(&format!("Chat with it: honelm chat {}", options.model));
        }
        Ok(0)
    }
}

fn summary(pulled: &Pulled) -> String {
    let size = honelm::units::bytes;
    let files = match pulled.files.len() {
        1 => "1 file".to_owned(),
        n => format!("{n} files"),
    };
    let received = match pulled.received_bytes {
        0 => "all of them were in the cache".to_owned(),
        some => format!("{} received", size(some)),
    };
    format!("{} at {}: {files}, {}, {received}", pulled.repository, pulled.commit, size(pulled.bytes))
}
