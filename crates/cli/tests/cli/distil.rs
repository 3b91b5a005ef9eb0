//! `distil`: exit statuses, documents, and options that contradict each other.

use honelm_testing::write_small_model;

use crate::common::{assert_documented, assert_fails, assert_keys, document, run, status, stderr, stdout};

#[test]
fn a_student_is_trained_and_judged() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    std::fs::create_dir(path("small")).expect("a folder");
    write_small_model(&dir.path().join("small"), &[]).expect("written");
    let text = |seed: u64, letters: u64| -> String {
        let letter = |i: u64| {
            let z = (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40
        };
        (0..letters).map(|i| ['a', 'n', 's', ' ', 'b'][(letter(i) % 5) as usize]).collect()
    };
    std::fs::write(path("train.txt"), text(0, 1000)).expect("written");
    std::fs::write(path("judge.txt"), text(1 << 20, 1500)).expect("written");
    let (teacher, config, train, judge) =
        (path("small"), path("small/config.json"), path("train.txt"), path("judge.txt"));
    let distil = |out: &str, more: &[&str]| {
        let out = path(out);
        let options =
            ["--config", &config, "-o", &out, "--train", &train, "--length", "16", "--steps", "4", "--every", "2"];
        run(&[&["distil", &teacher][..], &options, &["--threads", "1", "--quiet"], more].concat())
    };
    let gate = ["--text", judge.as_str(), "--protocol", "gptq-16"];
    let held = document(&distil("held", &[&gate[..], &["--max-kl", "9", "--budget", "900%", "--json"]].concat()));
    assert_keys(&held, &["path", "before", "after", "curve", "speed", "verdict", "gates", "quality", "tokens"]);
    assert_eq!((held["steps"].as_u64(), held["verdict"].as_str()), (Some(4), Some("accepted")));
    assert_eq!(held["gates"].as_array().map(Vec::len), Some(2));
    let failed = distil("failed", &[&gate[..], &["--max-kl", "0", "--json"]].concat());
    assert_eq!(status(&failed), 3, "{}", stderr(&failed));
    let failed: serde_json::Value = serde_json::from_str(&stdout(&failed)).expect("JSON");
    assert_documented(&failed);
    assert_eq!(failed["error"]["code"], "budget-exceeded");
    let plain = distil("plain", &[]);
    assert_eq!(status(&plain), 0, "{}", stderr(&plain));
    let said = stdout(&plain);
    assert!(said.contains("cross entropy (nats)") && said.contains("tokens/s") && said.contains("written"), "{said}");
    // The same weights as a student of their own, which needs no configuration.
    let again = run(&[
        "distil",
        &teacher,
        &path("plain"),
        "-o",
        &path("again"),
        "--train",
        &train,
        "--length",
        "16",
        "--steps",
        "1",
        "--quiet",
    ]);
    assert_eq!(status(&again), 0, "{}", stderr(&again));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let base = ["distil", "pocket", "-o", "out"];
    let with = |more: &[&str]| run(&[&base[..], more].concat());
    assert_fails(&with(&[]), 2, &["<STUDENT>"]);
    assert_fails(&with(&["pocket", "--config", "x.json"]), 2, &["--config"]);
    assert_fails(&with(&["pocket", "--hidden-layers", "1:1"]), 2, &["--hidden"]);
    assert_fails(&with(&["pocket", "--hidden", "1", "--hidden-layers", "0:1"]), 2, &["from 1"]);
    assert_fails(&with(&["pocket", "--alpha", "2"]), 2, &["--alpha"]);
    assert_fails(&with(&["pocket", "--hidden", "1", "--teacher-logits", "x"]), 2, &["holds no hidden states"]);
}
