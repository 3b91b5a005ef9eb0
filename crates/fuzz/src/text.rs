//! Targets for tokenizers and chat templates.

use honelm_text::answer::{Answer, AnswerParser, CallForm, Tool};
use honelm_text::{
    ChatTemplate, EncodeOptions, Limits, Message, RenderOptions, SpecialTokens, Tokenizer, TokenizerFiles,
    TokenizerSource,
};
use serde_json::json;

use crate::parts;

/// A text with every kind of character that tokenizers treat differently.
const SAMPLE: &str = " Hello,\tworld! 1234567 don't\r\n\n  \u{e9}e\u{301} \u{1f600}\u{200d}\u{2581}<s>\0";

pub(crate) fn use_tokenizer(tokenizer: &Tokenizer) {
    for (add_special, parse_special) in [(false, false), (true, true)] {
        if let Ok(ids) = tokenizer.encode(SAMPLE, EncodeOptions { add_special, parse_special }) {
            let _ = tokenizer.decode(&ids, parse_special);
        }
    }
    let _ = tokenizer.decode(&[0, 1, 2, 255, 70_000, u32::MAX], true);
}

fn some(part: &[u8]) -> Option<Vec<u8>> {
    (!part.is_empty()).then(|| part.to_vec())
}

fn open(tokenizer: TokenizerSource, config: &[u8], map: &[u8], added: &[u8]) {
    let files = TokenizerFiles {
        tokenizer,
        tokenizer_config: some(config),
        special_tokens_map: some(map),
        added_tokens: some(added),
        ..TokenizerFiles::default()
    };
    if let Ok(tokenizer) = Tokenizer::from_files(&files) {
        use_tokenizer(&tokenizer);
    }
}

pub(crate) fn tokenizer_json(data: &[u8]) {
    let [tokenizer, config, map] = parts(data);
    open(TokenizerSource::Json(tokenizer.to_vec()), config, map, b"");
}

/// Opens a SentencePiece protocol buffer or a tiktoken list. Both have this file name and are told apart by their
/// bytes.
pub(crate) fn tokenizer_model(data: &[u8]) {
    open(TokenizerSource::Model(data.to_vec()), b"", b"", b"");
}

pub(crate) fn tiktoken(data: &[u8]) {
    let [config, added, model] = parts(data);
    open(TokenizerSource::Model(model.to_vec()), config, b"", added);
}

pub(crate) fn vocab_merges(data: &[u8]) {
    let [vocab, merges, config, added] = parts(data);
    open(TokenizerSource::VocabAndMerges { vocab: vocab.to_vec(), merges: merges.to_vec() }, config, b"", added);
}

pub(crate) fn template(data: &[u8]) {
    let Ok(source) = str::from_utf8(data) else { return };
    // The bounds are small, so that inputs that exhaust them do not take up the fuzzer's time.
    let limits = Limits { touched_bytes: 1 << 22, output_bytes: 1 << 18, ..Limits::default() };
    let Ok(template) = ChatTemplate::with_limits(source, SpecialTokens::default(), limits) else { return };
    let mut call = Message::new("assistant", "");
    let calls =
        json!([{"function": {"name": "f", "arguments": {"x": 1.5}}}, {"name": "g", "arguments": "{\"y\": [2]}"}]);
    call.extra.insert("tool_calls".to_owned(), calls);
    let messages = [Message::new("system", "Be kind."), Message::new("user", "Hi"), call, Message::new("tool", "4")];
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let options = RenderOptions { add_generation_prompt: true, tools: Some(tools), ..RenderOptions::default() };
    let Ok(rendered) = template.render(&messages, &options) else { return };
    let mut end = 0;
    for range in &rendered.outside {
        assert!(
            range.start >= end && rendered.text.get(range.clone()).is_some_and(|part| !part.is_empty()),
            "{range:?}"
        );
        end = range.end + 1;
    }
}

/// Reads an answer in every form, whole and in pieces. The first byte chooses the sizes of the pieces. No part may be
/// lost, and the pieces must not matter.
pub(crate) fn answer(data: &[u8]) {
    let Some((&size, data)) = data.split_first() else { return };
    let Ok(text) = str::from_utf8(data) else { return };
    let tools = json!([{"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "number"}}}}, {"name": "g"}]);
    let Ok(tools) = Tool::read_list(&tools) else { return };
    let characters: Vec<char> = text.chars().collect();
    for name in CallForm::names() {
        let parser = AnswerParser::new(None, CallForm::named(name), tools.clone(), 1);
        let read = |pieces: &[String]| {
            let (mut parser, mut answer) = (parser.clone(), Answer::default());
            pieces.iter().for_each(|piece| answer.extend(&parser.push(piece)));
            answer.extend(&parser.finish());
            answer
        };
        let whole = read(&[text.to_owned()]);
        let pieces = characters.chunks(1 + usize::from(size % 8)).map(|piece| piece.iter().collect());
        assert_eq!(read(&pieces.collect::<Vec<String>>()), whole, "{name}");
        if whole.calls.is_empty() && whole.broken.is_empty() {
            assert_eq!(whole.text, text, "{name}");
        }
        for call in &whole.calls {
            // Valid JSON that no value can hold: half a surrogate pair, and a number beyond the range.
            let beyond =
                call.arguments.contains("\\u") || call.arguments.contains(['e', 'E']) || call.arguments.len() > 300;
            let read = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&call.arguments);
            assert!(read.is_ok() || beyond, "{call:?}");
        }
    }
}
