//! The options of a job with a pipeline.

use honelm_compress::Pipeline;

use crate::Error;
use crate::optimize::{Goal, NamedRecipe, OptimizeOptions};

/// Returns the options under which the candidates of a job are made, and the pipeline if the recipe is one. The recipe in
/// these options only quantises, and they choose an encoding for each tensor.
///
/// # Errors
/// [`Error::Usage`] for options that a pipeline cannot have, and options that only a pipeline has.
pub(in crate::optimize) fn split(options: &OptimizeOptions) -> Result<(OptimizeOptions, Option<Pipeline>), Error> {
    let is_pipeline = |named: &NamedRecipe| named.recipe.is_pipeline();
    let Some(named) = options.recipes.iter().find(|named| is_pipeline(named)) else {
        if options.ablation || options.other_engine.is_some() {
            let problem =
                "--ablation, --transformers: need a recipe with steps that work on whole models, such as full";
            return Err(Error::Usage(problem.to_owned()));
        }
        return Ok((options.clone(), None));
    };
    check(options)?;
    let Some(pipeline) = named.recipe.pipeline()? else { return Ok((options.clone(), None)) };
    let mut inner = options.clone();
    inner.allocation.goal.get_or_insert(Goal::Budget);
    inner.recipes = vec![NamedRecipe::new(named.name.clone(), pipeline.quantise.settings.clone())];
    Ok((inner, Some(pipeline)))
}

/// Checks what a pipeline excludes.
fn check(options: &OptimizeOptions) -> Result<(), Error> {
    let refused = [
        (options.compares(), "--compare: found a pipeline, expected recipes that only quantise"),
        (
            options.containers.iter().any(|container| container.groups.is_some()),
            "--container: found integer groups, expected gguf, in which a pipeline chooses an encoding for each tensor",
        ),
        (
            options.bits.is_some() || !options.allocation.candidates.is_empty(),
            "--bits, --candidates: a pipeline chooses an encoding for each tensor: found an encoding, expected --target-size, \
             --allocate, or a fraction of bits such as 4.5",
        ),
        (options.calibrations.len() > 1, "--calibration: found several texts, expected one for a pipeline"),
    ];
    match refused.into_iter().find(|(is_refused, _)| *is_refused) {
        Some((_, problem)) => Err(Error::Usage(problem.to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use honelm_compress::Recipe;

    use super::*;
    use crate::Container;

    fn full() -> OptimizeOptions {
        let recipe = Recipe::of(&["prune", "rtn", "draft"]);
        OptimizeOptions { recipes: vec![NamedRecipe::new("mine", recipe)], ..OptimizeOptions::new("model", "out") }
    }

    #[test]
    fn a_pipeline_allocates_and_the_candidates_are_only_quantised() {
        let (inner, pipeline) = split(&full()).expect("valid");
        assert_eq!((inner.allocation.goal, inner.recipes[0].recipe.clone()), (Some(Goal::Budget), Recipe::rtn()));
        assert!(pipeline.expect("a pipeline").prune.is_some());
        assert_eq!(split(&OptimizeOptions::new("model", "out")).expect("valid").1, None);
    }

    #[test]
    fn what_a_pipeline_excludes_is_named() {
        let mut compared = full();
        compared.recipes.push(NamedRecipe::new("rtn", Recipe::rtn()));
        let gptq = Container::from_name("gptq").expect("known");
        for (options, problem) in [
            (compared, "--compare"),
            (OptimizeOptions { containers: vec![gptq], ..full() }, "--container"),
            (OptimizeOptions { bits: Some(4), ..full() }, "--bits"),
            (OptimizeOptions { calibrations: vec![crate::TextSource::Shipped; 2], ..full() }, "--calibration"),
            (OptimizeOptions { ablation: true, ..OptimizeOptions::new("model", "out") }, "--ablation"),
        ] {
            let error = split(&options).expect_err("refused");
            assert!(error.to_string().starts_with(problem), "{error}");
            assert_eq!(error.code(), "usage");
        }
    }
}
