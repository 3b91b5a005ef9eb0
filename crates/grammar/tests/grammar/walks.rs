//! Random walks over the masks of 20 schemas end in valid texts.

use std::io::Write as _;
use std::path::Path;

use honelm_grammar::{Constraint, Grammar, Limits};
use honelm_text::Tokenizer;
use serde_json::Value;

use crate::common::{POCKET, Random, closing, compile, walk, with_vocabulary};
use crate::judge::accepts;

fn schemas() -> Vec<Value> {
    serde_json::from_str(include_str!("../data/schemas.json")).expect("schemas")
}

/// HONELM_WALKS is the number of walks under each schema, HONELM_WALKS_TO a file for judge_walks.py.
#[test]
fn random_walks_give_valid_texts() {
    let walks = std::env::var("HONELM_WALKS").ok().map_or(12, |count| count.parse().expect("a number"));
    let mut file = std::env::var_os("HONELM_WALKS_TO").map(|path| std::fs::File::create(path).expect("a file"));
    let (tokenizer, vocabulary) = &*POCKET;
    let closing = closing(tokenizer);
    let schemas = schemas();
    assert_eq!(schemas.len(), 20);
    for (number, schema) in schemas.iter().enumerate() {
        let grammar = compile(&Constraint::JsonSchema(schema.clone())).unwrap_or_else(|e| panic!("{number}: {e}"));
        let mut random = Random(number as u64);
        for _ in 0..walks {
            let tokens = walk(&mut grammar.matcher(), vocabulary.ends(), &closing, &mut random);
            let text = tokenizer.decode(&tokens, true);
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{number}: {text:?}: {e}"));
            assert!(accepts(schema, schema, &value), "{number}: {text}");
            if let Some(file) = &mut file {
                writeln!(file, "{}", serde_json::json!({"schema": number, "text": text})).expect("writes");
            }
        }
    }
}

#[test]
fn walks_over_sentencepiece_tokens_are_valid_too() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../text/tests/data/bpe_bytes.model");
    let (tokenizer, vocabulary) = with_vocabulary(Tokenizer::from_dir(&model).expect("a tokenizer"));
    let closing = closing(&tokenizer);
    let mut random = Random(5);
    for schema in [&schemas()[4], &schemas()[12]] {
        let constraint = Constraint::JsonSchema(schema.clone());
        let grammar = Grammar::compile(&vocabulary, &constraint, &Limits::default()).expect("compiles");
        for _ in 0..10 {
            let tokens = walk(&mut grammar.matcher(), vocabulary.ends(), &closing, &mut random);
            let text = tokenizer.decode(&tokens, true);
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            assert!(accepts(schema, schema, &value), "{value}");
        }
    }
}

#[test]
fn any_object_is_allowed_without_a_schema() {
    let (tokenizer, vocabulary) = &*POCKET;
    let grammar = compile(&Constraint::JsonObject).expect("compiles");
    let mut random = Random(9);
    for _ in 0..10 {
        let tokens = walk(&mut grammar.matcher(), vocabulary.ends(), &closing(tokenizer), &mut random);
        let text = tokenizer.decode(&tokens, true);
        assert!(serde_json::from_str::<Value>(&text).is_ok_and(|value| value.is_object()), "{text}");
    }
}
