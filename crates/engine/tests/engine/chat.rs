//! Conversations with a scripted model and the shipped model's template.

use std::rc::Rc;

use crate::common::{Log, Scripted, encode, favour, tokenizer};
use honelm_backend::block_on;
use honelm_engine::{
    Cancel, Chat, ChatAsk, Completion, DriverOptions, EngineError, Generation, LoadedModel, OnUpdate, Overflow, Update,
};
use honelm_text::answer::Event;
use honelm_text::{ChatTemplate, Message, Reasoning, Tokenizer};

/// Answers `ok` to everything.
fn agreeable(t: &Tokenizer, context: usize) -> (LoadedModel, Rc<Log>) {
    parrot(t, context, "ok")
}

/// Answers the same to everything.
fn parrot(t: &Tokenizer, context: usize, answer: &str) -> (LoadedModel, Rc<Log>) {
    let vocabulary = t.vocab_size();
    let end = t.eos_ids()[0];
    let assistant = t.id_of("<|assistant|>").expect("a chat token");
    let answer = encode(t, answer);
    let (runner, log) = Scripted::new(vocabulary, context, move |tokens| {
        let said = tokens.iter().rev().take_while(|&&id| id != assistant).count();
        favour(vocabulary, answer.get(said).copied().unwrap_or(end))
    });
    (loaded(runner), log)
}

fn loaded(runner: Scripted) -> LoadedModel {
    let tokenizer = Tokenizer::from_dir(&honelm_testing::pocket_dir()).expect("a tokenizer");
    LoadedModel::new(Box::new(runner), tokenizer, Generation::default(), DriverOptions::default())
}

fn ask(chat: &mut Chat, text: &str, model: &mut LoadedModel, how: &Generation) -> Result<Completion, EngineError> {
    heard(chat, text, model, how, &Cancel::new(), &mut |_| ())
}

fn heard(
    chat: &mut Chat,
    text: &str,
    model: &mut LoadedModel,
    how: &Generation,
    cancel: &Cancel,
    on_update: OnUpdate<'_>,
) -> Result<Completion, EngineError> {
    block_on(model.ask(chat, text, how, cancel, &|| 0.0, on_update))
}

#[test]
fn a_conversation_reuses_what_is_cached() {
    let t = tokenizer();
    let (mut session, log) = agreeable(&t, 500);
    let mut chat = Chat::new(&t).expect("the shipped model has a template");
    chat.set_system("Be brief.");
    let how = Generation::greedy(10);
    let first = ask(&mut chat, "One?", &mut session, &how).expect("an answer");
    assert_eq!((first.text.as_str(), first.cached_tokens), ("ok", 0));
    let second = ask(&mut chat, "Two?", &mut session, &how).expect("an answer");
    assert_eq!(second.text, "ok");
    let rendered = "<|bos|><|system|>Be brief.<|user|>One?<|assistant|>ok<|end|><|user|>Two?<|assistant|>";
    assert_eq!(second.prompt_tokens, encode(&t, rendered).len());
    assert_eq!(log.tokens.borrow()[..second.prompt_tokens], encode(&t, rendered));
    // All but the end token, which was drawn and not computed.
    let same = encode(&t, "<|bos|><|system|>Be brief.<|user|>One?<|assistant|>ok").len();
    assert_eq!(second.cached_tokens, same);
    assert_eq!(chat.messages().len(), 5);
}

#[test]
fn undo_clear_and_system_edit_the_conversation() {
    let t = tokenizer();
    let (mut session, _) = agreeable(&t, 500);
    let mut chat = Chat::new(&t).expect("a template");
    for question in ["One?", "Two?"] {
        ask(&mut chat, question, &mut session, &Generation::greedy(10)).expect("an answer");
    }
    chat.set_system("S");
    assert_eq!(chat.undo().as_deref(), Some("Two?"));
    let roles: Vec<&str> = chat.messages().iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant"]);
    assert_eq!(
        chat.prompt(&t).expect("rendered"),
        encode(&t, "<|bos|><|system|>S<|user|>One?<|assistant|>ok<|end|><|assistant|>")
    );
    chat.clear();
    assert_eq!(chat.messages(), [Message::new("system", "S")]);
    chat.set_system("");
    assert!(chat.messages().is_empty() && chat.undo().is_none());
}

#[test]
fn a_refused_question_leaves_the_conversation_as_it_was() {
    let t = tokenizer();
    let (mut session, _) = agreeable(&t, 40);
    let mut chat = Chat::new(&t).expect("a template");
    ask(&mut chat, "One?", &mut session, &Generation::greedy(10)).expect("an answer");
    let long = "very ".repeat(100);
    let error = ask(&mut chat, &long, &mut session, &Generation::greedy(10)).expect_err("too long");
    assert_eq!(error.code(), "prompt-too-long");
    assert_eq!(chat.messages().len(), 2);
}

#[test]
fn old_exchanges_leave_the_prompt_when_the_context_is_nearly_full() {
    let t = tokenizer();
    let (mut session, _) = agreeable(&t, 60);
    let mut chat = Chat::new(&t).expect("a template");
    chat.set_system("Be brief.");
    let how = Generation { overflow: Overflow::Shift { keep: 1 }, ..Generation::greedy(10) };
    for i in 0..20 {
        let done = ask(&mut chat, &format!("Question number {i}, which is not short?"), &mut session, &how);
        let done = done.expect("an answer");
        assert_eq!(done.text, "ok");
        assert!(done.prompt_tokens + 10 <= 60, "{} tokens", done.prompt_tokens);
        let start = encode(&t, "<|bos|><|system|>Be brief.<|user|>Question");
        assert_eq!(session.driver().cached_prefix(&start), start.len(), "a whole exchange after the system message");
    }
    assert_eq!(chat.messages().len(), 41, "the conversation itself is not cut");
}

#[test]
fn a_cancelled_answer_counts_as_far_as_it_came() {
    let t = tokenizer();
    let (mut session, _) = agreeable(&t, 100);
    let mut chat = Chat::new(&t).expect("a template");
    let cancel = Cancel::new();
    let done = heard(&mut chat, "One?", &mut session, &Generation::greedy(10), &cancel, &mut |update| {
        if matches!(update, Update::Token { .. }) {
            cancel.cancel();
        }
    });
    let done = done.expect("an answer");
    assert_eq!(done.finish_reason.name(), "cancelled");
    assert_eq!(chat.messages().len(), 2);
    assert_eq!(chat.messages()[1].content, done.text);
}

/// A template that shows reasoning in brackets, and the tags that a model writes around it.
const THINKING: &str = "{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content %}[{{ m.reasoning_content }}]{% endif %}\
                        {{ m.content }}{% endfor %}<|assistant|>{% if enable_thinking %}<think>{% endif %}{# </think> #}";

#[test]
fn thinking_is_told_from_the_answer_and_handed_back_to_the_template() {
    let t = tokenizer();
    let template = ChatTemplate::new(THINKING, t.special_tokens()).expect("parses");
    let tags = Reasoning::find(THINKING, &t).expect("tags");
    assert_eq!((tags.open, tags.close), ("<think>", "</think>"));
    let mut chat = Chat::with_template(Rc::new(template), ChatAsk::default()).with_reasoning(Some(tags));
    for (begun, written) in [(false, "<think> why not</think>ok"), (true, " why not</think>ok")] {
        chat.clear();
        chat.set_variable("enable_thinking", begun.into());
        let assistant = if begun { "<|assistant|><think>" } else { "<|assistant|>" };
        // The script answers from the last tokens of the prompt on.
        let (mut session, _) = parrot(&t, 500, &format!("{}{written}", &assistant["<|assistant|>".len()..]));
        let mut parts = [String::new(), String::new()];
        let done = heard(&mut chat, "Why?", &mut session, &Generation::greedy(60), &Cancel::new(), &mut |update| {
            for part in update.parts() {
                match part {
                    Event::Reasoning(text) => parts[0].push_str(text),
                    Event::Text(text) => parts[1].push_str(text),
                    other => panic!("{other:?}"),
                }
            }
        });
        let done = done.expect("an answer");
        assert_eq!(parts, ["why not".to_owned(), "ok".to_owned()]);
        assert_eq!((done.reasoning.as_deref(), done.answer.as_str()), (Some("why not"), "ok"));
        assert_eq!(done.text, written);
        let prompt = t.decode(&chat.prompt(&t).expect("rendered"), false);
        assert!(prompt.contains("[why not]ok"), "{prompt}");
    }
}

#[test]
fn a_question_that_ends_with_the_tag_does_not_begin_the_thinking() {
    let t = tokenizer();
    let source = "<|assistant|>{{ messages[-1].content }}{# <think></think> #}";
    let template = ChatTemplate::new(source, t.special_tokens()).expect("parses");
    let tags = Reasoning::find(source, &t).expect("tags");
    let mut chat = Chat::with_template(Rc::new(template), ChatAsk::default()).with_reasoning(Some(tags));
    let (mut session, _) = parrot(&t, 500, "<think> ok");
    let done = ask(&mut chat, "<think>", &mut session, &Generation::greedy(10)).expect("an answer");
    assert_eq!((done.reasoning, done.answer.as_str()), (None, "ok"));
}
