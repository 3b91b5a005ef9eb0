//! Trains the tagger on the text of `scripts/make_corpus.py` and prints how it does on the part kept for development:
//!
//! ```text
//! cargo run --example train -- CORPUS crates/gateway/data/tagger.bin
//! ```

use std::path::Path;
use std::process::ExitCode;

use honelm_gateway::pii::tagger::features::{Lexicon, NAME_BITS, WORD_BITS, Words};
use honelm_gateway::pii::tagger::model::Model;
use honelm_gateway::pii::tagger::tag;
use honelm_gateway::pii::tagger::train::{Example, Settings, train};
use serde_json::Value;

const TAGS: [&str; 5] = ["", "PERSON", "GPE", "ORGANIZATION", "ADDRESS"];

/// The tenths of the names that the tagger knows in training.
const KNOWN: u32 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, out] = &arguments[..] else {
        eprintln!("usage: train CORPUS OUT");
        return ExitCode::FAILURE;
    };
    match run(Path::new(corpus), Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(corpus: &Path, out: &Path) -> Result<(), String> {
    let read = |name: &str| std::fs::read_to_string(corpus.join(name)).map_err(|e| format!("{name}: {e}"));
    let lexicon = |part: u32| {
        let set = |name: &str| {
            Ok::<_, String>(Words::new(read(name)?.lines().filter(|word| sum(word) % 10 < part), NAME_BITS))
        };
        let words = Words::new(read("words.txt")?.lines(), WORD_BITS);
        Ok::<_, String>(Lexicon { words, names: [set("first.txt")?, set("last.txt")?, set("places.txt")?] })
    };
    let examples = examples("train.jsonl", &read("train.jsonl")?)?;
    let progress = |epoch, likelihood| println!("pass {}: log-likelihood of a token {likelihood:.4}", epoch + 1);
    let file = train(&examples, &lexicon(KNOWN)?, &lexicon(10)?, Settings::default(), progress);
    let model = Model::read(&file).ok_or("the trained file cannot be read back")?;
    report(&model, &self::examples("dev.jsonl", &read("dev.jsonl")?)?);
    std::fs::write(out, &file).map_err(|e| format!("{}: {e}", out.display()))
}

fn sum(word: &str) -> u32 {
    word.bytes().map(u32::from).sum()
}

fn examples(name: &str, text: &str) -> Result<Vec<Example>, String> {
    let line = |(i, line): (usize, &str)| {
        let wrong = || format!("{name}: line {}: expected an object with text and spans of [start, end, tag]", i + 1);
        let value: Value = serde_json::from_str(line).map_err(|e| format!("{name}: line {}: {e}", i + 1))?;
        let text = value["text"].as_str().ok_or_else(wrong)?.to_owned();
        let bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let spans = value["spans"].as_array().ok_or_else(wrong)?.iter().map(|span| {
            let at = |i: usize| bytes.get(usize::try_from(span[i].as_u64()?).ok()?).copied();
            let tag = TAGS.iter().position(|tag| Some(*tag) == span[2].as_str());
            Some((at(0)?..at(1)?, tag))
        });
        Ok(Example { spans: spans.collect::<Option<_>>().ok_or_else(wrong)?, text })
    };
    text.lines().enumerate().map(line).collect()
}

/// Prints recall and precision; half of the bytes in common counts.
fn report(model: &Model<'_>, examples: &[Example]) {
    let (mut gold, mut hits, mut found, mut right) = ([0; 5], [0; 5], [0; 5], [0; 5]);
    for example in examples {
        let tagged = tag(model, &example.text);
        let common = |a: &std::ops::Range<usize>, b: &std::ops::Range<usize>| {
            a.end.min(b.end).saturating_sub(a.start.max(b.start))
        };
        for (range, number) in example.spans.iter().filter_map(|(range, tag)| Some((range, (*tag)?))) {
            gold[number] += 1;
            hits[number] +=
                usize::from(tagged.iter().any(|t| t.tag == number && 2 * common(&t.range, range) >= range.len()));
        }
        for t in &tagged {
            let unknown = example.spans.iter().any(|(range, tag)| tag.is_none() && common(&t.range, range) > 0);
            let hit = example
                .spans
                .iter()
                .any(|(range, tag)| *tag == Some(t.tag) && 2 * common(&t.range, range) >= t.range.len());
            found[t.tag] += usize::from(!unknown || hit);
            right[t.tag] += usize::from(hit);
        }
    }
    for tag in 1..TAGS.len() {
        let rate = |a: usize, b: usize| a as f64 / b.max(1) as f64;
        println!(
            "{:12}  recall {:.3}  precision {:.3}",
            TAGS[tag],
            rate(hits[tag], gold[tag]),
            rate(right[tag], found[tag])
        );
    }
}
