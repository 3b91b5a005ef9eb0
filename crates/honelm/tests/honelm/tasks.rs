//! Tasks, gates and the cache of originals, on a small random model.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use honelm::optimize::{GateKind, Gates};
use honelm::{
    Budget, Encoding, Error, EvaluateOptions, Evaluation, Event, OptimizeOptions, Protocol, QuantizeOptions,
    QuantizeTarget, StatesCache, TaskOptions, Tasks, TextSource, Verdict, evaluate, optimize, quantize,
};

use crate::small::{flip_a_bit, folder, run_options, small_model, write_text};

/// Writes tasks that a random model answers by chance.
fn tasks(dir: &Path, items: usize) -> TaskOptions {
    let path = dir.join(format!("tasks-{items}.jsonl"));
    let line = |i: usize| {
        let (a, b) = (char::from(b'a' + (i % 26) as u8), char::from(b'a' + (i * 7 % 26) as u8));
        let letters = ["e", "t", "x"].map(|c| format!("\"{c}{a}\"")).join(", ");
        format!(
            "{{\"kind\": \"choice\", \"context\": \"{a}{b}{b}\", \"choices\": [{letters}], \"answer\": {}}}\n",
            i % 3
        )
    };
    std::fs::write(&path, (0..items).map(line).collect::<String>()).unwrap();
    TaskOptions { tasks: Tasks::read(&path).unwrap(), chat: false }
}

/// Quantises the small model, and returns it with the original.
fn two_models(dir: &Path) -> [PathBuf; 2] {
    let model = small_model(dir);
    let out = dir.join("small-q4.gguf");
    let target = QuantizeTarget::Encoding(Encoding::Q4_0);
    let options = QuantizeOptions { run: run_options(), ..QuantizeOptions::new(&model, &out, target) };
    quantize(&options, &mut |_| true).unwrap();
    [model, out]
}

fn found(options: &EvaluateOptions) -> (Evaluation, Vec<String>) {
    let mut stages = Vec::new();
    let mut events = |event: &Event<'_>| {
        if let Event::Stage { name, .. } = event {
            stages.push((*name).to_owned());
        }
        true
    };
    let found = evaluate(options, &mut events).unwrap();
    stages.dedup();
    (found, stages)
}

#[test]
fn the_original_is_scored_once_and_damaged_entries_again() {
    let dir = folder();
    let [model, small] = two_models(dir.path());
    let cache = StatesCache { folder: dir.path().join("cache"), most_bytes: 1 << 30 };
    let options = EvaluateOptions {
        text: TextSource::File(write_text(&dir.path().join("text.txt"), 800, 2)),
        protocol: Protocol::LlamaCpp(16),
        tasks: Some(tasks(dir.path(), 40)),
        against: Some(model),
        cache: Some(cache.clone()),
        run: run_options(),
        ..EvaluateOptions::new(&small)
    };
    let original = |stages: &[String]| stages.iter().filter(|stage| stage.starts_with("original: ")).count();
    let (first, stages) = found(&options);
    assert_eq!(original(&stages), 2, "{stages:?}");
    let (second, stages) = found(&options);
    assert_eq!(original(&stages), 0, "{stages:?}");
    assert_eq!(first, second);
    let accuracy = first.accuracy.as_ref().unwrap();
    let against = accuracy.all.against.unwrap();
    assert!(accuracy.all.items == 40 && against.base_accuracy_percent > 0.0, "{accuracy:?}");
    assert!(against.accuracy_retained_percent_lower95.unwrap() <= against.accuracy_retained_percent.unwrap());
    let (alone, stages) =
        found(&EvaluateOptions { cache: None, scratch: Some(dir.path().to_owned()), ..options.clone() });
    assert_eq!((original(&stages), &alone), (2, &first));
    // Another text is another entry; answers are kept beside the states.
    let (_, stages) = found(&EvaluateOptions { chunks: Some(31), ..options.clone() });
    assert_eq!(original(&stages), 2);
    let entry = std::fs::read_dir(&cache.folder).unwrap().flatten().map(|entry| entry.path());
    let files = entry.flat_map(|entry| std::fs::read_dir(entry).unwrap().flatten().map(|file| file.path()));
    for (at, file) in files.filter(|file| !file.ends_with("lock") && !file.ends_with("used")).enumerate() {
        flip_a_bit(&file, at);
    }
    let (again, stages) = found(&options);
    assert_eq!((original(&stages), &again), (2, &first), "{stages:?}");
}

#[test]
fn tasks_of_a_model_beside_itself_are_retained() {
    let dir = folder();
    let model = small_model(dir.path());
    let options = EvaluateOptions {
        text: TextSource::File(write_text(&dir.path().join("text.txt"), 100, 2)),
        protocol: Protocol::LlamaCpp(16),
        tasks: Some(tasks(dir.path(), 29)),
        against: Some(model.clone()),
        run: run_options(),
        ..EvaluateOptions::new(&model)
    };
    let (found, _) = found(&options);
    let kept = found.accuracy.as_ref().unwrap().all.against.unwrap();
    assert_eq!((kept.accuracy_retained_percent, kept.accuracy_retained_percent_lower95), (Some(100.0), None));
    assert!(found.warnings.iter().any(|warning| warning.contains("29 items: bounds need at least 30")));
    let stopped = evaluate(&options, &mut |event| !matches!(event, Event::Stage { name: "answering", .. }));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}

fn optimize_options(dir: &Path, gates: Gates) -> OptimizeOptions {
    OptimizeOptions {
        bits: Some(4),
        budget: Budget::Absolute(1e9),
        gates,
        calibrations: vec![TextSource::File(write_text(&dir.join("calibration.txt"), 100, 1))],
        calibration_samples: 2,
        calibration_length: 16,
        text: TextSource::File(write_text(&dir.join("text.txt"), 800, 2)),
        protocol: Protocol::LlamaCpp(16),
        restart: true,
        run: run_options(),
        ..OptimizeOptions::new(small_model(dir), dir.join("out"))
    }
}

fn speed() -> honelm::bench::Speed {
    honelm::bench::Speed {
        load_seconds: 0.1,
        prefill_tokens_per_second: 10.0,
        decode_tokens_per_second: 7.0,
        first_token_seconds: 0.2,
        peak_memory_bytes: None,
    }
}

#[test]
fn each_gate_can_reject_and_the_report_says_which() {
    let dir = folder();
    let dir = dir.path();
    let second = TextSource::File(write_text(&dir.join("second.txt"), 900, 3));
    let cache = StatesCache { folder: dir.join("cache"), most_bytes: 1 << 30 };
    let base = Gates { texts: vec![second], tasks: Some(tasks(dir, 40)), cache: Some(cache), ..Gates::default() };
    let report = |gates: Gates, budget: Budget| {
        let options = OptimizeOptions { budget, ..optimize_options(dir, gates) };
        optimize(&options, &mut |_| true, &mut |_| Ok(speed())).unwrap().report
    };
    let loose = Budget::Absolute(1e9);
    let held = report(Gates { max_kl: Some(1e9), max_accuracy_loss: Some(100.0), ..base.clone() }, loose);
    assert_eq!(held.chosen.as_deref(), Some("Q4_0"), "{:?}", held.gate_lines());
    let (original, row) = (&held.rows[0].findings, &held.rows[1].findings);
    let gates: Vec<_> = row.gates.iter().map(|gate| (gate.gate, gate.verdict)).collect();
    use GateKind::{Accuracy, Kl, Perplexity};
    assert_eq!(gates, [Perplexity, Kl, Perplexity, Kl, Accuracy].map(|gate| (gate, Verdict::Accepted)));
    assert!(original.gates.is_empty() && original.texts[0].quality.kl_divergence.is_none());
    assert!(row.texts[0].text.ends_with("second.txt") && row.texts[0].quality.kl_divergence.unwrap() > 0.0);
    let base_accuracy = original.accuracy.as_ref().unwrap().all.accuracy_percent;
    assert_eq!(row.accuracy.as_ref().unwrap().all.against.unwrap().base_accuracy_percent, base_accuracy);
    let text = held.markdown();
    for part in ["## Further texts", "## Tasks", "## Gates", "second.txt: at most ", "accuracy retained on "] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let strict = report(Gates { max_kl: Some(0.0), ..base.clone() }, loose);
    assert_eq!(strict.chosen, None);
    let failed = strict.rows[1].findings.gates.iter().find(|gate| gate.verdict == Verdict::Rejected).unwrap();
    assert!(failed.gate == Kl && failed.on.ends_with("text.txt") && failed.bound.unwrap() > 0.0, "{failed:?}");
    assert!(strict.gate_lines()[1].contains("allowed 0 nats: fails"), "{:?}", strict.gate_lines());
    assert!(strict.summary().contains("and all other gates"), "{}", strict.summary());
    // Nothing more is judged once a gate rejects.
    assert!(strict.rows[1].findings.texts.is_empty() && strict.rows[1].findings.accuracy.is_none());
    let relative = report(base, Budget::Relative(-99.0));
    assert!(relative.chosen.is_none() && relative.rows[1].findings.gates[0].limit == -99.0);
    assert!(relative.gate_lines()[0].contains("allowed -99%: fails"), "{:?}", relative.gate_lines());
}

#[test]
fn too_few_items_or_chunks_of_any_text_give_no_verdict() {
    let dir = folder();
    let dir = dir.path();
    let short = TextSource::File(write_text(&dir.join("short.txt"), 100, 3));
    for (gates, said) in [
        (Gates { texts: vec![short], ..Gates::default() }, "short.txt has 6 chunks: a verdict needs 30"),
        (
            Gates { tasks: Some(tasks(dir, 29)), max_accuracy_loss: Some(3.0), ..Gates::default() },
            "the tasks have 29 items: a verdict needs 30",
        ),
    ] {
        let outcome = optimize(&optimize_options(dir, gates), &mut |_| true, &mut |_| Ok(speed())).unwrap();
        assert!(outcome.report.not_enough_text && outcome.report.rows.len() == 1);
        assert!(outcome.report.warnings.iter().any(|warning| warning.ends_with(said)), "{:?}", outcome.report.warnings);
    }
    let wrong = Gates { max_accuracy_loss: Some(3.0), ..Gates::default() };
    let error = optimize(&optimize_options(dir, wrong), &mut |_| true, &mut |_| Ok(speed())).unwrap_err();
    assert!(error.code() == "usage" && error.to_string().contains("expected --tasks FILE"), "{error}");
}
