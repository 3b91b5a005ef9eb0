//! Grammars of tool calls: what they allow is read back by the parser of the same form.

use honelm_grammar::{Calls, Constraint, Grammar, GrammarError, Limits, TokenVocabulary};
use honelm_text::answer::{Answer, AnswerParser, CallForm, Tool, ToolChoice};
use honelm_text::{DecodeStream, EncodeOptions, Reasoning};
use serde_json::{Value, json};

use crate::common::{POCKET, Random, closing, walk};
use crate::judge::accepts;

fn tools() -> Vec<Tool> {
    let list = json!([
        {"name": "get_weather", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city"], "additionalProperties": false
        }},
        {"name": "set_light", "parameters": {
            "$defs": {"color": {"enum": ["red", "blue"]}},
            "type": "object",
            "properties": {"color": {"$ref": "#/$defs/color"}, "on": {"type": "boolean"}, "level": {"type": "array", "items": {"type": "integer"}, "maxItems": 2}},
            "required": ["on"], "additionalProperties": false
        }},
        {"name": "now"}
    ]);
    Tool::read_list(&list).expect("tools")
}

/// The tools of a form: Qwen3-Coder's text values have no references to strings.
fn tools_of(form: &str) -> Vec<Tool> {
    let mut tools = tools();
    if form == "qwen3-coder" {
        tools[1].parameters["properties"]["color"] = json!({"enum": ["red", "blue"]});
    }
    tools
}

#[test]
fn forced_calls_are_valid_in_every_form() {
    let (tokenizer, vocabulary) = &*POCKET;
    let closing = closing(tokenizer);
    let think = Reasoning::find("<think></think>", tokenizer).expect("known tags");
    // A mark may be a special token or text.
    let token = |mark: &str| matches!(mark, "[TOOL_CALLS]" | "<tool_call>").then_some(6u32);
    let text = |_: &str| None;
    assert!(tokenizer.special(6) && !vocabulary.ends().contains(&6));
    let mut random = Random(3);
    for form in CallForm::names() {
        let tools = tools_of(form);
        let form = CallForm::named(form).expect("a form");
        for choice in [ToolChoice::Required, ToolChoice::Named("set_light".to_owned())] {
            for (special, reasoning) in [(&token as &dyn Fn(&str) -> Option<u32>, None), (&text, Some((think, true)))] {
                let calls = Calls { form, tools: &tools, choice: &choice, parallel: true, reasoning, format: None };
                let grammar = Grammar::of_calls(vocabulary, &calls, special, &Limits::default())
                    .unwrap_or_else(|e| panic!("{form:?}: {e}"))
                    .expect("a grammar");
                for _ in 0..4 {
                    let mut matcher = grammar.matcher();
                    let thought = if reasoning.is_some() { "I see.</think>\n\n" } else { "" };
                    let mut tokens = tokenizer.encode(thought, EncodeOptions::default()).expect("encodes");
                    tokens.iter().for_each(|&id| matcher.advance(id).expect("allowed"));
                    tokens.extend(walk(&mut matcher, vocabulary.ends(), &closing, &mut random));
                    let mut parser = AnswerParser::new(Some(think), Some(form), tools.clone(), 1);
                    if reasoning.is_some() {
                        parser = parser.in_reasoning();
                    }
                    let mut answer = Answer::default();
                    let mut stream = DecodeStream::new(tokenizer, true);
                    for &id in &tokens {
                        let mark = if form.name().starts_with("mistral") { "[TOOL_CALLS]" } else { "<tool_call>" };
                        let piece = if id == 6 { mark.to_owned() } else { stream.push(id).unwrap_or_default() };
                        answer.extend(&parser.push(&piece));
                    }
                    answer.extend(&parser.finish());
                    let raw = tokenizer.decode(&tokens, false);
                    assert_eq!((&*answer.text, &answer.broken), ("", &vec![]), "{form:?}: {raw}");
                    assert_eq!(answer.reasoning, if reasoning.is_some() { "I see." } else { "" });
                    assert!(!answer.calls.is_empty(), "{form:?}: {raw}");
                    for call in &answer.calls {
                        let tool = tools.iter().find(|tool| tool.name == call.name).expect("a tool");
                        let arguments: Value = serde_json::from_str(&call.arguments).expect("JSON");
                        assert!(accepts(&tool.parameters, &tool.parameters, &arguments), "{form:?}: {arguments}");
                        assert!(choice == ToolChoice::Required || call.name == "set_light");
                    }
                }
            }
        }
    }
}

/// Returns `true` if a grammar allows a text as a whole.
fn allows(vocabulary: &TokenVocabulary, grammar: &Grammar, text: &str) -> bool {
    assert_eq!(vocabulary.len(), POCKET.1.len());
    crate::common::matches(grammar, text)
}

#[test]
fn automatic_calls_allow_text_and_valid_calls() {
    let (_, vocabulary) = &*POCKET;
    let tools = tools();
    let form = CallForm::named("hermes").expect("a form");
    let compile = |parallel: bool| {
        let calls = Calls { form, tools: &tools, choice: &ToolChoice::Auto, parallel, reasoning: None, format: None };
        Grammar::of_calls(vocabulary, &calls, &|_| None, &Limits::default()).expect("compiles").expect("a grammar")
    };
    let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    let unknown = "<tool_call>\n{\"name\": \"rm\", \"arguments\": {}}\n</tool_call>";
    let many = compile(true);
    assert!(allows(vocabulary, &many, "Just text, with a < and a tag <b>."));
    assert!(allows(vocabulary, &many, &format!("Let me see. {call}")));
    assert!(allows(vocabulary, &many, &format!("{call}\n{call} and more")));
    assert!(!allows(vocabulary, &many, &format!("Let me see. {unknown}")));
    assert!(!allows(vocabulary, &many, "<tool_call> is a tag."));
    let one = compile(false);
    assert!(allows(vocabulary, &one, call) && !allows(vocabulary, &one, &format!("{call}\n{call}")));
    // Without a mark, any text is allowed, so there is no grammar.
    let calls = Calls {
        form: CallForm::named("llama3").expect("a form"),
        tools: &tools,
        choice: &ToolChoice::Auto,
        parallel: true,
        reasoning: None,
        format: None,
    };
    assert!(Grammar::of_calls(vocabulary, &calls, &|_| None, &Limits::default()).expect("compiles").is_none());
}

#[test]
fn wrong_tools_and_choices_are_refused_with_their_place() {
    let (_, vocabulary) = &*POCKET;
    let refuse = |form: &str, tools: &[Tool], choice: ToolChoice| -> GrammarError {
        let form = CallForm::named(form).expect("a form");
        let calls = Calls { form, tools, choice: &choice, parallel: true, reasoning: None, format: None };
        Grammar::of_calls(vocabulary, &calls, &|_| None, &Limits::default()).expect_err("refused")
    };
    let error = refuse("hermes", &tools(), ToolChoice::Named("rm".to_owned()));
    assert_eq!(error.to_string(), "tool_choice is \"rm\", which is not a tool, expected the name of a tool");
    let tool = |schema: Value| {
        Tool::read_list(&json!([{"name": "a"}, {"name": "f", "parameters": {"properties": {"x": schema}}}]))
            .expect("tools")
    };
    let error = refuse("hermes", &tool(json!({"not": {}})), ToolChoice::Required);
    assert!(
        error.to_string().starts_with("tools[1].parameters#/properties/x/not: found the keyword \"not\""),
        "{error}"
    );
    let error = refuse("mistral", &tool(json!({"type": "string", "format": "color"})), ToolChoice::Required);
    assert!(error.to_string().starts_with("tools[1].parameters#/properties/x: "), "{error}");
    let error = refuse("qwen3-coder", &tool(json!({"type": "string", "maxLength": 3})), ToolChoice::Required);
    assert_eq!(error.to_string(), "tool \"f\", properties.x: maxLength of a string cannot be forced in this form");
    assert!(crate::common::compile(&Constraint::Choice(vec!["a".to_owned()])).is_ok());
}
