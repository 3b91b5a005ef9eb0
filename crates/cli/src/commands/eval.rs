//! `honelm eval`: the perplexity of a model, alone or compared with the original.

use std::path::PathBuf;

use clap::Args;
use honelm::{CacheType, EvaluateOptions, Evaluation, Protocol};

use crate::arguments::gates::{CACHE_NOTE, CacheArguments};
use crate::arguments::tasks::{self, TaskArguments};
use crate::arguments::{self, ComputeName, Global, at_least_one, text_source};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm eval pocket --text held-out.txt", ""),
            ("honelm eval small.gguf --text held-out.txt --against pocket", "compare with the original"),
            ("honelm eval pocket --text wiki.test.raw --protocol gptq-1024", ""),
            ("honelm eval pocket --text held-out.txt --compute f32 --chunks 100", ""),
            ("honelm eval small.gguf --tasks tasks.jsonl --against pocket", "accuracy too"),
            ("honelm eval small.gguf --against small.gguf --against-compute f32", "the loss by the fast kernels"),
            ("honelm eval pocket --cache-type q4_0 --against pocket --against-cache-type f16", "the loss by the cache"),
            ("honelm eval small.gguf --device gpu --against small.gguf --against-compute f32", "the loss by a GPU"),
        ],
        &[
            &help::list(
                "Protocols",
                &[
                    (
                        "llama.cpp-N",
                        "chunks of N tokens, the second half scored, as llama-perplexity does; N is at least 4",
                    ),
                    ("gptq-N", "chunks of N tokens, all scored; N is at least 2"),
                    ("hf-stride-N", "windows of the whole context, each N tokens after the last; N is at least 1"),
                ],
            ),
            CACHE_NOTE,
        ],
    )
}

/// Measure the perplexity of a model on a text, alone or compared with the original
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Eval {
    /// The model: a folder, a GGUF file or a name [default: the shipped model]
    model: Option<String>,

    /// Text to score, UTF-8 or JSON lines with `text` or `messages` [default: the shipped text]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// Protocol: llama.cpp-N, gptq-N or hf-stride-N
    #[arg(long, value_name = "P", default_value = "llama.cpp-512", value_parser = arguments::protocol)]
    protocol: Protocol,

    /// Score only the first N chunks
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    chunks: Option<usize>,

    #[command(flatten)]
    tasks: TaskArguments,

    /// The original to compare with: a folder, a GGUF file or a name
    #[arg(long, value_name = "MODEL")]
    against: Option<String>,

    /// Arithmetic of the original, which then runs on the CPU [default: that of the model]
    #[arg(long, value_name = "COMPUTE", requires = "against")]
    against_compute: Option<ComputeName>,

    /// Number format of the original's key-value cache [default: that of the model]
    #[arg(long, value_name = "TYPE", requires = "against", value_parser = arguments::cache_type())]
    against_cache_type: Option<CacheType>,

    #[command(flatten)]
    cache: CacheArguments,
}

impl Eval {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let against = self.against.as_deref().map(|name| global.model(Some(name))).transpose()?;
        let options = EvaluateOptions {
            model: global.model(self.model.as_deref())?,
            text: text_source(self.text.as_deref()),
            protocol: self.protocol,
            chunks: self.chunks,
            tasks: self.tasks.read()?,
            against,
            against_compute: self.against_compute.map(Into::into),
            against_cache_type: self.against_cache_type,
            run: global.run_options(),
            cache: self.cache.cache(),
            scratch: None,
        };
        let mut progress = Progress::new(global);
        let found = honelm::evaluate(&options, &mut |event| progress.event(event));
        progress.finish();
        let found = found?;
        if global.json {
            output::json(&found)?;
        } else {
            output::write(&output::facts(&rows(&found)))?;
            found.accuracy.iter().try_for_each(|accuracy| output::line(&format!("\n{}", tasks::results(accuracy))))?;
        }
        Ok(0)
    }
}

fn rows(found: &Evaluation) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("model", found.model.display().to_string()),
        ("text", found.text.clone()),
        (
            "protocol",
            format!(
                "{}, {}, context {}; {} chunks, {} tokens scored",
                found.protocol,
                if found.bos { "BOS first" } else { "no BOS" },
                found.context,
                found.chunks,
                found.tokens
            ),
        ),
        ("computed by", found.compute.clone()),
        ("perplexity", format!("{:.4} ± {:.4}", found.perplexity, found.perplexity_stderr)),
    ];
    let (Some(base), Some(f)) = (&found.against, &found.comparison) else { return rows };
    let bounds = match (f.perplexity_difference_lower95, f.perplexity_difference_upper95) {
        (Some(lower), Some(upper)) => format!(" (95%: above {lower:+.4}, below {upper:+.4})"),
        _ => String::new(),
    };
    let spread = f.kl_divergence_stderr.map_or_else(String::new, |e| format!(" ± {e:.5}"));
    rows.extend([
        ("against", format!("{}, perplexity {:.4}", base.display(), f.base_perplexity)),
        ("difference", format!("{:+.4}{bounds}", f.perplexity_difference)),
        ("KL divergence", format!("{:.5}{spread}", f.kl_divergence)),
        (
            "same top token",
            format!(
                "{:.2}%; different at {} of {} positions where the original has a clear choice",
                f.same_top_percent, f.clear_positions_changed, f.clear_positions
            ),
        ),
    ]);
    rows
}
