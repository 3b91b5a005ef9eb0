//! Published chat templates, and what transformers adds to Jinja2.

mod common;

use common::data;
use honelm_text::{ChatTemplate, Clock, Message, RenderOptions, SpecialTokens, TextError};
use serde_json::{Value, json};

fn special() -> SpecialTokens {
    SpecialTokens { bos: Some("<s>".to_owned()), eos: Some("</s>".to_owned()), ..SpecialTokens::default() }
}

fn render_with(source: &str, extra: Value) -> Result<String, TextError> {
    let extra = extra.as_object().cloned().unwrap_or_default();
    let options = RenderOptions { extra, clock: Some(Clock::new(1_709_210_096, 0)), ..RenderOptions::default() };
    ChatTemplate::new(source, special())?.render(&[Message::new("user", "hi")], &options)
}

fn render(source: &str) -> String {
    render_with(source, Value::Null).expect("renders")
}

#[test]
fn published_templates_render_a_plain_conversation() {
    let Some(dir) = data("published_templates_render_a_plain_conversation", "data/templates") else { return };
    let (mut count, mut rendered) = (0, 0);
    for entry in std::fs::read_dir(dir).expect("readable") {
        let path = entry.expect("an entry").path();
        let source = std::fs::read_to_string(&path).expect("readable");
        let template = ChatTemplate::new(&source, special()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let messages = [Message::new("user", "Hello"), Message::new("assistant", "Hi."), Message::new("user", "Bye")];
        let options = RenderOptions {
            add_generation_prompt: true,
            clock: Some(Clock::new(1_709_210_096, 0)),
            ..RenderOptions::default()
        };
        match template.render(&messages, &options) {
            Ok(text) => {
                assert!(text.contains("Hello") && text.contains("Bye"), "{}", path.display());
                rendered += 1;
            }
            Err(error) => eprintln!("{}: {error}", path.display()),
        }
        count += 1;
    }
    assert_eq!(count, 55);
    // The other asks for a variable that no conversation has, as it does in Jinja2.
    assert!(rendered >= 54, "{rendered}");
}

#[test]
fn white_space_is_trimmed_as_transformers_does() {
    assert_eq!(render("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
    assert_eq!(render("{% for m in messages %}\n{{ m.content }}\n{% endfor %}\n"), "hi\n");
}

#[test]
fn tojson_is_json_dumps() {
    // python3: json.dumps(x, ensure_ascii=False, ...)
    let x = json!({"x": {"b": "é\n\"<&>\u{7f}", "a": [1, 2.0, true, null, {}, []], "10": 1e-7}});
    let cases = [
        ("{{ x | tojson }}", "{\"b\": \"é\\n\\\"<&>\u{7f}\", \"a\": [1, 2.0, true, null, {}, []], \"10\": 1e-07}"),
        (
            "{{ x | tojson(sort_keys=true, separators=(',', ':')) }}",
            "{\"10\":1e-07,\"a\":[1,2.0,true,null,{},[]],\"b\":\"é\\n\\\"<&>\u{7f}\"}",
        ),
        ("{{ x.a | tojson(indent=2) }}", "[\n  1,\n  2.0,\n  true,\n  null,\n  {},\n  []\n]"),
        ("{{ x.b | tojson(ensure_ascii=true) }}", "\"\\u00e9\\n\\\"<&>\\u007f\""),
        ("{{ {'k': {'l': 1}} | tojson(indent='-') }}", "{\n-\"k\": {\n--\"l\": 1\n-}\n}"),
    ];
    for (source, expected) in cases {
        assert_eq!(render_with(source, x.clone()).expect("renders"), expected, "{source}");
    }
    assert!(render_with("{{ nothing | tojson }}", Value::Null).is_err());
}

#[test]
fn the_time_is_the_callers() {
    assert_eq!(render("{{ strftime_now('%d %b %Y') }}"), "29 Feb 2024");
    let template = ChatTemplate::new("{{ strftime_now is defined }}", special()).expect("parses");
    assert_eq!(template.render(&[], &RenderOptions::default()).expect("renders"), "False");
}

#[test]
fn the_generation_tag_renders_its_contents() {
    assert_eq!(render("a{% generation %}b{% endgeneration %}c"), "abc");
}

#[test]
fn loop_controls_and_python_methods_work() {
    assert_eq!(
        render(
            "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        ),
        "013"
    );
    assert_eq!(render("{{ ' a,b '.strip().split(',')[-1].upper() }}{{ messages[0].get('x', 'y') }}"), "By");
    assert_eq!(
        render("{{ true }} {{ none }} {{ 1.0 }} {{ ['a', 1] }} {{ {'a': none} }}"),
        "True None 1.0 ['a', 1] {'a': None}"
    );
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
    let text = template.render(&[message], &RenderOptions::default()).expect("renders");
    assert_eq!(text, "1True{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": 1}]}");
}
