//! The gateway between the device and the cloud: faults, and the time that it adds.

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "gateway",
    claim: "every request survives a fault of its upstream, and the gateway adds at most 1 ms",
    needs: "nothing",
    run,
};

const PACKAGE: &str = "honelm-server";
const MODULE: &str = "gateway";

/// The most that the gateway adds without the search for private data, in milliseconds, at the 99th percentile.
const ADDED: f64 = 1.0;
/// The most milliseconds of a request that meets a fault: time limits of a second, and the answer.
const LONGEST: f64 = 10_000.0;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let faults = context.test(PACKAGE, MODULE, "a_thousand_faults", &[])?;
    report.equal("requests with a fault", number(&faults, "faults")?.to_string(), "1000");
    report.equal("complete answers", number(&faults, "complete")?.to_string(), "1000");
    report.at_most("longest request", number(&faults, "longest_seconds")? * 1e3, LONGEST, Unit::Milliseconds);
    let added = context.test(PACKAGE, MODULE, "what_the_gateway_adds", &[])?;
    for streams in [1, 32] {
        for what in ["request", "token"] {
            let value = |class: &str| number(&added, &format!("{class}_{streams}_{what}_ms"));
            let line = |class: &str| format!("added to a {what} at {streams} streams, percentile 99, {class}");
            report.at_most(&line("open"), value("open")?, ADDED, Unit::Milliseconds);
            report.proved(&line("masked"), format!("{:.2} ms", value("masked")?), "reported, without a bound");
        }
    }
    Ok(())
}
