//! The way from a goal to an encoding for each tensor.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use honelm_blocks::Encoding;
use honelm_compress::{Calibration, Database, Scheme, Target};
use honelm_cpu::Compute;
use honelm_eval::{Budget, Chunk, MIN_CHUNKS};
use honelm_model::export::Container;
use honelm_model::{Checkpoint, Slot, Tree};
use honelm_store::Journal;
use honelm_text::Tokenizer;

use super::allocation::{Allocation, FrontierPoint, corrected};
use super::evaluate::Evaluator;
use super::evolution::evolve;
use super::knapsack::Knapsack;
use super::search::{Judge, search};
use super::units::{Choice, Unit, bytes_of, choice, needed, units};
use super::{AllocationOptions, Goal, Strategy};
use crate::dry_run::gguf_size;
use crate::optimize::plan::Plan;
use crate::optimize::{Candidate, NamedRecipe, OptimizeOptions};
use crate::types::{gguf_tensor, matrices};
use crate::units::bytes as shown;
use crate::{Error, Event, Events, RunOptions};

/// The most calibration samples that the matrices of the database are made with.
const SAMPLES: usize = 32;
/// The bits below and above the target among which encodings are chosen.
const BELOW: f64 = 1.7;
const ABOVE: f64 = 2.2;
/// The bits among which encodings are chosen where the budget decides.
const ANY: RangeInclusive<f64> = 3.0..=9.0;
/// All encodings.
const ALL: RangeInclusive<f64> = 0.0..=32.0;
/// The encoding in which tensors are measured alone is the smallest with at least the target's bits less these: its
/// error is large enough to be measured, and of the size of the errors that are chosen among.
const PROBE_BELOW: f64 = 1.2;
/// The share of the budget that the predicted loss of the first candidate takes, and of the others: the gate asks for the
/// upper bound of the loss.
const SHARES: [f64; 3] = [0.8, 0.5, 0.3];
/// The number of points of the frontier.
const POINTS: usize = 40;

/// The parts that an allocation works with.
pub(in crate::optimize) struct Allocator<'a> {
    options: &'a AllocationOptions,
    recipe: &'a NamedRecipe,
    budget: Budget,
    checkpoint: &'a Checkpoint,
    tokenizer: &'a Tokenizer,
    calibration: &'a Calibration,
    /// The search's half of the held-out text.
    chunks: &'a [Chunk],
    work: &'a Path,
    key: &'a str,
    run: &'a RunOptions,
}

/// Returns the names of the candidates of a goal.
pub(in crate::optimize) fn candidate_names(goal: Goal) -> Vec<String> {
    match goal {
        Goal::Bytes(bytes) => vec![format!("mix of {}", shown(bytes))],
        Goal::BitsPerWeight(bits) => vec![format!("mix of {bits} bits")],
        Goal::Budget => (1..=SHARES.len()).map(|i| format!("mix {i}")).collect(),
    }
}

/// Returns the candidate of an allocation.
///
/// # Errors
/// [`Error::Usage`] for a rule that no matrix matches.
pub(in crate::optimize) fn candidate(
    allocation: &Allocation,
    tree: &Tree,
    options: &OptimizeOptions,
) -> Result<Candidate, Error> {
    let types = allocation.tensor_types();
    let recipe = &options.recipes[0];
    let encoding = |slot| Some((slot, Encoding::from_name(types.get(&gguf_tensor(tree, slot))?)?));
    let choice: Choice = matrices(tree).filter_map(encoding).collect();
    // The rules' own encodings, of which rows of other widths get fallbacks.
    let scheme = options.allocation.types.applied(scheme(choice, &recipe.recipe), tree)?;
    let (name, container) = (allocation.name.clone(), Container::gguf());
    Ok(Candidate { name, container, bits: None, recipe: recipe.name.clone(), scheme })
}

/// Adds up the sizes of single tensors in files.
struct Sizes {
    /// The bytes of a file beside the tensors.
    rest: u64,
    parameters: u64,
}

impl<'a> Allocator<'a> {
    /// Prepares an allocation whose work is kept in the folder `work`.
    pub(in crate::optimize) fn new(
        options: &'a OptimizeOptions,
        checkpoint: &'a Checkpoint,
        plan: &'a Plan,
        work: &'a Path,
    ) -> Self {
        Self {
            options: &options.allocation,
            recipe: &options.recipes[0],
            budget: options.budget,
            checkpoint,
            tokenizer: &plan.tokenizer,
            calibration: &plan.calibrations[0].calibration,
            chunks: &plan.search,
            work,
            key: &plan.card.key,
            run: &options.run,
        }
    }

    /// Chooses the encodings. Saved work is not done again.
    ///
    /// # Errors
    /// [`Error::Usage`] for a goal that cannot be met, with the nearest that can; errors of the model and the texts.
    pub(in crate::optimize) fn allocate(&self, goal: Goal, events: Events<'_>) -> Result<Vec<Allocation>, Error> {
        // The gate has the other half, or one chunk more.
        if self.chunks.len() + 1 < MIN_CHUNKS {
            let found = 2 * self.chunks.len();
            return Err(Error::Usage(format!(
                "--text: found about {found} chunks, expected {}: a choice of encodings sees one half of them, the gate the other",
                2 * MIN_CHUNKS
            )));
        }
        let tree = self.checkpoint.tree();
        let fixed = self.options.types.overrides(tree)?;
        let all = units(tree, &fixed, self.options.tie_fused, &ALL);
        let sizes = self.sizes(&all)?;
        let target = match goal {
            Goal::Bytes(bytes) => Some(bytes),
            Goal::BitsPerWeight(bits) => Some((bits * sizes.parameters as f64 / 8.0) as u64),
            Goal::Budget => None,
        };
        let bits = self.bits(target, &all, &fixed, &sizes)?;
        let mut units = units(tree, &fixed, self.options.tie_fused, &bits);
        let journal = Journal::new(self.work, self.key);
        let database = self.database(&units, &journal, &mut *events)?;
        let alone = self.sensitivities(&mut units, &database, &journal, &bits, &mut *events)?;
        let stage = "choosing encodings: searching";
        tell(&mut *events, stage, "", 0, self.options.evaluations)?;
        let evaluator = self.evaluator(&database, &journal, self.options.search_windows)?;
        let perplexity = evaluator.perplexity;
        let most = self.options.evaluations;
        let total = if self.options.strategy == Strategy::Evolution { most + alone } else { most };
        let mut judge = Measured { evaluator, units: &units, events, stage, most: total };
        let ones = vec![1.0; units.len()];
        let knapsack = Knapsack::new(&units, &ones, u64::MAX);
        let names = candidate_names(goal);
        let mut allocated: Vec<Allocation> = Vec::new();
        let mut factors = ones.clone();
        for (i, name) in names.into_iter().enumerate() {
            let room = match target {
                Some(target) => target.saturating_sub(sizes.rest),
                None => {
                    let kl = SHARES[i] * (1.0 + self.budget.difference(perplexity).max(0.0) / perplexity).ln();
                    self.smallest_within(kl, &units, &factors, (i == 0).then_some(&mut judge))?
                }
            };
            let found = match (i, self.options.strategy) {
                (0, Strategy::Sensitivities) => search(&units, room, most, self.options.patience, &mut judge)?,
                (0, Strategy::Evolution) => evolve(&units, room, most + alone, &mut judge)?,
                _ => None,
            };
            let evaluations = [alone, judge.evaluator.measured];
            let (levels, measured, first) = match found {
                Some(found) => {
                    factors = found.factors;
                    (found.levels, Some(found.kl), Some(found.first))
                }
                None => {
                    let levels = Knapsack::new(&units, &factors, room).levels(room);
                    (levels.unwrap_or_else(|| vec![0; units.len()]), None, None)
                }
            };
            let facts = (sizes.rest, sizes.parameters);
            let mut allocation = Allocation::new(name.clone(), tree, &units, &levels, &factors, facts);
            let point = |(bytes, kl): (u64, f64)| FrontierPoint { size_bytes: sizes.rest + bytes, kl };
            let scale = measured.zip(first).map_or(1.0, |_| mean(&factors));
            allocation.frontier =
                knapsack.frontier(POINTS).into_iter().map(|(bytes, kl)| point((bytes, kl * scale))).collect();
            allocation.target_bytes = target;
            (allocation.measured_kl, allocation.first_kl) = (measured, first);
            allocation.evaluations = evaluations;
            if allocated.last().is_none_or(|last| last.tensor_types() != allocation.tensor_types()) {
                allocated.push(allocation);
            }
        }
        Ok(allocated)
    }

    /// Returns the smallest size of tensors whose predicted loss is within `kl`. With a judge, the prediction is scaled to
    /// one measurement.
    fn smallest_within(
        &self,
        kl: f64,
        units: &[Unit],
        factors: &[f64],
        judge: Option<&mut Measured<'_, '_, '_>>,
    ) -> Result<u64, Error> {
        let smallest = |factors: &[f64]| {
            let knapsack = Knapsack::new(units, factors, u64::MAX);
            let bytes = knapsack.smallest(kl).unwrap_or_else(|| units.iter().map(largest).sum());
            (bytes, knapsack.levels(bytes))
        };
        let (bytes, levels) = smallest(factors);
        let (Some(judge), Some(levels)) = (judge, levels) else { return Ok(bytes) };
        let measured = judge.kl(&levels)?;
        let alone = super::units::predicted(&corrected(units, factors), &levels);
        let scale = if alone > 0.0 { measured / alone } else { 1.0 };
        Ok(smallest(&factors.iter().map(|factor| factor * scale).collect::<Vec<_>>()).0)
    }

    /// Returns the exact sizes of everything beside the tensors that are chosen for.
    fn sizes(&self, units: &[Unit]) -> Result<Sizes, Error> {
        let levels = vec![0; units.len()];
        let scheme = scheme(choice(units, &levels), &self.recipe.recipe);
        let whole = gguf_size(self.checkpoint, self.tokenizer, &scheme)?;
        Ok(Sizes { rest: whole - bytes_of(units, &levels), parameters: self.checkpoint.facts().parameters })
    }

    /// Returns the bits of the encodings to choose among: wide enough around the target for it to be met.
    fn bits(
        &self,
        target: Option<u64>,
        all: &[Unit],
        fixed: &Choice,
        sizes: &Sizes,
    ) -> Result<RangeInclusive<f64>, Error> {
        let Some(target) = target else { return Ok(ANY) };
        let least = sizes.rest + all.iter().map(smallest).sum::<u64>();
        if target < least {
            let bits = least as f64 * 8.0 / sizes.parameters as f64;
            return Err(Error::Usage(format!(
                "the size of {target} bytes cannot be met: the smallest file of this model has {least} bytes \
                 ({bits:.3} bits per weight)"
            )));
        }
        let bits = target as f64 * 8.0 / sizes.parameters as f64;
        let mut range = bits - BELOW..=bits + ABOVE;
        let met = |range: &RangeInclusive<f64>| {
            let units = units(self.checkpoint.tree(), fixed, self.options.tie_fused, range);
            sizes.rest + units.iter().map(smallest).sum::<u64>() <= target - (target - least) / 20
        };
        while *range.start() > 0.0 && !met(&range) {
            range = range.start() - 0.5..=*range.end();
        }
        Ok(if met(&range) { range } else { 0.0..=*range.end() })
    }

    fn database<'d>(&'d self, units: &[Unit], journal: &Journal, events: Events<'_>) -> Result<Database<'d>, Error> {
        let step = self.calibration.samples.len().div_ceil(SAMPLES).max(1);
        let samples = self.calibration.samples.iter().step_by(step).cloned().collect();
        let calibration = Calibration { samples };
        let exact = RunOptions { compute: Compute::F32, ..self.run.clone() };
        let mut backend = exact.cpu();
        let stage = "choosing encodings: rounding";
        let mut report = |p: &honelm_compress::Progress| match &p.warning {
            Some(warning) => events(&Event::Warning(warning)),
            None => events(&Event::Stage { name: stage, detail: &p.stage, done: p.done, total: p.total }),
        };
        let recipe = &self.recipe.recipe;
        let (encodings, threads) = (needed(units), self.run.worker_threads());
        let journal = journal.clone();
        let calibration = Some(&calibration);
        let made = Database::make(
            self.checkpoint,
            recipe,
            &encodings,
            calibration,
            journal,
            &mut backend,
            threads,
            &mut report,
        );
        Ok(made?)
    }

    fn evaluator<'e>(
        &'e self,
        database: &'e Database<'e>,
        journal: &'e Journal,
        windows: usize,
    ) -> Result<Evaluator<'e>, Error> {
        Evaluator::new(self.checkpoint, database, journal, self.chunks, windows, self.run)
    }

    /// Sets the predicted losses of all units, and returns the number of measurements.
    ///
    /// The loss grows linearly with the squared error of each tensor (Malinovskii et al. 2024, theorem 1): one measurement
    /// gives the tensor's coefficient, and its errors in other encodings the rest. Embedding and output layer are
    /// measured in every encoding.
    fn sensitivities(
        &self,
        units: &mut [Unit],
        database: &Database<'_>,
        journal: &Journal,
        bits: &RangeInclusive<f64>,
        events: Events<'_>,
    ) -> Result<usize, Error> {
        let mut evaluator = self.evaluator(database, journal, self.options.windows)?;
        let total = units.iter().map(|unit| unit.slots.len()).sum();
        let mut done = 0;
        for unit in units {
            let layered = unit.slots.iter().all(|slot| slot.layer.is_some());
            let mut losses = vec![0.0; unit.levels.len()];
            for &slot in &unit.slots {
                tell(&mut *events, "choosing encodings: measuring tensors", &format!("{slot:?}"), done, total)?;
                done += 1;
                let mut alone = |encoding| evaluator.kl(&Choice::from([(slot, encoding)]));
                if unit.levels.len() == 1 {
                    losses[0] += alone(unit.levels[0].encoding)?;
                    continue;
                }
                if !layered {
                    for (loss, level) in losses.iter_mut().zip(&unit.levels) {
                        *loss += alone(level.encoding)?;
                    }
                    continue;
                }
                let probe = self.probe(unit, bits);
                let error = |encoding| database.error(slot, encoding).unwrap_or(0.0);
                let kl = alone(probe)?;
                let coefficient = if error(probe) > 0.0 { kl / error(probe) } else { 0.0 };
                for (loss, level) in losses.iter_mut().zip(&unit.levels) {
                    *loss += coefficient * error(level.encoding);
                }
            }
            unit.levels.iter_mut().zip(losses).for_each(|(level, loss)| level.kl = loss);
        }
        Ok(evaluator.measured)
    }

    /// Returns the encoding in which the tensors of a unit are measured.
    fn probe(&self, unit: &Unit, bits: &RangeInclusive<f64>) -> Encoding {
        let least = bits.start() + BELOW - PROBE_BELOW;
        let encodings = || unit.levels.iter().map(|level| level.encoding);
        let found = encodings().find(|e| e.bits_per_weight() >= least);
        found.or(encodings().next()).unwrap_or(Encoding::Q4K)
    }
}

fn smallest(unit: &Unit) -> u64 {
    unit.levels.iter().map(|level| level.bytes).min().unwrap_or(0)
}

fn largest(unit: &Unit) -> u64 {
    unit.levels.iter().map(|level| level.bytes).max().unwrap_or(0)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Returns the scheme that makes a choice by a recipe.
fn scheme(choice: Choice, recipe: &honelm_compress::Recipe) -> Scheme {
    let overrides: BTreeMap<Slot, Target> = choice.into_iter().map(|(slot, e)| (slot, Target::Block(e))).collect();
    Scheme { overrides, ..Scheme::pure(Encoding::Q4K, recipe.clone()) }
}

fn tell(events: Events<'_>, name: &str, detail: &str, done: usize, total: usize) -> Result<(), Error> {
    if events(&Event::Stage { name, detail, done, total }) { Ok(()) } else { Err(Error::Interrupted) }
}

/// Measures mixes by an evaluator, and reports each.
struct Measured<'e, 'u, 'v> {
    evaluator: Evaluator<'e>,
    units: &'u [Unit],
    events: &'v mut dyn FnMut(&Event<'_>) -> bool,
    stage: &'static str,
    most: usize,
}

impl Judge for Measured<'_, '_, '_> {
    fn kl(&mut self, levels: &[usize]) -> Result<f64, Error> {
        tell(&mut *self.events, self.stage, "", self.evaluator.measured.min(self.most), self.most)?;
        self.evaluator.kl(&choice(self.units, levels))
    }

    fn accept(&mut self, levels: &[usize]) -> Result<(), Error> {
        self.evaluator.refer(choice(self.units, levels))
    }
}
