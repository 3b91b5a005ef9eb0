//! Tests of [`honelm::Model`] and [`honelm::Conversation`].

use honelm::{Cancel, DeviceChoice, FinishReason, Generation, Message, Model, Overflow, RunOptions};

fn pocket(context: Option<usize>) -> Model {
    let path = honelm::locate(None, None).expect("the shipped model");
    let run = RunOptions { device: DeviceChoice::Cpu, threads: Some(1), context, ..RunOptions::default() };
    Model::open(&path, &run, &mut |_| true).expect("opened")
}

fn greedy(model: &Model, max_tokens: usize) -> Generation {
    Generation { max_tokens, temperature: 0.0, ..model.generation() }
}

fn story() -> Vec<Message> {
    vec![Message::new("user", "Tell me a story.")]
}

#[test]
fn the_prompt_is_the_template_and_begins_with_one_bos() {
    let model = pocket(None);
    let ids = model.prompt(&story()).expect("rendered");
    let tokens: Vec<&str> = ids.iter().filter_map(|&id| model.tokenizer().token(id)).collect();
    assert_eq!(tokens[..2], ["<|bos|>", "<|user|>"]);
    assert_eq!(tokens.last(), Some(&"<|assistant|>"));
    assert_eq!(tokens.iter().filter(|&&t| t == "<|bos|>").count(), 1);
}

#[test]
fn a_second_turn_reads_only_what_is_new() {
    let mut model = pocket(None);
    let settings = greedy(&model, 8);
    let mut session = model.conversation().expect("a conversation");
    let first = session.ask("Tell me a story.", &settings, &Cancel::new(), &mut |_| ()).expect("answered");
    let second = session.ask("And then?", &settings, &Cancel::new(), &mut |_| ()).expect("answered");
    assert!(second.cached_tokens > first.prompt_tokens, "{} of {}", second.cached_tokens, second.prompt_tokens);
    assert_eq!(session.messages().len(), 4);
    // The cache does not change the answer.
    let before = session.messages()[..3].to_vec();
    let fresh = pocket(None).chat(&before, &settings, &Cancel::new(), &mut |_| ()).expect("answered");
    assert_eq!((second.text, fresh.cached_tokens), (fresh.text, 0));
}

#[test]
fn the_callers_flag_stops_the_answer() {
    let mut model = pocket(None);
    let settings = greedy(&model, 50);
    let (cancel, mut pieces) = (Cancel::new(), 0);
    let answer = model.chat(&story(), &settings, &cancel, &mut |update| {
        pieces += usize::from(!update.text().is_empty());
        if pieces == 3 {
            cancel.cancel();
        }
    });
    let answer = answer.expect("answered");
    assert_eq!(answer.finish_reason, FinishReason::Cancelled);
    assert!(answer.completion_tokens < 10, "{}", answer.completion_tokens);
}

#[test]
fn a_full_context_ends_or_shifts_as_asked() {
    let mut model = pocket(Some(48));
    let mut settings = Generation { ignore_eos: true, ..greedy(&model, 100) };
    let ended = model.chat(&story(), &settings, &Cancel::new(), &mut |_| ()).expect("answered");
    assert_eq!(ended.finish_reason, FinishReason::Context);
    let mut session = model.conversation().expect("a conversation");
    settings.overflow = session.shift().expect("counted");
    let shifted = session.ask("Tell me a story.", &settings, &Cancel::new(), &mut |_| ()).expect("answered");
    assert_eq!((shifted.finish_reason, shifted.completion_tokens), (FinishReason::Length, 100));
    assert!(shifted.text.starts_with(&ended.text));
}

#[test]
fn the_system_text_outlives_a_shift() {
    let mut model = pocket(None);
    let mut session = model.conversation().expect("a conversation");
    let kept = |overflow| match overflow {
        Overflow::Shift { keep } => keep,
        Overflow::Stop => 0,
    };
    let without = kept(session.shift().expect("counted"));
    session.set_system("Be kind.");
    let keep = kept(session.shift().expect("counted"));
    session.restore(&[Message::new("system", "Be kind."), Message::new("user", "Hello")]);
    let ids = session.prompt().expect("rendered");
    assert!(without >= 1 && keep > without);
    assert_eq!(model.tokenizer().decode(&ids[..keep], true), "Be kind.");
}

#[test]
fn an_empty_text_starts_from_bos_alone() {
    let mut model = pocket(None);
    let settings = greedy(&model, 4);
    let answer = model.complete("", &settings, &Cancel::new(), &mut |_| ()).expect("continued");
    assert_eq!(answer.prompt_tokens, 1);
    let text = model.complete("Once upon a time", &settings, &Cancel::new(), &mut |_| ()).expect("continued");
    assert!(text.prompt_tokens > 2);
}

#[test]
fn the_shipped_models_own_stop_texts_are_among_its_settings() {
    let path = honelm::locate(None, None).expect("the shipped model");
    let model = Model::open(&path, &RunOptions { threads: Some(1), ..RunOptions::default() }, &mut |_| true);
    assert_eq!(model.expect("it opens").generation().stop, ["<|endoftext|>"]);
}
