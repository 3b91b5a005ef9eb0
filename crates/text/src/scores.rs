//! Conversion between scores and merge rules of SentencePiece BPE.
//!
//! SentencePiece and llama.cpp merge the adjacent pair whose union has the highest score, the leftmost pair first if
//! scores are equal. The `tokenizers` crate merges the pair whose rule comes first. Both agree if every split of a
//! token into two tokens is a rule, ordered by the token's score.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::budget::Budget;
use crate::error::{Result, TextError};
use crate::vocabulary::{MAX_TOKEN_BYTES, SPACE, Token, TokenKind, Vocabulary};

/// Returns `true` if a token takes part in merging.
fn merges_with_others(token: &Token) -> bool {
    matches!(token.kind, TokenKind::Normal | TokenKind::UserDefined)
}

/// Returns every split of a token into two tokens that merge, as pairs of ids. Splits with the longest first part come
/// first.
fn cuts(vocabulary: &Vocabulary, id: u32, token: &Token, budget: &Budget) -> Result<Vec<(u32, u32)>> {
    budget.charge_each(token.text.len(), token.text.len() as u64)?;
    if token.text.len() > MAX_TOKEN_BYTES {
        return Err(TextError::TokenTooLong { id, bytes: token.text.len(), limit: MAX_TOKEN_BYTES });
    }
    let part = |text: &str| vocabulary.id_of(text).filter(|&id| vocabulary.get(id).is_some_and(merges_with_others));
    let mut pairs = Vec::new();
    for (at, _) in token.text.char_indices().skip(1) {
        let (a, b) = token.text.split_at(at);
        if let (Some(a), Some(b)) = (part(a), part(b)) {
            pairs.push((a, b));
        }
    }
    pairs.reverse();
    Ok(pairs)
}

/// Converts scores (one per token) to merge rules in rank order.
///
/// # Errors
/// [`TextError::BadScore`] if a score is not a number, [`TextError::TokenTooLong`].
pub(crate) fn merges_from_scores(vocabulary: &Vocabulary, scores: &[f32]) -> Result<Vec<(u32, u32)>> {
    let budget = Budget::new(Budget::BASE);
    let mut ranked = Vec::new();
    for (id, token) in vocabulary.iter().filter(|(_, token)| merges_with_others(token)) {
        let score = scores.get(id as usize).copied().unwrap_or(0.0);
        if score.is_nan() {
            return Err(TextError::BadScore { id });
        }
        let length = token.text.chars().count();
        for (a, b) in cuts(vocabulary, id, token, &budget)? {
            ranked.push((score, length, a, b));
        }
    }
    // If scores are equal, which is usual for runs of spaces, the longer token comes first: this is the result of
    // merging from the left. The sort is stable, so that the rules of a token stay together.
    ranked.sort_by(|x, y| y.0.total_cmp(&x.0).then(y.1.cmp(&x.1)));
    Ok(ranked.into_iter().map(|(_, _, a, b)| (a, b)).collect())
}

/// Converts merge rules to scores: the negated rank of the first rule that produces a token, and 0 for tokens that no
/// rule produces.
///
/// # Errors
/// [`TextError::NotScoreOrdered`] if merging by score would differ from the rules.
pub(crate) fn scores_from_merges(vocabulary: &Vocabulary, merges: &[(u32, u32)]) -> Result<Vec<f32>> {
    let budget = Budget::new(Budget::BASE);
    let mut scores = vec![0.0_f32; vocabulary.len()];
    let mut rules: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
    let (mut rank, mut previous) = (0.0_f32, None);
    for &(a, b) in merges {
        let text = |id| vocabulary.get(id).map_or("", |t| t.text.as_str());
        let whole = format!("{}{}", text(a), text(b));
        let id = vocabulary.id_of(&whole).ok_or(TextError::UnknownMergeToken { index: 0, token: whole.clone() })?;
        if previous != Some(id) {
            if rules.contains_key(&id) {
                return Err(TextError::NotScoreOrdered {
                    reason: format!("the rules for {whole:?} are not consecutive"),
                });
            }
            rank += 1.0;
            previous = Some(id);
        }
        rules.entry(id).or_default().push((a, b));
        if let Some(score) = scores.get_mut(id as usize) {
            *score = -rank;
        }
    }
    for (id, token) in vocabulary.iter().filter(|(_, token)| merges_with_others(token)) {
        let rules = rules.get(&id).map(Vec::as_slice).unwrap_or_default();
        if let Some((a, b)) = cuts(vocabulary, id, token, &budget)?.into_iter().find(|cut| !rules.contains(cut)) {
            let text = |id| vocabulary.get(id).map_or("", |t| t.text.as_str());
            let reason = format!("there is no rule {:?} + {:?}, which scores would merge", text(a), text(b));
            return Err(TextError::NotScoreOrdered { reason });
        }
    }
    Ok(scores)
}

/// Makes tokenizer.json's `normalizer`, which makes spaces visible. With `add_space_prefix`, it prepends a space to
/// each stretch of text.
pub(crate) fn normalizer(add_space_prefix: bool) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE.to_string()});
    if add_space_prefix {
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE.to_string()}, replace]})
    } else {
        replace
    }
}

/// Makes tokenizer.json's `decoder`.
pub(crate) fn decoder(add_space_prefix: bool) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE.to_string()}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if add_space_prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}

/// Returns `true` if a tokenizer.json prepends a space to the text. Returns `None` if GGUF cannot describe its
/// pipeline.
pub(crate) fn add_space_prefix(normalizer: &Value, pre_tokenizer: &Value) -> Option<bool> {
    let space = SPACE.to_string();
    let is_replace = |v: &Value| {
        v["type"].as_str() == Some("Replace")
            && v["pattern"]["String"].as_str() == Some(" ")
            && v["content"].as_str() == Some(space.as_str())
    };
    let is_prepend = |v: &Value| v["type"].as_str() == Some("Prepend") && v["prepend"].as_str() == Some(space.as_str());
    let single = std::slice::from_ref(normalizer);
    let steps = match (normalizer, normalizer["type"].as_str()) {
        (Value::Null, _) => &[],
        (_, Some("Sequence")) => normalizer["normalizers"].as_array()?.as_slice(),
        _ => single,
    };
    // Gemma's pre-tokenizer splits at spaces, which its normalizer has replaced.
    let no_split = pre_tokenizer.is_null()
        || (pre_tokenizer["type"].as_str() == Some("Split")
            && pre_tokenizer["pattern"]["String"].as_str() == Some(" "));
    match steps {
        [prepend, replace] if no_split && is_prepend(prepend) && is_replace(replace) => Some(true),
        [replace] if no_split && is_replace(replace) => Some(false),
        [] if pre_tokenizer["type"].as_str() == Some("Metaspace")
            && pre_tokenizer["replacement"].as_str() == Some(space.as_str())
            && pre_tokenizer["split"].as_bool() == Some(false) =>
        {
            match pre_tokenizer["prepend_scheme"].as_str() {
                Some("never") => Some(false),
                Some("first" | "always") => Some(true),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    /// Returns the tokens `a b c ab bc abc`.
    fn vocabulary() -> Vocabulary {
        let texts = ["<unk>", "a", "b", "c", "ab", "bc", "abc"];
        let claims = texts.iter().zip(0u32..).map(|(text, id)| {
            let kind = if id == 0 { TokenKind::Unknown } else { TokenKind::Normal };
            ((*text).to_owned(), id, kind)
        });
        Vocabulary::from_claims(claims.collect()).unwrap()
    }

    #[test]
    fn rules_follow_the_scores() {
        let scores = [0.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0];
        let merges = merges_from_scores(&vocabulary(), &scores).unwrap();
        assert_eq!(merges, [(2, 3), (1, 2), (4, 3), (1, 5)]);
    }

    #[test]
    fn scores_of_rules_give_the_rules_again() {
        let merges = [(2, 3), (1, 2), (4, 3), (1, 5)];
        let scores = scores_from_merges(&vocabulary(), &merges).unwrap();
        assert_eq!(scores, [0.0, 0.0, 0.0, 0.0, -2.0, -1.0, -3.0]);
        assert_eq!(merges_from_scores(&vocabulary(), &scores).unwrap(), merges);
    }

    #[test]
    fn refuses_rules_that_scores_cannot_express() {
        let missing = [(2, 3), (1, 2), (4, 3)];
        assert_eq!(scores_from_merges(&vocabulary(), &missing).unwrap_err().code(), "merges-not-score-ordered");
        let apart = [(4, 3), (2, 3), (1, 2), (1, 5)];
        assert_eq!(scores_from_merges(&vocabulary(), &apart).unwrap_err().code(), "merges-not-score-ordered");
    }

    #[test]
    fn refuses_scores_that_are_not_numbers() {
        let scores = [0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0];
        assert_eq!(merges_from_scores(&vocabulary(), &scores).unwrap_err().code(), "bad-token-score");
    }

    #[test]
    fn the_prefix_is_read_back_from_what_is_written() {
        for prefix in [false, true] {
            assert_eq!(add_space_prefix(&normalizer(prefix), &Value::Null), Some(prefix));
        }
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false});
        assert_eq!(add_space_prefix(&Value::Null, &metaspace), Some(true));
        assert_eq!(add_space_prefix(&json!({"type": "NFKC"}), &Value::Null), None);
    }
}
