//! Matchers: what they accept, branches, taking back, ends.

use honelm_backend::{Sampling, choose_allowed};
use honelm_grammar::{Constraint, Grammar, Limits, Matcher, TokenVocabulary};
use honelm_text::{EncodeOptions, Reasoning};
use serde_json::json;

use crate::common::{POCKET, Random, closing, compile, matches, walk};

fn ids(text: &str) -> Vec<u32> {
    POCKET.0.encode(text, EncodeOptions::default()).expect("encodes")
}

#[test]
fn each_kind_of_grammar_accepts_its_texts_alone() {
    let text = str::to_owned;
    let arithmetic = "start: sum\nsum: product (\"+\" product)*\nproduct: NUMBER | \"(\" sum \")\"\nNUMBER: /[0-9]+/\n";
    let lists = "root ::= list # nested lists\nlist ::= \"[\" (item (\",\" item)*)? \"]\"\nitem ::= list | [a-c\\x64] | num\nnum ::= [0-9]{1,3}\n";
    let plain =
        "root ::= greeting \" \" name\ngreeting ::= \"Hello\" | \"Bye\"\n  | \"Hi\"\nname ::= [^a-z\\n] [a-z]+ \"!\"?";
    let cases: [(Constraint, &[&str], &[&str]); 6] = [
        (
            Constraint::Regex(text("[a-z]+@[a-z]+\\.(org|com)")),
            &["ab@c.org", "x@yz.com"],
            &["", "ab@c.net", "ab@c.orgx", "A@c.org"],
        ),
        (
            Constraint::Choice(vec![text("yes"), text("no"), text("not sure \"\n")]),
            &["yes", "no", "not sure \"\n"],
            &["", "n", "not", "yesno"],
        ),
        (Constraint::Lark(text(arithmetic)), &["1", "(1+20)+3", "((7))"], &["", "1+", "(1", "1 + 2"]),
        (Constraint::Gbnf(text(lists)), &["[]", "[a,[d,12],[[]]]"], &["", "[", "[e]", "[1234]", "[a,]"]),
        (Constraint::Gbnf(text(plain)), &["Hello Ann", "Hi Bob!", "Bye Émile"], &["Hello", "Hello ann", "Hi Bob!!"]),
        (
            Constraint::JsonSchema(
                json!({"type": "object", "properties": {"é": {"type": "integer"}}, "required": ["é"], "additionalProperties": false}),
            ),
            &["{\"é\": 1}", "{\n  \"é\": -20\n}", "{\"é\":0}"],
            &[
                "{}",
                "{\"é\": 1.5}",
                "{\"é\": 01}",
                "{\"é\": 1, \"b\": 2}",
                " {\"é\": 1}",
                "{\"é\":  1}",
                "{\n\n\"é\": 1}",
            ],
        ),
    ];
    for (constraint, accepted, refused) in cases {
        let grammar = compile(&constraint).unwrap_or_else(|e| panic!("{constraint:?}: {e}"));
        for text in accepted {
            assert!(matches(&grammar, text), "{constraint:?}: {text}");
        }
        for text in refused {
            assert!(!matches(&grammar, text), "{constraint:?}: {text}");
        }
    }
}

#[test]
fn the_mask_says_what_advance_does() {
    let (tokenizer, vocabulary) = &*POCKET;
    let grammar = compile(&Constraint::Regex("(ab|[0-9]{2,4}) x".to_owned())).expect("compiles");
    for prefix in ["", "a", "12", "1234", "ab x"] {
        let mut matcher = grammar.matcher();
        ids(prefix).into_iter().for_each(|id| matcher.advance(id).expect("allowed"));
        let mask = matcher.mask().expect("a mask").clone();
        for id in 0..vocabulary.len() as u32 {
            let without_mask = {
                let mut fresh = grammar.matcher();
                ids(prefix).into_iter().for_each(|id| fresh.advance(id).expect("allowed"));
                // A sample of the refused tokens is enough.
                (mask.contains(id) || id % 64 == 0).then(|| fresh.advance(id).is_ok())
            };
            if let Some(advances) = without_mask {
                assert_eq!(mask.contains(id), advances, "{prefix:?} and {:?}", tokenizer.token(id));
            }
        }
    }
}

#[test]
fn end_tokens_are_allowed_where_the_text_may_end() {
    let (_, vocabulary) = &*POCKET;
    let end = vocabulary.ends()[0];
    let grammar = compile(&Constraint::Regex("a+b?".to_owned())).expect("compiles");
    let mut matcher = grammar.matcher();
    assert!(!matcher.mask().expect("a mask").contains(end) && !matcher.is_complete().expect("a state"));
    let error = matcher.advance(end).expect_err("too early");
    assert_eq!((error.code(), matcher.taken()), ("token-not-allowed", 0));
    matcher.advance(ids("a")[0]).expect("allowed");
    let mask = matcher.mask().expect("a mask");
    assert!(vocabulary.ends().iter().all(|&end| mask.contains(end)) && mask.count() > vocabulary.ends().len());
    assert!(!matcher.is_finished());
    let mut ended = matcher.clone();
    ended.advance(end).expect("allowed");
    assert!(ended.is_finished() && ended.mask().expect("a mask").count() == 0);
    assert_eq!(ended.advance(end).expect_err("behind the end").code(), "token-not-allowed");
    ended.rollback(1).expect("taken back");
    assert_eq!(ended.mask().expect("a mask"), matcher.mask().expect("a mask"));
    // Behind the last possible character, only an end token is left.
    matcher.advance(ids("b")[0]).expect("allowed");
    assert!(matcher.is_finished());
    assert_eq!(matcher.mask().expect("a mask").count(), vocabulary.ends().len());
    assert_eq!(matcher.advance(u32::MAX).expect_err("no token").code(), "token-not-allowed");
}

#[test]
fn tokens_are_taken_back_and_branches_are_independent() {
    let (tokenizer, vocabulary) = &*POCKET;
    let schema = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}, "b": {"type": "integer"}}, "required": ["a", "b"]});
    let grammar = compile(&Constraint::JsonSchema(schema)).expect("compiles");
    let mut random = Random(17);
    for _ in 0..6 {
        let tokens = walk(&mut grammar.matcher(), vocabulary.ends(), &closing(tokenizer), &mut random);
        let mut matcher = grammar.matcher();
        assert_eq!(matcher.accepts(&tokens).expect("a count"), tokens.len());
        let mut masks = Vec::new();
        for &token in &tokens {
            masks.push(matcher.mask().expect("a mask").clone());
            matcher.advance(token).expect("allowed");
        }
        let back = 1 + random.below(tokens.len());
        let at = tokens.len() - back;
        matcher.rollback(back).expect("taken back");
        assert_eq!(matcher.taken(), at);
        assert_eq!(matcher.mask().expect("a mask"), &masks[at]);
        let mut branch = matcher.clone();
        for (&token, mask) in tokens[at..].iter().zip(&masks[at..]) {
            assert_eq!(branch.mask().expect("a mask"), mask);
            branch.advance(token).expect("allowed");
        }
        assert_eq!(matcher.mask().expect("a mask"), &masks[at]);
        // A draft is accepted up to its first wrong token.
        let mut draft = tokens[at..].to_vec();
        let wrong = random.below(draft.len());
        let Some(bad) = (0..vocabulary.len() as u32).find(|&id| !masks[at + wrong].contains(id)) else { continue };
        draft[wrong] = bad;
        assert_eq!(matcher.accepts(&draft).expect("a count"), wrong);
        assert_eq!(matcher.rollback(at + 1).expect_err("too many").code(), "grammar-rollback");
    }
}

#[test]
fn forced_tokens_are_the_tokenizers_own() {
    let (tokenizer, _) = &*POCKET;
    let schema = json!({"type": "object", "properties": {"temperature in degrees": {"type": "integer"}}, "required": ["temperature in degrees"], "additionalProperties": false});
    let grammar = compile(&Constraint::JsonSchema(schema)).expect("compiles");
    let mut matcher = grammar.matcher();
    ids("{").into_iter().for_each(|id| matcher.advance(id).expect("allowed"));
    // White space may come first, so nothing is forced.
    assert!(matcher.forced(tokenizer).expect("tokens").is_empty());
    ids("\"").into_iter().for_each(|id| matcher.advance(id).expect("allowed"));
    let forced = matcher.forced(tokenizer).expect("tokens");
    assert!(!forced.is_empty() && "temperature in degrees\"".starts_with(&tokenizer.decode(&forced, true)));
    forced.into_iter().for_each(|id| matcher.advance(id).expect("allowed"));
}

#[test]
fn a_mask_reaches_sampling() {
    let (tokenizer, vocabulary) = &*POCKET;
    let logits: Vec<f32> = (0..vocabulary.len()).map(|i| (i * 7919 % 997) as f32 / 99.0).collect();
    let how = Sampling { temperature: 1.0, top_k: 40, top_p: 0.9, min_p: 0.05, seed: 4, stream: 1 };
    let grammar = compile(&Constraint::Choice(vec!["Paris".to_owned(), "London".to_owned()])).expect("compiles");
    for seed in 0..20 {
        let mut matcher = grammar.matcher();
        let mut tokens = Vec::new();
        while !matcher.is_finished() {
            let mask = matcher.mask().expect("a mask");
            let how = Sampling { seed, ..how };
            tokens.push(choose_allowed(&logits, mask, &how, tokens.len() as u64).expect("a token"));
            matcher.advance(tokens[tokens.len() - 1]).expect("allowed");
        }
        assert!(["Paris", "London"].contains(&&*tokenizer.decode(&tokens, true)));
    }
}

#[test]
fn a_matcher_can_be_sent_to_another_thread() {
    fn sends<T: Send>() {}
    fn shares<T: Send + Sync>() {}
    sends::<Matcher>();
    shares::<TokenVocabulary>();
    shares::<Grammar>();
}

#[test]
fn reasoning_may_come_before_a_constraint() {
    let (tokenizer, vocabulary) = &*POCKET;
    let special = |text: &str| tokenizer.id_of(text).filter(|&id| tokenizer.special(id));
    let by_text = Reasoning { open: "<think>", close: "</think>", answer: &[] };
    // Special tokens and text, with marks around the answer.
    let by_tokens = Reasoning {
        open: "<|user|>thought<|system|>",
        close: "<|tool|>",
        answer: &["<|assistant|>final<|system|>", "final<|system|>"],
    };
    let schema = Constraint::JsonSchema(json!({"type": "integer"}));
    let choice = Constraint::Choice(vec!["yes".to_owned(), "no".to_owned()]);
    type Case<'a> = (&'a Constraint, Reasoning, bool, &'a [&'a str], &'a [&'a str]);
    let accepted: [Case<'_>; 4] = [
        (
            &schema,
            by_text,
            false,
            &["12", "<think>\nWhy 12? {</think>\n\n12", "<think></think>-1"],
            &["</think>12", "<think>12", "<think>a</think>b", "a"],
        ),
        (&schema, by_text, true, &["so 12</think> 12", "</think>3"], &["12", "12</think>x"]),
        (
            &choice,
            by_tokens,
            false,
            &["no", "<|user|>thought<|system|>hm<|tool|>yes", "<|user|>thought<|system|><|tool|>final<|system|>no"],
            &["<|user|>yes", "thought<|system|>hm<|tool|>yes", "<|user|>thought<|system|>hm<|user|>"],
        ),
        (&choice, by_tokens, true, &["a <think><|tool|><|assistant|>final<|system|>yes"], &["yes", "<|assistant|>no"]),
    ];
    for (constraint, tags, begun, accepted, refused) in accepted {
        let limits = Limits::default();
        let grammar = Grammar::after_reasoning(vocabulary, constraint, (tags, begun), &special, &limits);
        let grammar = grammar.unwrap_or_else(|e| panic!("{tags:?}: {e}"));
        let fits = |text: &str| {
            let ids = tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: true });
            let mut matcher = grammar.matcher();
            ids.expect("encodes").into_iter().all(|id| matcher.advance(id).is_ok())
                && matcher.is_complete().expect("a state")
        };
        accepted.iter().for_each(|text| assert!(fits(text), "{text}"));
        refused.iter().for_each(|text| assert!(!fits(text), "{text}"));
    }
}
