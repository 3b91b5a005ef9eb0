//! The confidence in the first token of an answer.

use honelm_backend::block_on;
use honelm_engine::{Agreement, Cancel, ChatAsk, DriverOptions, Generation, LoadedModel, Request, Samples};
use honelm_text::Message;

use crate::common::{Scripted, answering, driver, encode, favour, generate, pocket, tokenizer};
use crate::pocket;

#[test]
fn confidence_is_that_of_the_first_token_and_keeps_the_prompt() {
    let vocabulary = 100;
    let prompt: Vec<u32> = (10..30).collect();
    // The probabilities 8, 4, 1 and 97 times 1 / 97 of 14.
    let (model, log) = Scripted::new(vocabulary, 64, move |tokens| match tokens.len() {
        20 => (0..100).map(|id| [8.0f32, 4.0, 1.0].get(id).copied().unwrap_or(1.0 / 97.0).ln() + 3.0).collect(),
        _ => favour(100, 50),
    });
    let mut driver = driver(model);
    let how = Generation { ignore_eos: true, ..Generation::greedy(3) };
    let request = Request::new(prompt.clone(), how.clone());
    let found =
        block_on(driver.confidence(request.clone(), None, &|| 0.0)).expect("a distribution").expect("no cancel");
    let p = [8.0f32 / 14.0, 4.0 / 14.0, 1.0 / 14.0];
    let entropy = -p.iter().map(|p| p * p.ln()).sum::<f32>() + (97.0f32 * 14.0).ln() / 14.0;
    assert!((found.top_probability - p[0]).abs() < 1e-5 && (found.margin - (p[0] - p[1])).abs() < 1e-5, "{found:?}");
    assert!((found.entropy - entropy).abs() < 1e-4, "{found:?} {entropy}");
    assert_eq!((found.prompt_tokens, found.cached_tokens, found.agreement), (20, 0, None));
    // The answer that follows computes one row of the prompt.
    let before = log.rows.borrow().len();
    let done = generate(&mut driver, &prompt, &how).expect("an answer");
    assert_eq!((done.cached_tokens, &done.token_ids[..], done.confidence), (19, &[0, 50, 50][..], None));
    assert_eq!(log.rows.borrow()[before..], [1, 1, 1]);
    // An answer can bring its own confidence. The settings of the draw do not change it.
    let biased = Generation { temperature: 2.0, repeat_penalty: 3.0, logit_bias: [(0, -9.0)].into(), ..how };
    let request = Request { confidence: true, how: biased, ..request };
    let own =
        block_on(driver.complete(request, &|| 0.0, &mut |_| ())).expect("an answer").confidence.expect("asked for");
    assert_eq!((own.top_probability, own.margin, own.entropy), (found.top_probability, found.margin, found.entropy));
    assert_eq!(own.cached_tokens, 19);
}

#[test]
fn samples_of_a_sure_model_agree_and_those_of_an_unsure_one_do_not() {
    let prompt: Vec<u32> = (10..30).collect();
    let samples = Samples { tokens: 8, temperature: 1.0 };
    let agreement = |logits: fn(&[u32]) -> Vec<f32>| {
        let (model, log) = Scripted::new(100, 64, logits);
        let how = Generation { ignore_eos: true, ..Generation::greedy(3) };
        let mut driver = driver(model);
        let asked = driver.confidence(Request::new(prompt.clone(), how), Some(samples), &|| 0.0);
        let found = block_on(asked).expect("a distribution").expect("no cancel").agreement.expect("two samples");
        assert_eq!(found.tokens, 16);
        // The second sample shares the prompt of the first.
        assert_eq!(log.rows.borrow().iter().sum::<usize>(), 20 + 7 + 1 + 7);
        found.share
    };
    assert_eq!(agreement(|_| favour(100, 50)), 1.0);
    let unsure = agreement(|_| vec![0.0; 100]);
    assert!(unsure < 0.5, "{unsure}");
}

#[test]
fn samples_that_end_at_once_agree_and_a_cancelled_request_has_no_confidence() {
    let t = tokenizer();
    let prompt = encode(&t, "The old house");
    let (model, _) = answering(&t, prompt.len(), vec![]);
    let mut driver = driver(model);
    let request = Request::new(prompt, Generation::greedy(9));
    let samples = Some(Samples::default());
    let found =
        block_on(driver.confidence(request.clone(), samples, &|| 0.0)).expect("a distribution").expect("no cancel");
    assert_eq!(found.agreement, Some(Agreement { share: 1.0, tokens: 0, seconds: 0.0 }));
    let cancel = Cancel::new();
    cancel.cancel();
    let none = block_on(driver.confidence(request.with_cancel(&cancel), None, &|| 0.0));
    assert_eq!(none.expect("an end"), None);
}

#[test]
fn the_shipped_model_has_a_confidence_and_answers_from_its_cache() {
    let options = DriverOptions::default();
    let mut model = LoadedModel::new(Box::new(pocket::pocket()), pocket(), Generation::greedy(4), options);
    let messages = [Message::new("user", "Who are you?")];
    let ask = ChatAsk::from(Generation::greedy(4));
    let cancel = Cancel::new();
    let found = block_on(model.confidence(&messages, &ask, None, &cancel, &|| 0.0));
    let found = found.expect("a distribution").expect("no cancel");
    assert!(found.top_probability > 0.0 && found.top_probability < 1.0 && found.margin <= found.top_probability);
    assert!(found.entropy > 0.0 && found.entropy < (model.tokenizer().vocab_size() as f32).ln(), "{found:?}");
    let request = model.chat_request(&messages, &ask).expect("a request");
    let done = block_on(model.driver().complete(request, &|| 0.0, &mut |_| ())).expect("an answer");
    assert_eq!((done.prompt_tokens, done.cached_tokens), (found.prompt_tokens, found.prompt_tokens - 1));
}
