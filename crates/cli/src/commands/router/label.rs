//! `honelm router label`.

use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use honelm::{CloudSide, Compare, LabelOptions, LabelledTraffic, Samples, SideWork, label_traffic};
use serde_json::{Value, json};

use super::percent;
use crate::arguments::{Global, at_least_one};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{help, output};

fn notes() -> String {
    help::notes(
        &[
            (
                "honelm router label prompts.jsonl --local pocket --cloud large.gguf -o traffic.jsonl",
                "both sides on this machine",
            ),
            (
                "honelm router label prompts.jsonl --local pocket --cloud-url https://api.example.com/v1 --cloud-model large \
                 --cloud-key-env API_KEY -o traffic.jsonl",
                "a server",
            ),
            (
                "honelm router label cloze.jsonl --raw --compare first-word -n 8 --local pocket --cloud large.gguf -o cloze-traffic.jsonl",
                "next words",
            ),
        ],
        &[
            "Each line of the prompts has `prompt` or `messages`, and if known `answer` (a right answer, or a list of them) and `group`. With \
             `answer`, each side is right or wrong; without it, the cloud counts as right and the local quality is the share of words in \
             common. A stopped run goes on where it was when the same command is given again.",
            "Private data in prompts is replaced before they go to a server, unless --send-private is given.",
        ],
    )
}

/// The parts of answers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompareName {
    /// The whole answer
    Answer,
    /// Its first word
    FirstWord,
}

/// Label traffic: let both sides answer prompts, and judge their answers
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Label {
    /// The prompts, JSON lines
    prompts: PathBuf,

    /// The local model: a folder, a GGUF file or a name [default: the shipped model]
    #[arg(long, value_name = "MODEL")]
    local: Option<String>,

    /// The other side: a model on this machine
    #[arg(long, value_name = "MODEL", required_unless_present = "cloud_url", conflicts_with = "cloud_url")]
    cloud: Option<String>,

    /// The other side: a server with OpenAI's interface, by the address before /chat/completions
    #[arg(long, value_name = "URL", requires = "cloud_model", conflicts_with = "raw")]
    cloud_url: Option<String>,

    /// The model's name on the server
    #[arg(long, value_name = "NAME", requires = "cloud_url")]
    cloud_model: Option<String>,

    /// Environment variable with the server's key
    #[arg(long, value_name = "NAME", requires = "cloud_url", conflicts_with = "cloud_key_file")]
    cloud_key_env: Option<String>,

    /// File with the server's key
    #[arg(long, value_name = "FILE", requires = "cloud_url")]
    cloud_key_file: Option<PathBuf>,

    /// Send private data in prompts to the server as it is
    #[arg(long, requires = "cloud_url")]
    send_private: bool,

    /// The file to write: labelled traffic
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,

    /// Most tokens of an answer
    #[arg(short = 'n', long, value_name = "N", default_value = "256", value_parser = at_least_one, allow_negative_numbers = true)]
    max_tokens: usize,

    /// Continue prompts as plain text, without the chat template
    #[arg(long)]
    raw: bool,

    /// What is compared with the right answer, or with the cloud's
    #[arg(long, value_enum, value_name = "PART", default_value_t = CompareName::Answer)]
    compare: CompareName,

    /// Draw two samples of this many tokens from the local model, and write down their agreement
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    samples: Option<usize>,

    /// Write the answers into the traffic too
    #[arg(long)]
    answers: bool,

    /// Replace an earlier file
    #[arg(long)]
    force: bool,
}

impl Label {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let options = LabelOptions {
            local: global.model(self.local.as_deref())?,
            cloud: self.cloud_side(global)?,
            prompts: self.prompts,
            out: self.out,
            max_tokens: self.max_tokens,
            raw: self.raw,
            compare: match self.compare {
                CompareName::Answer => Compare::Whole,
                CompareName::FirstWord => Compare::FirstWord,
            },
            samples: self.samples.map(|tokens| Samples { tokens, ..Samples::default() }),
            keep_answers: self.answers,
            force: self.force,
            run: global.run_options().steady(),
        };
        let mut progress = Progress::new(global);
        let found = label_traffic(&options, &mut |event| progress.event(event));
        progress.finish();
        let found = found?;
        if global.json {
            output::json(&document(&found))?;
        } else {
            output::write(&output::facts(&rows(&found)))?;
        }
        Ok(0)
    }

    fn cloud_side(&self, global: &Global) -> Result<CloudSide, Failure> {
        let (Some(url), Some(model)) = (&self.cloud_url, &self.cloud_model) else {
            return Ok(CloudSide::Model(global.model(self.cloud.as_deref())?));
        };
        let key = match (&self.cloud_key_env, &self.cloud_key_file) {
            (Some(name), _) => {
                let unset = || Failure::Usage(format!("--cloud-key-env: the variable {name} is not set"));
                Some(std::env::var(name).map_err(|_| unset())?)
            }
            (None, Some(path)) => {
                let bytes = honelm::read_input(path, MOST_KEY).map_err(honelm::Error::from)?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            (None, None) => None,
        };
        let key = key.map(|key| key.trim().to_owned());
        if key.as_ref().is_some_and(|key| key.is_empty() || key.contains(|c: char| c.is_control() || !c.is_ascii())) {
            let problem = "the server's key: found an empty text or other characters, expected one line of ASCII";
            return Err(Failure::Usage(problem.to_owned()));
        }
        let redaction = if self.send_private { None } else { Some(secret()?) };
        Ok(CloudSide::Url { url: url.clone(), model: model.clone(), key, redaction })
    }
}

/// The longest file of a key in bytes.
const MOST_KEY: u64 = 64 << 10;

fn secret() -> Result<[u8; 32], Failure> {
    let mut key = [0; 32];
    let failed = |e: getrandom::Error| Failure::Io("random numbers".to_owned(), io::Error::other(e.to_string()));
    getrandom::fill(&mut key).map_err(failed)?;
    Ok(key)
}

fn document(found: &LabelledTraffic) -> Value {
    let side = |side: &SideWork| {
        json!({
            "name": side.name,
            "accuracy_percent": side.quality * 100.0,
            "prompt_tokens": side.prompt_tokens,
            "completion_tokens": side.completion_tokens,
            "sample_tokens": side.sample_tokens,
            "seconds": side.seconds,
        })
    };
    json!({
        "path": found.path,
        "requests": found.requests,
        "by_answer": found.by_answer,
        "by_agreement": found.by_agreement,
        "left_out": found.left_out,
        "agreement_percent": found.agreement * 100.0,
        "local": side(&found.local),
        "cloud": side(&found.cloud),
    })
}

fn rows(found: &LabelledTraffic) -> Vec<(&'static str, String)> {
    let side = |side: &SideWork| {
        let samples = match side.sample_tokens {
            0 => String::new(),
            tokens => format!(" and {tokens} in samples"),
        };
        format!(
            "{}: quality {}; {} tokens read, {} written{samples}, {:.1} s",
            side.name,
            percent(side.quality),
            side.prompt_tokens,
            side.completion_tokens,
            side.seconds
        )
    };
    vec![
        ("written", found.path.display().to_string()),
        (
            "requests",
            format!(
                "{}: {} judged by their answer, {} by agreement with the cloud, {} left out as too long",
                found.requests, found.by_answer, found.by_agreement, found.left_out
            ),
        ),
        ("local", side(&found.local)),
        ("cloud", side(&found.cloud)),
        ("agreement", percent(found.agreement)),
    ]
}
