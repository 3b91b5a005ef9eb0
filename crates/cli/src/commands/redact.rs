//! `honelm redact`: private data out of a text.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use honelm::pii::{DetectOptions, Kind, Mode};
use honelm::{RedactOptions, redact};
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{help, interrupt, output};

/// Returns the text after the options.
fn notes() -> String {
    help::notes(
        &[
            ("honelm redact letter.txt > clean.txt", ""),
            ("tail -f app.log | honelm redact --kinds EMAIL_ADDRESS,IP_ADDRESS", "a filter"),
            ("honelm redact letter.txt --json --report", "what was found, and where"),
            ("honelm redact --mode block < prompt.txt && echo harmless", ""),
        ],
        &[
            "Names and places are found by statistics, so some are missed and some other words are taken for one; docs/privacy.md \
           has figures. --mode surrogate invents values of the same form; the invented ones cannot be turned back later.",
        ],
    )
}

/// The ways to deal with private data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Replacement {
    /// Its kind, such as `<PERSON>`
    Mask,
    /// An invented value of the same form
    Surrogate,
    /// Nothing: the command fails
    Block,
}

/// Replace names, addresses, numbers of cards and accounts, and other private data in a text
#[derive(Debug, Args)]
#[command(after_help = notes())]
pub struct Redact {
    /// The text file [default: stdin]
    file: Option<PathBuf>,

    /// Replacement of private data
    #[arg(long, value_enum, default_value_t = Replacement::Mask)]
    mode: Replacement,

    /// Kinds to look for, named as Presidio names them [default: all]
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    kinds: Vec<String>,

    /// The least certainty of what is replaced, from 0 to 1
    #[arg(long, value_name = "SCORE", default_value_t = 0.5)]
    threshold: f32,

    /// Replace every date and time too: years, days of the week, months
    #[arg(long)]
    all_dates: bool,

    /// Report on stderr how often each kind was found; with --json in the document
    #[arg(long)]
    report: bool,
}

impl Redact {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        // No file is written: Ctrl-C may end the command at any time.
        interrupt::watched(false);
        let options = self.options()?;
        let (input, name): (Box<dyn BufRead>, String) = match &self.file {
            Some(path) => {
                let file = honelm::open_file(path).map_err(honelm::Error::from)?;
                (Box::new(BufReader::new(file)), path.display().to_string())
            }
            None if io::stdin().is_terminal() => {
                return Err(Failure::Usage("no text: name a file or give it on stdin".to_owned()));
            }
            None => (Box::new(io::stdin().lock()), "stdin".to_owned()),
        };
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        let (mut text, mut spans) = (String::new(), Vec::new());
        redact(input, &name, options, |piece| {
            piece.spans.iter().for_each(|span| *counts.entry(span.kind).or_default() += 1);
            if global.json {
                text.push_str(&piece.text);
                spans.extend(piece.spans.iter().map(|s| {
                    let score = (f64::from(s.score) * 1000.0).round() / 1000.0;
                    json!({ "start": s.start, "end": s.end, "kind": s.kind.name(), "score": score })
                }));
                Ok(())
            } else {
                output::contents(piece.text.as_bytes())
            }
        })?;
        if global.json {
            let mut document = json!({ "text": text, "spans": spans });
            if self.report {
                let found: Vec<Value> =
                    counts.iter().map(|(kind, n)| json!({ "kind": kind.name(), "count": n })).collect();
                document["found"] = found.into();
            }
            return output::json_line(&document).map(|()| 0);
        }
        if self.report {
            let lines: Vec<String> = counts.iter().map(|(kind, n)| format!("{n:>6}  {}", kind.name())).collect();
            output::note(&if lines.is_empty() { "nothing private was found".to_owned() } else { lines.join("\n") });
        }
        Ok(0)
    }

    fn options(&self) -> Result<RedactOptions, Failure> {
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(Failure::Usage(format!(
                "--threshold: found {}, expected a number from 0 to 1",
                self.threshold
            )));
        }
        let kinds = self.kinds.iter().map(|name| Kind::named(name)).collect::<Result<Vec<_>, _>>();
        let kinds = kinds.map_err(|e| Failure::Usage(format!("--kinds: {e}")))?;
        let mode = match self.mode {
            Replacement::Mask => Mode::Mask,
            Replacement::Surrogate => Mode::Surrogate,
            Replacement::Block => Mode::Block,
        };
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|e| Failure::Io("random numbers".to_owned(), io::Error::other(e.to_string())))?;
        let kinds = (!kinds.is_empty()).then_some(kinds);
        let detect = DetectOptions { threshold: self.threshold, kinds, all_dates: self.all_dates };
        Ok(RedactOptions { detect, mode, key })
    }
}
