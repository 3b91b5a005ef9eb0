//! Five minutes of fuzzing per parser.

use super::context::{Context, is_installed};
use super::report::Report;
use super::{Part, Stop};
use crate::fuzz;

pub const PART: Part =
    Part { name: "fuzz", claim: "five minutes of fuzzing per parser find nothing", needs: "a C++ compiler", run };

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    if !is_installed("c++") {
        return Err(Stop::Needs("a C++ compiler".to_owned()));
    }
    fuzz::each(&[], context.or_quick(300, 5), 2, 0, &mut |outcome| {
        let what = format!("{}: {} executions", outcome.target, outcome.executions);
        let found = if outcome.passed { "nothing found" } else { "a finding" };
        report.equal(&what, found, "nothing found");
    })?;
    Ok(())
}
