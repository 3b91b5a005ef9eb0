//! The comparison of recipes: the pick and its reason.

use honelm_eval::{Budget, Verdict};

use super::NamedRecipe;
use super::candidate::{Judged, slug};
use super::report::Row;
use super::speed::typical;
use crate::Error;

/// The share by which a KL divergence may exceed the lowest and still count as equal to it.
const TIE: f64 = 0.01;

/// Checks that there is a recipe and that recipes have different names, and returns the first.
///
/// # Errors
/// [`Error::Usage`] for recipes whose names cannot be told apart in file names.
pub(super) fn check(recipes: &[NamedRecipe]) -> Result<&NamedRecipe, Error> {
    for (at, recipe) in recipes.iter().enumerate() {
        if recipes[..at].iter().any(|other| slug(&other.name) == slug(&recipe.name)) {
            return Err(Error::Usage(format!(
                "--compare: found the name {} twice, expected different names",
                recipe.name
            )));
        }
    }
    recipes.first().ok_or_else(|| Error::Usage("found no recipe, expected at least one".to_owned()))
}

/// Returns `true` if a KL divergence counts as equal to the lowest.
fn is_tie(kl: f64, lowest: f64) -> bool {
    kl <= lowest + TIE * lowest.abs()
}

/// Returns the index of the candidate to publish among those that may be: the one with the lowest KL divergence. Among those within 1% of it, the smaller file is picked, and among equal sizes the one that decodes
/// faster.
pub(super) fn pick<'a>(tried: impl Iterator<Item = (usize, &'a Judged)> + Clone) -> Option<usize> {
    let kl = |judged: &Judged| judged.quality.kl_divergence.unwrap_or(f64::INFINITY);
    let lowest = tried.clone().map(|(_, judged)| kl(judged)).min_by(f64::total_cmp)?;
    let rate = |judged: &Judged| {
        let speeds: Vec<_> = judged.pairs.iter().map(|pair| pair.candidate).collect();
        typical(&speeds).map_or(0.0, |speed| speed.decode_tokens_per_second)
    };
    let ties = tried.filter(|(_, judged)| is_tie(kl(judged), lowest));
    let best = ties.min_by(|(_, a), (_, b)| a.size_bytes.cmp(&b.size_bytes).then_with(|| rate(b).total_cmp(&rate(a))));
    best.map(|(at, _)| at)
}

/// Returns the result of a comparison in one sentence: the pick, the reason for it, and the verdict.
pub(super) fn sentence(rows: &[&Row], budget: Budget) -> String {
    let kl = |row: &Row| row.quality.kl_divergence.unwrap_or(f64::INFINITY);
    let name = |row: &Row| row.recipe.clone().unwrap_or_default();
    let lowest_of = |rows: &[&Row]| rows.iter().copied().min_by(|a, b| kl(a).total_cmp(&kl(b))).cloned();
    let Some(pick) = rows.iter().find(|row| row.chosen) else {
        let lowest = lowest_of(rows);
        let lowest = lowest.map_or_else(String::new, |row| {
            format!(" (the lowest KL divergence is that of {}, {:.4} nats)", row.name, kl(&row))
        });
        return format!("No recipe holds the budget of {budget:+} perplexity{lowest}. Nothing was published.");
    };
    let holding: Vec<&Row> = rows.iter().copied().filter(|row| row.verdict == Some(Verdict::Accepted)).collect();
    let lowest = lowest_of(&holding).map_or(f64::NAN, |row| kl(&row));
    let ties: Vec<&Row> =
        holding.iter().copied().filter(|row| row.name != pick.name && is_tie(kl(row), lowest)).collect();
    let reason = if ties.is_empty() {
        "the lowest".to_owned()
    } else {
        let names = ties.iter().map(|row| name(row)).collect::<Vec<_>>().join(", ");
        let smaller = ties.iter().all(|row| row.size_bytes > pick.size_bytes);
        format!(
            "within 1% of the lowest as is that of {names}, and it {}",
            if smaller { "is smaller" } else { "decodes faster" }
        )
    };
    format!(
        "{} is picked: of the recipes that hold the budget of {budget:+} perplexity ({} of {}), its KL divergence of \
         {:.4} nats is {reason}; its perplexity difference is {:+.3}, at most {:+.3} (95%).",
        pick.name,
        holding.len(),
        rows.len(),
        kl(pick),
        pick.quality.perplexity_difference.unwrap_or(f64::NAN),
        pick.quality.perplexity_difference_upper95.unwrap_or(f64::NAN),
    )
}
