//! Ten kills of a job that goes on where it was stopped.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::context::Context;
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "resume",
    claim: "optimize and quantize, killed at ten moments each, go on and end in the same bytes",
    needs: "nothing",
    run,
};

const KILLS: u32 = 10;
/// Some 80 chunks of 64 tokens.
const CHARACTERS: usize = 20_000;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let (blocks, kills) = context.or_quick(("32", KILLS), ("4", 2));
    let text = context.root.join("crates/honelm/data/calibration.jsonl");
    let text = text.to_string_lossy();
    let calibration = ["--calibration", &*text, "--samples", blocks, "--quiet"];
    let folder = context.scratch("resume")?;
    let judged = folder.join("text.txt");
    begin_of_heldout(context, &judged)?;
    let judged = judged.to_string_lossy();
    let quantize = [&["quantize", "pocket", "--to", "q4_0"][..], &calibration].concat();
    let bits = ["optimize", "pocket", "--bits", "8", "--text", &*judged, "--protocol", "llama.cpp-64"];
    let optimize = [&bits[..], &calibration].concat();
    for (name, arguments, out, file) in
        [("quantize", quantize, "model.gguf", "model.gguf"), ("optimize", optimize, "out", "out/model.gguf")]
    {
        let job = Job { context, arguments, out, file };
        let begun = Instant::now();
        let whole = job.to_its_end(&folder.join(format!("{name}-whole")))?;
        let step = begun.elapsed() / (kills + 1);
        let (mut killed, mut same) = (0, 0);
        for moment in 1..=kills {
            let folder = folder.join(format!("{name}-{moment}"));
            killed += u32::from(job.is_killed(&folder, step * moment)?);
            same += u32::from(job.to_its_end(&folder)? == whole);
        }
        // A machine that does other things too is not always as fast as in the first run.
        let least = f64::from(kills.div_ceil(2));
        report.at_least(&format!("{name}: killed while at work"), f64::from(killed), least, Unit::Count);
        let what = format!("{name}: the same bytes in the end");
        report.equal(&what, format!("{same} of {kills}"), format!("{kills} of {kills}"));
    }
    Ok(())
}

/// Writes as much of the held-out text as a verdict needs: the rest would only take time.
fn begin_of_heldout(context: &Context, path: &Path) -> Result<(), Stop> {
    let whole = context.root.join("crates/honelm/data/heldout.txt");
    let text = fs::read_to_string(&whole).map_err(|e| format!("{}: {e}", whole.display()))?;
    let begin: String = text.chars().take(CHARACTERS).collect();
    Ok(fs::write(path, begin).map_err(|e| format!("{}: {e}", path.display()))?)
}

/// A command, and what it writes in a folder of its own.
struct Job<'a> {
    context: &'a Context,
    arguments: Vec<&'a str>,
    out: &'static str,
    file: &'static str,
}

impl Job<'_> {
    fn arguments(&self, folder: &Path) -> Result<Vec<String>, Stop> {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let out = folder.join(self.out).to_string_lossy().into_owned();
        Ok(self.arguments.iter().map(|argument| (*argument).to_owned()).chain(["-o".to_owned(), out]).collect())
    }

    /// Runs it to its end, and gives the file that it wrote.
    fn to_its_end(&self, folder: &Path) -> Result<Vec<u8>, Stop> {
        self.context.document(&self.arguments(folder)?)?;
        let file = folder.join(self.file);
        Ok(fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?)
    }

    /// Starts it and kills it after a while; false where it had ended before.
    fn is_killed(&self, folder: &Path, wait: Duration) -> Result<bool, Stop> {
        let mut command = self.context.command(&self.arguments(folder)?)?;
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|e| format!("honelm: {e}"))?;
        std::thread::sleep(wait);
        let ended = child.try_wait().map_err(|e| e.to_string())?.is_some();
        child.kill().map_err(|e| e.to_string())?;
        child.wait().map_err(|e| e.to_string())?;
        Ok(!ended)
    }
}
