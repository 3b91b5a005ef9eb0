//! Parsers for the values of options. Their errors say what is expected; clap adds the option and the value found.

use std::path::Path;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use honelm::{Encoding, FormatError, MOST_THREADS, NamedRecipe, Protocol, RECIPES, Recipe, TextSource};

/// The value by which users of other programs ask for no limit, or for a random seed.
const MINUS_ONE: &str = "-1";

/// Parses the name of an evaluation protocol.
pub fn protocol(name: &str) -> Result<Protocol, String> {
    name.parse::<Protocol>().map_err(|_| {
        "expected llama.cpp-N with N of at least 4, gptq-N with N of at least 2, or hf-stride-N with N of at least 1, \
         such as llama.cpp-512"
            .to_owned()
    })
}

/// The largest size of a recipe's file in bytes.
const MOST_RECIPE: u64 = 1 << 20;

/// Parses a recipe: the name of a built-in one, or a TOML file.
pub fn recipe(text: &str) -> Result<Recipe, String> {
    if let Some(recipe) = Recipe::built_in(text) {
        return Ok(recipe);
    }
    let known: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
    let unknown = |e: FormatError| format!("expected {} or a TOML file: {e}", known.join(", "));
    let bytes = honelm::read_file(Path::new(text), MOST_RECIPE).map_err(unknown)?;
    let contents = String::from_utf8(bytes).map_err(|_| format!("{text}: expected text in UTF-8"))?;
    Recipe::from_toml(text, &contents).map_err(|e| e.to_string())
}

/// Parses a recipe and takes its name from what was typed: that of a built-in recipe, or a file name.
pub fn named_recipe(text: &str) -> Result<NamedRecipe, String> {
    let name = Path::new(text).file_name().map_or_else(|| text.to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(NamedRecipe::new(name, recipe(text)?))
}

/// Parses the name of an encoding in either case.
pub fn encoding_parser() -> impl TypedValueParser<Value = Encoding> {
    PossibleValuesParser::new(Encoding::ALL.iter().map(|e| e.name()))
        .try_map(|name| Encoding::from_name(&name).ok_or("unknown encoding"))
}

/// Parses a whole number of at least 1.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse::<usize>().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

/// Parses a number of threads.
pub fn threads(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|n| (1..=MOST_THREADS).contains(n));
    number.ok_or_else(|| format!("expected a whole number from 1 to {MOST_THREADS}"))
}

/// Parses the most tokens of an answer; -1 is no limit.
pub fn token_limit(text: &str) -> Result<usize, String> {
    match text {
        MINUS_ONE => Ok(usize::MAX),
        _ => text.parse().map_err(|_| "expected a whole number of at least 0, or -1 for no limit".to_owned()),
    }
}

/// Parses the most tokens of an answer in a conversation: at least 1, or -1 for no limit.
pub fn answer_limit(text: &str) -> Result<usize, String> {
    let expected = || "expected a whole number of at least 1, or -1 for no limit".to_owned();
    token_limit(text).ok().filter(|limit| *limit > 0).ok_or_else(expected)
}

/// A seed of the sampling; `None` is a new one each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub Option<u64>);

/// Parses a seed; -1 is a new one each time.
pub fn seed(text: &str) -> Result<Seed, String> {
    let expected = || format!("expected a whole number from 0 to {}, or -1 for a random seed", u64::MAX);
    if text == MINUS_ONE { Ok(Seed(None)) } else { text.parse().map(|n| Seed(Some(n))).map_err(|_| expected()) }
}

/// Parses the number of most likely tokens to keep; 0 and -1 keep all.
pub fn top_k(text: &str) -> Result<u32, String> {
    let expected = || "expected a whole number of at least 0; 0 and -1 keep all tokens".to_owned();
    if text == MINUS_ONE { Ok(0) } else { text.parse().map_err(|_| expected()) }
}

/// Parses a number that meets a condition, `expected` in words.
fn number(text: &str, expected: &str, is_fine: impl Fn(f32) -> bool) -> Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|&x| x.is_finite() && is_fine(x));
    number.ok_or_else(|| format!("expected {expected}"))
}

/// Parses a finite number of at least 0.
pub fn not_negative(text: &str) -> Result<f32, String> {
    number(text, "a number of at least 0", |x| x >= 0.0)
}

/// Parses a finite number above 0.
pub fn positive(text: &str) -> Result<f32, String> {
    number(text, "a number above 0", |x| x > 0.0)
}

/// Parses a probability.
pub fn probability(text: &str) -> Result<f32, String> {
    number(text, "a number from 0 to 1", |x| (0.0..=1.0).contains(&x))
}

/// Parses a probability above 0.
pub fn share(text: &str) -> Result<f32, String> {
    number(text, "a number above 0 and at most 1", |x| x > 0.0 && x <= 1.0)
}

/// Parses a finite number.
pub fn finite(text: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

/// Parses a size in bytes, such as `500M`, `2G`, `1.5GB` or `16MiB`. Units are decimal, as on download pages and in
/// `gguf-split`, unless they have an `i`.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size such as 500M, 2GB or 16MiB".to_owned();
    let upper = text.trim().to_ascii_uppercase();
    let plain = upper.strip_suffix('B').unwrap_or(&upper);
    let (plain, step) = match plain.strip_suffix('I') {
        Some(plain) if upper.ends_with('B') => (plain, 1024f64),
        Some(_) => return Err(wrong()),
        None => (plain, 1000.0),
    };
    let power = plain.chars().last().and_then(|unit| "KMGT".find(unit)).map(|at| at + 1);
    let digits = &plain[..plain.len() - usize::from(power.is_some())];
    if power.is_none() && step == 1024.0 {
        return Err(wrong());
    }
    let bytes = digits.parse::<f64>().map_err(|_| wrong())? * step.powi(power.unwrap_or(0) as i32);
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Returns the source of a text: a file, or the shipped text.
pub fn text_source(path: Option<&Path>) -> TextSource {
    path.map_or(TextSource::Shipped, |path| TextSource::File(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_or_binary_and_nonsense_is_refused() {
        assert_eq!(
            (size("500M"), size("2G"), size("1.5gb"), size("12"), size("12B")),
            (Ok(500_000_000), Ok(2_000_000_000), Ok(1_500_000_000), Ok(12), Ok(12))
        );
        assert_eq!((size("16MiB"), size("1.5GiB"), size("1kib")), (Ok(16 << 20), Ok(3 << 29), Ok(1024)));
        for wrong in ["", "G", "0", "-1G", "two", "1e30", "NaN", "inf", "5X", "1Gi", "1iB", "iB", "1i"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn minus_one_means_what_it_means_elsewhere() {
        assert_eq!((token_limit("-1"), seed("-1"), top_k("-1")), (Ok(usize::MAX), Ok(Seed(None)), Ok(0)));
        assert_eq!((token_limit("5"), seed("7"), top_k("40")), (Ok(5), Ok(Seed(Some(7))), Ok(40)));
        assert!(token_limit("-2").is_err() && seed("-2").is_err() && top_k("1.5").is_err());
    }
}
