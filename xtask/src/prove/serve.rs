//! The server: its own time, its memory over a thousand requests, and the speed of streams.

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "serve",
    claim: "the server adds at most 1 ms to a request, keeps its memory, and serves 32 streams at once",
    needs: "nothing; the speed of streams needs HONELM_TEST_DATA",
    run,
};

const PACKAGE: &str = "honelm-server";
const MODULE: &str = "proof";

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let own = context.test(PACKAGE, MODULE, "the_servers_own_time", &[])?;
    report.at_most(
        "server's own time, 99th percentile of 2,000 requests",
        number(&own, "p99_ms")?,
        1.0,
        Unit::Milliseconds,
    );
    let soak = context.test(PACKAGE, MODULE, "a_thousand_requests", &[])?;
    let growth = number(&soak, "growth_percent")?;
    report.at_most(
        "resident memory, growth from request 100 to 1,000 with every tenth broken",
        growth,
        5.0,
        Unit::Percent,
    );
    report.lines("reference and pocket under a budget for one", |report| {
        let found = context.test(PACKAGE, MODULE, "two_models_take_turns", &[])?;
        let planned = number(&found, "planned_bytes")?;
        report.at_least("loads when two models take turns", number(&found, "loads")?, 6.0, Unit::Count);
        report.equal("requests refused while the other model answers", number(&found, "refused")?.to_string(), "1");
        report.at_most(
            "peak resident memory beyond the server's own, against the plan",
            number(&found, "peak_bytes")?,
            planned,
            Unit::Megabytes,
        );
        Ok(())
    });
    report.lines("reference: streams", |report| {
        let found = context.test(PACKAGE, MODULE, "latency_of_streams", &[])?;
        for streams in [1, 8, 32] {
            for (what, name) in [("first token", "first"), ("time between tokens", "gap")] {
                for percent in [50, 99] {
                    let value = number(&found, &format!("{name}_{streams}_p{percent}_ms"))?;
                    let line = format!("reference, {streams} streams: {what}, percentile {percent}");
                    report.proved(&line, format!("{value:.1} ms"), "reported, without a bound");
                }
            }
        }
        Ok(())
    });
    Ok(())
}
