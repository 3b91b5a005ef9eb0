//! `honelm imatrix`: collects an importance matrix.

use std::path::PathBuf;

use clap::Args;
use honelm::{ImatrixForm, ImatrixOptions, TextSource};

use crate::arguments::{Global, at_least_one};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm imatrix pocket -o pocket-imatrix.gguf", "from the shipped calibration text"),
            ("honelm imatrix pocket --text a.txt --text b.jsonl -o pocket-imatrix.gguf", ""),
            ("honelm quantize pocket --to q4_k --imatrix pocket-imatrix.gguf -o better.gguf", ""),
        ],
        &[
            "The file has the mean square of each column's inputs, as llama.cpp's llama-imatrix collects them, for every \
           linear module and for the output layer. `honelm quantize --imatrix` and llama-quantize read it.",
        ],
    )
}

/// Collect an importance matrix for `quantize --imatrix` and for llama.cpp
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Imatrix {
    /// The model: a folder, a GGUF file or a name
    model: String,

    /// Text, may be given several times: plain, JSON lines or Parquet with `text` or `messages` [default: the shipped calibration text]
    #[arg(long, value_name = "FILE")]
    text: Vec<PathBuf>,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,

    /// Form of the file: gguf, or dat for old versions of llama.cpp
    #[arg(long, value_name = "FORM", value_parser = form, default_value = "gguf")]
    format: ImatrixForm,

    /// Most samples to use
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    samples: usize,

    /// Tokens per sample
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    length: usize,

    /// Replace an earlier importance matrix
    #[arg(long)]
    force: bool,
}

fn form(text: &str) -> Result<ImatrixForm, String> {
    match text {
        "gguf" => Ok(ImatrixForm::Gguf),
        "dat" => Ok(ImatrixForm::Dat),
        _ => Err("expected gguf or dat".to_owned()),
    }
}

impl Imatrix {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let mut texts: Vec<TextSource> = self.text.into_iter().map(TextSource::File).collect();
        if texts.is_empty() {
            texts.push(TextSource::Shipped);
        }
        let options = ImatrixOptions {
            model: global.model(Some(&self.model))?,
            out: self.out,
            form: self.format,
            texts,
            samples: self.samples,
            length: self.length,
            force: self.force,
            run: global.run_options(),
        };
        let mut progress = Progress::new(global);
        let done = honelm::imatrix(&options, &mut |event| progress.event(event));
        progress.finish();
        let done = done?;
        if global.json {
            output::json(&done)?;
            return Ok(0);
        }
        output::line(&format!(
            "{}: {} weights, from {} tokens in {} samples",
            done.path.display(),
            done.tensors,
            done.tokens,
            done.samples
        ))?;
        Ok(0)
    }
}
