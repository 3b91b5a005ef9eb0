//! Generation with the shipped model, computed in f64.

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::{encode, generate, limited, tokenizer};
use honelm_backend::{Batch, Want, block_on};
use honelm_engine::{Cancel, DriverOptions, Generation, LoadedModel};
use honelm_model::{Checkpoint, LoadOptions, Model, Runner};
use honelm_testing::{Naive, pocket_dir};
use honelm_text::{RenderOptions, Tokenizer};

pub fn pocket() -> Model {
    let checkpoint = Checkpoint::open(pocket_dir()).expect("the shipped model");
    let device = Rc::new(RefCell::new(Naive::new()));
    let options = LoadOptions { context: Some(64), ..LoadOptions::default() };
    Model::load(checkpoint.blueprint(), &checkpoint, device, &options).expect("it loads")
}

/// Computes the most likely next token from the whole text at once.
fn next(model: &mut Model, tokens: &[u32]) -> u32 {
    let id = model.open();
    let mut batch = Batch::default();
    batch.extend(id, tokens, Want::LOGITS);
    let ticket = model.step(&batch).expect("a step");
    let logits = block_on(model.read(ticket)).expect("logits").logits.data;
    model.close(id).expect("open");
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).expect("tokens") as u32
}

#[test]
fn cached_and_whole_texts_give_the_same_answer() {
    let t = tokenizer();
    let prompt = [vec![t.bos().expect("a BOS")], encode(&t, "The old house stood")].concat();
    let mut model = pocket();
    let mut expected = prompt.clone();
    for _ in 0..6 {
        let token = next(&mut model, &expected);
        expected.push(token);
    }
    let mut session = limited(model, DriverOptions { prefill_rows: 2, ..DriverOptions::default() });
    let how = Generation::greedy(6);
    for cached in [0, prompt.len() - 1] {
        let done = generate(&mut session, &prompt, &how).expect("an answer");
        assert_eq!((&done.token_ids[..], done.cached_tokens), (&expected[prompt.len()..], cached));
    }
}

#[test]
fn the_shipped_template_and_model_converse() {
    let tokenizer = Tokenizer::from_dir(&pocket_dir()).expect("a tokenizer");
    let mut model = LoadedModel::new(Box::new(pocket()), tokenizer, Generation::greedy(5), DriverOptions::default());
    let mut chat = model.new_chat(RenderOptions::default()).expect("a template");
    for (question, cached) in [("Who are you?", false), ("Why?", true)] {
        let (how, cancel) = (model.generation().clone(), Cancel::new());
        let done = block_on(model.ask(&mut chat, question, &how, &cancel, &|| 0.0, &mut |_| ()));
        let done = done.expect("an answer");
        assert!(!done.token_ids.is_empty());
        assert_eq!(done.cached_tokens > 0, cached);
    }
}
