//! `cargo xtask prove`: proofs that take too long for every test run. Each prints its figures beside their bounds.

mod allocation;
mod browser;
mod compression;
mod constrained;
mod context;
mod divergence;
mod fuzz;
mod gateway;
mod growth;
mod kills;
mod large;
mod memory;
mod perplexity;
mod pull;
mod report;
mod resume;
mod routing;
mod schedules;
mod serve;
mod smollm2;
mod speculation;
mod stored;
mod tokens;
mod tune;

use std::path::PathBuf;

use context::Context;
use report::{Report, Table, Verdict};

/// A proof.
struct Part {
    name: &'static str,
    /// The claim, in one line.
    claim: &'static str,
    /// The requirements. The part is skipped on a machine that does not meet them.
    needs: &'static str,
    run: fn(&Context, &mut Report<'_>) -> Result<(), Stop>,
}

/// All parts, in the order in which they run.
const PARTS: &[Part] = &[
    tokens::PART,
    divergence::PART,
    allocation::PART,
    compression::PART,
    tune::PART,
    schedules::PART,
    serve::PART,
    gateway::PART,
    constrained::PART,
    speculation::PART,
    resume::PART,
    kills::PART,
    pull::PART,
    large::PART,
    growth::PART,
    stored::PART,
    memory::PART,
    perplexity::PART,
    smollm2::PART,
    routing::PART,
    fuzz::PART,
];

/// The reason that a part, or one of its lines, has no figure.
#[derive(Debug)]
enum Stop {
    /// The machine does not meet a requirement.
    Needs(String),
    /// An error occurred.
    Failed(String),
}

impl From<String> for Stop {
    fn from(problem: String) -> Self {
        Self::Failed(problem)
    }
}

/// The settings of a run.
#[derive(Debug, Default)]
pub struct Settings {
    /// `true` to print JSON lines instead of a table.
    pub json: bool,
    /// `true` for reduced settings, which show that a part works but prove nothing.
    pub quick: bool,
    /// The `honelm` program to test; a release build by default.
    pub binary: Option<PathBuf>,
}

/// Prints the list of parts.
pub fn list() {
    for part in PARTS {
        println!("{:<10} {}\n{:<10} needs: {}", part.name, part.claim, "", part.needs);
    }
}

/// Runs the parts with these names, or all parts. Returns an error if one fails.
pub fn run(names: &[String], settings: Settings) -> Result<(), String> {
    let parts = chosen(names)?;
    let mut table = Table::new(settings.json);
    let context = Context::new(settings)?;
    for part in parts {
        prove(part, &context, &mut table);
    }
    let summary = table.summary(context.quick);
    eprintln!("{summary}");
    if table.count(Verdict::Failed) == 0 { Ok(()) } else { Err("some proofs failed".to_owned()) }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Part>, String> {
    if names.is_empty() {
        return Ok(PARTS.iter().collect());
    }
    let find = |name: &String| PARTS.iter().find(|part| part.name == name).ok_or_else(|| unknown(name));
    names.iter().map(find).collect()
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
    format!("found no part called `{name}`, expected one of {}", known.join(", "))
}

/// Runs one part. A part that ends without a line fails.
fn prove(part: &Part, context: &Context, table: &mut Table) {
    let mut report = Report::new(part.name, table);
    let done = (part.run)(context, &mut report);
    match done {
        Err(Stop::Needs(what)) => report.skipped("", &what),
        Err(Stop::Failed(problem)) => report.failed("", &problem),
        Ok(()) if report.is_empty() => report.failed("", "it printed no figure"),
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(run: fn(&Context, &mut Report<'_>) -> Result<(), Stop>) -> [usize; 3] {
        let context = Context::new(Settings::default()).expect("a workspace");
        let mut table = Table::silent();
        prove(&Part { name: "part", claim: "", needs: "", run }, &context, &mut table);
        [Verdict::Passed, Verdict::Failed, Verdict::Skipped].map(|verdict| table.count(verdict))
    }

    #[test]
    fn a_skipped_part_is_not_passed() {
        assert_eq!(outcome(|_, _| Err(Stop::Needs("a GPU".to_owned()))), [0, 0, 1]);
    }

    #[test]
    fn a_part_fails_by_an_error_a_broken_bound_or_silence() {
        assert_eq!(outcome(|_, _| Err(Stop::Failed("it broke".to_owned()))), [0, 1, 0]);
        assert_eq!(outcome(|_, _| Ok(())), [0, 1, 0]);
        let broken = |_: &Context, report: &mut Report<'_>| {
            report.at_most("a", 1.0, 1.0, report::Unit::Count);
            report.at_most("b", 1.5, 1.0, report::Unit::Count);
            report.at_most("c", f64::NAN, 1.0, report::Unit::Count);
            Ok(())
        };
        assert_eq!(outcome(broken), [1, 2, 0]);
    }

    #[test]
    fn parts_have_different_names_and_unknown_ones_are_refused() {
        for (i, part) in PARTS.iter().enumerate() {
            assert!(PARTS[i + 1..].iter().all(|other| other.name != part.name), "{}", part.name);
            assert_eq!(chosen(&[part.name.to_owned()]).map(|found| found.len()), Ok(1));
        }
        let error = chosen(&["token".to_owned()]).map(|_| ()).expect_err("unknown");
        assert!(error.contains("`token`") && error.contains("tokens, divergence"), "{error}");
    }
}
