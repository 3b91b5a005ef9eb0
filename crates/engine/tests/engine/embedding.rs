//! Embeddings by the driver, compared with the hidden states of the model itself.

use honelm_backend::{Batch, Want, block_on};
use honelm_engine::{DriverOptions, Event, Generation, Pooling, Request};
use honelm_model::{Model, Runner};

use crate::common::{encode, limited, tokenizer};
use crate::pocket::pocket;
use crate::schedule::{load, tiny};

/// Returns the final hidden states of all tokens.
fn states(tokens: &[u32]) -> Vec<Vec<f32>> {
    states_of(pocket(), tokens)
}

fn states_of(mut model: Model, tokens: &[u32]) -> Vec<Vec<f32>> {
    let id = model.open();
    let mut batch = Batch::default();
    batch.extend(id, tokens, Want::HIDDEN);
    batch.want.fill(Want::HIDDEN);
    let ticket = model.step(&batch).expect("a step");
    let hidden = block_on(model.read(ticket)).expect("hidden states").hidden;
    hidden.iter_rows().map(<[f32]>::to_vec).collect()
}

#[test]
fn embeddings_are_the_pooled_states_whatever_the_steps_and_neighbours() {
    let t = tokenizer();
    let texts = [encode(&t, "The old house stood on a hill."), encode(&t, "The old house burned.")];
    let options = DriverOptions { prefill_rows: 3, prefill_rows_beside: 2, ..DriverOptions::default() };
    let mut driver = limited(pocket(), options);
    // Cached tokens must not be left out of the mean.
    for _ in 0..2 {
        let chat = driver.submit(Request::new(texts[0].clone(), Generation::greedy(3)), 0.0).expect("a request");
        let asked: Vec<_> = texts
            .iter()
            .flat_map(|text| [Pooling::Mean, Pooling::Last, Pooling::Cls].map(|pooling| (text, pooling)))
            .map(|(text, pooling)| {
                let id = driver.submit(Request::embedding(text.clone(), pooling), 0.0).expect("a request");
                (id, text, pooling)
            })
            .collect();
        let mut done = std::collections::BTreeMap::new();
        while !driver.is_idle() {
            for (id, event) in block_on(driver.step(&|| 0.0)) {
                match event {
                    Event::Done(completion) => drop(done.insert(id, completion)),
                    Event::Failed(error) => panic!("{error}"),
                    Event::Update(_) => {}
                }
            }
        }
        assert_eq!((done[&chat].token_ids.len(), &done[&chat].embedding), (3, &None));
        for (id, text, pooling) in asked {
            let states = states(text);
            let expected: Vec<f32> = match pooling {
                Pooling::Last => states[states.len() - 1].clone(),
                Pooling::Cls => states[0].clone(),
                Pooling::Mean => (0..states[0].len())
                    .map(|i| (states.iter().map(|row| f64::from(row[i])).sum::<f64>() / states.len() as f64) as f32)
                    .collect(),
            };
            let completion = &done[&id];
            assert_eq!(completion.embedding.as_ref(), Some(&expected), "{pooling:?}");
            assert_eq!((completion.prompt_tokens, completion.cached_tokens), (text.len(), 0));
        }
    }
}

#[test]
fn an_encoder_reads_every_text_in_one_step_and_generates_nothing() {
    let encoder = || load(&tiny("bert-types"), 48);
    let options = DriverOptions { prefill_rows: 3, ..DriverOptions::default() };
    let mut driver = limited(encoder(), options);
    let texts: Vec<Vec<u32>> = [48, 1, 20].map(|len| (0..len).map(|i| i * 7 % 64).collect()).into();
    let requests = texts.iter().map(|text| Request::embedding(text.clone(), Pooling::Cls));
    let ids: Vec<_> = requests.map(|request| driver.submit(request, 0.0).expect("a request")).collect();
    let refused = driver.submit(Request::new(vec![1], Generation::greedy(3)), 0.0).expect_err("an answer");
    assert_eq!(refused.code(), "model-is-encoder");
    let long = driver.submit(Request::embedding(vec![1; 49], Pooling::Cls), 0.0).expect_err("49 of 48 positions");
    assert_eq!(long.code(), "prompt-too-long");
    let mut done = std::collections::BTreeMap::new();
    while !driver.is_idle() {
        for (id, event) in block_on(driver.step(&|| 0.0)) {
            match event {
                Event::Done(completion) => drop(done.insert(id, completion)),
                Event::Failed(error) => panic!("{error}"),
                Event::Update(_) => {}
            }
        }
    }
    for (id, text) in ids.iter().zip(&texts) {
        assert_eq!(done[id].embedding.as_ref(), Some(&states_of(encoder(), text)[0]));
    }
}

#[test]
fn a_cancelled_embedding_has_no_values() {
    let t = tokenizer();
    let mut driver = limited(pocket(), DriverOptions { prefill_rows: 2, ..DriverOptions::default() });
    let request = Request::embedding(encode(&t, "The old house stood on a hill."), Pooling::Mean);
    let cancel = request.cancel.clone();
    let done = block_on(driver.complete(request, &|| 0.0, &mut |_| cancel.cancel())).expect("an end");
    assert_eq!((done.finish_reason.name(), done.embedding), ("cancelled", None));
}

#[test]
fn poolings_have_names() {
    for name in Pooling::NAMES {
        assert_eq!(Pooling::named(name).map(Pooling::name), Some(name));
    }
    assert_eq!(Pooling::named("max"), None);
}
