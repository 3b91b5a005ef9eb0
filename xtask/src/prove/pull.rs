//! The download of a large file over connections that break.

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "pull",
    claim: "1 GB from a local server that cuts the connection 20 times: right hash, no byte sent twice, little memory",
    needs: "Linux for peak memory",
    run,
};

const CUTS: f64 = 20.0;
/// The largest memory, for the program itself and one piece of the file.
const MEMORY_BOUND: f64 = 32e6;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let bytes = context.or_quick("1000000000", "20000000");
    let variables = [("HONELM_PROOF_BYTES", bytes.as_ref())];
    let found = context.test("honelm-cli", "pull", "a_large_file_survives_twenty_cuts", &variables)?;
    report.equal("the stored file is right", format!("{}", found["same"]), "true");
    report.at_least("connections cut", number(&found, "cuts")?, CUTS, Unit::Count);
    report.at_most("bytes sent twice", number(&found, "sent")? - number(&found, "bytes")?, 0.0, Unit::Count);
    match found["peak_bytes"].as_f64() {
        Some(peak) => report.at_most("peak memory", peak, MEMORY_BOUND, Unit::Megabytes),
        None => report.skipped("peak memory", "Linux"),
    }
    Ok(())
}
