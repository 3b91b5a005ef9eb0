//! The candidates, in the order in which they are tried.

use honelm_blocks::Encoding;
use honelm_compress::Scheme;
use honelm_model::Checkpoint;
use honelm_model::export::{Container, Groups};

use super::NamedRecipe;
use crate::Error;
use crate::quantize::{check_model, numbers};

/// A candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The name in tables: `Q5_0`, `int4 g128`; where recipes are compared, with the recipe: `Q5_0 gptq`; where several
    /// containers are written, with the container of integer groups: `awq int4 g128`.
    pub name: String,
    /// The container that it is written in.
    pub container: &'static Container,
    /// The width in bits that was asked for, where widths are compared.
    pub bits: Option<u8>,
    /// The name of the recipe.
    pub recipe: String,
    /// The way in which it is made.
    pub scheme: Scheme,
}

/// Returns the candidates of a container, compressed by `recipe`, the smallest first. `bits` selects those of one width,
/// `group_size` those of one group size (containers of integer groups only).
///
/// # Errors
/// [`Error::Usage`] for a width or a group size that the container does not have.
pub fn candidates(
    container: &'static Container,
    bits: Option<u8>,
    group_size: Option<usize>,
    recipe: &NamedRecipe,
) -> Result<Vec<Candidate>, Error> {
    match container.groups {
        None => gguf(container, bits, group_size, recipe),
        Some(ref groups) => grouped(container, groups, bits, group_size, recipe),
    }
}

/// Returns the candidates of a comparison: the first candidate, compressed by each recipe.
pub fn compared(candidates: Vec<Candidate>, recipes: &[NamedRecipe]) -> Vec<Candidate> {
    let by = |candidate: Candidate| {
        recipes.iter().map(move |NamedRecipe { name, recipe }| Candidate {
            name: format!("{} {name}", candidate.name),
            recipe: name.clone(),
            scheme: Scheme { recipe: recipe.clone(), ..candidate.scheme.clone() },
            ..candidate.clone()
        })
    };
    candidates.into_iter().take(1).flat_map(by).collect()
}

/// Returns the candidates that their container can hold for a model, and a sentence for each of the others.
///
/// # Errors
/// The reason why the first candidate cannot be held, if none can.
pub fn fitting(candidates: Vec<Candidate>, checkpoint: &Checkpoint) -> Result<(Vec<Candidate>, Vec<String>), Error> {
    let (mut fitting, mut skipped, mut first) = (Vec::new(), Vec::new(), None);
    for mut candidate in candidates {
        if let Some(groups) = &candidate.container.groups {
            candidate.scheme = candidate.scheme.with_numbers(numbers(groups, checkpoint)?);
        }
        match check_model(candidate.container, checkpoint, &candidate.scheme) {
            Ok(()) => fitting.push(candidate),
            Err(error) => {
                skipped.push(format!("{} is not tried: {error}", candidate.name));
                first = first.or(Some(error));
            }
        }
    }
    match first {
        Some(error) if fitting.is_empty() => Err(error),
        _ => Ok((fitting, skipped)),
    }
}

fn gguf(
    container: &'static Container,
    bits: Option<u8>,
    group_size: Option<usize>,
    recipe: &NamedRecipe,
) -> Result<Vec<Candidate>, Error> {
    if group_size.is_some() {
        return Err(Error::Usage(
            "--group-size: needs a container of integer groups; the blocks of GGUF have fixed sizes".to_owned(),
        ));
    }
    use Encoding::{Q4_0, Q5_0, Q5_1, Q6K, Q8_0};
    let encodings = match bits {
        None => vec![Q4_0, Q5_0, Q5_1, Q6K, Q8_0],
        Some(4) => vec![Q4_0],
        Some(5) => vec![Q5_0],
        Some(6) => vec![Q6K],
        Some(8) => vec![Q8_0],
        Some(other) => {
            return Err(Error::Usage(format!("--bits: found {other}, expected 4, 5, 6 or 8 for --container gguf")));
        }
    };
    Ok(encodings.into_iter().map(|encoding| in_blocks(container, encoding, recipe)).collect())
}

/// Returns the candidate with the linear modules in `encoding`.
pub(super) fn in_blocks(container: &'static Container, encoding: Encoding, recipe: &NamedRecipe) -> Candidate {
    Candidate {
        name: encoding.display_name().to_owned(),
        container,
        bits: None,
        recipe: recipe.name.clone(),
        scheme: Scheme::gguf(encoding, recipe.recipe.clone()),
    }
}

fn grouped(
    container: &'static Container,
    groups: &Groups,
    bits: Option<u8>,
    group_size: Option<usize>,
    recipe: &NamedRecipe,
) -> Result<Vec<Candidate>, Error> {
    let candidates = container.candidates(bits, group_size).map_err(|error| Error::Usage(error.to_string()))?;
    let candidate = |(bits, g): (u8, usize)| Candidate {
        name: format!("int{bits} g{g}"),
        container,
        bits: None,
        recipe: recipe.name.clone(),
        scheme: Scheme::gptq(bits, g, groups.symmetric, recipe.recipe.clone()),
    };
    Ok(candidates.into_iter().map(candidate).collect())
}

#[cfg(test)]
mod tests {
    use honelm_compress::Recipe;

    use super::*;

    fn gptq() -> NamedRecipe {
        NamedRecipe::new("gptq", Recipe::gptq())
    }

    fn named(container: &str) -> &'static Container {
        Container::from_name(container).expect("known")
    }

    fn names(container: &str, bits: Option<u8>, group: Option<usize>) -> Vec<String> {
        candidates(named(container), bits, group, &gptq()).expect("candidates").into_iter().map(|r| r.name).collect()
    }

    #[test]
    fn candidates_go_from_small_to_large() {
        assert_eq!(names("gguf", None, None), ["Q4_0", "Q5_0", "Q5_1", "Q6_K", "Q8_0"]);
        assert_eq!(names("gptq", None, None), ["int4 g128", "int4 g64", "int4 g32", "int8 g128"]);
        assert_eq!(names("awq", None, Some(64)), ["int4 g64"]);
        assert_eq!(names("mlx", Some(6), None), ["int6 g64"]);
    }

    #[test]
    fn rungs_that_a_model_does_not_fit_are_skipped_and_named() {
        let dir = tempfile::tempdir().expect("a folder");
        honelm_testing::write_small_model(dir.path(), &[]).expect("written");
        // Its linear modules have 96 columns and more, in multiples of 32.
        let checkpoint = Checkpoint::open(dir.path()).expect("a model");
        let fit = |group| {
            let candidates = candidates(named("awq"), None, group, &gptq()).expect("candidates");
            fitting(candidates, &checkpoint)
        };
        let (candidates, skipped) = fit(None).expect("one fits");
        assert_eq!(candidates.iter().map(|candidate| candidate.name.as_str()).collect::<Vec<_>>(), ["int4 g32"]);
        assert_eq!(skipped.len(), 2);
        assert!(skipped[0].starts_with("int4 g128 is not tried: "), "{skipped:?}");
        assert!(skipped[0].contains("not a multiple of the group size 128"), "{skipped:?}");
        assert_eq!(fit(Some(64)).expect_err("none fits").code(), "not-representable");
    }

    #[test]
    fn bits_select_a_width_and_unknown_widths_are_errors() {
        assert_eq!(names("gguf", Some(5), None), ["Q5_0"]);
        assert_eq!(names("gptq", Some(8), Some(64)), ["int8 g64"]);
        for (container, bits, group) in [
            ("gguf", None, Some(64)),
            ("gguf", Some(7), None),
            ("gptq", Some(5), None),
            ("gptq", None, Some(33)),
            ("awq", Some(8), None),
            ("mlx", None, Some(96)),
        ] {
            assert_eq!(candidates(named(container), bits, group, &gptq()).expect_err("refused").code(), "usage");
        }
    }
}
