//! tiktoken files: one token per line, with its bytes in base64 and its rank. Source: `tiktoken/load.py`, `src/lib.rs`.
//!
//! The file contains neither the split expression nor the special tokens. Both depend on the family of the vocabulary,
//! which is identified by its number of ranks. Files with another number of ranks are refused.

use std::collections::{HashMap, HashSet};

use crate::added::Added;
use crate::alphabet;
use crate::budget::Budget;
use crate::error::{Result, TextError};
use crate::split;
use crate::vocab_merges::{self, ByteLevel};
use crate::vocabulary::MAX_TOKEN_BYTES;

/// The file's name, for error messages.
const FILE: &str = "tiktoken file";

/// A known family.
struct Family {
    ranks: usize,
    /// The GGUF name of its pre-tokenizer.
    split: &'static str,
    /// The special tokens with their ids.
    special: fn() -> Vec<(u32, String)>,
    bos: Option<&'static str>,
    /// The end tokens, the model's own first.
    stop: &'static [&'static str],
    /// The end token of a turn.
    turn_end: Option<&'static str>,
}

/// The families.
static FAMILIES: [Family; 5] = [
    // Llama 3, with the names of 3.1 and later. 3.0 had other names for its reserved tokens.
    Family {
        ranks: 128_000,
        split: "llama-bpe",
        special: llama3,
        bos: Some("<|begin_of_text|>"),
        stop: &["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
        turn_end: Some("<|eot_id|>"),
    },
    // Qwen (qwen.tiktoken)
    Family {
        ranks: 151_643,
        split: "qwen2",
        special: qwen,
        bos: None,
        stop: &["<|endoftext|>", "<|im_end|>"],
        turn_end: Some("<|im_end|>"),
    },
    // r50k_base: GPT-2
    Family {
        ranks: 50_256,
        split: "gpt-2",
        special: || named(&[(50_256, "<|endoftext|>")]),
        bos: None,
        stop: &["<|endoftext|>"],
        turn_end: None,
    },
    // cl100k_base: GPT-4
    Family {
        ranks: 100_256,
        split: "dbrx",
        special: || {
            named(&[
                (100_257, "<|endoftext|>"),
                (100_258, "<|fim_prefix|>"),
                (100_259, "<|fim_middle|>"),
                (100_260, "<|fim_suffix|>"),
                (100_276, "<|endofprompt|>"),
            ])
        },
        bos: None,
        stop: &["<|endoftext|>"],
        turn_end: None,
    },
    // o200k_base: GPT-4o
    Family {
        ranks: 199_998,
        split: "gpt-4o",
        special: || named(&[(199_999, "<|endoftext|>"), (200_018, "<|endofprompt|>")]),
        bos: None,
        stop: &["<|endoftext|>"],
        turn_end: None,
    },
];

fn named(list: &[(u32, &str)]) -> Vec<(u32, String)> {
    list.iter().map(|(id, text)| (*id, (*text).to_owned())).collect()
}

fn llama3() -> Vec<(u32, String)> {
    let first = [
        "begin_of_text",
        "end_of_text",
        "reserved_special_token_0",
        "reserved_special_token_1",
        "finetune_right_pad_id",
        "reserved_special_token_2",
        "start_header_id",
        "end_header_id",
        "eom_id",
        "eot_id",
        "python_tag",
    ];
    let reserved = (3..248).map(|n| format!("reserved_special_token_{n}"));
    let names = first.into_iter().map(str::to_owned).chain(reserved);
    (128_000..).zip(names.map(|name| format!("<|{name}|>"))).collect()
}

fn qwen() -> Vec<(u32, String)> {
    let first = ["endoftext", "im_start", "im_end"].into_iter().map(str::to_owned);
    let names = first.chain((0..205).map(|n| format!("extra_{n}")));
    (151_643..).zip(names.map(|name| format!("<|{name}|>"))).collect()
}

/// Returns `true` if a `tokenizer.model` is a tiktoken file. A SentencePiece model begins with a control character.
pub(crate) fn recognises(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|&byte| digit(byte).is_some())
}

/// Reads the file. `added`, from the files beside it, replaces the family's special tokens.
///
/// # Errors
/// [`TextError::Malformed`] with the line, [`TextError::UnknownFamily`], and errors of the vocabulary.
pub(crate) fn read(bytes: &[u8], added: Vec<Added>) -> Result<ByteLevel> {
    let tokens = tokens(bytes)?;
    let family = FAMILIES.iter().find(|family| family.ranks == tokens.len()).ok_or_else(|| {
        let known = FAMILIES.iter().map(|family| format!("{} ({})", family.ranks, family.split)).collect::<Vec<_>>();
        let reason = format!("found {} ranks, expected those of a known family ({})", tokens.len(), known.join(", "));
        TextError::UnknownFamily { file: FILE, reason }
    })?;
    let special = |(id, content)| Added { id, content, special: true, ..Added::default() };
    let added = if added.is_empty() { (family.special)().into_iter().map(special).collect() } else { added };
    let merges = merges(&tokens)?;
    let vocab = (0u32..).zip(&tokens).map(|(id, bytes)| (alphabet::text_of(bytes), id)).collect();
    let mut read = vocab_merges::build(vocab, merges, added, split::by_name(family.split)?, true)?;
    let id = |text: &&str| read.parts.vocabulary.id_of(text);
    read.roles.stop = family.stop.iter().filter_map(id).collect();
    read.roles.bos = family.bos.as_ref().and_then(id);
    read.roles.turn_end = family.turn_end.as_ref().and_then(id);
    read.adds_bos = read.roles.bos.is_some();
    Ok(read)
}

/// Returns the bytes of the tokens by rank.
fn tokens(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut tokens: Vec<Option<Vec<u8>>> = Vec::new();
    let lines: Vec<&[u8]> = bytes.split(|&b| b == b'\n').collect();
    for (line, text) in (1..).zip(lines.iter().map(|line| line.trim_ascii_end())) {
        if text.is_empty() {
            continue;
        }
        let wrong = |reason: String| TextError::malformed(FILE, format!("line {line}"), reason);
        let (token, rank) = text
            .iter()
            .position(|&b| b == b' ')
            .and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?)))
            .ok_or_else(|| wrong("expected a token in base64, a space and a rank".to_owned()))?;
        let token = base64(token).ok_or_else(|| wrong("the token is not base64".to_owned()))?;
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(wrong(format!("the token has {} bytes, expected 1 to {MAX_TOKEN_BYTES}", token.len())));
        }
        let digits = std::str::from_utf8(rank).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let rank: usize = digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| wrong(format!("{:?} is not a rank", String::from_utf8_lossy(rank))))?;
        if rank >= lines.len() {
            return Err(wrong(format!("rank {rank} in a file of {} lines", lines.len())));
        }
        if rank >= tokens.len() {
            tokens.resize(rank + 1, None);
        }
        if tokens[rank].replace(token).is_some() {
            return Err(wrong(format!("rank {rank} appears twice")));
        }
    }
    let tokens = (0..).zip(tokens).map(|(rank, token): (usize, _)| {
        token.ok_or_else(|| TextError::malformed(FILE, format!("rank {rank}"), "is missing"))
    });
    let tokens: Vec<Vec<u8>> = tokens.collect::<Result<_>>()?;
    let single: HashSet<u8> = tokens.iter().filter(|token| token.len() == 1).map(|token| token[0]).collect();
    match (0..=255).find(|byte| !single.contains(byte)) {
        Some(byte) => Err(TextError::malformed(FILE, "the file", format!("no token for the byte 0x{byte:02X}"))),
        None => Ok(tokens),
    }
}

/// Makes the merge rules: every split of a token into two tokens, ordered by the token's rank. tiktoken merges the pair
/// whose union has the lowest rank.
///
/// # Errors
/// [`TextError::WorkLimit`] if long tokens have too many splits.
fn merges(tokens: &[Vec<u8>]) -> Result<Vec<(u32, u32)>> {
    let budget = Budget::new(Budget::BASE);
    let ranks: HashMap<&[u8], u32> = tokens.iter().map(Vec::as_slice).zip(0u32..).collect();
    let mut merges = Vec::with_capacity(tokens.len());
    for token in tokens {
        budget.charge_each(token.len(), token.len() as u64)?;
        let start = merges.len();
        let cuts = (1..token.len()).map(|at| token.split_at(at));
        merges.extend(cuts.filter_map(|(a, b)| Some((*ranks.get(a)?, *ranks.get(b)?))));
        merges[start..].sort_unstable();
    }
    Ok(merges)
}

/// Returns the value of a base64 digit.
fn digit(byte: u8) -> Option<u32> {
    match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Decodes base64 with padding (RFC 4648). Returns `None` if it is invalid.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for (at, quad) in (1..).zip(text.chunks_exact(4)) {
        let padding = quad.iter().rev().take_while(|&&b| b == b'=').count();
        if padding > 2 || padding > 0 && at != text.len() / 4 {
            return None;
        }
        let bits = quad[..4 - padding].iter().try_fold(0, |bits, &b| Some(bits << 6 | digit(b)?))? << (6 * padding);
        let three = [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8];
        // The bits after the last byte must be 0.
        if three[3 - padding..].iter().any(|&b| b != 0) {
            return None;
        }
        bytes.extend(&three[..3 - padding]);
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    #[test]
    fn base64_is_strict() {
        assert_eq!(base64(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64(b"IQ==").unwrap(), b"!");
        assert_eq!(base64(b"").unwrap(), b"");
        for wrong in [&b"a"[..], b"aGV=bG8=", b"====", b"a===", b"IR==", b"aGVs bG8", b"aGVsbG8*"] {
            assert_eq!(base64(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn no_two_families_have_as_many_ranks() {
        let ranks: HashSet<_> = FAMILIES.iter().map(|family| family.ranks).collect();
        assert_eq!(ranks.len(), FAMILIES.len());
        for family in &FAMILIES {
            let special = (family.special)();
            assert!(special.iter().all(|(id, _)| *id as usize >= family.ranks));
            let named = family.stop.iter().chain(&family.bos);
            assert!(named.into_iter().all(|text| special.iter().any(|(_, known)| known == text)), "{}", family.split);
            assert!(split::by_name(family.split).is_ok());
        }
        assert_eq!(llama3().last().unwrap(), &(128_255, "<|reserved_special_token_247|>".to_owned()));
    }

    #[test]
    fn every_cut_into_tokens_is_a_rule() {
        let tokens = [&b"a"[..], b"b", b"ab", b"aba", b"ba"].map(<[u8]>::to_vec);
        assert_eq!(merges(&tokens).unwrap(), [(0, 1), (0, 4), (2, 0), (1, 0)]);
    }

    fn file(change: impl FnOnce(&mut Vec<String>)) -> String {
        let mut lines: Vec<String> = (0..=255_u8)
            .map(|byte| {
                let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                let [a, b] = [byte >> 2, byte << 4 & 0x3F].map(|at| char::from(digits[usize::from(at)]));
                format!("{a}{b}== {byte}")
            })
            .collect();
        change(&mut lines);
        lines.join("\n")
    }

    #[test]
    fn refuses_broken_files_by_line() {
        assert_eq!(tokens(file(|_| {}).as_bytes()).unwrap().len(), 256);
        let place = |change: &dyn Fn(&mut Vec<String>)| match tokens(file(change).as_bytes()).unwrap_err() {
            TextError::Malformed { place, .. } => place,
            other => panic!("{other}"),
        };
        assert_eq!(place(&|lines| lines[2] = "Ag==".to_owned()), "line 3");
        assert_eq!(place(&|lines| lines[2] = "A*== 2".to_owned()), "line 3");
        assert_eq!(place(&|lines| lines[2] = " 2".to_owned()), "line 3");
        for rank in ["-1", "1", "x", "", "256", "99999999999999999999", "+2", "2 2"] {
            assert_eq!(place(&|lines| lines[2] = format!("Ag== {rank}")), "line 3", "{rank}");
        }
        assert_eq!(place(&|lines| drop(lines.remove(2))), "line 255");
        assert_eq!(place(&|lines| (lines[2], lines[3]) = (String::new(), String::new())), "rank 2");
        assert_eq!(place(&|lines| lines[2] = "AAA= 2".to_owned()), "the file");
        assert_eq!(place(&|lines| lines[2] = format!("{} 2", "AAAA".repeat(400))), "line 3");
    }

    #[test]
    fn refuses_a_number_of_ranks_that_no_family_has() {
        let error = read(file(|_| {}).as_bytes(), Vec::new()).err().unwrap();
        assert_eq!(error.code(), "unknown-tokenizer-family");
        assert!(error.to_string().contains("256 ranks"));
    }
}
