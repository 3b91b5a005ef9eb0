//! Precedence among files that define the same property (docs/authority.md).

use crate::common::pocket;
use honelm_text::{ChatTemplate, GgufVocab, Message, RenderOptions, Tokenizer, TokenizerFiles, TokenizerSource};
use serde_json::{Value, json};

const VOCAB: &str = r#"{"a": 0, "b": 1, "ab": 2, "Ġ": 3, "n": 4, "s": 5, "<|endoftext|>": 6}"#;
const END: u32 = 8;
const BOS: u32 = 9;
const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                      {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Opens a tokenizer with the special tokens `<|im_start|>`, `<|im_end|>` and `<s>`.
fn open(tokenizer_config: Value, config: Option<Value>, generation_config: Option<Value>) -> Tokenizer {
    let mut own = json!({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "added_tokens_decoder": {
        "7": {"content": "<|im_start|>", "special": true}, "8": {"content": "<|im_end|>", "special": true},
        "9": {"content": "<s>", "special": true}}});
    own.as_object_mut().expect("an object").extend(tokenizer_config.as_object().expect("an object").clone());
    let bytes = |json: Value| json.to_string().into_bytes();
    Tokenizer::from_files(&TokenizerFiles {
        tokenizer: TokenizerSource::VocabAndMerges { vocab: VOCAB.into(), merges: "#version: 0.2\na b\n".into() },
        tokenizer_config: Some(bytes(own)),
        config: config.map(bytes),
        generation_config: generation_config.map(bytes),
        ..TokenizerFiles::default()
    })
    .expect("a tokenizer")
}

/// Returns the tokenizer after a round trip through GGUF metadata.
fn through_gguf(tokenizer: &Tokenizer) -> Tokenizer {
    let mut writer = honelm_formats::gguf::Writer::new();
    for (key, value) in tokenizer.to_gguf_vocab(10).expect("can be written").to_metadata() {
        writer.metadata(key, value).expect("a key of its own");
    }
    let mut file = Vec::new();
    let done: Result<(), honelm_formats::FormatError> = writer.write_to(&mut file, "memory", |_, _| Ok(())).map(|_| ());
    done.expect("writes");
    let mut gguf = honelm_formats::gguf::Gguf::parse(file, "memory").expect("reads");
    let read = GgufVocab::from_gguf(&gguf).expect("reads");
    assert_eq!(GgufVocab::take(&mut gguf).expect("reads"), read);
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"] {
        assert_eq!(gguf.get_array_str(key).expect("strings"), Some(&[][..]), "{key} was taken");
    }
    Tokenizer::from_vocab(&read).expect("a tokenizer")
}

#[test]
fn null_tokens_print_nothing_whatever_else_names_them() {
    let config = json!({"bos_token_id": BOS});
    let template = "[{{ bos_token }}{{ eos_token }}]";
    let printed = |tokenizer: &Tokenizer| {
        let template = ChatTemplate::new(template, tokenizer.special_tokens()).expect("parses");
        template.render(&[Message::new("user", "a")], &RenderOptions::default()).expect("renders")
    };
    let silent = open(json!({"bos_token": null}), Some(config.clone()), None);
    let named = open(json!({"bos_token": "<s>"}), Some(config.clone()), None);
    let unsaid = open(json!({}), Some(config), None);
    assert_eq!(printed(&silent).text, "[<|endoftext|>]");
    assert_eq!(printed(&named).text, "[<s><|endoftext|>]");
    assert_eq!(printed(&unsaid).text, "[<s><|endoftext|>]");
    // The model has a BOS token all the same. A text without a template begins with it.
    assert_eq!(silent.bos(), Some(BOS));
    for tokenizer in [silent, named, unsaid] {
        let gguf = through_gguf(&tokenizer);
        assert_eq!((printed(&gguf), gguf.bos()), (printed(&tokenizer), tokenizer.bos()));
        let written: Value =
            serde_json::from_str(&tokenizer.to_tokenizer_config_json().expect("writes")).expect("JSON");
        assert_eq!(written["bos_token"], json!(tokenizer.special_tokens().bos));
        assert!(written.as_object().expect("an object").contains_key("bos_token"));
    }
}

#[test]
fn end_tokens_are_those_of_all_files_and_of_the_template() {
    let (config, generation) = (json!({"eos_token_id": 5}), json!({"eos_token_id": [5, 4]}));
    let all = open(json!({"chat_template": CHATML}), Some(config), Some(generation));
    assert_eq!(all.eos_ids(), [5, 4, 6, END]);
    assert_eq!(open(json!({}), None, None).eos_ids(), [6]);
    // The vocabulary's file counts if the configuration has no value.
    let silent = open(json!({"eos_token": null}), Some(json!({"eos_token_id": 5})), None);
    assert_eq!(silent.eos_ids(), [5]);
    for tokenizer in [all, silent] {
        let mut ends = through_gguf(&tokenizer).eos_ids().to_vec();
        // Readers of GGUF recognise some end tokens by their texts.
        ends.retain(|&id| tokenizer.eos_ids().contains(&id) || ![6, END].contains(&id));
        ends.sort_unstable();
        let mut expected = tokenizer.eos_ids().to_vec();
        expected.sort_unstable();
        assert_eq!(ends, expected);
    }
}

#[test]
fn a_template_names_the_control_token_behind_an_answer_and_nothing_else() {
    let end = |template: &str| {
        let tokenizer = open(json!({"chat_template": template, "bos_token": "<s>"}), None, None);
        tokenizer.eos_ids().iter().copied().find(|&id| id != 6)
    };
    let turns = |behind: &str| format!("{{% for m in messages %}}{{{{ m.content }}}}{behind}{{% endfor %}}");
    assert_eq!(end(CHATML), Some(END));
    assert_eq!(end(&turns("\n <|im_end|>")), Some(END));
    for (what, template) in [
        ("text", turns("\nUser: ")),
        ("nothing", turns("")),
        ("a token after text", turns(".<|im_end|>")),
        ("the beginning of a text", turns("<s>")),
        (
            "the beginning of an answer",
            turns("<|im_start|>") + "{% if add_generation_prompt %}<|im_start|>a{% endif %}",
        ),
        ("a broken template", "{% for %}".to_owned()),
        ("one that refuses", "{{ raise_exception('no') }}".to_owned()),
        (
            "one that never ends",
            "{% for i in range(10000000) %}{% for j in range(10000000) %}{% endfor %}{% endfor %}".to_owned(),
        ),
        ("one that shows no answers", "<|im_end|>".to_owned()),
    ] {
        assert_eq!(end(&template), None, "{what}");
    }
    assert_eq!(pocket().eos_ids(), [1, 5]);
}
