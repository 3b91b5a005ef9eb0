//! The bits of a row depend only on its own sequence.

use honelm_backend::{Batch, Parent, Sampling, SequenceId, Token, Want};
use honelm_model::{Model, Runner};

use crate::common::{changed, golden, load, logits, logits_of, step};
use crate::tiny::tiny;

/// Opens a sequence with the given tokens.
fn prefilled(model: &mut Model, tokens: &[u32]) -> SequenceId {
    let id = model.open();
    logits_of(model, id, tokens, 16);
    id
}

fn one(id: SequenceId, token: u32) -> Batch {
    let mut batch = Batch::default();
    batch.extend(id, &[token], Want::LOGITS);
    batch
}

#[test]
fn a_row_alone_equals_the_same_row_beside_others() {
    for name in ["llama-grouped", "llama-window"] {
        let dir = changed(name, |config| config["max_position_embeddings"] = 1024.into(), |_| {});
        let mut model = load(dir.path());
        let (tokens, _) = golden(&tiny(name));
        let base = prefilled(&mut model, &tokens);
        let forks: Vec<_> = (0..3).map(|_| model.fork(base).unwrap()).collect();
        let alone = step(&mut model, &one(forks[0], 7)).logits;

        // Among 16 rows of 16 sequences.
        let others: Vec<_> = (1..=15).map(|n| prefilled(&mut model, &tokens[..n])).collect();
        let mut batch = Batch::default();
        for &id in &others[..8] {
            batch.extend(id, &[3], Want::LOGITS);
        }
        batch.extend(forks[1], &[7], Want::LOGITS);
        for &id in &others[8..] {
            batch.extend(id, &[3], Want::LOGITS);
        }
        let among = step(&mut model, &batch).logits;
        assert_eq!((among.rows, among.row(8)), (16, alone.row(0)), "{name} among 16");

        // Beside a prefill of 500 rows.
        let long: Vec<u32> = (0..500).map(|i| (i * 31 % 64) as u32).collect();
        let mut batch = Batch::default();
        let other = model.open();
        batch.extend(other, &long, Want::LOGITS);
        batch.extend(forks[2], &[7], Want::LOGITS);
        let beside = step(&mut model, &batch).logits;
        assert_eq!(beside.row(1), alone.row(0), "{name} beside a prefill");
    }
}

#[test]
fn an_accepted_draft_equals_the_tokens_one_by_one() {
    let mut model = load(&tiny("llama-grouped"));
    let (tokens, _) = golden(&tiny("llama-grouped"));
    let expected = logits(&mut model, &tokens[..12], 1);
    let id = prefilled(&mut model, &tokens[..8]);
    // A tree: a wrong branch first, then tokens 8, 9, 10.
    let mut batch = Batch::default();
    batch.push(id, Token::Id(1), Parent::Accepted, Want::LOGITS);
    batch.push(id, Token::Id(tokens[8]), Parent::Accepted, Want::LOGITS);
    batch.push(id, Token::Id(2), Parent::Row(0), Want::LOGITS);
    batch.push(id, Token::Id(tokens[9]), Parent::Row(1), Want::LOGITS);
    batch.push(id, Token::Id(tokens[10]), Parent::Row(3), Want::LOGITS);
    let tree = step(&mut model, &batch).logits;
    for (row, position) in [(1, 8), (3, 9), (4, 10)] {
        assert_eq!(tree.row(row), expected.row(position), "position {position}");
    }
    model.accept(id, &[1, 3, 4]).unwrap();
    assert_eq!(model.len(id).unwrap(), 11);
    assert_eq!(step(&mut model, &one(id, tokens[11])).logits.row(0), expected.row(11));
    // After truncation, the same tokens give the same results.
    assert_eq!(model.truncate(id, 9).unwrap().len, 9);
    assert_eq!(step(&mut model, &one(id, tokens[9])).logits.row(0), expected.row(9));
}

#[test]
fn rows_give_exactly_the_requested_outputs() {
    let mut model = load(&tiny("llama-grouped"));
    let (tokens, _) = golden(&tiny("llama-grouped"));
    let expected = logits(&mut model, &tokens[..4], 1);
    let greedy = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0, stream: 0 };
    let best = |row: &[f32]| (0..row.len() as u32).max_by(|&a, &b| row[a as usize].total_cmp(&row[b as usize]));
    let id = model.open();
    let mut batch = Batch::default();
    batch.extend(id, &tokens[..4], Want::NOTHING);
    batch.want[0].sample = Some(greedy);
    batch.want[1] = Want::HIDDEN;
    batch.want[2] = Want { logits: true, hidden: false, sample: Some(greedy) };
    batch.want[3] = Want { logits: true, hidden: true, sample: None };
    let out = step(&mut model, &batch);
    assert_eq!((out.logits.row(0), out.logits.row(1)), (expected.row(2), expected.row(3)));
    assert_eq!(out.sampled, [best(expected.row(0)).unwrap(), best(expected.row(2)).unwrap()]);
    assert_eq!((out.hidden.rows, out.hidden.cols), (2, 64));
    // The output layer alone computes the same logits from the hidden states.
    assert_eq!(model.logits(&out.hidden).unwrap().row(1), expected.row(3));

    // A sampled token is used without being read.
    let mut first = Batch::default();
    first.extend(id, &[5], Want { sample: Some(greedy), ..Want::NOTHING });
    let other = model.fork(id).unwrap();
    let ticket = model.step(&first).unwrap();
    let mut second = Batch::default();
    second.push(id, Token::Sampled(ticket, 0), Parent::Previous, Want::LOGITS);
    let fed = step(&mut model, &second).logits;
    let token = honelm_backend::block_on(model.read(ticket)).unwrap().sampled[0];
    step(&mut model, &one(other, 5));
    assert_eq!(step(&mut model, &one(other, token)).logits, fed);
}

#[test]
fn a_refused_step_changes_nothing() {
    let mut model = load(&tiny("llama-grouped"));
    let (tokens, _) = golden(&tiny("llama-grouped"));
    let id = prefilled(&mut model, &tokens[..5]);
    let code = |model: &mut Model, batch: &Batch| model.step(batch).expect_err("must be refused").code();
    assert_eq!(code(&mut model, &one(id, 96)), "unknown-token");
    let mut long = Batch::default();
    long.extend(id, &[1; 124], Want::NOTHING);
    assert_eq!(code(&mut model, &long), "context-full");
    assert_eq!(code(&mut model, &Batch::default()), "invalid-batch");
    assert_eq!(model.len(id).unwrap(), 5);
    let expected = logits(&mut model, &tokens[..6], 1);
    assert_eq!(step(&mut model, &one(id, tokens[5])).logits.row(0), expected.row(5));
    model.close(id).unwrap();
    assert_eq!(code(&mut model, &one(id, 1)), "unknown-sequence");
}
