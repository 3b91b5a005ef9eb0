//! SentencePiece BPE compared with a direct implementation of the algorithm: merge the adjacent pieces whose union has
//! the best score, the leftmost first, until none is left.

use std::collections::HashMap;

use crate::common::{PLAIN, TEXT, TEXTS, data, gguf, pieces};
use honelm_text::{DecodeStream, GgufVocab, TokenKind, Tokenizer};

/// The direct implementation.
struct Reference {
    vocab: GgufVocab,
    ids: HashMap<String, u32>,
}

impl Reference {
    fn new(vocab: GgufVocab) -> Self {
        let ids = vocab.tokens.iter().cloned().zip(0..).collect();
        Self { vocab, ids }
    }

    fn score(&self, text: &str) -> Option<f32> {
        let id = *self.ids.get(text)?;
        let kind = TokenKind::from_gguf(self.vocab.token_types[id as usize]);
        matches!(kind, TokenKind::Normal | TokenKind::UserDefined)
            .then(|| self.vocab.scores.as_ref().expect("scores")[id as usize])
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut symbols: Vec<String> = format!(" {text}").replace(' ', "▁").chars().map(String::from).collect();
        loop {
            let mut best: Option<(f32, usize)> = None;
            for at in 1..symbols.len() {
                if let Some(score) = self.score(&format!("{}{}", symbols[at - 1], symbols[at]))
                    && best.is_none_or(|(found, _)| score > found)
                {
                    best = Some((score, at));
                }
            }
            let Some((_, at)) = best else { break };
            let right = symbols.remove(at);
            symbols[at - 1].push_str(&right);
        }
        symbols
            .iter()
            .flat_map(|symbol| match self.ids.get(symbol) {
                Some(&id) => vec![id],
                None => symbol.bytes().map(|b| self.ids[&format!("<0x{b:02X}>")]).collect(),
            })
            .collect()
    }
}

fn check(test: &str, path: &str) {
    let Some(path) = data(test, path) else { return };
    let vocab = GgufVocab::from_gguf(&gguf(path)).expect("a vocabulary");
    let tokenizer = Tokenizer::from_vocab(&vocab).expect("a tokenizer");
    let reference = Reference::new(vocab);
    let mut texts: Vec<String> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
    if let Some(path) = data(test, "data/text/wikitext2-test.raw") {
        let text = std::fs::read_to_string(path).expect("readable");
        texts.extend(pieces(&text, 100).into_iter().filter(|piece| piece.len() < 600).step_by(60));
    }
    for text in texts {
        // This token is matched as a whole, before merging.
        if text.contains("</s>") {
            continue;
        }
        let ids = tokenizer.encode(&text, PLAIN).expect("encodes");
        assert_eq!(ids, reference.encode(&text), "{text:?}");
        assert_eq!(tokenizer.decode(&ids, false), text.replace('▁', " "));
        let mut stream = DecodeStream::new(&tokenizer, true);
        let mut streamed: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, text.replace('▁', " "));
    }
}

#[test]
fn llama_merges_by_score() {
    check("llama_merges_by_score", "data/vocab/ggml-vocab-llama-spm.gguf");
}

#[test]
fn stories260k_merges_by_score() {
    check("stories260k_merges_by_score", "data/stories260k/stories260K.gguf");
}

#[test]
fn stories260k_begins_with_bos_and_reads_absent_ids_as_none() {
    let test = "stories260k_begins_with_bos_and_reads_absent_ids_as_none";
    let Some(path) = data(test, "data/stories260k/stories260K.gguf") else { return };
    let vocab = GgufVocab::from_gguf(&gguf(path)).expect("a vocabulary");
    assert_eq!(vocab.pad, None);
    let tokenizer = Tokenizer::from_vocab(&vocab).expect("a tokenizer");
    assert_eq!(tokenizer.encode("", TEXT).expect("encodes"), [1]);
    assert_eq!(tokenizer.eos_ids(), [2]);
}

#[test]
fn only_the_first_space_is_dropped() {
    let test = "only_the_first_space_is_dropped";
    let Some(path) = data(test, "data/stories260k/stories260K.gguf") else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf(path)).expect("a tokenizer");
    let ids = tokenizer.encode("once upon", PLAIN).expect("encodes");
    assert_eq!(tokenizer.decode(&ids, true), "once upon");
    let mut continued = DecodeStream::continuing(&tokenizer, true);
    let text: String = ids.iter().filter_map(|&id| continued.push(id)).collect();
    assert_eq!(text, " once upon");
    let with_bos: Vec<u32> = [1].into_iter().chain(ids).collect();
    assert_eq!(tokenizer.decode(&with_bos, true), "once upon");
}

#[test]
fn stories260k_goes_through_both_file_families() {
    let test = "stories260k_goes_through_both_file_families";
    let Some(path) = data(test, "data/stories260k/stories260K.gguf") else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf(path)).expect("a tokenizer");
    let json = tokenizer.to_tokenizer_json().expect("written");
    let config = tokenizer.to_tokenizer_config_json().expect("written");
    let read = Tokenizer::from_json(json.as_bytes(), Some(config.as_bytes()), None).expect("reads back");
    let again = Tokenizer::from_vocab(&read.to_gguf_vocab(520).expect("written")).expect("reads back");
    for text in TEXTS {
        let ids = tokenizer.encode(text, TEXT).expect("encodes");
        assert_eq!(read.encode(text, TEXT).expect("encodes"), ids);
        assert_eq!(again.encode(text, TEXT).expect("encodes"), ids);
    }
}
