//! The known-answer test: every kernel on the user's own adapter, before it is trusted.
//!
//! Small steps run through the back end's own operations, so that the very pipelines are tested that a model will use; each
//! result is compared with what scalar code computes. Linear layers and tables work on small integers, whose products
//! and sums are exact in any order, and must agree bit for bit. A variant that fails is replaced by the next plainer one; when the
//! plainest fails too, the adapter is refused with the reason, so that the caller takes the processor.
//!
//! The result is a value, [`Trust`], to be kept for the adapter and driver that [`AdapterReport::key`] names.

mod questions;
mod weights;

use std::collections::BTreeSet;

use honelm_backend::Backend;
use serde::{Deserialize, Serialize};

use crate::pack::Layout;
use crate::shaders::Constant;
use crate::{Gpu, GpuBackend, GpuError};
use questions::{Marks, Wrong};

/// Counts up when kernels change: what was found of older ones is forgotten.
const KERNELS: u32 = 1;

/// Which variants of the kernels run on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Variants {
    /// Whether half-precision numbers of weights are decoded by integer operations, for devices whose own conversion
    /// takes numbers below the normal range for 0.
    pub plain_half: bool,
}

impl Variants {
    /// What formats are told of it.
    pub(crate) fn format_constants(self) -> [(&'static str, Constant); 1] {
        [("PLAIN_HALF", Constant::Bool(self.plain_half))]
    }
}

/// A variant that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demotion {
    /// What it was, and what takes its place.
    pub what: String,
    /// The first wrong answer.
    pub why: String,
}

/// What is known of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trust {
    kernels: u32,
    /// The variants to use.
    pub variants: Variants,
    /// Variants that gave wrong answers.
    pub demoted: Vec<Demotion>,
    /// Answers that were right.
    pub answers: usize,
    /// The layouts of weights that were tested.
    pub layouts: BTreeSet<String>,
}

impl Trust {
    /// Whether nothing is left to test for weights of `layouts`.
    #[must_use]
    pub fn covers(&self, layouts: &[Layout]) -> bool {
        self.kernels == KERNELS && layouts.iter().all(|layout| self.layouts.contains(&name(*layout)))
    }
}

/// All that tells two layouts apart.
fn name(layout: Layout) -> String {
    format!("{layout:?}")
}

/// From the fastest variants to the plainest, and what is given up on the way.
const LADDER: [(Variants, &str); 2] = [
    (Variants { plain_half: false }, ""),
    (Variants { plain_half: true }, "the device's conversion of half precision -> integer operations"),
];

/// Tests the device for weights of `layouts`, unless `remembered` says that nothing is left to test, and makes it use the
/// variants that were right.
///
/// # Errors
/// [`GpuError::WrongAnswers`] when even the plainest kernels are wrong, or the device fails.
pub async fn known_answers(gpu: &Gpu, layouts: &[Layout], remembered: Option<Trust>) -> Result<Trust, GpuError> {
    let trust = remembered.filter(|trust| trust.kernels == KERNELS).unwrap_or_default();
    gpu.use_variants(trust.variants);
    if trust.covers(layouts) && trust.answers > 0 {
        return Ok(trust);
    }
    let round = async |variants| {
        gpu.use_variants(variants);
        let mut b = GpuBackend::new(gpu).map_err(|error| error.to_string())?;
        ask(&mut b, layouts).await
    };
    let settled = settle(trust, layouts, round).await;
    settled.map_err(|problem| GpuError::WrongAnswers { adapter: gpu.report().name.clone(), problem })
}

/// Gives up variants until all answers of a `round` are right.
///
/// # Errors
/// Why even the plainest are not.
async fn settle(
    mut trust: Trust,
    layouts: &[Layout],
    mut round: impl AsyncFnMut(Variants) -> Result<Marks, String>,
) -> Result<Trust, String> {
    loop {
        let marks = round(trust.variants).await?;
        let Some(Wrong { what, why }) = marks.wrong.first() else {
            trust.kernels = KERNELS;
            trust.answers = trust.answers.max(marks.asked);
            trust.layouts.extend(layouts.iter().map(|layout| name(*layout)));
            return Ok(trust);
        };
        let first = format!("{what}: {why}");
        let next = LADDER.iter().skip_while(|(variants, _)| *variants != trust.variants).nth(1);
        let Some((variants, given_up)) = next else {
            let more = marks.wrong.len() - 1;
            return Err(if more == 0 { first } else { format!("{first}; {more} more are wrong") });
        };
        trust.demoted.push(Demotion { what: (*given_up).to_owned(), why: first });
        trust.variants = *variants;
    }
}

/// Asks everything of a back end.
async fn ask(b: &mut dyn Backend, layouts: &[Layout]) -> Result<Marks, String> {
    questions::ask(b, layouts).await
}

#[cfg(test)]
#[path = "known_answer/tests.rs"]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
