//! The divergence that tuning takes away from what the best recipe leaves.

use super::compression::{Subject, kl, quantise};
use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop};

pub const PART: Part = Part {
    name: "tune",
    claim: "training scales, minimums and norm gains brings a quantised model closer to the original",
    needs: "HONELM_TEST_DATA (models/reference, data/text), an hour",
    run,
};

/// The options of a format, and the largest divergence after tuning: an absolute one, or a share of that before.
const FORMATS: [(&str, &[&str], Limit); 3] = [
    ("4 bits, groups of 128", &["--to", "gptq", "--group-size", "128"], Limit::Nats(0.0168)),
    ("Q3_K", &["--to", "q3_k", "--pure"], Limit::Share(1.0)),
    ("Q2_K", &["--to", "q2_k", "--pure"], Limit::Share(0.8)),
];

enum Limit {
    Nats(f64),
    Share(f64),
}

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let subject = Subject::new(context, "tune")?;
    for (name, format, limit) in context.or_quick(&FORMATS[..], &FORMATS[..1]) {
        report.lines(name, |report| {
            let out = subject.folder.join("model");
            quantise(context, &subject, &out, &[*format, &["--recipe", "best"][..]].concat())?;
            let before = kl(context, &subject, &out, "f32")?;
            let made = quantise(context, &subject, &out, &[*format, &["--recipe", "best", "--tune"][..]].concat())?;
            let after = kl(context, &subject, &out, "f32")?;
            let limit = match limit {
                Limit::Nats(limit) => *limit,
                Limit::Share(share) => share * before,
            };
            report.at_most(&format!("{name}: KL divergence, {before:.5} before tuning"), after, limit, Unit::Nats);
            let (held_before, held_after) = (number(&made["tuning"], "before")?, number(&made["tuning"], "after")?);
            report.at_most(&format!("{name}: KL divergence on held-out samples"), held_after, held_before, Unit::Nats);
            Ok(())
        });
    }
    Ok(())
}
