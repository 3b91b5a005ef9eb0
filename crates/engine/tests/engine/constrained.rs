//! Answers under grammars, and their parts: masks beside stop texts, biases and shifts, reasoning, calls.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use honelm_backend::block_on;
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_engine::{
    AnswerId, Cancel, ChatAsk, Completion, Driver, DriverOptions, EngineError, Event, FinishReason, Generation,
    LoadedModel, Overflow, Request, Speculate, Update,
};
use honelm_grammar::{Constraint, Grammar, Limits, TokenVocabulary};
use honelm_model::{Checkpoint, LoadOptions, Model, Runner};
use honelm_text::answer::{Answer as Parts, Event as Part, Tool, ToolChoice};
use honelm_text::{Message, Tokenizer};
use serde_json::{Value, json};

use crate::calls::{case, check, parse, parser};
use crate::common::{Scripted, answering, driver, encode, favour, generate, tokenizer};
use crate::judge::accepts;

const PROMPT: [u32; 3] = [70, 71, 72];
const FORMS: [&str; 6] = ["hermes", "llama3", "mistral", "mistral-v11", "qwen3-coder", "general"];

static VOCABULARY: LazyLock<Arc<TokenVocabulary>> = LazyLock::new(|| {
    let tokenizer = tokenizer();
    TokenVocabulary::new(&tokenizer, tokenizer.eos_ids()).expect("a vocabulary")
});

/// Compiles a constraint for the tokens of the shipped model.
pub fn compile(constraint: &Constraint) -> Grammar {
    Grammar::compile(&VOCABULARY, constraint, &Limits::default()).expect("it compiles")
}

fn regex(regex: &str) -> Constraint {
    Constraint::Regex(regex.to_owned())
}

/// Generates with a model that always favours `wish`, under a constraint.
fn constrained(wish: &str, constraint: &Constraint, how: &Generation) -> Result<Completion, EngineError> {
    let t = tokenizer();
    let (runner, _) = answering(&t, PROMPT.len(), encode(&t, wish));
    let request = Request::new(PROMPT.to_vec(), how.clone()).with_grammar(Some(compile(constraint).matcher()));
    block_on(driver(runner).complete(request, &|| 0.0, &mut |_| ()))
}

#[test]
fn an_answer_ends_with_its_grammar_and_follows_the_model_where_it_may() {
    let how = Generation::greedy(50);
    let done = constrained("yes, of course", &regex("(yes|no)!?"), &how).expect("an answer");
    // After "yes", the model wants ",": only "!" and the end are allowed.
    assert_eq!(done.finish_reason, FinishReason::Stop);
    assert!(["yes", "yes!"].contains(&done.text.as_str()), "{}", done.text);
    let done = constrained("no", &regex("(yes|no)!?"), &how).expect("an answer");
    assert_eq!((done.text.as_str(), done.finish_reason), ("no", FinishReason::Stop));
    // Nothing may follow the last character, so no end token is drawn.
    let done = constrained("abcdef", &regex("abc"), &how).expect("an answer");
    assert_eq!((done.text.as_str(), done.decoded_tokens + 1), ("abc", done.token_ids.len()));
    let done = constrained("abcabcabc", &regex("(abc)+"), &Generation::greedy(2)).expect("an answer");
    assert_eq!((done.finish_reason, done.completion_tokens()), (FinishReason::Length, 2));
}

#[test]
fn grammars_combine_with_the_other_settings() {
    let greedy = || Generation::greedy(12);
    // With end tokens ignored, the text goes on as long as the grammar lets it.
    let ignoring = Generation { ignore_eos: true, ..greedy() };
    let done = constrained("ok", &regex("[a-z]+"), &ignoring).expect("an answer");
    assert_eq!((done.finish_reason, done.completion_tokens()), (FinishReason::Length, 12));
    let done = constrained("ok", &regex("ok"), &ignoring).expect("an answer");
    assert_eq!((done.text.as_str(), done.finish_reason), ("ok", FinishReason::Stop));
    // The text ends if all but an end token is ruled out.
    let t = tokenizer();
    let bias: BTreeMap<u32, f32> = (0..t.vocab_size() as u32)
        .filter(|&id| t.token_bytes(id).is_some_and(|bytes| bytes.contains(&b'k')))
        .map(|id| (id, f32::NEG_INFINITY))
        .collect();
    let banning = Generation { logit_bias: bias.clone(), ignore_eos: true, ..greedy() };
    let done = constrained("ok", &regex("ok?"), &banning).expect("an answer");
    assert_eq!((done.text.as_str(), done.finish_reason), ("o", FinishReason::Stop));
    // The answer fails if even that is not allowed.
    let error = constrained("ok", &regex("ok"), &Generation { logit_bias: bias, ..greedy() }).expect_err("no token");
    assert_eq!(error.code(), "no-allowed-token");
    assert!(error.to_string().contains("after 1 tokens of the answer: the settings rule out all 1"), "{error}");
    // Stop texts and stop tokens end the answer before the grammar does.
    let stopping = Generation { stop: vec!["cd".to_owned()], ..greedy() };
    let done = constrained("abcdef", &regex("[a-z]+"), &stopping).expect("an answer");
    assert_eq!((done.text.as_str(), done.finish_reason), ("ab", FinishReason::Stop));
    let user = t.id_of("<|user|>").expect("a chat token");
    let stopping = Generation { stop_tokens: vec![user], ..greedy() };
    let done = constrained("ab<|user|>", &regex("[a-z]+"), &stopping).expect("an answer");
    assert_eq!((done.text.as_str(), done.finish_reason), ("ab", FinishReason::Stop));
    // Penalties choose among the allowed tokens, and log-probabilities are those of the model.
    let penal = Generation { presence_penalty: 50.0, logprobs: Some(1), ignore_eos: true, ..Generation::greedy(2) };
    let done = constrained("aaaa", &regex("[a-c]+"), &penal).expect("an answer");
    assert!(done.token_ids.len() == 2 && done.token_ids[0] != done.token_ids[1], "{:?}", done.text);
    assert_eq!(done.logprobs.len(), 2);
}

#[test]
fn a_grammar_outlives_shifts_of_the_context() {
    let t = tokenizer();
    let vocabulary = t.vocab_size();
    let (runner, _) = Scripted::new(vocabulary, 12, move |_| vec![0.0; vocabulary]);
    let how = Generation { overflow: Overflow::Shift { keep: 2 }, temperature: 1.0, ..Generation::greedy(60) };
    let grammar = compile(&regex("([a-z]{3} [0-9]{2};){4}"));
    let request = Request::new(PROMPT.to_vec(), how).with_grammar(Some(grammar.matcher()));
    let done = block_on(driver(runner).complete(request, &|| 0.0, &mut |_| ())).expect("an answer");
    assert_eq!(done.finish_reason, FinishReason::Stop);
    let words: Vec<&str> = done.text.split_terminator(';').collect();
    assert!(done.completion_tokens() > 12 && words.len() == 4, "{:?}", done.text);
    assert!(words.iter().all(|word| word.len() == 6 && word.as_bytes()[3] == b' '), "{:?}", done.text);
}

/// The schemas of growing difficulty that the grammars are tested with.
fn schemas() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../grammar/tests/data/schemas.json")).expect("schemas")
}

/// Returns the shipped model on the CPU.
fn pocket(speculate: Speculate) -> Driver {
    let checkpoint = Checkpoint::open(honelm_testing::pocket_dir()).expect("the shipped model");
    let backend = CpuBackend::new(CpuOptions { threads: Some(2), compute: Compute::Fast, isa: None });
    let options = LoadOptions { context: Some(512), ..LoadOptions::default() };
    let device = Rc::new(std::cell::RefCell::new(backend));
    let runner = Model::load(checkpoint.blueprint(), &checkpoint, device, &options).expect("it loads");
    let bytes = 16 * runner.sequence_bytes(512);
    let options = DriverOptions { cache_bytes: Some(bytes), speculate, ..DriverOptions::default() };
    Driver::new(Box::new(runner), tokenizer(), options)
}

/// Generates answers of the shipped model under each schema, at temperature 1. Returns the number of complete ones, which are all
/// valid, and the texts.
fn answers(each: u64, speculate: Speculate) -> (usize, BTreeMap<AnswerId, String>) {
    let t = tokenizer();
    let mut driver = pocket(speculate);
    // The model writes stories: what closes strings, numbers and lists is made likelier, and what lengthens them less likely.
    let bias = |bytes: &[u8]| match bytes {
        b"\"" | b"}" | b"]" => Some(8.0),
        b"," => Some(4.0),
        // Trees and lists end sooner.
        _ if bytes.contains(&b'{') || bytes.contains(&b'[') => Some(-12.0),
        _ if bytes.trim_ascii().is_empty() => Some(-8.0),
        _ if bytes.trim_ascii().iter().all(u8::is_ascii_digit) => Some(-4.0),
        _ => None,
    };
    let closing: BTreeMap<u32, f32> =
        (0..t.vocab_size() as u32).filter_map(|id| Some((id, bias(&t.token_bytes(id)?)?))).collect();
    let mut asked = BTreeMap::new();
    for (number, schema) in schemas().iter().enumerate() {
        let grammar = compile(&Constraint::JsonSchema(schema.clone()));
        for seed in 0..each {
            let how = Generation {
                max_tokens: 400,
                temperature: 1.0,
                seed: seed + 1000 * number as u64,
                logit_bias: closing.clone(),
                ..Generation::default()
            };
            let prompt = [vec![t.bos().expect("a BOS")], encode(&t, "The answer is")].concat();
            let request = Request::new(prompt, how).with_grammar(Some(grammar.matcher()));
            asked.insert(driver.submit(request, 0.0).expect("a valid request"), schema.clone());
        }
    }
    let (mut complete, mut texts) = (0, BTreeMap::new());
    while !driver.is_idle() {
        for (id, event) in block_on(driver.step(&|| 0.0)) {
            if let Event::Done(done) = &event {
                texts.insert(id, done.text.clone());
            }
            match event {
                Event::Update(_) => {}
                Event::Done(done) if done.finish_reason == FinishReason::Length => {
                    println!("no end: {}: {:?}", asked[&id], done.text);
                }
                Event::Done(done) => {
                    let value: Value =
                        serde_json::from_str(&done.text).unwrap_or_else(|error| panic!("{:?}: {error}", done.text));
                    let schema = &asked[&id];
                    assert!(accepts(schema, schema, &value), "{schema}: {}", done.text);
                    complete += 1;
                }
                Event::Failed(error) => panic!("{error}"),
            }
        }
    }
    (complete, texts)
}

#[test]
fn answers_are_valid_under_twenty_schemas() {
    let (complete, texts) = answers(2, Speculate::Off);
    // Drafts that the grammar cuts change no answer.
    assert_eq!(answers(2, Speculate::Ngram), (complete, texts));
    // The others were still being written at the limit of tokens.
    assert_eq!(complete, 40);
}

#[test]
#[ignore = "long proof: cargo xtask prove constrained"]
fn a_thousand_answers_are_valid() {
    let each = std::env::var("HONELM_PROOF_ANSWERS").map_or(50, |count| count.parse().expect("a number"));
    let valid = answers(each, Speculate::Auto).0;
    println!("proof: {}", json!({"schemas": 20, "answers": 20 * each, "valid": valid}));
    assert_eq!(valid as u64, 20 * each);
}

#[test]
fn streamed_calls_equal_whole_ones_through_the_driver() {
    let t = tokenizer();
    for form in FORMS {
        let mut random = crate::calls::Random(41);
        for _ in 0..12 {
            let case = case(form, &mut random);
            let ids = t.encode(&case.raw, honelm_text::EncodeOptions::default()).expect("encodes");
            let (runner, _) = answering(&t, PROMPT.len(), ids);
            let request = Request::new(PROMPT.to_vec(), Generation::greedy(1000)).with_parser(Some(parser(form)));
            let mut updates: Vec<Vec<Part>> = Vec::new();
            let mut on_update = |update: &Update| match update {
                Update::Prefill { .. } => {}
                _ => updates.push(update.parts().to_vec()),
            };
            let done = block_on(driver(runner).complete(request, &|| 0.0, &mut on_update)).expect("an answer");
            let whole = parse(parser(form), [case.raw.as_str()]);
            check(&case, &whole);
            for tokens in [1, 2, 5] {
                let mut streamed = Parts::default();
                updates.chunks(tokens).for_each(|delta| streamed.extend(&delta.concat()));
                assert_eq!(streamed, whole, "{tokens} tokens a delta: {:?}", case.raw);
            }
            let reasoning = (!whole.reasoning.is_empty()).then(|| whole.reasoning.clone());
            assert_eq!(
                (done.answer, done.reasoning, done.calls),
                (whole.text, reasoning, whole.calls),
                "{:?}",
                case.raw
            );
            assert_eq!(done.broken_calls, [], "{:?}", case.raw);
        }
    }
}

/// A template with reasoning, whose prompt begins it on request.
const THINKING: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>\
                        {% if enable_thinking %}<think>{% endif %}{# </think> #}";

/// A template without reasoning and tools.
const PLAIN: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>";

/// Returns a model that always answers the same, with a template.
fn loaded(template: &str, answer: &str) -> LoadedModel {
    let tokenizer = Tokenizer::from_dir(&honelm_testing::pocket_dir()).expect("a tokenizer");
    let (vocabulary, end) = (tokenizer.vocab_size(), tokenizer.eos_ids()[0]);
    let assistant = tokenizer.id_of("<|assistant|>").expect("a chat token");
    let begun = encode(&tokenizer, "<think>").len();
    let answer = encode(&tokenizer, answer);
    let think = encode(&tokenizer, "<think>");
    let (runner, _) = Scripted::new(vocabulary, 4000, move |tokens| {
        let said = tokens.iter().rev().take_while(|&&id| id != assistant).count();
        let written = &tokens[tokens.len() - said..];
        // The tag in the prompt is not part of the answer.
        let own = if written.starts_with(&think) && !answer.starts_with(&think) { said - begun } else { said };
        favour(vocabulary, answer.get(own).copied().unwrap_or(end))
    });
    let mut model = LoadedModel::new(Box::new(runner), tokenizer, Generation::greedy(200), DriverOptions::default());
    model.set_template(template.to_owned()).expect("it parses");
    model
}

fn complete(model: &mut LoadedModel, messages: &[Message], ask: &ChatAsk) -> Result<Completion, EngineError> {
    let request = model.chat_request(messages, ask)?;
    block_on(model.driver().complete(request, &|| 0.0, &mut |_| ()))
}

#[test]
fn a_grammar_begins_behind_the_reasoning() {
    let digit = json!({"type": "integer", "minimum": 0, "maximum": 9});
    let question = [Message::new("user", "How many?")];
    for (begun, answer, reasoning) in [
        (true, " 1, 2 and so on.</think>\n\n7 of them", Some("1, 2 and so on.")),
        (false, "<think> 1, 2 and so on.</think>\n\n7 of them", Some("1, 2 and so on.")),
        (false, "7 of them", None),
        (false, "There are 7 of them", None),
    ] {
        let mut model = loaded(THINKING, answer);
        let mut ask = ChatAsk {
            how: Generation::greedy(100),
            constraint: Some(Constraint::JsonSchema(digit.clone())),
            ..ChatAsk::default()
        };
        ask.options.extra.insert("enable_thinking".to_owned(), begun.into());
        let done = complete(&mut model, &question, &ask).expect("an answer");
        assert_eq!(done.reasoning.as_deref(), reasoning, "{answer}");
        assert!(done.answer.parse::<u8>().is_ok_and(|digit| digit <= 9), "{answer}: {:?}", done.answer);
        assert_eq!(done.answer == "7", !answer.starts_with("There"), "{answer}: {:?}", done.answer);
    }
}

fn tools() -> Vec<Tool> {
    Tool::read_list(&json!([
        {"name": "now"},
        {"name": "get_weather", "description": "The weather.", "parameters": {
            "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"],
            "additionalProperties": false
        }}
    ]))
    .expect("tools")
}

#[test]
fn calls_are_forced_read_and_kept_in_the_conversation() {
    let mut model = loaded(PLAIN, "I would rather talk.");
    let ask = ChatAsk {
        how: Generation::greedy(100),
        tools: tools(),
        choice: ToolChoice::Named("get_weather".to_owned()),
        parallel: false,
        ..ChatAsk::default()
    };
    let mut chat = model.new_chat(ask).expect("a template");
    let (how, cancel) = (Generation::greedy(100), Cancel::new());
    let ask = |chat: &mut _, model: &mut LoadedModel| {
        block_on(model.ask(chat, "Weather?", &how, &cancel, &|| 0.0, &mut |_| ())).expect("an answer")
    };
    let done = ask(&mut chat, &mut model);
    assert_eq!((done.answer.as_str(), done.broken_calls.len()), ("", 0));
    let [call] = &done.calls[..] else { panic!("{done:?}") };
    let arguments: Value = serde_json::from_str(&call.arguments).expect("JSON");
    assert!(call.name == "get_weather" && ["Rome", "Oslo"].contains(&arguments["city"].as_str().expect("a city")));
    // The template does not know tools, so the conversation has them as text.
    let mut result = Message::new("tool", "Rain.");
    result.extra.insert("tool_call_id".to_owned(), call.id.as_str().into());
    chat.push(result);
    let prompt = model.tokenizer().decode(&chat.prompt(model.tokenizer()).expect("rendered"), false);
    assert!(prompt.starts_with("<|system|>You can call these tools."), "{prompt}");
    let written =
        format!("<tool_call>\n{{\"name\": \"get_weather\", \"arguments\": {}}}\n</tool_call>", call.arguments);
    assert!(prompt.contains(&format!("<|assistant|>{written}")), "{prompt}");
    assert!(prompt.ends_with("<|user|><tool_response>\nRain.\n</tool_response><|assistant|>"), "{prompt}");
    // Another call has another id.
    assert_ne!(ask(&mut chat, &mut model).calls[0].id, call.id);
}

#[test]
fn tools_are_described_in_the_question_where_there_are_no_system_messages() {
    let refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}\
                    {% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>";
    let model = loaded(refusing, "ok");
    let ask = ChatAsk { tools: tools(), ..ChatAsk::default() };
    let messages = [Message::new("user", "Weather?")];
    let request = model.chat_request(&messages, &ask).expect("a request");
    let prompt = model.tokenizer().decode(&request.prompt, false);
    assert!(prompt.starts_with("<|user|>You can call these tools."), "{prompt}");
    assert!(prompt.ends_with("answer without tags.\n\nWeather?<|assistant|>"), "{prompt}");
    let system = [Message::new("system", "Be brief."), messages[0].clone()];
    assert_eq!(model.chat_request(&system, &ChatAsk::default()).expect_err("refused").code(), "template-raised");
}

#[test]
fn a_template_that_writes_tools_gets_them() {
    let knowing = "{% for t in tools %}{{ t.function.name }};{% endfor %}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\
                   {% for c in m.tool_calls %}<tool_call>\n{\"name\": \"{{ c.function.name }}\", \"arguments\": \
                   {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}{% endfor %}<|assistant|>";
    let mut model =
        loaded(knowing, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>");
    let mut chat = model.new_chat(ChatAsk { tools: tools(), ..ChatAsk::default() }).expect("a template");
    let (how, cancel) = (Generation::greedy(100), Cancel::new());
    let done = block_on(model.ask(&mut chat, "Weather?", &how, &cancel, &|| 0.0, &mut |_| ()));
    assert_eq!(done.expect("an answer").calls.len(), 1);
    let prompt = model.tokenizer().decode(&chat.prompt(model.tokenizer()).expect("rendered"), false);
    let call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
    assert_eq!(prompt, format!("now;get_weather;<|user|>Weather?<|assistant|>{call}<|assistant|>"));
}

#[test]
fn calls_may_follow_text_or_a_format_takes_the_place_of_the_text() {
    let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    let question = [Message::new("user", "When?")];
    let ask = ChatAsk { how: Generation::greedy(100), tools: tools(), ..ChatAsk::default() };
    let format = Some(Constraint::JsonSchema(json!({"enum": ["noon", "midnight"]})));
    let told = |answer: &str, ask: &ChatAsk| {
        let done = complete(&mut loaded(THINKING, answer), &question, ask).expect("an answer");
        assert_eq!(done.broken_calls, [], "{answer}");
        (done.answer, done.calls.into_iter().map(|call| call.name).collect::<Vec<_>>())
    };
    let own = |text: &str, calls: &[&str]| (text.to_owned(), calls.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(told("At noon.", &ask), own("At noon.", &[]));
    assert_eq!(told(&format!("Let me see. {call}"), &ask), own("Let me see.", &["now"]));
    assert_eq!(told(&format!("{call}\n{call}"), &ask), own("", &["now", "now"]));
    // An unknown tool is no longer possible.
    let unknown = told("<tool_call>\n{\"name\": \"never\", \"arguments\": {}}\n</tool_call>", &ask);
    assert_eq!(unknown.1.len(), 1, "{unknown:?}");
    let formatted = ChatAsk { constraint: format, ..ask };
    assert_eq!(told("\"midnight\" I think", &formatted), own("\"midnight\"", &[]));
    assert_eq!(told(call, &formatted), own("", &["now"]));
    assert!(["\"noon\"", "\"midnight\""].contains(&told("It is late.", &formatted).0.as_str()));
}

#[test]
fn wrong_constraints_and_tools_are_refused_before_anything_is_computed() {
    let model = loaded(THINKING, "ok");
    let question = [Message::new("user", "Well?")];
    let schema = |schema: Value| ChatAsk { constraint: Some(Constraint::JsonSchema(schema)), ..ChatAsk::default() };
    let code = |ask: &ChatAsk| model.chat_request(&question, ask).expect_err("refused").code();
    assert_eq!(code(&schema(json!({"not": {}}))), "bad-schema");
    assert_eq!(code(&schema(json!({"type": "string", "format": "color"}))), "schema-not-compiled");
    assert_eq!(code(&schema(json!({"allOf": [{"type": "string"}, {"type": "integer"}]}))), "schema-not-compiled");
    let deep = (0..100).fold(json!({}), |inner, _| json!({"type": "array", "items": inner}));
    assert_eq!(code(&schema(deep)), "grammar-too-large");
    let invalid = |constraint| ChatAsk { constraint: Some(constraint), ..ChatAsk::default() };
    assert_eq!(code(&invalid(regex("(a"))), "bad-grammar");
    assert_eq!(code(&invalid(Constraint::Gbnf("root ::= nothing".to_owned()))), "bad-grammar");
    let named =
        |name: &str| ChatAsk { tools: tools(), choice: ToolChoice::Named(name.to_owned()), ..ChatAsk::default() };
    assert_eq!(code(&named("later")), "bad-tools");
    assert_eq!(code(&ChatAsk { choice: ToolChoice::Required, ..ChatAsk::default() }), "bad-tools");
    // A schema that cannot be enforced matters only where calls must be valid.
    let tool = |strict: bool| {
        Tool::read_list(&json!([{"name": "f", "strict": strict, "parameters": {"properties": {"x": {"not": {}}}}}]))
            .expect("a tool")
    };
    let loose = ChatAsk { tools: tool(false), ..ChatAsk::default() };
    assert!(model.chat_request(&question, &loose).expect("a request").grammar.is_none());
    assert_eq!(code(&ChatAsk { choice: ToolChoice::Required, ..loose }), "bad-schema");
    assert_eq!(code(&ChatAsk { tools: tool(true), ..ChatAsk::default() }), "bad-schema");
}

#[test]
fn a_text_without_a_parser_is_one_part() {
    let t = tokenizer();
    let (runner, _) = answering(&t, PROMPT.len(), encode(&t, "<think> a <tool_call>"));
    let done = generate(&mut driver(runner), &PROMPT, &Generation::greedy(50)).expect("an answer");
    assert_eq!((done.answer, done.reasoning, done.calls.len()), (done.text, None, 0));
}
