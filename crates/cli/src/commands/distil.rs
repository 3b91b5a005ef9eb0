//! `honelm distil`: trains a student against a teacher.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use honelm::{
    Budget, DistilGate, DistilOptions, DistilReport, Encoding, Fall, LayerPairs, Protocol, StatesCache, Student,
    Verdict,
};
use serde_json::json;

use crate::arguments::gates::{budget, nats};
use crate::arguments::{self, Global, at_least_one, not_negative, positive, probability, source};
use crate::failure::{BUDGET, Failure, NOT_ENOUGH_TEXT};
use crate::progress::Progress;
use crate::{help, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm distil reference pruned -o healed", "heal a pruned model on the shipped text"),
            ("honelm distil reference pruned -o healed --train mine.jsonl --max-kl 0.1", "and judge the result"),
            (
                "honelm distil reference --config small.json -o small --train mine.jsonl --steps 5000",
                "train from random weights",
            ),
            (
                "honelm distil reference pocket -o pocket-2 --alpha 0.5 --temperature 2",
                "half of the loss is the text's own",
            ),
            ("honelm distil reference pocket -o pocket-2 --teacher-logits logits", "run the teacher once"),
        ],
        &[
            "The loss is alpha * T^2 * KL(teacher || student) at the temperature T plus (1 - alpha) times the cross entropy with the \
             text. All weights are trained with AdamW, in f32 on the CPU, and rounded to the written number type in every forward pass. \
             Every few steps the loss is measured on held-out samples; the state with the lowest one is written.",
            "With --teacher-logits, DIR keeps the most likely tokens of each of the teacher's distributions; all others count as one. \
             The divergence is then at most the exact one. DIR is filled by the first run, and read by every later one with the same \
             teacher, text, temperature and --top-k.",
            "With --budget or --max-kl, the written student is compared with the teacher as `honelm optimize` compares candidates. It \
             is written in any case; the exit status is 3 if it exceeds a limit, and 4 if the text is too short for a verdict.",
            "DIR must be new, empty, or with --force an earlier output. Running the same command again resumes interrupted work, and \
             writes the same bytes. A loss that becomes infinite or NaN ends training; the best state before it is written.",
        ],
    )
}

/// Train a smaller or pruned model to predict what a larger one predicts
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Distil {
    /// The model that is imitated: a folder, a GGUF file or a name
    teacher: String,

    /// The model that learns, such as the output of `honelm prune`
    #[arg(required_unless_present = "config")]
    student: Option<String>,

    /// Output: a Hugging Face folder
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// Train a model of this shape from random weights: a config.json
    #[arg(long, value_name = "FILE", conflicts_with = "student")]
    config: Option<PathBuf>,

    /// Seed of random weights and of the order of samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Training text: plain, JSON lines or Parquet with `text` or `messages`, or `shipped`
    #[arg(long, value_name = "FILE", default_value = "shipped")]
    train: PathBuf,

    /// Most training samples to use
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    samples: usize,

    /// Tokens per sample
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    length: usize,

    /// Text by which the best state is chosen [default: the end of the training text]
    #[arg(long, value_name = "FILE")]
    heldout: Option<PathBuf>,

    /// Most samples by which the best state is chosen; of the training text at most a quarter
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one)]
    heldout_samples: usize,

    /// Most steps
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,

    /// Samples per step
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_least_one)]
    batch: usize,

    /// Share of the teacher in the loss; the rest is the cross entropy with the text
    #[arg(long, value_name = "A", default_value_t = 1.0, value_parser = probability)]
    alpha: f32,

    /// Temperature by which the logits of both models are divided
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = positive)]
    temperature: f32,

    /// Weight of the difference between the hidden states of student and teacher, which need the same width
    #[arg(long, value_name = "W", value_parser = not_negative)]
    hidden: Option<f32>,

    /// Layers to compare, of the student and of the teacher, from 1: 2:4,4:8 [default: all, at the same share of the depth]
    #[arg(long, value_name = "PAIRS", value_delimiter = ',', value_parser = pair, requires = "hidden")]
    hidden_layers: Vec<[usize; 2]>,

    /// Folder of the teacher's distributions, computed once [default: compute them in every step]
    #[arg(long, value_name = "DIR")]
    teacher_logits: Option<PathBuf>,

    /// Tokens of a stored distribution
    #[arg(long, value_name = "K", default_value_t = 64, value_parser = at_least_one)]
    top_k: usize,

    /// Learning rate
    #[arg(long, value_name = "RATE", default_value_t = 3e-4, value_parser = positive)]
    rate: f32,

    /// Course of the learning rate after the warm-up
    #[arg(long, value_name = "COURSE", value_enum, default_value_t = Course::Cosine)]
    schedule: Course,

    /// Steps of the warm-up
    #[arg(long, value_name = "N", default_value_t = 10)]
    warmup: u32,

    /// Weight decay of AdamW
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, value_parser = not_negative)]
    decay: f32,

    /// Norm to which the gradients of a step are clipped
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = positive)]
    clip: f32,

    /// Steps between two measurements on the held-out samples
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,

    /// Measurements without a new lowest loss after which training ends
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,

    /// Number type of the written weights [default: the student's own; f16 where it is quantised]
    #[arg(long, value_name = "TYPE", value_parser = dtype_parser(), ignore_case = true)]
    dtype: Option<Encoding>,

    /// Largest allowed increase in perplexity over the teacher: a number, or a percentage such as 5%
    #[arg(long, value_name = "INCREASE", value_parser = budget, allow_negative_numbers = true)]
    budget: Option<Budget>,

    /// Largest allowed mean KL divergence from the teacher in nats, by its upper 95% bound
    #[arg(long, value_name = "NATS", value_parser = nats, allow_negative_numbers = true)]
    max_kl: Option<f64>,

    /// Text for this judgement [default: the shipped text]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// Perplexity protocol of this judgement: llama.cpp-N, gptq-N or hf-stride-N
    #[arg(long, value_name = "P", default_value = "llama.cpp-512", value_parser = arguments::protocol)]
    protocol: Protocol,

    /// Replace an earlier output
    #[arg(long)]
    force: bool,
}

/// The course of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Course {
    Cosine,
    Linear,
    Constant,
}

/// Parses a number type.
fn dtype_parser() -> impl TypedValueParser<Value = Encoding> {
    PossibleValuesParser::new(["f32", "f16", "bf16"])
        .try_map(|name| Encoding::from_name(&name).ok_or("unknown number type"))
}

/// Parses a pair of layers, counted from 1.
fn pair(text: &str) -> Result<[usize; 2], String> {
    let number = |text: &str| text.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    let pair = text.split_once(':').and_then(|(own, other)| Some([number(own)?, number(other)?]));
    pair.ok_or_else(|| "expected a layer of the student and one of the teacher, from 1, such as 2:4".to_owned())
}

impl Distil {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let teacher = global.model(Some(&self.teacher))?;
        let student = match (&self.config, &self.student) {
            (Some(path), _) => Student::Config { path: path.clone(), seed: self.seed },
            (None, name) => Student::Model(global.model(name.as_deref())?),
        };
        let options = self.options(global);
        let mut progress = Progress::new(global);
        let done = honelm::distil(&teacher, &student, &options, &self.out, &mut |event| progress.event(event));
        progress.finish();
        let done = done?;
        let status = match done.verdict {
            None | Some(Verdict::Accepted) => 0,
            Some(Verdict::Rejected) => BUDGET,
            Some(Verdict::NotEnoughText) => NOT_ENOUGH_TEXT,
        };
        if global.json {
            output::json(&document(&done, self.budget, status)?)?;
        } else {
            print(&done, self.budget)?;
        }
        Ok(status)
    }

    fn options(&self, global: &Global) -> DistilOptions {
        DistilOptions {
            text: source(&self.train),
            samples: self.samples,
            length: self.length,
            heldout: self.heldout.as_deref().map(source),
            heldout_samples: self.heldout_samples,
            steps: self.steps,
            batch: self.batch,
            alpha: self.alpha,
            temperature: self.temperature,
            layers: self.hidden.map(|weight| LayerPairs { weight, pairs: self.hidden_layers.clone() }),
            teacher_logits: self.teacher_logits.clone(),
            top: self.top_k,
            rate: self.rate,
            fall: match self.schedule {
                Course::Cosine => Fall::Cosine,
                Course::Linear => Fall::Linear,
                Course::Constant => Fall::Constant,
            },
            warmup: self.warmup,
            decay: self.decay,
            clip: f64::from(self.clip),
            every: self.every,
            patience: self.patience,
            seed: self.seed,
            dtype: self.dtype,
            gate: DistilGate {
                text: arguments::text_source(self.text.as_deref()),
                protocol: Some(self.protocol),
                budget: self.budget,
                max_kl: self.max_kl,
                cache: StatesCache::of_user(),
            },
            work: None,
            force: self.force,
            run: global.run_options(),
        }
    }
}

/// Returns the report as JSON, with the reason where the student was not accepted.
fn document(done: &DistilReport, budget: Option<Budget>, status: u8) -> Result<serde_json::Value, Failure> {
    let mut document = serde_json::to_value(done).map_err(|e| Failure::Io("JSON".to_owned(), e.into()))?;
    let code = match status {
        BUDGET => "budget-exceeded",
        NOT_ENOUGH_TEXT => "not-enough-text",
        _ => return Ok(document),
    };
    document["error"] = json!({ "code": code, "message": sentences(done, budget).join("; ") });
    Ok(document)
}

/// Returns a sentence about each gate.
fn sentences(done: &DistilReport, budget: Option<Budget>) -> Vec<String> {
    let budget = budget.unwrap_or(Budget::Absolute(0.0));
    done.gates.iter().map(|gate| gate.sentence(budget)).collect()
}

fn print(done: &DistilReport, budget: Option<Budget>) -> Result<(), Failure> {
    let rows = done.curve.iter().map(|m| {
        let training = m.training.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}"));
        let kept = if m.step == done.after.step { "written" } else { "" };
        vec![
            m.step.to_string(),
            training,
            format!("{:.4}", m.divergence),
            format!("{:.4}", m.nll),
            format!("{:.3}", m.nll.exp()),
            kept.to_owned(),
        ]
    });
    let titles = ["step", "training loss (nats)", "KL (nats)", "cross entropy (nats)", "perplexity", ""];
    output::line(&output::fitted(output::table(&titles, &rows.collect::<Vec<_>>())))?;
    output::prose(&format!(
        "\n{}: {}, {} parameters of the teacher's {}, trained on {} tokens in {} steps",
        done.path.display(),
        honelm::units::bytes(done.size_bytes),
        done.student_parameters,
        done.teacher_parameters,
        done.tokens,
        done.steps
    ))?;
    if let Some(speed) = &done.speed {
        output::line(&format!(
            "{:.0} tokens/s, {:.1} Gflop/s in matrix products, {:.0}% of the f32 peak",
            speed.tokens_per_second,
            speed.operations_per_second / 1e9,
            speed.operations_per_second / speed.peak_operations_per_second * 100.0
        ))?;
    }
    sentences(done, budget).iter().try_for_each(|line| output::prose(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_layers_count_from_one() {
        assert_eq!(pair("2:4"), Ok([1, 3]));
        for wrong in ["", "2", "0:1", "1:0", "a:1", "1:2:3", "-1:1"] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
    }
}
