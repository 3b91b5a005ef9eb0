//! Jobs that are killed ten times and resumed.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::context::Context;
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "resume",
    claim: "optimize and quantize, killed at ten moments each, resume and end with the same bytes",
    needs: "nothing",
    run,
};

const KILLS: u32 = 10;
/// The length of the text: about 80 chunks of 64 tokens.
const CHARACTERS: usize = 20_000;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let (samples, kills) = context.or_quick(("32", KILLS), ("4", 2));
    let text = context.root.join("crates/honelm/data/calibration.jsonl");
    let text = text.to_string_lossy();
    let calibration = ["--calibration", &*text, "--samples", samples, "--quiet"];
    let folder = context.scratch("resume")?;
    let excerpt = folder.join("text.txt");
    write_excerpt(context, &excerpt)?;
    let excerpt = excerpt.to_string_lossy();
    let quantize = [&["quantize", "pocket", "--to", "q4_0"][..], &calibration].concat();
    let bits = ["optimize", "pocket", "--bits", "8", "--text", &*excerpt, "--protocol", "llama.cpp-64"];
    let optimize = [&bits[..], &calibration].concat();
    for (name, arguments, out, file) in
        [("quantize", quantize, "model.gguf", "model.gguf"), ("optimize", optimize, "out", "out/model.gguf")]
    {
        let job = Job { context, arguments, out, file };
        let begin = Instant::now();
        let whole = job.finish(&folder.join(format!("{name}-whole")))?;
        let step = begin.elapsed() / (kills + 1);
        let (mut killed, mut same) = (0, 0);
        for moment in 1..=kills {
            let folder = folder.join(format!("{name}-{moment}"));
            killed += u32::from(job.kill_after(&folder, step * moment)?);
            same += u32::from(job.finish(&folder)? == whole);
        }
        // A machine that is also busy with other work may be slower or faster than in the first run.
        let least = f64::from(kills.div_ceil(2));
        report.at_least(&format!("{name}: killed before the end"), f64::from(killed), least, Unit::Count);
        let what = format!("{name}: same bytes at the end");
        report.equal(&what, format!("{same} of {kills}"), format!("{kills} of {kills}"));
    }
    Ok(())
}

/// Writes the beginning of the held-out text, as much as a verdict needs. The rest would only take time.
fn write_excerpt(context: &Context, path: &Path) -> Result<(), Stop> {
    let whole = context.root.join("crates/honelm/data/heldout.txt");
    let text = fs::read_to_string(&whole).map_err(|e| format!("{}: {e}", whole.display()))?;
    let excerpt: String = text.chars().take(CHARACTERS).collect();
    Ok(fs::write(path, excerpt).map_err(|e| format!("{}: {e}", path.display()))?)
}

/// A command, and the file that it writes in its own folder.
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

    /// Runs the command to its end and returns the file that it wrote.
    fn finish(&self, folder: &Path) -> Result<Vec<u8>, Stop> {
        self.context.document(&self.arguments(folder)?)?;
        let file = folder.join(self.file);
        Ok(fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?)
    }

    /// Starts the command and kills it after a while. Returns `false` if it had ended before.
    fn kill_after(&self, folder: &Path, wait: Duration) -> Result<bool, Stop> {
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
