//! Reading `gateway.toml`. Every error names the line.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::settings::{Api, Key, RecordSettings, Settings};
use crate::error::{GatewayError, Result};
use crate::estimator::Problem;

impl Settings {
    /// Reads and checks a gateway file. `file` names it in errors.
    ///
    /// # Errors
    /// [`GatewayError::Settings`] with the line for text that is no TOML, an unknown or missing key, a value out of range, no upstream, two
    /// upstreams or clients of one name, and two targets of the estimator.
    pub fn from_toml(file: &str, text: &str) -> Result<Self> {
        let error = |span: Option<Range<usize>>, problem: Problem| GatewayError::Settings {
            file: file.to_owned(),
            line: line_of(text, span.map_or(0, |span| span.start)),
            problem,
        };
        let settings: Self = toml::from_str(text).map_err(|e| error(e.span(), problem_of(e.message())))?;
        let places: Places = toml::from_str(text).map_err(|e| error(e.span(), problem_of(e.message())))?;
        settings.check(&places).map_err(|(span, problem)| error(span, problem))?;
        Ok(settings)
    }

    fn check(&self, places: &Places) -> Result<(), (Option<Range<usize>>, Problem)> {
        if self.upstreams.is_empty() {
            return Err((None, Problem::new("no upstream", "at least one [[upstream]] table")));
        }
        for (table, list) in [("upstream", &places.upstream), ("client", &places.client)] {
            for (at, place) in list.iter().enumerate() {
                let name = place.name.get_ref();
                let bad = |problem| Err((Some(place.name.span()), problem));
                if name.trim().is_empty() {
                    return bad(Problem::of("name", format!("{name:?}"), "a name"));
                }
                if list[..at].iter().any(|earlier| earlier.name.get_ref() == name) {
                    return bad(Problem::of("name", format!("a second {table} named {name:?}"), "different names"));
                }
            }
        }
        for (upstream, place) in self.upstreams.iter().zip(&places.upstream) {
            let url = &upstream.url;
            if !(url.starts_with("https://") || url.starts_with("http://")) || url.contains(char::is_whitespace) {
                let span = place.url.as_ref().map(Spanned::span);
                return Err((
                    span,
                    Problem::of("url", format!("{url:?}"), "an address that begins with https:// or http://"),
                ));
            }
        }
        for (upstream, place) in self.upstreams.iter().zip(&places.upstream) {
            if upstream.drafts && upstream.api == Api::Anthropic {
                let span = place.drafts.as_ref().map(Spanned::span);
                return Err((span, Problem::of("drafts", "true for api = \"anthropic\"", "api = \"openai\"")));
            }
        }
        for (client, place) in self.clients.iter().zip(&places.client) {
            if client.key == Key::None {
                let found = format!("\"none\" for client {:?}", client.name);
                return Err((Some(place.name.span()), Problem::of("key", found, "{ env = ... } or { file = ... }")));
            }
        }
        if let Some(url) = places.records.url.as_ref().filter(|url| !RecordSettings::is_address(url.get_ref())) {
            // The address can hold a password.
            let kind = url.get_ref().split(':').next().unwrap_or_default();
            let problem = Problem::of(
                "url",
                format!("an address of kind {kind:?}"),
                "sqlite:PATH or postgres://USER@HOST/DATABASE",
            );
            return Err((Some(url.span()), problem));
        }
        let targets = &places.estimator;
        let set: Vec<&Spanned<toml::Value>> =
            [&targets.keep_local, &targets.max_false_local, &targets.threshold].into_iter().flatten().collect();
        match set.as_slice() {
            [_, second, ..] => {
                let found = format!("{} targets", set.len());
                Err((
                    Some(second.span()),
                    Problem::of("estimator", found, "one of keep_local, max_false_local and threshold"),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The places of the values that are checked after reading.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    upstream: Vec<Place>,
    #[serde(default)]
    client: Vec<Place>,
    #[serde(default)]
    estimator: Targets,
    #[serde(default)]
    records: Records,
}

#[derive(Default, Deserialize)]
struct Records {
    url: Option<Spanned<String>>,
}

#[derive(Deserialize)]
struct Place {
    name: Spanned<String>,
    url: Option<Spanned<String>>,
    drafts: Option<Spanned<bool>>,
}

#[derive(Default, Deserialize)]
struct Targets {
    keep_local: Option<Spanned<toml::Value>>,
    max_false_local: Option<Spanned<toml::Value>>,
    threshold: Option<Spanned<toml::Value>>,
}

/// Splits a message of the TOML reader into what was found and what was expected.
fn problem_of(message: &str) -> Problem {
    let message = message.trim().replace('\n', "; ");
    let Some((found, expected)) = message.split_once(", expected ") else {
        return match message.strip_prefix("missing field ") {
            Some(field) => Problem::new("nothing", format!("key {field}")),
            None => Problem::new(message, "valid TOML with the keys of a gateway file"),
        };
    };
    let found = found.strip_prefix("found ").unwrap_or(found).replace("unknown field", "unknown key");
    Problem::new(found, expected)
}

/// Returns the line of a byte, from 1.
fn line_of(text: &str, byte: usize) -> usize {
    let end = (0..=byte.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"policy = "local-first"
[local]
model = "pocket"
context = 4096
[[upstream]]
name = "one"
api = "openai"
url = "https://example.com/v1"
model = "large"
key = { env = "KEY" }
price = { input = 2.5, output = 10 }
context = 128000
"#;

    #[test]
    fn the_commented_example_is_valid() {
        let example = include_str!("../../../../deploy/gateway.toml");
        let settings = Settings::from_toml("gateway.toml", example).expect("the example");
        assert!(settings.upstreams.len() > 1 && !settings.clients.is_empty());
        Settings::from_toml("good.toml", GOOD).expect("valid");
    }

    #[test]
    fn every_problem_names_its_line_and_what_is_right() {
        let second = GOOD.split_once("[[upstream]]").expect("a table").1;
        let twice = format!("{GOOD}[[upstream]]{second}");
        let targets = format!("{GOOD}[estimator]\nkeep_local = \"75%\"\nthreshold = 0.1\n");
        let client = format!("{GOOD}[[client]]\nname = \"a\"\nkey = \"none\"\n");
        for (text, line, said) in [
            (GOOD.replace("context = 4096", "context = 4096\ntool = true"), 5, "unknown key `tool`, expected one of"),
            (GOOD.replace("key = { env = \"KEY\" }\n", ""), 5, "found nothing, expected key `key`"),
            (GOOD.replace("input = 2.5", "input = -1"), 11, "found -1, expected a number of at least 0"),
            (twice, 14, "name: found a second upstream named \"one\", expected different names"),
            (GOOD.replace("local-first", "sometimes"), 1, "expected one of `local-only`"),
            (GOOD.replace("https://", "ftp://"), 8, "url: found \"ftp://example.com/v1\", expected an address"),
            (GOOD.replace("context = 128000", "context = \"long\""), 12, "expected u64"),
            (
                GOOD.replace("\"openai\"", "\"anthropic\"")
                    .replace("context = 128000", "drafts = true\ncontext = 128000"),
                12,
                "drafts: found true for api = \"anthropic\", expected api = \"openai\"",
            ),
            (GOOD.replace("\"one\"", "\" \""), 6, "name: found \" \", expected a name"),
            (targets, 15, "estimator: found 2 targets, expected one of"),
            (client, 14, "key: found \"none\" for client \"a\""),
            (
                GOOD.split_once("[[upstream]]").expect("a table").0.to_owned(),
                1,
                "found no upstream, expected at least one",
            ),
            (GOOD.replace("policy =", "policy"), 1, "expected"),
            (
                format!("{GOOD}[records]\nurl = \"mysql://u:p@h/d\"\n"),
                14,
                "url: found an address of kind \"mysql\", expected sqlite:PATH",
            ),
            (format!("{GOOD}[records]\nkeep_days = -1\n"), 14, "expected u32"),
            (format!("{GOOD}[estimator]\nkeep_local = \"175%\"\n"), 14, "found \"175%\", expected a percentage"),
        ] {
            let error = Settings::from_toml("g.toml", &text).expect_err(said).to_string();
            assert!(error.starts_with(&format!("g.toml: line {line}: ")) && error.contains(said), "{error}");
        }
    }
}
