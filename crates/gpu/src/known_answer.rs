//! The known-answer test, which checks every kernel on the user's own adapter before it is used.
//!
//! Small steps run through the back end's own operations, so that the pipelines that a model will use are tested. Each result is
//! compared with that of scalar code. Linear modules and tables work on small integers, whose products and sums are exact in any
//! order, so they must agree bit for bit. A variant that fails is replaced by the next simpler one. If the simplest fails too,
//! the test fails with the reason, so that the caller uses the CPU.
//!
//! The result, [`Trust`], can be stored under the adapter's [`AdapterReport::key`].

mod cases;
mod speed;
mod weights;

use std::collections::BTreeSet;
use std::fmt::Debug;

use honelm_backend::CacheType;
use serde::{Deserialize, Serialize};

use crate::pack::Layout;
use crate::shaders::Constant;
use crate::{Gpu, GpuBackend, GpuError};
use cases::{Outcome, Wrong};

/// The version of the kernels. Results of other versions are discarded.
const KERNELS: u32 = 4;

/// The variants of the kernels that run on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Variants {
    /// `true` to sum over threads by subgroups, which not every device has; `false` to sum in the workgroup's memory.
    pub subgroups: bool,
    /// `true` to decode the half-precision numbers of weights by integer operations, for devices whose conversion flushes
    /// subnormal numbers to 0.
    pub plain_half: bool,
}

impl Variants {
    /// Returns the constants that formats use.
    pub(crate) fn format_constants(self) -> [(&'static str, Constant); 1] {
        [("PLAIN_HALF", Constant::Bool(self.plain_half))]
    }
}

/// A variant that failed, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demotion {
    /// The variant and its replacement.
    pub what: String,
    /// The first wrong result.
    pub why: String,
}

/// The kernels that a model will use, and that must be tested.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needed {
    /// The layouts of its weights.
    pub layouts: Vec<Layout>,
    /// The number types of its cache.
    pub caches: Vec<CacheType>,
}

/// The times of the same linear modules of one row, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// The time with sums by subgroups.
    pub by_subgroups: u64,
    /// The time with sums in the workgroup's memory.
    pub by_memory: u64,
}

impl Sums {
    /// Returns the variants to use: the workgroup's memory only if it is clearly faster.
    #[must_use]
    pub fn variants(&self) -> Variants {
        Variants { subgroups: self.by_subgroups as f64 <= self.by_memory as f64 * CLEARLY, plain_half: false }
    }
}

/// The ratio of times above which one is clearly faster; below, the difference may be noise.
const CLEARLY: f64 = 1.03;

/// The result of the known-answer test of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trust {
    kernels: u32,
    /// The variants to use.
    pub variants: Variants,
    /// The times of the two kinds of sums, if the device has both.
    pub sums: Option<Sums>,
    /// The variants that gave wrong results.
    pub demoted: Vec<Demotion>,
    /// The number of correct results.
    pub answers: usize,
    /// The layouts of weights that were tested.
    pub layouts: BTreeSet<String>,
    /// The number types of caches that were tested.
    pub caches: BTreeSet<String>,
}

impl Trust {
    /// Returns the part of `needed` that is not tested yet.
    #[must_use]
    pub fn missing(&self, needed: &Needed) -> Needed {
        let layouts = needed.layouts.iter().copied().filter(|layout| !self.layouts.contains(&name(layout)));
        let caches = needed.caches.iter().copied().filter(|cache| !self.caches.contains(&name(cache)));
        Needed { layouts: layouts.collect(), caches: caches.collect() }
    }
}

/// Returns a name that distinguishes layouts, or number types.
fn name(of: &impl Debug) -> String {
    format!("{of:?}")
}

/// The variants from the fastest to the simplest, each with a description of the step that led to it.
const VARIANTS: [(Variants, &str); 3] = [
    (Variants { subgroups: true, plain_half: false }, ""),
    (Variants { subgroups: false, plain_half: false }, "sums by subgroups -> by the workgroup's memory"),
    (
        Variants { subgroups: false, plain_half: true },
        "the device's conversion of half precision -> integer operations",
    ),
];

/// Tests the kernels that are `needed`, except those in `remembered`, and selects the fastest variants that are correct.
///
/// `clock` returns seconds. `progress` receives the number of finished steps and of all steps; it starts again when a variant
/// fails, and is not called if everything is in `remembered`.
///
/// # Errors
/// [`GpuError::WrongAnswers`] if even the simplest kernels are wrong or the device fails.
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
        None if has_subgroups => time_sums(gpu, needed, clock).await,
        None => Trust::default(),
    };
    gpu.use_variants(trust.variants);
    let round = async |variants: Variants, needed: &Needed, others| {
        gpu.use_variants(variants);
        cases::build_kernels(&mut for_kernels(gpu)?, needed, others)?;
        gpu.built().await;
        match cases::run(&mut back_end(gpu)?, needed, others, progress).await {
            // A driver may fail to build or run a kernel although it reports the feature.
            Err(why) if variants.subgroups && gpu.inner.faults.forget() => {
                let what = FAILS.to_owned();
                Ok(Outcome { tested: 0, wrong: vec![Wrong { what, why }] })
            }
            outcome => outcome,
        }
    };
    let selected = select(trust, needed, round).await;
    selected.map_err(|problem| GpuError::WrongAnswers { adapter: gpu.report().name.clone(), problem })
}

/// The description of a device that fails to build or run kernels.
const FAILS: &str = "the device fails";

/// Times both kinds of sums and returns the faster to begin with. A device that fails with subgroups begins without them.
async fn time_sums(gpu: &Gpu, needed: &Needed, clock: &dyn Fn() -> f64) -> Trust {
    let layout = needed.layouts.first().copied().unwrap_or(Layout::F16);
    match speed::time_steps(gpu, layout, [VARIANTS[0].0, VARIANTS[1].0], clock).await {
        Ok(seconds) => {
            let [by_subgroups, by_memory] = seconds.map(|seconds| (seconds * 1e9).round() as u64);
            let sums = Sums { by_subgroups, by_memory };
            Trust { variants: sums.variants(), sums: Some(sums), ..Trust::default() }
        }
        Err(why) if gpu.variants().subgroups && gpu.inner.faults.forget() => {
            let demotion = Demotion { what: VARIANTS[1].1.to_owned(), why: format!("{FAILS}: {why}") };
            Trust { demoted: vec![demotion], ..Trust::default() }
        }
        // The test itself will report the failure.
        Err(_) => Trust::default(),
    }
}

fn for_kernels(gpu: &Gpu) -> Result<GpuBackend, String> {
    GpuBackend::for_kernels(gpu).map_err(|error| error.to_string())
}

fn back_end(gpu: &Gpu) -> Result<GpuBackend, String> {
    GpuBackend::new(gpu).map_err(|error| error.to_string())
}

/// Replaces variants until all results of a `round` are correct. The arguments of a round are the needed kernels, and `true`
/// to include the operations that all models use.
///
/// # Errors
/// Returns the reason if even the simplest variants fail.
async fn select(
    mut trust: Trust,
    needed: &Needed,
    mut round: impl AsyncFnMut(Variants, &Needed, bool) -> Result<Outcome, String>,
) -> Result<Trust, String> {
    loop {
        let (missing, others) = (trust.missing(needed), trust.answers == 0);
        if missing == Needed::default() && !others {
            return Ok(trust);
        }
        let outcome = round(trust.variants, &missing, others).await?;
        let Some(Wrong { what, why }) = outcome.wrong.first() else {
            trust.kernels = KERNELS;
            trust.answers += outcome.tested;
            trust.layouts.extend(missing.layouts.iter().map(name));
            trust.caches.extend(missing.caches.iter().map(name));
            return Ok(trust);
        };
        let first = format!("{what}: {why}");
        let next = VARIANTS.iter().skip_while(|(variants, _)| *variants != trust.variants).nth(1);
        let Some((variants, replacement)) = next else {
            let more = outcome.wrong.len() - 1;
            return Err(if more == 0 { first } else { format!("{first}; {more} more are wrong") });
        };
        let mut demoted = trust.demoted;
        demoted.push(Demotion { what: (*replacement).to_owned(), why: first });
        // Correct results of the other variants say nothing about these.
        trust = Trust { variants: *variants, demoted, ..Trust::default() };
    }
}

#[cfg(test)]
#[path = "known_answer/tests.rs"]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
