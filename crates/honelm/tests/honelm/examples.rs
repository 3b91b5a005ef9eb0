//! Tests of the examples.

#[path = "../../examples/run.rs"]
mod run;
#[path = "../../examples/shrink.rs"]
mod shrink;

#[test]
fn run_streams_the_answer() {
    let mut shown = Vec::new();
    let answer = run::ask("Tell me a story.", 12, &mut shown).expect("an answer");
    assert_eq!(String::from_utf8(shown).expect("text"), answer.text);
    assert_eq!((answer.completion_tokens, answer.finish_reason.name()), (12, "length"));
    assert!(answer.text.chars().any(char::is_alphabetic), "{:?}", answer.text);
}

#[test]
fn shrink_halves_the_model_at_little_loss() {
    let dir = tempfile::tempdir().expect("a folder");
    let (written, found) = shrink::shrink(&dir.path().join("small.gguf"), 2).expect("shrunk");
    let ratio = written.size_bytes as f64 / written.original_bytes as f64;
    assert!((0.5..0.6).contains(&ratio), "{ratio}");
    let against = found.comparison.expect("compared");
    assert!(against.kl_divergence < 0.01, "{}", against.kl_divergence);
    assert!(found.warnings.iter().any(|w| w.contains("chunks")), "{:?}", found.warnings);
}
