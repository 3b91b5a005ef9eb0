//! The tagger of names, places, organisations and addresses: a linear-chain conditional random field over hashed features.
//!
//! Its file, `data/tagger.bin`, is trained by the example `train` on text of clear licence, which `scripts/make_corpus.py`
//! writes.

pub mod crf;
pub mod features;
pub mod model;
mod rules;
pub mod tokens;
pub mod train;

use std::ops::Range;
use std::sync::OnceLock;

use self::crf::{Scores, marginals, viterbi};
use self::features::{ends_name, features};
use self::model::Model;
use self::tokens::{Token, sequences, tokens};

/// The file of the tagger that is part of the library. A page fetches it when it is needed, and gives it to [`provide`].
#[cfg(not(target_family = "wasm"))]
const SHIPPED: &[u8] = include_bytes!("../../../data/tagger.bin");
#[cfg(target_family = "wasm")]
const SHIPPED: &[u8] = &[];
/// The tagger, once it was read; `None` if its file is broken or was not provided.
static MODEL: OnceLock<Option<Model<'static>>> = OnceLock::new();
/// Subtracted from the score of "no entity": a missed name costs more than a word too many.
const LEANING: f32 = 0.5;
/// The tags of people and of places.
const PERSON: usize = 1;
const PLACE: usize = 2;
/// The tag of addresses, the only entity that goes on across a line break.
const ADDRESS: usize = 4;

/// Titles that abbreviate words of addresses too.
const TITLES: [&str; 3] = ["Dr", "DR", "dr"];

/// An entity found by the tagger.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagged {
    /// The bytes of the text.
    pub range: Range<usize>,
    /// The tag: 1 person, 2 place, 3 organisation, 4 address.
    pub tag: usize,
    /// The mean probability over the tokens that they belong to an entity.
    pub score: f32,
}

/// Gives the tagger its file where the library does not contain it, before its first use. A tagger that was read already stays. Returns
/// `false` if there is no tagger afterwards.
pub fn provide(file: Vec<u8>) -> bool {
    MODEL.get_or_init(|| Model::read(Box::leak(file.into_boxed_slice()))).is_some()
}

/// Returns the tagger that is part of the library or was provided; `None` if its file is broken.
#[must_use]
pub fn shipped() -> Option<&'static Model<'static>> {
    MODEL.get_or_init(|| Model::read(SHIPPED)).as_ref()
}

/// Tells if a word is a common word of English prose. Few others are taken for one.
#[must_use]
pub fn is_common(word: &str) -> bool {
    shipped().is_some_and(|model| model.lexicon.words.has(word))
}

/// Finds the entities of a text.
#[must_use]
pub fn tag(model: &Model<'_>, text: &str) -> Vec<Tagged> {
    let all = tokens(text);
    let mut out = Vec::new();
    for range in sequences(text, &all) {
        tag_sequence(model, text, &all[range], &mut out);
    }
    rules::apply(text, &all, &model.lexicon, out)
}

fn tag_sequence(model: &Model<'_>, text: &str, part: &[Token], out: &mut Vec<Tagged>) {
    let mut scores: Vec<Scores> = features(text, part, &model.lexicon).iter().map(|f| model.scores(f)).collect();
    scores.iter_mut().for_each(|s| s[0] -= LEANING);
    let tags = viterbi(&scores, &model.transitions);
    if tags.iter().all(|tag| *tag == 0) {
        return;
    }
    let probable = marginals(&scores, &model.transitions, None).tags;
    let sequence = Sequence { model, text, part, scores, probable };
    let mut at = 0;
    while at < part.len() {
        let (tag, first) = (tags[at], at);
        at += 1;
        if tag == 0 {
            continue;
        }
        while at < part.len() && tags[at] == tag && (tag == ADDRESS || !ends_name(part[at].gap)) {
            at += 1;
        }
        match tag {
            ADDRESS => sequence.address(first..at, out),
            PERSON => sequence.people(first..at, out),
            _ => sequence.add(first..at, tag, out),
        }
    }
}

/// A sequence with the scores of its tokens.
struct Sequence<'a> {
    model: &'a Model<'a>,
    text: &'a str,
    part: &'a [Token],
    scores: Vec<Scores>,
    probable: Vec<Scores>,
}

impl Sequence<'_> {
    fn token(&self, i: usize) -> &str {
        &self.text[self.part[i].start..self.part[i].end]
    }

    /// Adds an address without the lines and parts in front that have no number: the name of a person or a company.
    fn address(&self, range: Range<usize>, out: &mut Vec<Tagged>) {
        let mut first = range.start;
        loop {
            let cut = (first + 1..range.end).find(|&i| ends_name(self.part[i].gap) || self.token(i) == ",");
            let Some(cut) = cut else { break };
            let digit = |i: usize| self.token(i).bytes().any(|b| b.is_ascii_digit());
            let letters = |i: usize| self.token(i).chars().any(char::is_alphabetic);
            let next = cut + usize::from(self.token(cut) == ",");
            let end = (next + 1..range.end)
                .find(|&i| ends_name(self.part[i].gap) || self.token(i) == ",")
                .unwrap_or(range.end);
            let numbered = (next..end).any(digit) && (next..end).any(letters);
            if (first..cut).any(digit) || !numbered {
                break;
            }
            let sum = |tag: usize| (first..cut).map(|i| self.scores[i][tag]).sum::<f32>();
            let tag = (2..ADDRESS).fold(1, |a, b| if sum(b) > sum(a) { b } else { a });
            self.add(first..cut, tag, out);
            first = next;
        }
        // `Dr.` is a street as well as a title.
        let titled = TITLES.contains(&self.token(first))
            && !(first..range.end).any(|i| self.token(i).bytes().any(|b| b.is_ascii_digit()));
        self.add(first + usize::from(titled)..range.end, if titled { PERSON } else { ADDRESS }, out);
    }

    /// Adds the people of a list. One comma may stand between a last and a first name.
    fn people(&self, range: Range<usize>, out: &mut Vec<Tagged>) {
        let list = range.clone().filter(|&i| self.token(i) == ",").count() > 1;
        let mut first = range.start;
        for i in range.clone().filter(|&i| list && self.token(i) == ",").chain([range.end]) {
            self.add(first..i, PERSON, out);
            first = i + 1;
        }
    }

    /// Adds an entity without the punctuation and the common words around it.
    fn add(&self, range: Range<usize>, tag: usize, out: &mut Vec<Tagged>) {
        let word = |i: &usize| self.token(*i).starts_with(char::is_alphanumeric);
        let capital = |i: usize| self.token(i).starts_with(char::is_uppercase);
        let common = |i: &usize| !capital(*i) && self.model.lexicon.words.has(self.token(*i));
        let named = tag == ADDRESS || range.clone().any(capital);
        let kept = |i: &usize| word(i) && (tag == ADDRESS || !common(i));
        let (Some(begin), Some(last)) = (range.clone().find(kept), range.clone().rev().find(kept)) else { return };
        // The full stop of an abbreviation stays.
        let last = if last + 1 < range.end && self.token(last + 1) == "." { last + 1 } else { last };
        let sum: f32 = (begin..=last).map(|i| 1.0 - self.probable[i][0]).sum();
        let score = sum / (last + 1 - begin) as f32 * if named { 1.0 } else { 0.9 };
        out.push(Tagged { range: self.part[begin].start..self.part[last].end, tag, score });
    }
}
