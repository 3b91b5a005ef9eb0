//! Answers under JSON schemas.

use std::ffi::OsString;

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "constrained",
    claim: "answers under JSON schemas are valid, at temperature 1",
    needs: "nothing",
    run,
};

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let each = OsString::from(context.or_quick(50, 2).to_string());
    let variables = [("HONELM_PROOF_ANSWERS", each.as_os_str())];
    let found = context.test("honelm-engine", "constrained", "a_thousand_answers_are_valid", &variables)?;
    let answers = number(&found, "answers")?;
    report.at_least("valid answers under 20 schemas", number(&found, "valid")?, answers, Unit::Count);
    Ok(())
}
