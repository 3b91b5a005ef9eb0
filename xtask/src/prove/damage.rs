//! Jobs that are killed, and their kept work damaged before they go on.

use super::context::Context;
use super::report::Report;
use super::{Part, Stop, kills};

pub const PART: Part = Part {
    name: "kills",
    claim: "optimize and quantize, killed and with a bit of their kept work flipped, are right or refuse; so are two at once",
    needs: "nothing",
    run,
};

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let proved = kills::run(context.binary()?, &context.pocket(), &context.scratch("kills")?)?;
    for (claim, found) in proved {
        report.proved(&claim, found, "0 wrong");
    }
    Ok(())
}
