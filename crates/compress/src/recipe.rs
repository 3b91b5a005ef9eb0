//! Recipes: ordered lists of methods with their settings.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::methods::{METHODS, Method, Needs, defaults};
use crate::model_steps::{DRAFT, HEAL, PRUNE, is_model_step};
use crate::tune::{TUNE, Tune};
use crate::{CompressError, model_steps};

/// An ordered list of methods that compress the linear modules of every layer.
///
/// In a file it is a list of `[[stage]]` tables, each with a `kind` and the settings of that method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The steps, in order.
    #[serde(rename = "stage")]
    pub steps: Vec<Step>,
}

/// One step of a recipe: a method and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The method's name in the registry: `rtn`, `gptq`.
    pub kind: String,
    /// In a pipeline, the largest increase in perplexity of the model that the step makes: a number, or a percentage as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Value>,
    /// In a pipeline, `true` to leave the step out where it exceeds its budget or does not pay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Its settings. Those that are left out have their defaults.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// A recipe that is part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name: `rtn`, `gptq`, `awq`, `best`, `tuned`, `full`.
    pub name: &'static str,
    /// Its file, with comments.
    pub text: &'static str,
}

impl BuiltIn {
    /// Returns the description: the comment in the first line of the file.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("# ")
    }
}

/// The recipes that are part of the program, the plainest first.
pub const RECIPES: &[BuiltIn] = &[
    BuiltIn { name: "rtn", text: include_str!("recipes/rtn.toml") },
    BuiltIn { name: "gptq", text: include_str!("recipes/gptq.toml") },
    BuiltIn { name: "awq", text: include_str!("recipes/awq.toml") },
    BuiltIn { name: "best", text: include_str!("recipes/best.toml") },
    #[cfg(feature = "tune")]
    BuiltIn { name: "tuned", text: include_str!("recipes/tuned.toml") },
    #[cfg(feature = "tune")]
    BuiltIn { name: "full", text: include_str!("recipes/full.toml") },
];

impl Recipe {
    /// Returns the recipe with the methods of these names, in their default settings.
    #[must_use]
    pub fn of(kinds: &[&str]) -> Self {
        let step = |kind: &&str| {
            let of = METHODS.iter().find(|entry| entry.kind == *kind).map(|entry| entry.defaults);
            let of = of.or((*kind == TUNE).then_some(defaults::<Tune> as fn() -> Map<String, Value>));
            let settings = of.map(|defaults| defaults()).or_else(|| model_steps::defaults(kind)).unwrap_or_default();
            Step { kind: (*kind).to_owned(), budget: None, optional: false, settings }
        };
        Self { steps: kinds.iter().map(step).collect() }
    }

    /// Returns plain rounding to nearest.
    #[must_use]
    pub fn rtn() -> Self {
        Self::of(&["rtn"])
    }

    /// Returns GPTQ with its default settings.
    #[must_use]
    pub fn gptq() -> Self {
        Self::of(&["gptq"])
    }

    /// Returns AWQ with its default settings: scales, clipping, rounding to nearest.
    #[must_use]
    pub fn awq() -> Self {
        Self::of(&["awq", "clip", "rtn"])
    }

    /// Returns the best known combination without gradients: the asymmetric target, then GPTQ with refined codes and scales.
    #[must_use]
    pub fn best() -> Self {
        let mut recipe = Self::of(&["asymmetric", "gptq"]);
        if let Some(gptq) = recipe.steps.last_mut() {
            gptq.settings.insert("polish".to_owned(), 2.into());
        }
        recipe
    }

    /// Returns the recipe with tuning in its default settings after the methods, unless it has a step of that kind.
    #[must_use]
    pub fn tuned(mut self) -> Self {
        if !self.tunes() {
            let end = self.steps.iter().position(|step| step.kind == DRAFT).unwrap_or(self.steps.len());
            self.steps.splice(end..end, Self::of(&[TUNE]).steps);
        }
        self
    }

    /// Returns the recipe without tuning.
    #[must_use]
    pub fn untuned(&self) -> Self {
        Self { steps: self.steps.iter().filter(|step| step.kind != TUNE).cloned().collect() }
    }

    /// Returns `true` if a step tunes the model.
    #[must_use]
    pub fn tunes(&self) -> bool {
        self.steps.iter().any(|step| step.kind == TUNE)
    }

    /// Returns the built-in recipe of that name.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        let found = RECIPES.iter().find(|recipe| recipe.name == name)?;
        Self::from_toml(found.name, found.text).ok()
    }

    /// Reads a recipe in TOML: `[[stage]]` tables with a `kind` each. Errors name the `file`.
    ///
    /// # Errors
    /// [`CompressError::RecipeFile`] for a text that is not a list of steps, and the errors of [`Recipe::check`].
    pub fn from_toml(file: &str, text: &str) -> Result<Self, CompressError> {
        let bad = |problem: String| CompressError::RecipeFile { file: file.to_owned(), problem };
        let recipe: Self = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        if recipe.steps.is_empty() {
            return Err(bad("found no step, expected at least one [[stage]] table".to_owned()));
        }
        recipe.check().map_err(|e| bad(e.to_string()))?;
        Ok(recipe)
    }

    /// Checks the recipe.
    ///
    /// # Errors
    /// [`CompressError::Recipe`] for an unknown method, an unknown setting, a value out of range, or steps of a pipeline in
    /// another order than theirs.
    pub fn check(&self) -> Result<(), CompressError> {
        for (i, step) in self.steps.iter().enumerate().filter(|(_, step)| !is_model_step(&step.kind)) {
            build(i, step)?;
        }
        self.tuning()?;
        self.pipeline().map(|_| ())
    }

    /// Returns `true` if a step observes inputs or tunes, so that the recipe needs a calibration text. Steps that cannot be read
    /// count as such.
    #[must_use]
    pub fn needs_calibration(&self) -> bool {
        let observes = |methods: Vec<Box<dyn Method>>| methods.iter().any(|method| method.needs() > Needs::Nothing);
        self.tunes() || self.quantisation().methods().map_or(true, observes)
    }

    /// Returns a text with every setting, those that were left out with their defaults, in a fixed order.
    #[must_use]
    pub fn describe(&self) -> String {
        if let Ok(Some(pipeline)) = self.pipeline() {
            let recipe = self.quantisation().describe();
            return format!("{recipe} {pipeline:?}");
        }
        match (self.methods(), self.tuning()) {
            (Ok(methods), Ok(None)) => format!("{methods:?}"),
            (Ok(methods), Ok(Some(tune))) => format!("{methods:?} {tune:?}"),
            _ => format!("{self:?}"),
        }
    }

    /// Reads the settings of the last step if it tunes; `None` if no step does.
    pub(crate) fn tuning(&self) -> Result<Option<Tune>, CompressError> {
        let Some(at) = self.steps.iter().position(|step| step.kind == TUNE) else { return Ok(None) };
        let bad = |problem| CompressError::Recipe { step: at + 1, kind: TUNE.to_owned(), problem };
        if self.steps[at + 1..].iter().any(|step| step.kind != DRAFT) || at == 0 {
            return Err(
                bad("expected it as the last of several steps: it trains a model that is quantised".to_owned()),
            );
        }
        if cfg!(not(feature = "tune")) {
            return Err(bad("this build of the program cannot train: its feature `tune` is off".to_owned()));
        }
        let settings = Value::Object(self.steps[at].settings.clone());
        let tune: Tune = serde_json::from_value(settings).map_err(|e| bad(e.to_string()))?;
        tune.check().map_err(bad)?;
        Ok(Some(tune))
    }

    /// Builds the methods of all steps but the last if that tunes.
    pub(crate) fn methods(&self) -> Result<Vec<Box<dyn Method>>, CompressError> {
        self.steps.iter().enumerate().filter_map(|(i, step)| build(i, step).transpose()).collect()
    }
}

/// Builds the method of a step; `None` for tuning.
fn build(i: usize, step: &Step) -> Result<Option<Box<dyn Method>>, CompressError> {
    let bad = |problem| CompressError::Recipe { step: i + 1, kind: step.kind.clone(), problem };
    if step.kind == TUNE {
        return Ok(None);
    }
    if is_model_step(&step.kind) {
        return Err(bad("it works on a whole model, which only `honelm optimize --recipe` does".to_owned()));
    }
    let Some(entry) = METHODS.iter().find(|entry| entry.kind == step.kind) else {
        let known = METHODS.iter().map(|entry| entry.kind).chain([TUNE, PRUNE, HEAL, DRAFT]);
        return Err(bad(format!("unknown method, expected one of {}", known.collect::<Vec<_>>().join(", "))));
    };
    (entry.read)(step.settings.clone()).map(Some).map_err(bad)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_reads_its_own_defaults_and_refuses_unknown_settings() {
        for entry in METHODS {
            let mut recipe = Recipe::of(&[entry.kind]);
            recipe.check().expect(entry.kind);
            recipe.steps[0].settings.insert("odd".to_owned(), Value::Null);
            let error = recipe.check().expect_err(entry.kind);
            assert_eq!(error.code(), "recipe");
            assert!(error.to_string().contains("unknown field `odd`"), "{error}");
        }
    }

    #[test]
    fn tuning_is_the_last_of_several_steps() {
        let recipe = Recipe::best().tuned();
        recipe.check().expect("a recipe that tunes");
        assert!(recipe.tunes() && recipe.needs_calibration() && Recipe::rtn().tuned().needs_calibration());
        assert_eq!(recipe.clone().tuned(), recipe);
        assert_ne!(recipe.describe(), Recipe::best().describe());
        for (kinds, problem) in [(vec!["tune"], "expected it as the last"), (vec!["tune", "rtn"], "step 1 (tune)")] {
            let error = Recipe::of(&kinds).check().expect_err("tuning comes last");
            assert!(error.to_string().contains(problem), "{error}");
        }
        let mut odd = recipe;
        odd.steps[2].settings.insert("rate".to_owned(), (-1).into());
        assert!(odd.check().expect_err("a rate below 0").to_string().contains("rate -1"));
    }

    #[test]
    fn unknown_methods_are_named_with_the_known_ones() {
        let error = Recipe::of(&["rtn", "magic"]).check().expect_err("unknown");
        assert!(error.to_string().contains("step 2 (magic)") && error.to_string().contains("gptq"), "{error}");
    }

    #[test]
    fn built_in_recipes_show_every_setting_with_its_default() {
        for built_in in RECIPES {
            let recipe = Recipe::from_toml(built_in.name, built_in.text).expect(built_in.name);
            assert_eq!(Recipe::built_in(built_in.name), Some(recipe.clone()));
            assert!(built_in.summary().ends_with('.') && !built_in.summary().starts_with('#'), "{}", built_in.name);
            for step in &recipe.steps {
                let defaults = Recipe::of(&[&step.kind]).steps.remove(0).settings;
                let names = |settings: &Map<String, Value>| settings.keys().cloned().collect::<BTreeSet<_>>();
                assert_eq!(names(&step.settings), names(&defaults), "{} of {}", step.kind, built_in.name);
            }
            let same = |kinds: &[&str]| recipe.describe() == Recipe::of(kinds).describe();
            match built_in.name {
                "rtn" => assert!(same(&["rtn"])),
                "gptq" => assert!(same(&["gptq"])),
                "awq" => assert!(same(&["awq", "clip", "rtn"])),
                "tuned" => assert_eq!(recipe.describe(), Recipe::best().tuned().describe()),
                "full" => {
                    assert_eq!(recipe.quantisation(), Recipe::built_in("tuned").expect("a recipe"));
                    assert_eq!(recipe.pipeline().expect("valid").and_then(|p| p.draft).map(|d| d.optional), Some(true));
                }
                _ => assert_eq!(recipe.describe(), Recipe::best().describe()),
            }
        }
        assert_eq!(Recipe::built_in("magic"), None);
    }

    #[test]
    fn a_bad_file_is_named_with_its_problem() {
        for (text, problem) in [
            ("", "missing field `stage`"),
            ("stage = []", "expected at least one [[stage]]"),
            ("[[stage]]\nkind = \"gptq\"\nodd = 1", "unknown field `odd`"),
            ("[[stage]]\nkind = \"gptq\"\n[other]", "unknown field `other`"),
            ("[[stage]]\nkind = \"awq\"\nratios = 0", "ratios 0: expected 1 to 1000"),
            ("[[stage]]\nkind = \"gptq\"\ndamping = { first = nan }", "step 1 (gptq)"),
            ("[[stage]", "TOML parse error"),
        ] {
            let error = Recipe::from_toml("mine.toml", text).expect_err(text);
            assert!(error.to_string().starts_with("mine.toml: ") && error.to_string().contains(problem), "{error}");
            assert_eq!(error.code(), "recipe");
        }
    }

    #[test]
    fn a_recipe_survives_its_file_form() {
        let recipe = Recipe::gptq();
        let json = serde_json::to_string(&recipe).expect("JSON");
        assert!(json.starts_with("{\"stage\":[{\"kind\":\"gptq\""), "{json}");
        assert_eq!(serde_json::from_str::<Recipe>(&json).expect("a recipe"), recipe);
    }
}
