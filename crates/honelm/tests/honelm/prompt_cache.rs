//! Cached prompts in files: the same bits after a restart, and every unsuitable file refused.

use std::fs;
use std::path::Path;

use honelm::{CacheType, Cancel, Compute, DeviceChoice, Generation, Model, RunOptions};

use crate::small::{folder, small_model};

fn open_with(run: &RunOptions) -> Model {
    let path = honelm::locate(None, None).unwrap();
    Model::open(&path, run, &mut |_| true).unwrap()
}

fn options() -> RunOptions {
    RunOptions { device: DeviceChoice::Cpu, threads: Some(1), context: Some(192), ..RunOptions::default() }
}

fn sampled() -> Generation {
    Generation { max_tokens: 12, temperature: 0.9, seed: 5, logprobs: Some(2), ..Generation::default() }
}

/// Takes two turns of a conversation; with `file`, the model starts anew in between.
fn two_turns(run: &RunOptions, file: Option<&Path>) -> [honelm::Answer; 2] {
    let mut model = open_with(run);
    let turn = |model: &mut Model, before: &[honelm::Message], text: &str| {
        let mut conversation = model.conversation().unwrap();
        conversation.restore(before);
        let answer = conversation.ask(text, &sampled(), &Cancel::new(), &mut |_| ()).unwrap();
        (answer, conversation.messages().to_vec())
    };
    let (first, messages) = turn(&mut model, &[], "Tell me a story about a small dog that goes to the sea.");
    if let Some(file) = file {
        model.save_prompts(file).unwrap();
        model = open_with(run);
        assert_eq!(model.restore_prompts(file).unwrap(), 1);
    }
    let (second, _) = turn(&mut model, &messages, "And then?");
    [first, second]
}

#[test]
fn a_restart_reuses_the_prefix_and_gives_the_same_bits() {
    let dir = folder();
    for cache_type in [CacheType::F16, CacheType::Q8_0, CacheType::Q4_0] {
        let file = dir.path().join(format!("{cache_type:?}.cache"));
        let run = RunOptions { cache_type, ..options() };
        let [first, expected] = two_turns(&run, None);
        let [_, found] = two_turns(&run, Some(&file));
        assert_eq!((&found.token_ids, found.cached_tokens), (&expected.token_ids, expected.cached_tokens));
        // All of the first turn but its last token, which was drawn and not computed.
        let before = first.prompt_tokens + first.completion_tokens;
        assert!(found.cached_tokens * 100 >= before * 95, "{} of {before} tokens", found.cached_tokens);
        assert!(fs::read_dir(dir.path()).unwrap().all(|entry| entry.unwrap().path().extension().unwrap() == "cache"));
    }
}

/// Returns the code of the error with which a file is refused.
fn refusal(run: &RunOptions, file: &Path) -> &'static str {
    open_with(run).restore_prompts(file).expect_err("refused").code()
}

#[test]
fn prompts_of_other_settings_and_damaged_files_are_refused() {
    let dir = folder();
    let file = dir.path().join("prompts");
    let run = options();
    let mut model = open_with(&run);
    assert_eq!(model.restore_prompts(&file).unwrap(), 0, "no file yet");
    model.complete("Once upon a time", &sampled(), &Cancel::new(), &mut |_| ()).unwrap();
    model.save_prompts(&file).unwrap();
    for other in [
        RunOptions { compute: Compute::F32, ..run.clone() },
        RunOptions { cache_type: CacheType::F32, ..run.clone() },
        RunOptions { context: Some(128), ..run.clone() },
    ] {
        assert_eq!(refusal(&other, &file), "prompt-cache-of-another-model", "{other:?}");
    }
    let other = Model::open(&small_model(dir.path()), &RunOptions { context: None, ..run.clone() }, &mut |_| true);
    let error = other.unwrap().restore_prompts(&file).expect_err("another model");
    assert!(error.to_string().contains("model: found "), "{error}");

    let whole = fs::read(&file).unwrap();
    let broken = dir.path().join("broken");
    let mut model = open_with(&run);
    let mut codes = |bytes: &[u8]| {
        fs::write(&broken, bytes).unwrap();
        model.restore_prompts(&broken).expect_err("refused").code()
    };
    for len in [9, 12, 15, 40, 200, whole.len() / 2, whole.len() - 1] {
        assert_eq!(codes(&whole[..len]), "damaged-prompt-cache", "{len} bytes");
    }
    for at in [13, 60, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert_eq!(codes(&changed), "damaged-prompt-cache", "byte {at}");
    }
    let mut other_version = whole.clone();
    other_version[8] = 9;
    assert_eq!(codes(&other_version), "prompt-cache-version");
    assert_eq!(codes(b"GGUF, or any other file"), "output-of-another-kind");
    // The refused files left nothing behind, and the good file still works.
    assert_eq!(model.restore_prompts(&file).unwrap(), 1);
    assert_eq!(fs::read(&file).unwrap(), whole);
}
