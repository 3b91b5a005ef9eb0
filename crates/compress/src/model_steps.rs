//! Steps of a recipe that work on a whole model: a recipe with such steps is a pipeline, which `honelm::optimize` runs.

use honelm_eval::Budget;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::recipe::{Recipe, Step};
use crate::tune::TUNE;
use crate::{CompressError, Prune, methods};

/// The kind of the step that removes heads, neurons and layers.
pub const PRUNE: &str = "prune";
/// The kind of the step that trains a pruned model against the original's outputs.
pub const HEAL: &str = "heal";
/// The kind of the step that measures drafts of several tokens.
pub const DRAFT: &str = "draft";

/// The order of the steps of a pipeline.
const ORDER: &str = "expected the order prune, heal, quantisation methods, tune, draft";

/// The settings of structured pruning. Shares are those of a layer's units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PruneStep {
    /// The share of the query heads to remove, with their keys and values.
    pub heads: f64,
    /// The share of the neurons of the feed-forward networks to remove.
    pub ffn: f64,
    /// The number of layers to remove.
    pub layers: usize,
    /// `true` to fit the remaining weights to the outputs of the original by least squares.
    pub restore: bool,
}

impl Default for PruneStep {
    fn default() -> Self {
        let Prune { heads, ffn, layers, restore, .. } = Prune::default();
        Self { heads, ffn, layers, restore }
    }
}

/// The settings of healing: training of all weights of the pruned model against the original's outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealStep {
    /// The largest number of steps.
    pub steps: u32,
    /// The number of samples per step.
    pub samples: usize,
    /// The learning rate.
    pub rate: f32,
}

impl Default for HealStep {
    fn default() -> Self {
        Self { steps: 200, samples: 4, rate: 3e-4 }
    }
}

/// The settings of the measurement of drafts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DraftStep {
    /// The number of tokens of each answer.
    pub tokens: usize,
    /// The number of pairs of answers per class of prompts.
    pub rounds: usize,
}

impl Default for DraftStep {
    fn default() -> Self {
        Self { tokens: 64, rounds: 8 }
    }
}

/// The settings of a step that works on a whole model.
trait Settings: Default + Serialize + DeserializeOwned {
    /// Checks the settings. The error names the one that is out of range.
    fn check(&self) -> Result<(), String>;
}

impl Settings for PruneStep {
    fn check(&self) -> Result<(), String> {
        for (name, share) in [("heads", self.heads), ("ffn", self.ffn)] {
            if !(0.0..1.0).contains(&share) {
                return Err(format!("{name} {share}: expected a share of at least 0 and below 1"));
            }
        }
        let nothing = self.heads <= 0.0 && self.ffn <= 0.0 && self.layers == 0;
        if nothing { Err("heads, ffn and layers are 0: expected something to remove".to_owned()) } else { Ok(()) }
    }
}

impl Settings for HealStep {
    fn check(&self) -> Result<(), String> {
        counts([("steps", self.steps as usize), ("samples", self.samples)])?;
        let holds = self.rate > 0.0 && self.rate <= 0.1;
        if holds { Ok(()) } else { Err(format!("rate {}: expected more than 0, at most 0.1", self.rate)) }
    }
}

impl Settings for DraftStep {
    fn check(&self) -> Result<(), String> {
        counts([("tokens", self.tokens.saturating_sub(1)), ("rounds", self.rounds)])
            .map_err(|_| format!("tokens {}, rounds {}: expected at least 2 and 1", self.tokens, self.rounds))
    }
}

fn counts<const N: usize>(counts: [(&str, usize); N]) -> Result<(), String> {
    match counts.into_iter().find(|(_, value)| !(1..=1_000_000).contains(value)) {
        Some((name, value)) => Err(format!("{name} {value}: expected 1 to 1000000")),
        None => Ok(()),
    }
}

/// Reads and checks settings.
fn read<T: Settings>(settings: &Map<String, Value>) -> Result<T, String> {
    let read: T = serde_json::from_value(Value::Object(settings.clone())).map_err(|e| e.to_string())?;
    read.check()?;
    Ok(read)
}

/// Returns the default settings of a step that works on a whole model; `None` for any other kind.
pub(crate) fn defaults(kind: &str) -> Option<Map<String, Value>> {
    match kind {
        PRUNE => Some(methods::defaults::<PruneStep>()),
        HEAL => Some(methods::defaults::<HealStep>()),
        DRAFT => Some(methods::defaults::<DraftStep>()),
        _ => None,
    }
}

/// Returns `true` for the kind of a step that works on a whole model and is not part of a quantisation.
pub(crate) fn is_model_step(kind: &str) -> bool {
    [PRUNE, HEAL, DRAFT].contains(&kind)
}

/// A step of a pipeline, with its gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Gated<T> {
    /// The settings.
    pub settings: T,
    /// The budget of the model that the step makes; `None` for that of the job.
    pub budget: Option<Budget>,
    /// `true` if the step is left out where it exceeds its budget or does not pay.
    pub optional: bool,
}

/// The steps of a recipe that works on whole models, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Structured pruning.
    pub prune: Option<Gated<PruneStep>>,
    /// Healing of the pruned model.
    pub heal: Option<Gated<HealStep>>,
    /// The quantisation methods.
    pub quantise: Gated<Recipe>,
    /// The same methods followed by tuning.
    pub tune: Option<Gated<Recipe>>,
    /// The measurement of drafts.
    pub draft: Option<Gated<DraftStep>>,
}

impl Recipe {
    /// Returns `true` if a step works on a whole model, or has a budget of its own. Only a job of `optimize` runs such a
    /// recipe.
    #[must_use]
    pub fn is_pipeline(&self) -> bool {
        self.steps.iter().any(|step| is_model_step(&step.kind) || step.budget.is_some() || step.optional)
    }

    /// Returns the quantisation methods, and tuning if there is any, without budgets.
    #[must_use]
    pub fn quantisation(&self) -> Self {
        let steps = self.steps.iter().filter(|step| !is_model_step(&step.kind));
        Self { steps: steps.map(|step| Step { budget: None, optional: false, ..step.clone() }).collect() }
    }

    /// Reads the steps of a pipeline; `None` for a recipe that only quantises.
    ///
    /// # Errors
    /// [`CompressError::Recipe`] for steps in another order, a step twice, settings or budgets that cannot be.
    pub fn pipeline(&self) -> Result<Option<Pipeline>, CompressError> {
        if !self.is_pipeline() {
            return Ok(None);
        }
        self.check_order()?;
        let recipe = self.quantisation();
        let last = self.steps.iter().rposition(|step| !is_model_step(&step.kind) && step.kind != TUNE);
        let Some(last) = last else {
            let problem = "expected a quantisation method after it: a pipeline quantises".to_owned();
            return Err(self.bad(self.steps.len().saturating_sub(1), problem));
        };
        Ok(Some(Pipeline {
            prune: self.one(PRUNE)?,
            heal: self.one(HEAL)?,
            quantise: self.gated(last, recipe.untuned())?,
            tune: match self.place(TUNE) {
                Some(at) => Some(self.gated(at, recipe)?),
                None => None,
            },
            draft: self.one(DRAFT)?,
        }))
    }

    /// Checks that the steps are in the order of a pipeline, and which of them have budgets.
    fn check_order(&self) -> Result<(), CompressError> {
        let rank = |step: &Step| match &*step.kind {
            PRUNE => 0,
            HEAL => 1,
            TUNE => 3,
            DRAFT => 4,
            _ => 2,
        };
        for (i, pair) in self.steps.windows(2).enumerate() {
            let (a, b) = (rank(&pair[0]), rank(&pair[1]));
            if a > b || (a == b && a != 2) {
                return Err(
                    self.bad(i + 1, format!("found it after {}, {ORDER}, each of the others once", pair[0].kind))
                );
            }
            let has_gate = pair[0].budget.is_some() || pair[0].optional;
            if has_gate && a == 2 && b == 2 {
                return Err(self.bad(i, "budget, optional: expected them at the last quantisation method".to_owned()));
            }
        }
        if let (Some(at), None) = (self.place(HEAL), self.place(PRUNE)) {
            return Err(self.bad(at, "expected the step prune before it: it trains a pruned model".to_owned()));
        }
        if let Some(at) = self.steps.iter().position(|step| step.optional && rank(step) == 2) {
            return Err(self.bad(at, "optional: expected false, since a pipeline quantises".to_owned()));
        }
        match self.place(DRAFT).filter(|&at| self.steps[at].budget.is_some()) {
            Some(at) => Err(self.bad(at, "budget: expected none, since drafts change no answer".to_owned())),
            None => Ok(()),
        }
    }

    fn place(&self, kind: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.kind == kind)
    }

    /// Returns an error about a step.
    fn bad(&self, at: usize, problem: String) -> CompressError {
        let kind = self.steps.get(at).map(|step| step.kind.clone()).unwrap_or_default();
        CompressError::Recipe { step: at + 1, kind, problem }
    }

    /// Reads the settings and the gate of the step of a kind.
    fn one<T: Settings>(&self, kind: &str) -> Result<Option<Gated<T>>, CompressError> {
        let Some(at) = self.place(kind) else { return Ok(None) };
        let settings = read(&self.steps[at].settings).map_err(|problem| self.bad(at, problem))?;
        self.gated(at, settings).map(Some)
    }

    /// Reads the gate of a step.
    fn gated<T>(&self, at: usize, settings: T) -> Result<Gated<T>, CompressError> {
        let Step { budget, optional, .. } = &self.steps[at];
        let budget = budget.as_ref().map(read_budget).transpose().map_err(|problem| self.bad(at, problem))?;
        Ok(Gated { settings, budget, optional: *optional })
    }
}

/// Reads a number, or a percentage as text.
fn read_budget(value: &Value) -> Result<Budget, String> {
    let read = match value {
        Value::Number(number) => number.as_f64().map(Budget::Absolute),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    read.ok_or_else(|| format!("budget {value}: expected a number such as 0.5, or a percentage such as \"5%\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Result<Recipe, CompressError> {
        Recipe::from_toml("mine.toml", text)
    }

    /// Returns a recipe file with steps of these kinds.
    fn of(kinds: &[&str]) -> String {
        kinds.iter().map(|kind| format!("[[stage]]\nkind = \"{kind}\"\n")).collect()
    }

    #[test]
    fn steps_of_a_pipeline_have_budgets_of_their_own() {
        let text = of(&["prune", "heal", "rtn", "draft"])
            .replace("\"prune\"", "\"prune\"\nheads = 0.5\nbudget = \"20%\"\noptional = true")
            .replace("\"rtn\"", "\"rtn\"\nbudget = 1.5");
        let pipeline = recipe(&text).expect("a recipe").pipeline().expect("valid").expect("a pipeline");
        let prune = pipeline.prune.expect("pruning");
        assert_eq!((prune.settings.heads, prune.settings.ffn), (0.5, PruneStep::default().ffn));
        assert_eq!((prune.budget, prune.optional), (Some(Budget::Relative(20.0)), true));
        assert_eq!((pipeline.quantise.budget, pipeline.quantise.optional), (Some(Budget::Absolute(1.5)), false));
        assert_eq!(pipeline.quantise.settings.describe(), Recipe::rtn().describe());
        assert_eq!((pipeline.tune, pipeline.draft.map(|d| d.settings)), (None, Some(DraftStep::default())));
        assert!(!Recipe::best().tuned().is_pipeline() && Recipe::best().pipeline().expect("valid").is_none());
    }

    #[test]
    fn every_wrong_order_names_the_step_and_the_right_one() {
        for (kinds, problem) in [
            (&["rtn", "prune"][..], "step 2 (prune) of the recipe: found it after rtn, expected the order prune, heal"),
            (&["heal", "rtn"], "step 1 (heal) of the recipe: expected the step prune before it"),
            (&["heal", "prune", "rtn"], "step 2 (prune) of the recipe: found it after heal"),
            (&["prune", "prune", "rtn"], "step 2 (prune) of the recipe: found it after prune"),
            (&["rtn", "draft", "draft"], "step 3 (draft) of the recipe: found it after draft"),
            (&["prune", "heal"], "step 2 (heal) of the recipe: expected a quantisation method after it"),
            (&["prune", "draft"], "step 2 (draft) of the recipe: expected a quantisation method after it"),
        ] {
            let error = recipe(&of(kinds)).expect_err("refused");
            assert!(error.to_string().contains(problem), "{kinds:?}: {error}");
        }
    }

    #[test]
    fn settings_and_gates_that_cannot_be_are_named() {
        for (kinds, at, more, problem) in [
            (&["prune", "rtn"][..], "prune", "heads = 1.0", "heads 1: expected a share"),
            (&["prune", "rtn"], "prune", "heads = 0.0\nffn = 0.0", "expected something to remove"),
            (&["prune", "rtn"], "prune", "odd = 1", "unknown field `odd`"),
            (&["prune", "heal", "rtn"], "heal", "rate = 0.0", "rate 0: expected more than 0"),
            (&["prune", "heal", "rtn"], "heal", "steps = 0", "steps 0: expected 1 to"),
            (&["rtn", "draft"], "draft", "tokens = 1", "expected at least 2 and 1"),
            (&["rtn", "draft"], "draft", "budget = 1", "budget: expected none"),
            (&["rtn", "draft"], "rtn", "budget = \"five\"", "budget \"five\": expected a number"),
            (&["rtn", "draft"], "rtn", "optional = true", "optional: expected false"),
            (&["awq", "rtn", "draft"], "awq", "budget = 1", "expected them at the last quantisation method"),
        ] {
            let kind = format!("\"{at}\"");
            let text = of(kinds).replace(&kind, &format!("{kind}\n{more}"));
            let error = recipe(&text).expect_err("refused");
            assert!(error.to_string().contains(problem), "{kinds:?} {more}: {error}");
        }
    }

    #[test]
    fn a_pipeline_needs_a_job() {
        let error = recipe(&of(&["prune", "rtn"])).expect("a recipe").methods().expect_err("refused");
        assert!(error.to_string().contains("honelm optimize --recipe"), "{error}");
    }
}
