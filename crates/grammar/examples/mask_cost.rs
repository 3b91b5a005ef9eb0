//! Measures what grammars cost: `mask_cost TOKENIZER-FOLDER`. Prints microseconds for each mask, token and taking back, while
//! a text of the grammar is written with the tokenizer's own tokens.

use std::path::Path;
use std::time::Instant;

use honelm_grammar::{Constraint, Grammar, Limits, TokenVocabulary};
use honelm_text::{EncodeOptions, Tokenizer};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: mask_cost TOKENIZER-FOLDER")?;
    let tokenizer = Tokenizer::from_dir(Path::new(&folder))?;
    let start = Instant::now();
    let vocabulary = TokenVocabulary::new(&tokenizer, tokenizer.eos_ids())?;
    println!("vocabulary of {} tokens: {:.0} ms", vocabulary.len(), start.elapsed().as_secs_f64() * 1e3);
    let person = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}, "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}},
            "text": {"type": "string", "maxLength": 400}},
        "required": ["name", "age", "tags", "text"], "additionalProperties": false
    });
    let long = "The quick brown fox jumps over the lazy dog, and nobody knows why it does so again. ".repeat(4);
    let text = json!({"name": "Ann Example", "age": 42, "tags": ["a", "c", "b"], "text": long}).to_string();
    let cases = [
        ("schema", Constraint::JsonSchema(person), text.clone()),
        ("json object", Constraint::JsonObject, text),
        ("regex", Constraint::Regex("(?:[A-Za-z ,.]+\n?)+".to_owned()), long),
    ];
    for (name, constraint, text) in cases {
        let start = Instant::now();
        let grammar = Grammar::compile(&vocabulary, &constraint, &Limits::default())?;
        let compiled = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        let mut matcher = grammar.matcher();
        let made = start.elapsed().as_secs_f64() * 1e6;
        let tokens = tokenizer.encode(&text, EncodeOptions::default())?;
        let (mut masks, mut advances) = (Vec::new(), 0.0);
        for &token in &tokens {
            let start = Instant::now();
            matcher.mask()?;
            masks.push(start.elapsed().as_secs_f64() * 1e6);
            let start = Instant::now();
            matcher.advance(token)?;
            advances += start.elapsed().as_secs_f64() * 1e6;
        }
        let start = Instant::now();
        for _ in 0..50 {
            matcher.rollback(8)?;
            for &token in &tokens[tokens.len() - 8..] {
                matcher.advance(token)?;
            }
        }
        let back = start.elapsed().as_secs_f64() * 1e6 / 50.0;
        let start = Instant::now();
        let accepted = matcher.clone();
        let cloned = start.elapsed().as_secs_f64() * 1e6;
        drop(accepted);
        masks.sort_by(f64::total_cmp);
        let mean = masks.iter().sum::<f64>() / masks.len() as f64;
        let at = |share: f64| masks[((masks.len() - 1) as f64 * share) as usize];
        println!(
            "{name}: {} tokens; compile {compiled:.1} ms, matcher {made:.0} us; mask mean {mean:.0}, median {:.0}, p95 {:.0}, max {:.0} us; \
             advance {:.1} us; 8 tokens back and again {back:.0} us; clone {cloned:.0} us",
            tokens.len(),
            at(0.5),
            at(0.95),
            at(1.0),
            advances / tokens.len() as f64
        );
    }
    Ok(())
}
