//! Generated answers with tool calls, in each form.

use honelm_text::answer::{Answer, AnswerParser, CallForm, Event, Tool};
use honelm_text::{Reasoning, Tokenizer};
use serde_json::{Map, Value, json};

/// A generator of pseudo-random numbers (Knuth's MMIX).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The tools of the tests.
pub fn tools() -> Vec<Tool> {
    let list = json!([
        {"type": "function", "function": {"name": "get_weather", "description": "The weather in a city.", "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "metric": {"type": "boolean"}},
            "required": ["city"]
        }}},
        {"type": "function", "function": {"name": "write_file", "parameters": {
            "type": "object",
            "properties": {
                "path": {"type": "string"}, "text": {"type": "string"}, "lines": {"type": "array", "items": {"type": "number"}},
                "options": {"type": "object"}, "mode": {"type": ["string", "null"]}
            },
            "required": ["path", "text"]
        }}},
        {"type": "function", "function": {"name": "now"}}
    ]);
    Tool::read_list(&list).expect("tools")
}

/// The tags `<think>` and `</think>`.
pub fn think() -> Reasoning {
    let tokenizer = crate::common::pocket();
    Reasoning::find("{% if '<think>' in m %}</think>{% endif %}", &tokenizer).expect("known tags")
}

/// Texts that resemble marks and JSON, and characters of several bytes.
const WORDS: &[&str] = &[
    "Paris",
    "São Paulo",
    "東京",
    "🎉👩‍👩‍👧",
    "a\\b",
    "\"quoted\"",
    "line\nline",
    "\ttab",
    "<",
    "</",
    "<tool_call>",
    "</tool_call>",
    "{\"name\":",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<think>",
    "</think>",
    "<|python_tag|>",
    "}",
    "}}",
    "]",
    "\\u00e9",
    "é",
    " ",
    "  ",
    "\n",
    "<function=",
    "x > y",
    "</function>",
    "</parameter",
    "; ",
    "null",
    "-1.5e3",
];

pub fn text(random: &mut Random) -> String {
    (0..random.below(6)).map(|_| *random.pick(WORDS)).collect()
}

/// Returns arguments for a tool.
pub fn arguments(tool: &str, random: &mut Random) -> Map<String, Value> {
    let mut map = Map::new();
    match tool {
        "get_weather" => {
            map.insert("city".to_owned(), text(random).into());
            if random.below(2) == 0 {
                map.insert("days".to_owned(), (random.below(20) as i64 - 10).into());
            }
            if random.below(2) == 0 {
                map.insert("metric".to_owned(), (random.below(2) == 0).into());
            }
        }
        "write_file" => {
            map.insert("path".to_owned(), text(random).into());
            map.insert("text".to_owned(), text(random).into());
            if random.below(2) == 0 {
                map.insert("lines".to_owned(), json!([1, 2.5, -3e-7, []]));
            }
            if random.below(2) == 0 {
                let key = text(random);
                map.insert("options".to_owned(), json!({key: {"deep": [text(random), null, true]}, "e": {}}));
            }
        }
        _ => {}
    }
    map
}

/// Writes calls in a form, as models do.
pub fn write(form: &str, calls: &[(String, Map<String, Value>)], random: &mut Random) -> String {
    let object = |(name, arguments): &(String, Map<String, Value>), key: &str, random: &mut Random| {
        let arguments = if random.below(2) == 0 {
            Value::from(arguments.clone()).to_string()
        } else {
            serde_json::to_string_pretty(arguments).expect("JSON")
        };
        match random.below(4) {
            0 => format!("{{\"{key}\":{arguments},\"name\":{}}}", json!(name)),
            1 => format!("{{ \"type\" : \"function\", \"name\" : {}, \"{key}\" : {arguments} }}", json!(name)),
            _ => format!("{{\"name\": {}, \"{key}\": {arguments}}}", json!(name)),
        }
    };
    match form {
        "hermes" | "general" => {
            let block = |call, random: &mut Random| {
                let line = if random.below(3) == 0 { "" } else { "\n" };
                format!("<tool_call>{line}{}{line}</tool_call>", object(call, "arguments", random))
            };
            calls.iter().map(|call| block(call, random)).collect::<Vec<_>>().join("\n")
        }
        "llama3" => {
            let tag = if random.below(2) == 0 { "<|python_tag|>" } else { "" };
            let objects: Vec<_> = calls.iter().map(|call| object(call, "parameters", random)).collect();
            tag.to_owned() + &objects.join("; ")
        }
        "mistral" => {
            let objects: Vec<_> = calls.iter().map(|call| object(call, "arguments", random)).collect();
            let space = if random.below(2) == 0 { " " } else { "" };
            format!("[TOOL_CALLS]{space}[{}]", objects.join(", "))
        }
        "mistral-v11" => {
            let one = |(name, arguments): &(String, Map<String, Value>), random: &mut Random| {
                let id = if random.below(2) == 0 { "[CALL_ID]abcDEF123" } else { "" };
                format!("[TOOL_CALLS]{name}{id}[ARGS]{}", Value::from(arguments.clone()))
            };
            calls.iter().map(|call| one(call, random)).collect()
        }
        "qwen3-coder" => {
            let one = |(name, arguments): &(String, Map<String, Value>)| {
                let parameter = |(key, value): (&String, &Value)| {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    format!("<parameter={key}>\n{value}\n</parameter>\n")
                };
                let parameters: String = arguments.iter().map(parameter).collect();
                format!("<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>")
            };
            calls.iter().map(one).collect::<Vec<_>>().join("\n")
        }
        other => panic!("unknown form {other}"),
    }
}

/// An answer, and what its parser must return.
pub struct Case {
    pub raw: String,
    pub text: String,
    pub reasoning: String,
    pub calls: Vec<(String, Map<String, Value>)>,
}

/// Generates an answer with one to three calls; sometimes with reasoning, and with text where the form allows it.
pub fn case(form: &str, random: &mut Random) -> Case {
    let calls: Vec<_> = (0..1 + random.below(3))
        .map(|_| {
            let tool = (*random.pick(&["get_weather", "write_file", "now"])).to_owned();
            let arguments = arguments(&tool, random);
            (tool, arguments)
        })
        .collect();
    let reasoning = if random.below(2) == 0 { "I should look < at {\"name\": 1} this." } else { "" };
    let text = if form != "llama3" && random.below(2) == 0 { "Let me see: 1 < 2 [x] {é}" } else { "" };
    let thought = if reasoning.is_empty() { String::new() } else { format!("<think>\n{reasoning}\n</think>\n\n") };
    let gap = if text.is_empty() { "" } else { "\n\n" };
    let raw = format!("{thought}{text}{gap}{}", write(form, &calls, random));
    Case { raw, text: text.to_owned(), reasoning: reasoning.to_owned(), calls }
}

/// Returns a parser of a form with the tools and tags of the tests.
pub fn parser(form: &str) -> AnswerParser {
    AnswerParser::new(Some(think()), Some(CallForm::named(form).expect("a form")), tools(), 7)
}

/// Parses pieces. Checks that the events of a call follow each other, and that no event is empty.
pub fn parse<'p>(mut parser: AnswerParser, pieces: impl IntoIterator<Item = &'p str>) -> Answer {
    let mut events: Vec<Event> = pieces.into_iter().flat_map(|piece| parser.push(piece)).collect();
    events.extend(parser.finish());
    let mut answer = Answer::default();
    let mut open = None;
    for event in &events {
        match event {
            Event::Text(text) | Event::Reasoning(text) => assert!(open.is_none() && !text.is_empty()),
            Event::CallBegins { index, .. } => assert_eq!(open.replace(*index), None),
            Event::CallArguments { index, fragment } => assert!(open == Some(*index) && !fragment.is_empty()),
            Event::CallEnds { index } => assert_eq!(open.take(), Some(*index)),
            Event::CallBroken { index, .. } => assert!(index.is_none() || open.take() == *index),
        }
        answer.add(event);
    }
    assert_eq!(open, None, "a call has no end: {events:?}");
    answer
}

/// Checks an answer against its case.
pub fn check(case: &Case, answer: &Answer) {
    assert_eq!(answer.broken, [], "{:?}", case.raw);
    assert_eq!((&answer.text, &answer.reasoning), (&case.text, &case.reasoning), "{:?}", case.raw);
    let read: Vec<_> = answer.calls.iter().map(|call| (call.name.clone(), json_of(&call.arguments))).collect();
    assert_eq!(read, case.calls, "{:?}", case.raw);
}

fn json_of(arguments: &str) -> Map<String, Value> {
    serde_json::from_str(arguments).unwrap_or_else(|e| panic!("{arguments}: {e}"))
}

/// Returns the text that a parser needs, in a piece for every `size` tokens.
pub fn token_pieces(tokenizer: &Tokenizer, parser: &AnswerParser, ids: &[u32], size: usize) -> Vec<String> {
    let mut stream = honelm_text::DecodeStream::new(tokenizer, true);
    let mut text = |&id: &u32| match tokenizer.token(id) {
        Some(mark) if tokenizer.special(id) => {
            if parser.is_mark(mark) {
                mark.to_owned()
            } else {
                String::new()
            }
        }
        _ => stream.push(id).unwrap_or_default(),
    };
    let mut pieces: Vec<String> = ids.chunks(size).map(|ids| ids.iter().map(&mut text).collect()).collect();
    pieces.push(stream.finish());
    pieces
}
