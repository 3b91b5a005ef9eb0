//! Jobs that are killed and whose saved work is damaged. The result must be right or an error, never wrong.
//!
//! `quantize` and `optimize` are killed at ten moments each. Before each job resumes, one bit of one file of its
//! saved work is flipped. The result must have the bytes of an undisturbed run, or the job must end with an error
//! and publish nothing else. Finally, two `quantize` jobs write to one path at the same time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::context::Context;
use super::report::Report;
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "kills",
    claim: "quantize and optimize, killed and with a bit of their saved work flipped, give the right result or an error; \
            so do two at once",
    needs: "nothing",
    run,
};

/// The number of kills per job.
const MOMENTS: u32 = 10;
/// The number of attempts to kill a job at a moment before it is done.
const ATTEMPTS: u32 = 4;
/// The number of times that two jobs are started together.
const PAIRS: u32 = 4;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    for (claim, found) in proofs(context.binary()?, &context.pocket(), &context.scratch("kills")?)? {
        report.proved(&claim, found, "0 wrong");
    }
    Ok(())
}

/// Runs the proof with the program `binary` on `model` in the existing folder `scratch`. Returns claims with their
/// figures, or an error with the first wrong result.
fn proofs(binary: &Path, model: &Path, scratch: &Path) -> Result<Vec<(String, String)>, String> {
    let bench = Bench::new(binary, model, scratch)?;
    let mut rows = Vec::new();
    for job in [bench.quantize("q4_0", "quantize.gguf"), bench.optimize("optimize")] {
        let seen = bench.series(&job)?;
        rows.push((format!("{}: killed at {MOMENTS} moments, a saved bit flipped", job.name), seen.shown()));
    }
    rows.push((format!("two quantize jobs to one path, {PAIRS} times"), bench.pairs()?));
    Ok(rows)
}

/// A job and its results.
struct Job {
    name: &'static str,
    arguments: Vec<String>,
    /// The files that it publishes.
    results: Vec<PathBuf>,
    /// Everything that it writes: results and saved work.
    output: PathBuf,
    /// The folder of its saved work.
    work: PathBuf,
}

/// The results of the disturbed runs.
#[derive(Default)]
struct Seen {
    killed: u32,
    flipped: u32,
    right: u32,
    refused: u32,
}

impl Seen {
    fn shown(&self) -> String {
        let Self { killed, flipped, right, refused } = self;
        format!("{killed} killed, {flipped} bits flipped: {right} right, {refused} errors, 0 wrong")
    }
}

struct Bench {
    binary: PathBuf,
    model: PathBuf,
    scratch: PathBuf,
    calibration: PathBuf,
    text: PathBuf,
}

impl Bench {
    fn new(binary: &Path, model: &Path, scratch: &Path) -> Result<Self, String> {
        let (calibration, text) = (scratch.join("calibration.txt"), scratch.join("text.txt"));
        for (path, words, seed) in [(&calibration, 2000, 1), (&text, 2600, 2)] {
            fs::write(path, prose(words, seed)).map_err(|e| at(path, &e))?;
        }
        let (binary, model, scratch) = (binary.to_owned(), model.to_owned(), scratch.to_owned());
        Ok(Self { binary, model, scratch, calibration, text })
    }

    fn quantize(&self, encoding: &str, name: &str) -> Job {
        let out = self.scratch.join(name);
        let mut arguments = vec!["quantize".to_owned(), shown(&self.model)];
        arguments.extend(["--to", encoding, "--calibration", &shown(&self.calibration)].map(str::to_owned));
        arguments.extend(["--samples", "16", "--length", "64"].map(str::to_owned));
        arguments.extend(["-o".to_owned(), shown(&out)]);
        let work = self.scratch.join(format!(".{name}.work"));
        Job { name: "quantize", arguments, results: vec![out.clone()], output: out, work }
    }

    fn optimize(&self, name: &str) -> Job {
        let out = self.scratch.join(name);
        let mut arguments = vec!["optimize".to_owned(), shown(&self.model)];
        arguments.extend(["--calibration", &shown(&self.calibration), "--text", &shown(&self.text)].map(str::to_owned));
        arguments.extend(["--samples", "8", "--length", "64"].map(str::to_owned));
        arguments.extend(["--protocol", "llama.cpp-64", "--bits", "4", "--budget", "1000000"].map(str::to_owned));
        arguments.extend(["-o".to_owned(), shown(&out)]);
        let results = ["model.gguf", "report.json"].map(|name| out.join(name)).to_vec();
        let work = out.join(".work");
        Job { name: "optimize", arguments, results, output: out, work }
    }

    fn command(&self, job: &Job) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(&job.arguments).arg("--quiet").env("HONELM_DEVICE", "cpu");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs a job to its end.
    fn finish(&self, job: &Job) -> Result<(ExitStatus, String), String> {
        let output = self.command(job).output().map_err(|e| at(&self.binary, &e))?;
        Ok((output.status, String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Kills a job at several moments and resumes it with damaged work.
    fn series(&self, job: &Job) -> Result<Seen, String> {
        job.clear()?;
        let begin = Instant::now();
        let (status, said) = self.finish(job)?;
        let mut whole = begin.elapsed();
        if !status.success() {
            return Err(format!("{} without disturbance: {said}", job.name));
        }
        let expected = job.published()?;
        let mut seen = Seen::default();
        for moment in 0..MOMENTS {
            // If a run was faster than the first one, it is killed earlier.
            for _ in 0..ATTEMPTS {
                job.clear()?;
                match self.kill_after(job, whole * (2 * moment + 1) / (2 * MOMENTS))? {
                    None => {
                        seen.killed += 1;
                        break;
                    }
                    Some(took) => whole = took,
                }
            }
            let kept = files(&job.work);
            let chosen = kept.get(moment as usize * 7 % kept.len().max(1));
            if let Some(path) = chosen {
                flip_a_bit(path, moment as usize)?;
                seen.flipped += 1;
            }
            let (status, said) = self.finish(job)?;
            let disturbed = || {
                let file = chosen.map_or_else(|| "nothing".to_owned(), |path| shown(path));
                format!("{}, killed at moment {moment}, with a bit flipped in {file}", job.name)
            };
            if status.code().is_none() || said.contains("panicked") {
                return Err(format!("{}: it ended with {status}: {said}", disturbed()));
            }
            let found = job.published()?;
            let wrong = found.iter().zip(&expected).any(|(found, expected)| found.is_some() && found != expected);
            match status.success() {
                _ if wrong => return Err(format!("{}: the result is wrong", disturbed())),
                true if found != expected => {
                    return Err(format!("{}: it succeeded, but results are missing", disturbed()));
                }
                true => seen.right += 1,
                false if said.is_empty() => return Err(format!("{}: it failed without a message", disturbed())),
                false => seen.refused += 1,
            }
        }
        job.clear()?;
        Ok(seen)
    }

    /// Starts a job and kills it. If it ended before, returns the time that it took.
    fn kill_after(&self, job: &Job, time: Duration) -> Result<Option<Duration>, String> {
        let failed = |e: std::io::Error| at(&self.binary, &e);
        let begin = Instant::now();
        let mut child = self.command(job).stderr(Stdio::null()).spawn().map_err(failed)?;
        while begin.elapsed() < time {
            if child.try_wait().map_err(failed)?.is_some() {
                return Ok(Some(begin.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().map_err(failed)?;
        child.wait().map_err(failed)?;
        Ok(None)
    }

    /// Runs two jobs at once with one path.
    fn pairs(&self) -> Result<String, String> {
        let jobs = ["q4_0", "q8_0"].map(|encoding| self.quantize(encoding, "pair.gguf"));
        let mut expected = Vec::new();
        for job in &jobs {
            job.clear()?;
            let (status, said) = self.finish(job)?;
            if !status.success() {
                return Err(format!("{} without disturbance: {said}", job.name));
            }
            expected.push(job.published()?);
        }
        let (mut done, mut refused) = (0, 0);
        for pair in 0..PAIRS {
            jobs[0].clear()?;
            let [first, second] = &jobs;
            let ended = std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(u64::from(pair) * 150));
                    self.finish(second)
                });
                [self.finish(first), other.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))]
            });
            let mut succeeded = [false; 2];
            for (ended, succeeded) in ended.into_iter().zip(&mut succeeded) {
                let (status, said) = ended?;
                if status.code().is_none() || said.contains("panicked") {
                    return Err(format!("one of two jobs ended with {status}: {said}"));
                }
                *succeeded = status.success();
                if status.success() { done += 1 } else { refused += 1 }
            }
            let found = jobs[0].published()?;
            let from_a_success = expected.iter().zip(succeeded).any(|(e, succeeded)| succeeded && *e == found);
            let nothing = found.iter().all(Option::is_none) && succeeded == [false; 2];
            if !from_a_success && !nothing {
                return Err(format!("pair {pair}: the file is from neither job that succeeded ({succeeded:?})"));
            }
        }
        jobs[0].clear()?;
        Ok(format!("{done} done, {refused} errors, 0 wrong"))
    }
}

impl Job {
    /// Removes everything that it wrote.
    fn clear(&self) -> Result<(), String> {
        for path in [&self.output, &self.work] {
            let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            match removed {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(at(path, &e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the existing results. Of reports, only the parts that are the same in every run.
    fn published(&self) -> Result<Vec<Option<Vec<u8>>>, String> {
        let read = |path: &PathBuf| match fs::read(path) {
            Ok(bytes) if path.extension().is_some_and(|e| e == "json") => Ok(Some(without_times(&bytes))),
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(at(path, &e)),
        };
        self.results.iter().map(read).collect()
    }
}

/// Returns a report without measured times and memory.
fn without_times(report: &[u8]) -> Vec<u8> {
    let timed = ["_seconds\"", "_per_second\"", "peak_memory_bytes\""];
    let text = String::from_utf8_lossy(report);
    let lines = text.lines().filter(|line| !timed.iter().any(|name| line.contains(name)));
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

/// Flips one bit of a file without changing its length.
fn flip_a_bit(path: &Path, seed: usize) -> Result<(), String> {
    let mut bytes = fs::read(path).map_err(|e| at(path, &e))?;
    if let Some(byte) = (seed * 104_729 + 31).checked_rem(bytes.len()).and_then(|i| bytes.get_mut(i)) {
        *byte ^= 1 << (seed % 8);
    }
    fs::write(path, bytes).map_err(|e| at(path, &e))
}

/// Returns all files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

/// Returns random words, the same for the same `seed`.
fn prose(words: usize, seed: u64) -> String {
    const WORDS: [&str; 16] = [
        "the", "old", "man", "went", "to", "a", "house", "and", "said", "that", "he", "would", "see", "her", "again",
        "in",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        WORDS[(state % WORDS.len() as u64) as usize]
    };
    (0..words).map(|_| next()).collect::<Vec<_>>().join(" ")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
