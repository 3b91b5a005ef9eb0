//! The parts of answers: text, reasoning and calls in each form, in any pieces.

use honelm_text::answer::{AnswerParser, CallForm, Tool};
use honelm_text::{ChatTemplate, Clock, Message, RenderOptions, SpecialTokens, Tokenizer};
use serde_json::{Value, json};

use crate::calls::{Random, case, check, parse, parser, think, token_pieces, tools};
use crate::common::{CHAT, data, pocket};

const FORMS: [&str; 6] = ["hermes", "llama3", "mistral", "mistral-v11", "qwen3-coder", "general"];

/// Cuts a text at random characters.
fn cut<'t>(text: &'t str, random: &mut Random) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let characters = 1 + random.below(9);
        let at = rest.char_indices().nth(characters).map_or(rest.len(), |(at, _)| at);
        let (piece, behind) = rest.split_at(at);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

#[test]
fn every_form_is_registered() {
    let mut names: Vec<_> = CallForm::names().collect();
    let mut expected = FORMS.to_vec();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn generated_calls_are_read_back_from_any_pieces() {
    for form in FORMS {
        let mut random = Random(11);
        let parser = parser(form);
        for _ in 0..250 {
            let case = case(form, &mut random);
            let whole = parse(parser.clone(), [case.raw.as_str()]);
            check(&case, &whole);
            assert_eq!(parse(parser.clone(), cut(&case.raw, &mut random)), whole, "{:?}", case.raw);
        }
    }
}

#[test]
fn calls_streamed_by_tokens_equal_whole_ones() {
    let mut tokenizers = vec![("pocket", pocket())];
    for name in ["qwen2", "llama2", "llama3"] {
        if let Some(path) = data("calls_streamed_by_tokens_equal_whole_ones", &format!("data/tokenizers/{name}")) {
            tokenizers.push((name, Tokenizer::from_dir(&path).expect(name)));
        }
    }
    for (name, tokenizer) in &tokenizers {
        for form in FORMS {
            let mut random = Random(23);
            let parser = parser(form);
            let (mut equal, mut cases, mut calls) = ([0; 3], 0, 0);
            while calls < 250 {
                let case = case(form, &mut random);
                cases += 1;
                calls += case.calls.len();
                let ids = tokenizer.encode(&case.raw, CHAT).expect("encodes");
                // SentencePiece does not give back every text, so what it gives back is the text.
                let text = token_pieces(tokenizer, &parser, &ids, 1).concat();
                let whole = parse(parser.clone(), [text.as_str()]);
                if text == case.raw {
                    check(&case, &whole);
                }
                for (size, equal) in [1, 2, 5].into_iter().zip(&mut equal) {
                    let pieces = token_pieces(tokenizer, &parser, &ids, size);
                    *equal += usize::from(parse(parser.clone(), pieces.iter().map(String::as_str)) == whole);
                }
            }
            assert_eq!(equal, [cases; 3], "{name}, {form}");
        }
    }
}

/// Texts, what is left of them as text, and the codes of their broken calls.
const BROKEN: &[(&str, &str, &str, &[&str])] = &[
    // Text that only resembles a call.
    ("hermes", "Write <tool_call> or </tool_call>.", "Write <tool_call> or </tool_call>.", &[]),
    ("hermes", "<tool_call", "<tool_call", &[]),
    ("hermes", "a <tool_call>\n", "a <tool_call>\n", &[]),
    ("hermes", "<tool_call>{name}</tool_call> x", "<tool_call>{name}</tool_call> x", &[]),
    ("hermes", "<tool_call>\n{ 1", "<tool_call>\n{ 1", &[]),
    ("llama3", "{\"name\": \"Ann\", \"age\": 7}", "{\"name\": \"Ann\", \"age\": 7}", &[]),
    ("llama3", " {\"city\": [1, 2", " {\"city\": [1, 2", &[]),
    ("llama3", "{\"a\" 1}", "{\"a\" 1}", &[]),
    ("llama3", "See {\"name\": \"now\", \"parameters\": {}}", "See {\"name\": \"now\", \"parameters\": {}}", &[]),
    ("llama3", "<|python_tag|>print(1)", "<|python_tag|>print(1)", &[]),
    ("llama3", "{}", "{}", &[]),
    ("mistral", "[TOOL_CALLS] are [1, 2]", "[TOOL_CALLS] are [1, 2]", &[]),
    ("mistral", "[TOOL_CALLS][1]", "[TOOL_CALLS][1]", &[]),
    ("mistral-v11", "[TOOL_CALLS]now[x", "[TOOL_CALLS]now[x", &[]),
    ("qwen3-coder", "<tool_call> <tool_call>x", "<tool_call> <tool_call>x", &[]),
    ("qwen3-coder", "<function=f(x)>", "<function=f(x)>", &[]),
    ("qwen3-coder", "<function=now", "<function=now", &[]),
    // Invalid JSON. What follows the call is text.
    ("hermes", "<tool_call>{\"name\": \"now\", \"arguments\": {1}}</tool_call> So.", "So.", &["call-not-json"]),
    ("hermes", "<tool_call>{\"name\": \"now\", \"arguments\": {}</tool_call>So.", "So.", &["call-not-json"]),
    (
        "hermes",
        "<tool_call>{\"name\": \"now\",}<tool_call>{\"name\": \"x\"}",
        "",
        &["call-not-json", "call-unknown-tool"],
    ),
    ("llama3", "{\"name\": \"now\", \"parameters\": {x}}", "", &["call-not-json"]),
    ("llama3", "<|python_tag|>{\"name\"; 1}", "", &["call-not-json"]),
    ("mistral", "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {]}", "", &["call-not-json"]),
    ("mistral-v11", "[TOOL_CALLS]now[ARGS]{,}", "", &["call-not-json"]),
    // Unknown tools, missing names, wrong arguments.
    (
        "hermes",
        "<tool_call>{\"name\": \"rm\", \"arguments\": {\"a\": \"<tool_call>\"}}</tool_call>",
        "",
        &["call-unknown-tool"],
    ),
    ("llama3", "{\"name\": \"rm\", \"parameters\": {}}", "", &["call-unknown-tool"]),
    ("mistral", "[TOOL_CALLS][{\"name\": \"rm\", \"arguments\": {}}]", "", &["call-unknown-tool"]),
    ("mistral-v11", "[TOOL_CALLS]rm[ARGS]{\"a\": 1}", "", &["call-unknown-tool"]),
    (
        "qwen3-coder",
        "<tool_call>\n<function=rm>\n<parameter=a>\nx <function=y>\n</parameter>\n</function>\n</tool_call> So.",
        "So.",
        &["call-unknown-tool"],
    ),
    ("hermes", "<tool_call>{\"arguments\": {}}</tool_call>", "", &["call-without-name"]),
    ("hermes", "<tool_call>{\"name\": 3, \"arguments\": {}}</tool_call>", "", &["call-without-name"]),
    ("hermes", "<tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>", "", &["call-arguments-not-an-object"]),
    ("hermes", "<tool_call>{\"name\": \"now\", \"name\": \"now\"}</tool_call>", "", &["call-repeats-a-name"]),
    (
        "qwen3-coder",
        "<function=get_weather><parameter=city>a</parameter><parameter=city>b</parameter></function>",
        "",
        &["call-repeats-a-name"],
    ),
    ("qwen3-coder", "<function=get_weather>Paris</function> So.", "So.", &["call-malformed"]),
    ("mistral-v11", "[TOOL_CALLS]now[CALL_ID]a b[ARGS]{}", "", &["call-malformed"]),
    ("mistral", "[TOOL_CALLS][{\"name\": \"rm\"} x", "", &["call-unknown-tool"]),
    // Calls that are cut short.
    ("hermes", "a <tool_call>{\"name\": \"now\", \"argu", "a", &["call-cut-short"]),
    ("hermes", "<tool_call>{\"na", "", &["call-cut-short"]),
    ("llama3", "{\"name\": \"now\", \"parameters\": {\"x", "", &["call-cut-short"]),
    ("mistral", "[TOOL_CALLS] [{\"name\": \"now\"", "", &["call-cut-short"]),
    ("mistral-v11", "[TOOL_CALLS]now[ARGS]{\"a\": 1", "", &["call-cut-short"]),
    ("mistral-v11", "[TOOL_CALLS]now[ARGS]", "", &["call-cut-short"]),
    ("qwen3-coder", "<tool_call>\n<function=get_weather>\n<parameter=city>\nPa", "", &["call-cut-short"]),
    ("qwen3-coder", "<tool_call>\n<function=get_weather>\n", "", &["call-cut-short"]),
];

#[test]
fn broken_calls_are_told_from_text() {
    for &(form, raw, text, codes) in BROKEN {
        for form in [form, if form == "hermes" { "general" } else { form }] {
            let parser = AnswerParser::new(None, CallForm::named(form), tools(), 1);
            let whole = parse(parser.clone(), [raw]);
            assert_eq!(whole.text, text, "{form}: {raw}");
            let found: Vec<_> = whole.broken.iter().map(|(reason, _)| reason.code()).collect();
            assert_eq!(found, codes, "{form}: {raw}");
            assert_eq!(whole.calls, [], "{form}: {raw}");
            let ones = raw.char_indices().map(|(at, c)| &raw[at..at + c.len_utf8()]);
            assert_eq!(parse(parser, ones), whole, "{form}: {raw}");
            if let [(_, broken)] = &*whole.broken {
                assert_eq!(raw.replacen(broken, "", 1).trim(), text, "the whole call is reported: {broken}");
            }
        }
    }
}

#[test]
fn unusual_calls_are_read() {
    let cases = [
        // Arguments as JSON text in a string, none at all, and `null`.
        (
            "hermes",
            "<tool_call>{\"name\": \"now\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
            "now",
            "{\"a\": 1}",
        ),
        ("hermes", "<tool_call>{\"name\": \"now\"}</tool_call>", "now", "{}"),
        ("mistral", "[TOOL_CALLS] {\"name\": \"now\", \"arguments\": null}", "now", "{}"),
        // A missing end tag at the end of the answer, and a missing bracket.
        ("hermes", "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}", "now", "{}"),
        ("mistral", "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}", "now", "{}"),
        ("qwen3-coder", "<tool_call>\n<function=now>\n</function>", "now", "{}"),
        // No tags.
        ("mistral-v11", "[TOOL_CALLS]now{\"a\": [1]}", "now", "{\"a\": [1]}"),
        ("qwen3-coder", "<function=now>\n</function>", "now", "{}"),
        // Values that are not of the declared type, and Python's literals.
        (
            "qwen3-coder",
            "<function=get_weather><parameter=city>5</parameter><parameter=days>few</parameter><parameter=metric>\nTrue\n</parameter></function>",
            "get_weather",
            "{\"city\": \"5\", \"days\": \"few\", \"metric\": true}",
        ),
        (
            "qwen3-coder",
            "<function=write_file>\n<parameter=text>\n\n a\n</par\n\n</parameter>\n<parameter=mode>\nnull\n</parameter>\n<parameter=new>\n1\n</parameter>\n</function>",
            "write_file",
            "{\"text\": \"\\n a\\n</par\\n\", \"mode\": null, \"new\": \"1\"}",
        ),
        // Escapes in names.
        (
            "hermes",
            "<tool_call>{\"n\\u0061me\": \"n\\u006fw\", \"arguments\": {\"\\u00e9\": 1}}</tool_call>",
            "now",
            "{\"\\u00e9\": 1}",
        ),
    ];
    for (form, raw, name, arguments) in cases {
        let answer = parse(parser(form), [raw]);
        assert_eq!((answer.broken, &*answer.text), (vec![], ""), "{raw}");
        let read: Vec<_> = answer.calls.iter().map(|call| (&*call.name, &*call.arguments)).collect();
        assert_eq!(read, [(name, arguments)], "{raw}");
    }
}

#[test]
fn text_around_calls_is_kept() {
    let raw = "One.\n<tool_call>{\"name\": \"now\"}\n{\"name\": \"now\"}</tool_call>\n\nTwo <tool_call> three.  ";
    let answer = parse(parser("hermes"), [raw]);
    assert_eq!((&*answer.text, answer.calls.len()), ("One.Two <tool_call> three.  ", 2));
    let answer = parse(parser("llama3"), ["{\"name\": \"now\", \"parameters\": {}} ; and"]);
    assert_eq!((&*answer.text, answer.calls.len()), ("; and", 1));
}

#[test]
fn reasoning_comes_apart_and_marks_in_it_are_not_calls() {
    let raw = "why <tool_call>{\"name\": \"now\"}</tool_call>\n</think>\n\nSo. <tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"<think>\"}}";
    let answer = parse(parser("hermes").in_reasoning(), [raw]);
    assert_eq!(answer.reasoning, "why <tool_call>{\"name\": \"now\"}</tool_call>");
    assert_eq!((&*answer.text, &*answer.calls[0].arguments), ("So.", "{\"a\": \"<think>\"}"));
}

#[test]
fn ids_are_nine_letters_and_digits_or_the_models_own() {
    let two = "<tool_call>{\"name\": \"now\"}{\"id\": \"own_1\", \"name\": \"now\"}</tool_call>";
    let answer = parse(parser("hermes"), [two]);
    let id = &answer.calls[0].id;
    assert!(id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
    assert_eq!(answer.calls[1].id, "own_1");
    let other = parse(AnswerParser::new(None, CallForm::named("hermes"), tools(), 8), [two]);
    assert_ne!(*id, other.calls[0].id);
    let given = parse(parser("mistral-v11"), ["[TOOL_CALLS]now[CALL_ID]aB3[ARGS]{}"]);
    assert_eq!(given.calls[0].id, "aB3");
}

#[test]
fn without_tools_nothing_is_a_call() {
    let raw = "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>";
    let answer = parse(AnswerParser::new(None, CallForm::named("hermes"), Vec::new(), 1), [raw]);
    assert_eq!(answer.text, raw);
    assert!(!AnswerParser::new(None, CallForm::named("mistral"), Vec::new(), 1).is_mark("[TOOL_CALLS]"));
    let parser = AnswerParser::new(Some(think()), CallForm::named("mistral"), tools(), 1);
    assert!(parser.is_mark("[TOOL_CALLS]") && parser.is_mark("<think>") && !parser.is_mark("</s>"));
}

#[test]
fn bad_tools_are_refused_with_their_place() {
    let cases = [
        (json!({}), "tools is {}, expected a list of tools"),
        (json!([{"type": "function", "function": {"parameters": {}}}]), "tools[0].function.name is nothing"),
        (json!([{"name": "a b"}]), "tools[0].name is \"a b\", expected 1 to 128 letters"),
        (json!([{"name": "a"}, {"name": "a"}]), "tools[1].function.name is \"a\" again"),
        (json!([{"type": "web_search"}]), "tools[0].type is \"web_search\", expected \"function\""),
        (json!([{"name": "a", "parameters": 3}]), "tools[0].parameters is 3"),
        (json!([{"name": "a", "parameters": {"type": "array"}}]), "tools[0].parameters.type is \"array\""),
    ];
    for (list, message) in cases {
        let error = Tool::read_list(&list).expect_err("refused");
        assert_eq!(error.code(), "bad-tools");
        assert!(error.to_string().starts_with(message), "{error}");
    }
}

#[test]
fn published_templates_choose_their_form_and_their_calls_are_read() {
    let expected = [
        ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes"),
        ("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "hermes"),
        ("Qwen-Qwen2.5-7B-Instruct", "hermes"),
        ("Qwen-Qwen3-0.6B", "hermes"),
        ("Qwen-QwQ-32B", "hermes"),
        ("MiMo-VL", "hermes"),
        ("ibm-granite-granite-4.0", "hermes"),
        ("Bielik-11B-v3.0-Instruct", "hermes"),
        ("Reka-Edge", "hermes"),
        ("meta-llama-Llama-3.1-8B-Instruct", "llama3"),
        ("meta-llama-Llama-3.2-3B-Instruct", "llama3"),
        ("meta-llama-Llama-3.3-70B-Instruct", "llama3"),
        ("mistralai-Mistral-Nemo-Instruct-2407", "mistral"),
        ("Mistral-Small-3.2-24B-Instruct-2506", "mistral-v11"),
        ("unsloth-mistral-Devstral-Small-2507", "mistral-v11"),
        ("mistralai-Ministral-3-14B-Reasoning-2512", "mistral-v11"),
        ("Qwen3-Coder", "qwen3-coder"),
        ("Qwen3.5-4B", "qwen3-coder"),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "qwen3-coder"),
        ("google-gemma-2-2b-it", "general"),
        ("GLM-4.6", "general"),
        ("unsloth-Apriel-1.5", "general"),
        ("ByteDance-Seed-OSS", "general"),
        ("meetkai-functionary-medium-v3.1", "general"),
        ("microsoft-Phi-3.5-mini-instruct", "general"),
    ];
    let Some(folder) = data("published_templates_choose_their_form_and_their_calls_are_read", "data/templates") else {
        return;
    };
    let special =
        SpecialTokens { bos: Some("<s>".to_owned()), eos: Some("</s>".to_owned()), ..SpecialTokens::default() };
    let arguments = json!({"city": "\"São\" </x>\nPaulo", "days": -2, "metric": true});
    for (name, form) in expected {
        let source = std::fs::read_to_string(folder.join(format!("{name}.jinja"))).expect(name);
        let found = CallForm::find(&source);
        assert_eq!(found.name(), form, "{name}");
        assert_eq!(found.messages(&tools(), &[]).is_some(), form == "general", "{name}");
        if form == "general" {
            continue;
        }
        let mut call = Message::new("assistant", "");
        let calls = json!([{"id": "abcDEF123", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}]);
        call.extra.insert("tool_calls".to_owned(), calls);
        let turns = [Message::new("user", "Weather?"), call];
        let template = ChatTemplate::new(&source, special.clone()).expect(name);
        let described = json!([{"type": "function", "function": {
            "name": "get_weather", "description": "The weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "A city."}}, "required": ["city"]}
        }}]);
        let options =
            RenderOptions { tools: Some(described), clock: Some(Clock::new(0, 0)), ..RenderOptions::default() };
        let written = template.render(&turns, &options).expect(name).text;
        let begins = |mark: &str| written.rfind(mark);
        let at = match form {
            "llama3" => begins("{\"name\""),
            "mistral" | "mistral-v11" => begins("[TOOL_CALLS]"),
            _ => begins("<tool_call>"),
        };
        let behind = &written[at.unwrap_or_else(|| panic!("{name}: {written}"))..];
        let end = ["</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "\n\n<sep>"]
            .iter()
            .filter_map(|end| behind.find(end))
            .min();
        let answer = parse(AnswerParser::new(None, Some(found), tools(), 1), [&behind[..end.unwrap_or(behind.len())]]);
        assert_eq!(answer.broken, [], "{name}: {behind}");
        let read: Vec<_> = answer.calls.iter().map(|call| (&*call.name, json_of(&call.arguments))).collect();
        assert_eq!(read, [("get_weather", arguments.clone())], "{name}: {behind}");
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}
