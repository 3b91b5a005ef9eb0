//! Several widths compared: their candidates, and the result in words.

use honelm_blocks::Encoding;
use honelm_compress::Recipe;
use honelm_eval::{Budget, Verdict};
use honelm_model::export::Container;

use super::candidates::{candidates, compared, in_blocks};
use super::report::Row;
use super::{Candidate, NamedRecipe, comparison};
use crate::Error;

/// The widths of a GGUF file in bits, and the encoding that stands for each.
const ENCODINGS: [(u8, Encoding); 7] = [
    (16, Encoding::F16),
    (8, Encoding::Q8_0),
    (6, Encoding::Q6K),
    (5, Encoding::Q5K),
    (4, Encoding::Q4K),
    (3, Encoding::Q3K),
    (2, Encoding::Q2K),
];

/// Checks that the widths differ, and that they are not asked for beside a single width.
///
/// # Errors
/// [`Error::Usage`].
pub(super) fn check(widths: &[u8], bits: Option<u8>) -> Result<(), Error> {
    let twice = widths.iter().enumerate().find(|(at, width)| widths[..*at].contains(width));
    match (twice, bits) {
        (Some((_, width)), _) => Err(Error::Usage(format!("--bits: found {width} twice, expected different widths"))),
        (None, Some(bits)) if !widths.is_empty() => {
            Err(Error::Usage(format!("found several widths to compare and the width {bits}, expected one of both")))
        }
        _ => Ok(()),
    }
}

/// Returns one candidate for each of `widths` that the container has, in their order, and a sentence for each of the
/// others.
///
/// # Errors
/// [`Error::Usage`] for a group size that the container does not have, or if it has none of the widths.
pub(super) fn rungs(
    container: &'static Container,
    widths: &[u8],
    group_size: Option<usize>,
    recipe: &NamedRecipe,
) -> Result<(Vec<Candidate>, Vec<String>), Error> {
    let (mut rungs, mut skipped) = (Vec::new(), Vec::new());
    let known: Vec<u8> =
        match &container.groups {
            // The smallest candidate of every width, as without a list.
            Some(groups) => {
                for &width in widths.iter().filter(|width| groups.bits.contains(width)) {
                    rungs.extend(
                        candidates(container, Some(width), group_size, recipe)?
                            .into_iter()
                            .take(1)
                            .map(|candidate| Candidate { bits: Some(width), ..candidate }),
                    );
                }
                groups.bits.to_vec()
            }
            None => {
                // The checks of the other options.
                candidates(container, None, group_size, recipe)?;
                for &width in widths {
                    let encoding = ENCODINGS.iter().find(|(known, _)| *known == width);
                    rungs.extend(encoding.map(|(_, encoding)| Candidate {
                        bits: Some(width),
                        ..in_blocks(container, *encoding, recipe)
                    }));
                }
                ENCODINGS.iter().map(|(width, _)| *width).collect()
            }
        };
    let listed = known.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    for width in widths.iter().filter(|width| !known.contains(width)) {
        skipped.push(format!("{width} bits are not tried in {container}, which has {listed}"));
    }
    if rungs.is_empty() {
        let found = widths.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        return Err(Error::Usage(format!(
            "--bits: found {found}, expected one of {listed} for --container {container}"
        )));
    }
    Ok((rungs, skipped))
}

/// Returns every candidate by every recipe. Floats are rounded to nearest, once.
pub(super) fn by_recipes(rungs: Vec<Candidate>, recipes: &[NamedRecipe]) -> Vec<Candidate> {
    let by = |rung: Candidate| match rung.bits {
        Some(16) => {
            let mut scheme = rung.scheme;
            scheme.recipe = Recipe::rtn();
            vec![Candidate { recipe: "rtn".to_owned(), scheme, ..rung }]
        }
        _ if recipes.len() > 1 => compared(vec![rung], recipes),
        _ => vec![rung],
    };
    rungs.into_iter().flat_map(by).collect()
}

/// Returns the result of a comparison of widths in one sentence: the pick, the reason for it, and the verdict.
pub(super) fn sentence(rows: &[&Row], budget: Budget) -> String {
    let Some(pick) = rows.iter().find(|row| row.chosen) else { return comparison::sentence(rows, budget) };
    let holding = rows.iter().filter(|row| row.verdict == Some(Verdict::Accepted)).count();
    let peers: Vec<&Row> = rows.iter().copied().filter(|row| row.bits == pick.bits).collect();
    if let (true, Some(width)) = (peers.len() > 1, pick.bits) {
        return format!(
            "{width} bits are the fewest that hold the budget ({holding} of {} candidates do). {}",
            rows.len(),
            comparison::sentence(&peers, budget)
        );
    }
    format!(
        "{} is picked: it has the fewest bits of the candidates that hold the budget of {budget} perplexity ({holding} of {}); its KL \
         divergence is {:.4} nats, its perplexity difference {:+.3}, at most {:+.3} (95%).",
        pick.name,
        rows.len(),
        pick.quality.kl_divergence.unwrap_or(f64::NAN),
        pick.quality.perplexity_difference.unwrap_or(f64::NAN),
        pick.quality.perplexity_difference_upper95.unwrap_or(f64::NAN),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtn() -> NamedRecipe {
        NamedRecipe::new("rtn", Recipe::rtn())
    }

    fn named(container: &str) -> &'static Container {
        Container::from_name(container).expect("known")
    }

    #[test]
    fn every_width_has_a_candidate_where_the_container_has_it() {
        let names = |container: &str, size| {
            let (rungs, skipped) = rungs(named(container), &[16, 8, 4, 3, 2], size, &rtn()).expect("some");
            (rungs.into_iter().map(|rung| (rung.name, rung.bits)).collect::<Vec<_>>(), skipped)
        };
        let (gguf, skipped) = names("gguf", None);
        let wanted = [("F16", 16), ("Q8_0", 8), ("Q4_K", 4), ("Q3_K", 3), ("Q2_K", 2)];
        assert_eq!(gguf, wanted.map(|(name, bits)| (name.to_owned(), Some(bits))));
        assert!(skipped.is_empty(), "{skipped:?}");
        let (gptq, skipped) = names("gptq", Some(64));
        let wanted = [("int8 g64", 8), ("int4 g64", 4), ("int3 g64", 3), ("int2 g64", 2)];
        assert_eq!(gptq, wanted.map(|(name, bits)| (name.to_owned(), Some(bits))));
        assert_eq!(skipped, ["16 bits are not tried in gptq, which has 2, 3, 4, 8"]);
        let none = rungs(named("awq"), &[16, 8], None, &rtn()).expect_err("none").to_string();
        assert_eq!(none, "--bits: found 16, 8, expected one of 4 for --container awq");
        assert_eq!(rungs(named("gguf"), &[8], Some(64), &rtn()).expect_err("refused").code(), "usage");
    }

    #[test]
    fn recipes_multiply_every_width_but_that_of_floats() {
        let (rungs, _) = rungs(named("gguf"), &[16, 4], None, &rtn()).expect("both");
        let recipes = [NamedRecipe::new("gptq", Recipe::gptq()), rtn()];
        let names = |recipes: &[NamedRecipe]| {
            by_recipes(rungs.clone(), recipes)
                .into_iter()
                .map(|c| format!("{} by {}", c.name, c.recipe))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&recipes), ["F16 by rtn", "Q4_K gptq by gptq", "Q4_K rtn by rtn"]);
        assert_eq!(names(&recipes[1..]), ["F16 by rtn", "Q4_K by rtn"]);
    }

    #[test]
    fn widths_differ_and_stand_alone() {
        assert!(check(&[8, 4], None).is_ok() && check(&[], Some(4)).is_ok());
        for (widths, bits) in [(&[8, 4, 8][..], None), (&[8, 4], Some(4))] {
            assert_eq!(check(widths, bits).expect_err("refused").code(), "usage");
        }
    }
}
