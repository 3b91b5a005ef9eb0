//! Published chat templates, and the variables of transformers.

use std::collections::BTreeMap;

use crate::common::{data, pocket};
use honelm_text::{
    ChatTemplate, Clock, Message, NamedTemplate, Reasoning, RenderOptions, Rendered, SpecialTokens, TextError,
    Tokenizer,
};
use serde_json::{Map, Value, json};

fn special() -> SpecialTokens {
    SpecialTokens { bos: Some("<s>".to_owned()), eos: Some("</s>".to_owned()), ..SpecialTokens::default() }
}

fn render_with(source: &str, extra: Value) -> Result<String, TextError> {
    let extra = extra.as_object().cloned().unwrap_or_default();
    let options = RenderOptions { extra, clock: noon(), ..RenderOptions::default() };
    Ok(ChatTemplate::new(source, special())?.render(&[Message::new("user", "hi")], &options)?.text)
}

fn render(source: &str) -> String {
    render_with(source, Value::Null).expect("renders")
}

/// 2024-02-29 12:34:56
fn noon() -> Option<Clock> {
    Some(Clock::new(1_709_210_096, 0))
}

/// Returns the 64-bit FNV-1a hash.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Returns the conversation with the arguments of tool calls as objects instead of JSON text.
fn with_objects(talk: &Map<String, Value>) -> Map<String, Value> {
    let mut talk = talk.clone();
    let calls =
        talk["messages"].as_array_mut().into_iter().flatten().filter_map(|m| m.get_mut("tool_calls")?.as_array_mut());
    for call in calls.flatten() {
        let arguments = &mut call["function"]["arguments"];
        *arguments = serde_json::from_str(arguments.as_str().expect("JSON text")).expect("JSON");
    }
    talk
}

/// Returns the outcome of a rendering in the form of the reference table.
fn outcome(template: &ChatTemplate, talk: &Map<String, Value>) -> (&'static str, String, String) {
    match template.render_variables(talk, noon()) {
        Ok(Rendered { text, .. }) => ("text", format!("{} {:016x}", text.len(), fnv1a(&text)), text),
        Err(TextError::TemplateRaised { message, .. }) => ("raised", message.clone(), message),
        Err(other) => ("error", String::new(), other.to_string()),
    }
}

#[test]
fn published_templates_render_as_jinja2_does() {
    let Some(dir) = data("published_templates_render_as_jinja2_does", "data/templates") else { return };
    let talks: Map<String, Value> =
        serde_json::from_str(include_str!("../data/conversations.json")).expect("conversations");
    let (mut templates, mut compared, mut decoded, mut wrong) = (BTreeMap::new(), 0, 0, Vec::new());
    for line in include_str!("../data/templates.tsv").lines() {
        let [name, talk, kind, what] = line.split('\t').collect::<Vec<_>>().try_into().expect("four columns");
        let what: String = serde_json::from_str(&format!("\"{what}\"")).expect("a string");
        let template = templates.entry(name).or_insert_with(|| {
            let source = std::fs::read_to_string(dir.join(format!("{name}.jinja"))).expect("readable");
            ChatTemplate::new(&source, special()).unwrap_or_else(|e| panic!("{name}: {e}"))
        });
        let given = talks[talk].as_object().expect("an object");
        let (found, summary, text) = outcome(template, given);
        // The wording of Python's own errors is not compared.
        let differs = found != kind || (kind != "error" && summary != what);
        if talk == "arguments as text" && differs {
            // Jinja2 cannot iterate over JSON text, and writes it as a string. This engine uses the object.
            decoded += 1;
            let (expected, same, _) = outcome(template, &with_objects(given));
            if (found, &summary) != (expected, &same) {
                wrong.push(format!("{name}, {talk}: not as with an object:\n{text}"));
            }
        } else if differs {
            wrong.push(format!("{name}, {talk}: expected {kind} {what:?}, found {found}:\n{text}"));
        }
        compared += 1;
    }
    assert_eq!((templates.len(), compared, decoded), (55, 55 * talks.len(), 17));
    let (first, count) = (wrong.first().cloned().unwrap_or_default(), wrong.len());
    let titles: Vec<_> = wrong.iter().filter_map(|text| text.lines().next()).collect();
    assert_eq!(
        count,
        0,
        "compare with `tests/scripts/render_templates.py TEMPLATES NAME CONVERSATION`\n{first}\nall:\n{}",
        titles.join("\n")
    );
}

#[test]
fn the_time_is_the_callers() {
    assert_eq!(render("{{ strftime_now('%d %b %Y') }}"), "29 Feb 2024");
    let template = ChatTemplate::new("{{ strftime_now is defined }}", special()).expect("parses");
    assert_eq!(template.render(&[], &RenderOptions::default()).expect("renders").text, "False");
}

#[test]
fn variables_are_those_of_transformers() {
    assert_eq!(
        render("{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{{ tools is none }}{{ documents is none }}"),
        "<s></s>FalseTrueTrue"
    );
    assert_eq!(render_with("{{ enable_thinking }}", json!({"enable_thinking": false})).expect("renders"), "False");
    let message: Message =
        serde_json::from_value(json!({"role": "assistant", "content": null, "tool_calls": [{"id": 1}]}))
            .expect("a message");
    let template = ChatTemplate::new(
        "{{ messages[0].tool_calls[0].id }}{{ messages[0].content is none }}{{ messages[0] | tojson }}",
        special(),
    )
    .expect("parses");
    let text = template.render(&[message], &RenderOptions::default()).expect("renders").text;
    assert_eq!(text, "1True{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": 1}]}");
}

#[test]
fn json_arguments_of_tool_calls_can_be_used_as_objects() {
    let call = |arguments: Value| {
        json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": arguments}},
            {"name": "g", "arguments": arguments},
        ]}]})
    };
    let render = |source: &str, arguments: Value| {
        let source = format!("{{% set a = messages[0].tool_calls[0].function.arguments %}}{source}");
        let template = ChatTemplate::new(&source, special()).expect("parses");
        template.render_variables(call(arguments).as_object().expect("an object"), None).map(|rendered| rendered.text)
    };
    let text = r#"{"city": "Paris", "index": {"b": [1, null]}}"#;
    let object: Value = serde_json::from_str(text).expect("JSON");
    for source in [
        "{% for k, v in a | items %}{{ k }}={{ v }};{% endfor %}",
        "{% for k, v in a.items() %}{{ k }}={{ v }};{% endfor %}",
        "{% for k in a %}{{ k }}={{ a[k] }};{% endfor %}",
        "{% for k, v in a | dictsort %}{{ k }}={{ v | tojson }};{% endfor %}",
        "{{ a.city }}{{ a['index'].b[0] }}{{ a.get('city') }}{{ a.keys() | list }}{{ a.values() | list }}",
        "{% macro m() %}{{ kwargs.city }}{% endmacro %}{{ m(**a) }}",
        "{% for k, v in messages[0].tool_calls[1].arguments.items() %}{{ k }}{% endfor %}",
    ] {
        let expected = render(source, object.clone()).expect(source);
        assert!(expected.contains("city") || expected.contains("Paris"), "{expected}");
        assert_eq!(render(source, text.into()).expect(source), expected, "{source}");
    }
    // Everywhere else it is a string, but `tojson` writes the object.
    let as_text =
        "{{ a }}|{{ a is string }}{{ a is mapping }}|{{ a | tojson }}|{{ a[0] }}|{{ a + '!' }}|{{ a | length }}";
    let expected = format!("{text}|TrueFalse|{text}|{{|{text}!|{}", text.len());
    assert_eq!(render(as_text, text.into()).expect("renders"), expected);
    // A text that does not encode an object has no entries.
    for other in ["", "[1]", "{", "5"] {
        assert!(render("{% for k, v in a | items %}{% endfor %}", other.into()).is_err(), "{other}");
        assert_eq!(render("{{ a }}", other.into()).expect("renders"), other);
    }
}

#[test]
fn messages_have_the_keys_that_were_given() {
    let render = |source: &str, message: Value| {
        let variables = json!({"messages": [message]});
        let template = ChatTemplate::new(&format!("{{% set m = messages[0] %}}{source}"), special()).expect("parses");
        template.render_variables(variables.as_object().expect("an object"), None).expect("renders").text
    };
    for name in ["reasoning_content", "thinking", "reasoning"] {
        let message = json!({"role": "assistant", name: "hm", "content": "yes"});
        let keys = render(
            "{{ m | list }}{{ m.keys() | length }}{{ m | length }}{% for k, v in m.items() %}{{ k }}{% endfor %}",
            message.clone(),
        );
        assert_eq!(keys, format!("['role', '{name}', 'content']33role{name}content"));
        assert_eq!(
            render("{{ m | tojson }}", message.clone()),
            serde_json::to_string(&message).expect("JSON").replace("\":", "\": ").replace(",\"", ", \"")
        );
        // Templates find the reasoning under both of transformers' names.
        assert_eq!(render("{{ m.thinking }}{{ m['reasoning_content'] }}{{ m.get('thinking') }}", message), "hmhmhm");
    }
    let plain = json!({"role": "assistant", "content": "yes"});
    assert_eq!(render("{{ m.thinking is defined }}{{ 'reasoning_content' in m }}", plain), "FalseFalse");
}

#[test]
fn thinking_tags_are_found_in_published_templates() {
    let Some(dir) = data("thinking_tags_are_found_in_published_templates", "data/templates") else { return };
    let tokenizer = pocket();
    let expected = [
        ("Qwen-Qwen3-0.6B", Some(("<think>", "</think>"))),
        ("LFM2.5-Instruct", Some(("<think>", "</think>"))),
        ("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", Some(("<think>", "</think>"))),
        ("mistralai-Ministral-3-14B-Reasoning-2512", Some(("[THINK]", "[/THINK]"))),
        ("openai-gpt-oss-120b", Some(("<|channel|>analysis<|message|>", "<|end|>"))),
        ("google-gemma-4-31B-it", Some(("<|channel>thought\n", "<channel|>"))),
        ("Apertus-8B-Instruct", Some(("<|inner_prefix|>", "<|inner_suffix|>"))),
        ("ByteDance-Seed-OSS", Some(("<seed:think>", "</seed:think>"))),
        ("upstage-Solar-Open-100B", Some(("<|think|>", "<|end|>"))),
        ("CohereForAI-c4ai-command-r7b-12-2024-tool_use", Some(("<|START_THINKING|>", "<|END_THINKING|>"))),
        ("Apriel-1.6-15b-Thinker-fixed", Some(("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"))),
        ("Qwen-Qwen2.5-7B-Instruct", None),
        ("meta-llama-Llama-3.1-8B-Instruct", None),
        ("microsoft-Phi-3.5-mini-instruct", None),
    ];
    for (name, tags) in expected {
        let source = std::fs::read_to_string(dir.join(format!("{name}.jinja"))).expect("readable");
        let found = Reasoning::find(&source, &tokenizer).map(|found| (found.open, found.close));
        assert_eq!(found, tags, "{name}");
    }
}

#[test]
fn named_templates_go_through_gguf_metadata() {
    let mut vocab = pocket().to_gguf_vocab(8192).expect("written");
    let named = |name: &str| NamedTemplate { name: name.to_owned(), source: format!("{name}!") };
    vocab.named_templates = vec![named("tool_use"), named("rag")];
    let keys: Vec<String> = vocab.to_metadata().into_iter().map(|(key, _)| key).collect();
    for key in ["chat_template", "chat_templates", "chat_template.tool_use", "chat_template.rag"] {
        assert!(keys.contains(&format!("tokenizer.{key}")), "{key}");
    }
    let tokenizer = Tokenizer::from_vocab(&vocab).expect("reads");
    let chosen = |name: Option<&str>, tools: bool| tokenizer.choose_template(name, tools).map(|t| t.name.clone());
    assert_eq!(chosen(None, false).expect("the default one"), "default");
    assert_eq!(chosen(None, true).expect("the one for tools"), "tool_use");
    assert_eq!(chosen(Some("rag"), true).expect("the one asked for"), "rag");
    assert_eq!(chosen(Some("none"), false).expect_err("unknown").code(), "template-not-found");
    let again = tokenizer.to_gguf_vocab(8192).expect("written");
    assert_eq!(again.named_templates, vocab.named_templates);
}
