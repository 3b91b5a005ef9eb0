//! Random schedules of many answers.

use std::ffi::OsString;

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "schedules",
    claim: "under random schedules with drafts, cancels, deadlines and shortage of memory, each answer has the bits that it has alone",
    needs: "nothing",
    run,
};

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let wanted = context.or_quick(1000, 20);
    let count = OsString::from(wanted.to_string());
    let variables = [("HONELM_PROOF_SCHEDULES", count.as_os_str())];
    let found = context.test("honelm-engine", "schedule", "many_random_schedules", &variables)?;
    report.at_least("schedules without a difference", number(&found, "schedules")?, wanted as f64, Unit::Count);
    report.at_least(
        "answers set back for lack of memory",
        number(&found, "preempted")?,
        wanted as f64 / 2.0,
        Unit::Count,
    );
    report.at_least("prefixes closed for lack of memory", number(&found, "evicted")?, wanted as f64 / 2.0, Unit::Count);
    report.at_least("draft tokens accepted", number(&found, "accepted")?, wanted as f64 * 3.0, Unit::Count);
    report.lines("reference: eight answers against one", |report| {
        let found = context.test("honelm-engine", "schedule", "eight_answers_against_one", &[])?;
        let (one, eight) = (number(&found, "one")?, number(&found, "eight")?);
        report.at_least(
            "reference: percent of one answer's speed that eight have together",
            100.0 * eight / one,
            300.0,
            Unit::Percent,
        );
        Ok(())
    });
    Ok(())
}
