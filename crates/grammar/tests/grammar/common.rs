//! A vocabulary, and walks over masks.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use honelm_grammar::{Constraint, Grammar, GrammarError, Limits, Matcher, TokenVocabulary};
use honelm_text::{EncodeOptions, Tokenizer};

/// The shipped model's tokenizer and vocabulary.
pub static POCKET: LazyLock<(Tokenizer, Arc<TokenVocabulary>)> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/pocket");
    with_vocabulary(Tokenizer::from_dir(&folder).expect("models/pocket has a tokenizer"))
});

pub fn with_vocabulary(tokenizer: Tokenizer) -> (Tokenizer, Arc<TokenVocabulary>) {
    let vocabulary = TokenVocabulary::new(&tokenizer, tokenizer.eos_ids()).expect("a vocabulary");
    (tokenizer, vocabulary)
}

pub fn compile(constraint: &Constraint) -> Result<Grammar, GrammarError> {
    Grammar::compile(&POCKET.1, constraint, &Limits::default())
}

/// A generator of pseudo-random numbers (Knuth's MMIX).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Returns `true` if a text of the grammar is the whole of `text`.
pub fn matches(grammar: &Grammar, text: &str) -> bool {
    let ids = POCKET.0.encode(text, EncodeOptions::default()).expect("encodes");
    let mut matcher = grammar.matcher();
    let fits = matcher.accepts(&ids).expect("a count") == ids.len();
    let advances = ids.iter().all(|&id| matcher.advance(id).is_ok());
    assert_eq!(fits, advances, "{text}");
    fits && matcher.is_complete().expect("a state")
}

/// The ends of the parts of a text: phrases first, then closing tokens, then commas.
pub struct Closing {
    phrases: Vec<Vec<u32>>,
    tokens: Vec<u32>,
    commas: Vec<u32>,
}

/// Returns what closes strings, containers and tags.
pub fn closing(tokenizer: &Tokenizer) -> Closing {
    let of = |texts: &[&str]| {
        let is_one =
            |id: &u32| tokenizer.token_bytes(*id).is_some_and(|bytes| texts.iter().any(|t| t.as_bytes() == bytes));
        (0..tokenizer.vocab_size() as u32).filter(is_one).collect()
    };
    let phrase = tokenizer.encode("\n</parameter>\n", EncodeOptions::default()).expect("encodes");
    Closing { phrases: vec![phrase], tokens: of(&["\"", "}", "]"]), commas: of(&[","]) }
}

/// Walks over masks: takes random allowed tokens until the end. The longer the walk, the more it prefers what closes.
pub fn walk(matcher: &mut Matcher, ends: &[u32], closing: &Closing, random: &mut Random) -> Vec<u32> {
    let mut tokens = Vec::new();
    while !matcher.is_finished() {
        assert!(tokens.len() < 3000, "a walk without an end");
        let mask = matcher.mask().expect("a mask").clone();
        let allowed: Vec<u32> = mask.ids().collect();
        assert!(!allowed.is_empty());
        let hurry = random.below(60) < tokens.len();
        let possible = |from: &[u32]| from.iter().copied().filter(|&id| mask.contains(id)).collect::<Vec<_>>();
        let ways = [possible(ends), possible(&closing.tokens), possible(&closing.commas), allowed];
        let phrase = closing.phrases.iter().find(|ids| hurry && matcher.accepts(ids).expect("a count") == ids.len());
        let next = match phrase {
            Some(phrase) if ways[0].is_empty() => phrase.clone(),
            _ => {
                let from = ways.iter().find(|way| hurry && !way.is_empty()).unwrap_or(&ways[3]);
                vec![from[random.below(from.len())]]
            }
        };
        for token in next {
            matcher.advance(token).expect("an allowed token");
            tokens.push(token);
        }
    }
    tokens
}
