//! The known-answer test: every kernel on the user's own adapter, before it is trusted.
//!
//! Small steps run through the back end's own operations, so that the very pipelines are tested that a model will use; each
//! result is compared with what scalar code computes. Linear layers and tables work on small integers, whose products
//! and sums are exact in any order, and must agree bit for bit. A variant that fails is replaced by the next plainer one; when the
//! plainest fails too, the adapter is refused with the reason, so that the caller takes the processor.
//!
//! The result is a value, [`Trust`], to be kept for the adapter and driver that [`AdapterReport::key`] names.

mod questions;
mod race;
mod weights;

use std::collections::BTreeSet;
use std::fmt::Debug;

use honelm_backend::CacheType;
use serde::{Deserialize, Serialize};

use crate::pack::Layout;
use crate::shaders::Constant;
use crate::{Gpu, GpuBackend, GpuError};
use questions::{Marks, Wrong};

/// Counts up when kernels change: what was found of older ones is forgotten.
const KERNELS: u32 = 3;

/// Which variants of the kernels run on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Variants {
    /// Whether subgroups sum over threads, which not every device has, instead of memory that the workgroup shares.
    pub subgroups: bool,
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

/// What a model will ask of a device: the kernels to test.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needed {
    /// Layouts of its weights.
    pub layouts: Vec<Layout>,
    /// Number types of its cache.
    pub caches: Vec<CacheType>,
}

/// Nanoseconds that the same linear layers of one row took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Summed by subgroups.
    pub by_subgroups: u64,
    /// Summed by the workgroup's memory.
    pub by_memory: u64,
}

impl Sums {
    /// What is to be used: memory where it is clearly faster.
    #[must_use]
    pub fn variants(&self) -> Variants {
        Variants { subgroups: self.by_subgroups as f64 <= self.by_memory as f64 * CLEARLY, plain_half: false }
    }
}

/// What is slower by less than this is slower by chance.
const CLEARLY: f64 = 1.03;

/// What is known of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trust {
    kernels: u32,
    /// The variants to use.
    pub variants: Variants,
    /// Which sums are faster, where there was a choice.
    pub sums: Option<Sums>,
    /// Variants that gave wrong answers.
    pub demoted: Vec<Demotion>,
    /// Answers that were right.
    pub answers: usize,
    /// The layouts of weights that were tested.
    pub layouts: BTreeSet<String>,
    /// The number types of caches that were tested.
    pub caches: BTreeSet<String>,
}

impl Trust {
    /// The part of `needed` that is not tested yet.
    #[must_use]
    pub fn missing(&self, needed: &Needed) -> Needed {
        let layouts = needed.layouts.iter().copied().filter(|layout| !self.layouts.contains(&name(layout)));
        let caches = needed.caches.iter().copied().filter(|cache| !self.caches.contains(&name(cache)));
        Needed { layouts: layouts.collect(), caches: caches.collect() }
    }
}

/// All that tells two layouts, or number types, apart.
fn name(of: &impl Debug) -> String {
    format!("{of:?}")
}

/// From the fastest variants to the plainest, and what is given up on the way.
const LADDER: [(Variants, &str); 3] = [
    (Variants { subgroups: true, plain_half: false }, ""),
    (Variants { subgroups: false, plain_half: false }, "sums by subgroups -> by the workgroup's memory"),
    (
        Variants { subgroups: false, plain_half: true },
        "the device's conversion of half precision -> integer operations",
    ),
];

/// Tests the device for what is `needed`, but for what is `remembered`, and makes it use the variants that were right, of those the fastest
/// by `clock`, in seconds. `progress` is told how many steps of how many are done, beginning anew where a variant is given up; it hears
/// nothing where all is remembered.
///
/// # Errors
/// [`GpuError::WrongAnswers`] when even the plainest kernels are wrong, or the device fails.
pub async fn known_answers(
    gpu: &Gpu,
    needed: &Needed,
    remembered: Option<Trust>,
    clock: &dyn Fn() -> f64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Trust, GpuError> {
    let has_subgroups = gpu.report().subgroups.is_some();
    let is_current = |trust: &Trust| trust.kernels == KERNELS && (!trust.variants.subgroups || has_subgroups);
    let trust = match remembered.filter(is_current) {
        Some(trust) => trust,
        None if has_subgroups => raced(gpu, needed, clock).await,
        None => Trust::default(),
    };
    gpu.use_variants(trust.variants);
    let round = async |variants: Variants, needed: &Needed, others| {
        gpu.use_variants(variants);
        // A browser builds in the order in which it is told to: the first step would wait for the last kernel.
        if cfg!(not(target_arch = "wasm32")) {
            questions::rehearse(&mut back_end(gpu)?, needed, others)?;
        }
        match questions::ask(&mut back_end(gpu)?, needed, others, progress).await {
            // A driver may refuse to build or to run what it says it can.
            Err(why) if variants.subgroups && gpu.inner.faults.forget() => {
                let what = FAILS.to_owned();
                Ok(Marks { asked: 0, wrong: vec![Wrong { what, why }] })
            }
            marks => marks,
        }
    };
    let settled = settle(trust, needed, round).await;
    settled.map_err(|problem| GpuError::WrongAnswers { adapter: gpu.report().name.clone(), problem })
}

/// What a device does that refuses to build or to run kernels.
const FAILS: &str = "the device fails";

/// The faster sums to begin with. A device that fails with subgroups begins without them.
async fn raced(gpu: &Gpu, needed: &Needed, clock: &dyn Fn() -> f64) -> Trust {
    let layout = needed.layouts.first().copied().unwrap_or(Layout::F16);
    match race::race(gpu, layout, [LADDER[0].0, LADDER[1].0], clock).await {
        Ok(seconds) => {
            let [by_subgroups, by_memory] = seconds.map(|seconds| (seconds * 1e9).round() as u64);
            let sums = Sums { by_subgroups, by_memory };
            Trust { variants: sums.variants(), sums: Some(sums), ..Trust::default() }
        }
        Err(why) if gpu.variants().subgroups && gpu.inner.faults.forget() => {
            let demotion = Demotion { what: LADDER[1].1.to_owned(), why: format!("{FAILS}: {why}") };
            Trust { demoted: vec![demotion], ..Trust::default() }
        }
        // The questions will show what it is.
        Err(_) => Trust::default(),
    }
}

fn back_end(gpu: &Gpu) -> Result<GpuBackend, String> {
    GpuBackend::new(gpu).map_err(|error| error.to_string())
}

/// Gives up variants until all answers of a `round` are right. A round is asked for what is needed, and with `true` for the operations
/// that all models have.
///
/// # Errors
/// Why even the plainest are not.
async fn settle(
    mut trust: Trust,
    needed: &Needed,
    mut round: impl AsyncFnMut(Variants, &Needed, bool) -> Result<Marks, String>,
) -> Result<Trust, String> {
    loop {
        let (missing, others) = (trust.missing(needed), trust.answers == 0);
        if missing == Needed::default() && !others {
            return Ok(trust);
        }
        let marks = round(trust.variants, &missing, others).await?;
        let Some(Wrong { what, why }) = marks.wrong.first() else {
            trust.kernels = KERNELS;
            trust.answers += marks.asked;
            trust.layouts.extend(missing.layouts.iter().map(name));
            trust.caches.extend(missing.caches.iter().map(name));
            return Ok(trust);
        };
        let first = format!("{what}: {why}");
        let next = LADDER.iter().skip_while(|(variants, _)| *variants != trust.variants).nth(1);
        let Some((variants, given_up)) = next else {
            let more = marks.wrong.len() - 1;
            return Err(if more == 0 { first } else { format!("{first}; {more} more are wrong") });
        };
        let mut demoted = trust.demoted;
        demoted.push(Demotion { what: (*given_up).to_owned(), why: first });
        // What was right of the other variants says nothing of these.
        trust = Trust { variants: *variants, demoted, ..Trust::default() };
    }
}

#[cfg(test)]
#[path = "known_answer/tests.rs"]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
