//! Labels and facts of texts by the shipped model.

use std::time::Duration;

use honelm::{
    CallLimits, Cancel, ClassifyOptions, DeviceChoice, EncodeOptions, Error, ExtractOptions, Label, LabelledText,
    Message, Model, Normalise, RunOptions, Wanted,
};
use honelm_eval::{Continuations, likelihoods};
use serde_json::{Value, json};

#[path = "../../../grammar/tests/grammar/judge.rs"]
mod judge;

fn pocket() -> Model {
    let path = honelm::locate(None, None).expect("the shipped model");
    let run = RunOptions { device: DeviceChoice::Cpu, threads: Some(2), context: Some(1024), ..RunOptions::default() };
    Model::open(&path, &run, &mut |_| true).expect("opened")
}

fn labels(names: &[&str]) -> Vec<Label> {
    names.iter().map(|name| Label::new(*name)).collect()
}

const TEXTS: [&str; 3] = ["The old dog slept by the fire.", "Die Höhle war kühl – und still.", "Rain fell all night."];

/// Computes the log-likelihoods of answers, with one of the end tokens, by the code of the evaluation.
fn direct(model: &mut Model, messages: &[Message], answers: &[&str]) -> Vec<(f64, usize)> {
    let context = model.prompt(messages).expect("rendered");
    let tokenizer = model.tokenizer();
    let ends = tokenizer.eos_ids().to_vec();
    let encode = |text: &&str| tokenizer.encode(text, EncodeOptions::default()).expect("tokens");
    let texts: Vec<Vec<u32>> = answers.iter().map(encode).collect();
    let ended = |text: &Vec<u32>| ends.iter().map(|&end| [&text[..], &[end]].concat()).collect::<Vec<_>>();
    let requests = [Continuations { context, of: texts.iter().flat_map(ended).collect() }];
    let found = likelihoods(model.runner().expect("a runner"), &requests, &mut |_| true).expect("likelihoods");
    let of_text = |(found, text): (&[honelm_eval::Likelihood], &Vec<u32>)| {
        (found.iter().map(|one| one.log.exp()).sum::<f64>().ln(), text.len() + 1)
    };
    found[0].chunks(ends.len()).zip(&texts).map(of_text).collect()
}

#[test]
fn scores_are_the_likelihoods_of_the_labels_as_answers() {
    let mut model = pocket();
    let names = ["animal", "weather", "a place under the ground"];
    for normalise in [Normalise::Length, Normalise::None] {
        let options = ClassifyOptions {
            examples: vec![LabelledText { text: "A cat purred.".to_owned(), labels: vec!["animal".to_owned()] }],
            normalise,
            ..ClassifyOptions::new(labels(&names))
        };
        let found = model.classify(&TEXTS, &options, &Cancel::new()).expect("labels");
        assert_eq!(found.len(), TEXTS.len());
        let classifier = honelm::Classifier::new(options).expect("valid");
        for (text, found) in TEXTS.iter().zip(&found) {
            let [question] = &classifier.questions(text)[..] else { panic!("one question") };
            let expected = direct(&mut model, &question.messages, &names);
            let mean = expected.iter().map(|one| one.1 as f64).sum::<f64>() / 3.0;
            let weight = |&(log, n): &(f64, usize)| match normalise {
                Normalise::Length => (log * mean / n as f64).exp(),
                Normalise::None => log.exp(),
            };
            let total: f64 = expected.iter().map(weight).sum();
            for (score, one) in found.scores.iter().zip(&expected) {
                let is_close = (score.log_likelihood - one.0).abs() < 1e-4 && score.tokens == one.1;
                assert!(is_close && (score.probability - weight(one) / total).abs() < 1e-5, "{score:?} {one:?}");
            }
            assert!((found.scores.iter().map(|score| score.probability).sum::<f64>() - 1.0).abs() < 1e-9);
            let best = found.scores.iter().map(|score| score.probability).fold(0.0, f64::max);
            let chosen = found.scores.iter().find(|score| score.label == found.labels[0]).expect("a label");
            assert!(found.labels.len() == 1 && chosen.probability == best);
            assert!(found.prompt_tokens > found.cached_tokens);
        }
    }
}

#[test]
fn texts_alone_and_together_have_the_same_scores_and_labels_can_be_decided_each() {
    let mut model = pocket();
    let names = ["animal", "weather", "night"];
    for multi in [false, true] {
        let options = ClassifyOptions { multi, ..ClassifyOptions::new(labels(&names)) };
        let together = model.classify(&TEXTS, &options, &Cancel::new()).expect("labels");
        for (text, together) in TEXTS.iter().zip(&together) {
            let alone = model.classify(&[text], &options, &Cancel::new()).expect("labels").remove(0);
            assert_eq!((&alone.labels, &alone.scores), (&together.labels, &together.scores));
            let reaches = |score: &&honelm::LabelScore| score.probability >= 0.5;
            if multi {
                let chosen: Vec<&String> = alone.scores.iter().filter(reaches).map(|score| &score.label).collect();
                assert_eq!(alone.labels.iter().collect::<Vec<_>>(), chosen);
            }
        }
        if multi {
            // All questions about a text but the first begin with its cached tokens.
            assert!(together.iter().all(|found| found.cached_tokens * 3 > found.prompt_tokens), "{together:?}");
        }
    }
}

#[test]
fn every_json_text_is_valid_and_its_strings_have_their_places() {
    let mut model = pocket();
    let schema = json!({"type": "object", "required": ["who", "where", "count", "mood"], "properties": {
        "who": {"type": "array", "maxItems": 2, "items": {"type": "string", "minLength": 1, "maxLength": 6}},
        "where": {"type": ["string", "null"], "maxLength": 8}, "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "mood": {"enum": ["calm", "wild"]}}});
    let options = ExtractOptions { max_tokens: 600, ..ExtractOptions::new(Wanted::Schema(schema.clone())) };
    let found = model.extract(&TEXTS, &options, &Cancel::new()).expect("facts");
    for (text, found) in TEXTS.iter().zip(&found) {
        let data = found.data.as_ref().expect("a complete text");
        assert!(judge::accepts(&schema, &schema, data), "{data}");
        assert!(found.finish_reason == "stop" && found.completion_tokens > 5);
        check_places(text, data, &found.mentions);
    }
    let kinds = Wanted::Kinds(labels(&["PERSON", "Tier/Ort"]));
    let options = ExtractOptions { max_tokens: 400, ..ExtractOptions::new(kinds) };
    for (text, found) in TEXTS.iter().zip(model.extract(&TEXTS, &options, &Cancel::new()).expect("facts")) {
        let Some(data) = &found.data else {
            assert_eq!((found.finish_reason, found.mentions.len()), ("length", 0));
            continue;
        };
        let names: Vec<&str> = data.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, ["PERSON", "Tier/Ort"]);
        check_places(text, data, &found.mentions);
    }
}

/// Checks that each mention is a string of the facts, and stands where it says.
fn check_places(text: &str, data: &Value, mentions: &[honelm::Mention]) {
    let characters: Vec<char> = text.chars().collect();
    for mention in mentions {
        assert_eq!(data.pointer(&mention.path), Some(&json!(mention.text)));
        match mention.start.zip(mention.end) {
            Some((start, end)) => assert_eq!(characters[start..end].iter().collect::<String>(), mention.text),
            None => assert!(mention.start.is_none() && mention.end.is_none()),
        }
    }
}

#[test]
fn wrong_input_is_refused_and_limits_hold() {
    let mut model = pocket();
    let options = ClassifyOptions::new(labels(&["a", "b"]));
    let long = "word ".repeat(2000);
    let code =
        |outcome: Result<_, Error>| outcome.map(|_: Vec<honelm::Classification>| ()).expect_err("refused").code();
    assert_eq!(code(model.classify(&[""], &options, &Cancel::new())), "invalid-setting");
    assert_eq!(code(model.classify(&["a", &long], &options, &Cancel::new())), "prompt-too-long");
    assert_eq!(code(model.classify(&["a"], &ClassifyOptions::new(Vec::new()), &Cancel::new())), "invalid-setting");
    let cancel = Cancel::new();
    cancel.cancel();
    assert_eq!(code(model.classify(&["a"], &options, &cancel)), "interrupted");
    let limits = CallLimits { deadline: Some(Duration::ZERO) };
    assert_eq!(
        code(model.classify(&["a"], &ClassifyOptions { limits, ..options.clone() }, &Cancel::new())),
        "deadline"
    );

    let code = |outcome: Result<_, Error>| outcome.map(|_: Vec<honelm::Extraction>| ()).expect_err("refused").code();
    let schema = |schema: Value| ExtractOptions::new(Wanted::Schema(schema));
    let good = schema(json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}));
    let refused = schema(json!({"type": "object", "not": {}}));
    assert_eq!(code(model.extract(&["a"], &refused, &Cancel::new())), "bad-schema");
    let impossible = schema(json!({"type": "string", "pattern": "(a"}));
    assert_eq!(code(model.extract(&["a"], &impossible, &Cancel::new())), "schema-not-compiled");
    assert_eq!(code(model.extract(&[&long], &good, &Cancel::new())), "prompt-too-long");
    assert_eq!(code(model.extract(&["a"], &good, &cancel)), "interrupted");
    assert_eq!(code(model.extract(&["a"], &ExtractOptions { limits, ..good.clone() }, &Cancel::new())), "deadline");
    // A JSON text that does not fit is not returned.
    let short = ExtractOptions { max_tokens: 2, ..good };
    let cut = model.extract(&["a"], &short, &Cancel::new()).expect("an end").remove(0);
    assert_eq!((cut.data, cut.mentions.len(), cut.finish_reason, cut.completion_tokens), (None, 0, "length", 2));
    // Nothing is left in the driver: the next call has the right number of results.
    assert_eq!(model.classify(&TEXTS, &options, &Cancel::new()).expect("labels").len(), 3);
}
