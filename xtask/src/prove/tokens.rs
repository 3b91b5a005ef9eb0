//! Greedy tokens, which are the same on every device in single precision with a single-precision cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::context::{Context, parse};
use super::report::{Report, Unit};
use super::{Part, Stop, browser};

pub const PART: Part = Part {
    name: "tokens",
    claim: "greedy tokens of 32 prompts are the same on the CPU (every instruction set), on the GPU, and on both in a browser (F32, F32 cache)",
    needs: "a GPU adapter; node with npm, Chromium, a wasm32 target; HONELM_TEST_DATA for the larger model",
    run,
};

/// The smallest difference between the two largest logits at which rounding cannot change the token.
const MARGIN: f64 = 1e-2;
/// The best instruction set. The variable that names one can only select a lower one.
const BEST: &str = "avx512";
/// The smallest number of prompts with clear margins.
const LEAST: usize = 20;

/// The tokens that a model generates after each prompt.
type Answers = Vec<Vec<u64>>;

/// The name of a device, and a function that generates on it.
type Place<'a> = (&'a str, &'a dyn Fn() -> Result<Answers, Stop>);

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let reference = context.data("models/reference");
    of_model(context, report, "pocket", &context.pocket())?;
    report.lines("reference", |report| of_model(context, report, "reference", &reference?));
    Ok(())
}

fn of_model(context: &Context, report: &mut Report<'_>, name: &str, model: &Path) -> Result<(), Stop> {
    let (most, tokens, least) = context.or_quick((32, 64, LEAST), (2, 8, 1));
    let written = expected(context, model, most, tokens)?;
    report.at_least(&format!("{name}: prompts with clear margins"), written.len() as f64, least as f64, Unit::Count);
    let (prompts, expected): (Vec<String>, Answers) = written.into_iter().unzip();
    let natively = |device: &str, isa: &str| natively(context, model, (device, isa), &prompts, tokens);
    let in_browser = |device: &str| in_browser(context, model, device, &prompts, tokens);
    let places: [Place<'_>; 6] = [
        ("the CPU", &|| natively("cpu", BEST)),
        ("the CPU without AVX-512", &|| natively("cpu", "avx2")),
        ("the CPU without vectors", &|| natively("cpu", "generic")),
        ("the CPU in a browser", &|| in_browser("cpu")),
        ("the GPU", &|| context.needs_gpu().and_then(|()| natively("gpu", BEST))),
        ("the GPU in a browser", &|| in_browser("gpu")),
    ];
    for (place, write) in places {
        let what = format!("{name}: equal on {place}");
        report.lines(&what, |report| {
            let found = write()?;
            let same = found.iter().zip(&expected).filter(|(a, b)| a == b).count();
            report.equal(&what, format!("{same} of {}", found.len()), format!("{0} of {0}", expected.len()));
            Ok(())
        });
    }
    Ok(())
}

/// Returns the prompts whose margin is clear at every step, each with the tokens that the library generates on the
/// CPU.
fn expected(context: &Context, model: &Path, most: usize, tokens: usize) -> Result<BTreeMap<String, Vec<u64>>, Stop> {
    let tokens = tokens.to_string();
    let variables = [("HONELM_PROOF_MODEL", model.as_os_str()), ("HONELM_PROOF_TOKENS", tokens.as_ref())];
    let written = context.test("honelm-engine", "instruction_sets", "greedy_tokens_of_a_model", &variables)?;
    let answers = written.as_array().cloned().unwrap_or_default().into_iter().take(most);
    let clear = answers.filter(|answer| answer["margin"].as_f64().is_some_and(|margin| margin >= MARGIN));
    clear.map(|answer| Ok((answer["prompt"].as_str().unwrap_or_default().to_owned(), ids(&answer)?))).collect()
}

/// Returns the token ids of an answer.
fn ids(answer: &Value) -> Result<Vec<u64>, Stop> {
    let ids = answer["token_ids"].as_array().and_then(|ids| ids.iter().map(Value::as_u64).collect());
    ids.ok_or_else(|| Stop::Failed(format!("no token ids in {answer}")))
}

fn natively(
    context: &Context,
    model: &Path,
    (device, isa): (&str, &str),
    prompts: &[String],
    tokens: usize,
) -> Result<Answers, Stop> {
    let model = model.to_string_lossy();
    let count = tokens.to_string();
    let write = |prompt: &String| {
        let how = ["--raw", "--temperature", "0", "--ignore-eos", "--compute", "f32", "--cache-type", "f32", "--quiet"];
        let arguments = ["run", &*model, "-p", prompt, "-n", &count, "--device", device];
        let mut command = context.command(&[&arguments[..], &how, &["--json"]].concat())?;
        let output = command.env("HONELM_ISA", isa).output().map_err(|e| format!("honelm: {e}"))?;
        ids(&parse(&output, "honelm")?)
    };
    prompts.iter().map(write).collect()
}

fn in_browser(
    context: &Context,
    model: &Path,
    device: &str,
    prompts: &[String],
    tokens: usize,
) -> Result<Answers, Stop> {
    let model: PathBuf = model.to_owned();
    let arguments = json!({"model": model, "device": device, "prompts": prompts, "tokens": tokens});
    let written = browser::run(context, "tokens", &arguments)?;
    written.as_array().cloned().unwrap_or_default().iter().map(ids).collect()
}
