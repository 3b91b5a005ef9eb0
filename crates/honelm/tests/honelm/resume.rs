//! Resumed work: saved entries that are damaged or lost never reach a result.

use std::fs;
use std::path::{Path, PathBuf};

use crate::small::{flip_a_bit, folder, run_options, small_model, write_text};
use honelm::bench::Speed;
use honelm::optimize::Gates;
use honelm::{
    Container, Encoding, Error, Event, NamedRecipe, OptimizeOptions, Outcome, Protocol, QuantizeOptions,
    QuantizeTarget, Quantized, TextSource, optimize, quantize,
};

fn quantize_options(dir: &Path, target: QuantizeTarget) -> QuantizeOptions {
    QuantizeOptions {
        force: false,
        strict: false,
        model: small_model(dir),
        out: dir.join("out"),
        target,
        max_shard_size: None,
        types: Default::default(),
        calibration: Some(TextSource::File(write_text(&dir.join("calibration.txt"), 100, 1))),
        // Integer groups by AWQ, whose journal entries hold norms as well.
        recipe: matches!(target, QuantizeTarget::Groups { .. }).then(honelm::Recipe::awq),
        imatrix: None,
        calibration_samples: 2,
        calibration_length: 16,
        run: run_options(),
    }
}

/// Runs a job that stops at event number `stop`. The second value is the number of events.
fn quantize_until(options: &QuantizeOptions, stop: usize) -> (Result<Quantized, Error>, usize) {
    let mut told = 0;
    let done = quantize(options, &mut |_| {
        told += 1;
        told <= stop
    });
    (done, told)
}

/// Returns the files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

/// Restores a folder from copies.
fn restore(folder: &Path, copies: &[(PathBuf, Vec<u8>)]) {
    remove(folder);
    for (path, contents) in copies {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
}

/// Returns the files below a folder with their contents.
fn copies(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(folder).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Returns the contents of a file, or of a folder's files.
fn bytes(path: &Path) -> Vec<Vec<u8>> {
    if path.is_dir() {
        return files(path).iter().map(|file| fs::read(file).unwrap()).collect();
    }
    fs::read(path).into_iter().collect()
}

fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// A file and a folder.
fn targets() -> [QuantizeTarget; 2] {
    let container = Container::from_name("gptq").unwrap();
    [QuantizeTarget::Encoding(Encoding::Q4_0), QuantizeTarget::Groups { container, bits: 4, group_size: 32 }]
}

#[test]
fn a_flipped_bit_in_interrupted_quantisation_never_reaches_the_result() {
    for target in targets() {
        let dir = folder();
        let options = quantize_options(dir.path(), target);
        let work = dir.path().join(".out.work");
        let (done, events) = quantize_until(&options, usize::MAX);
        done.unwrap();
        let whole = bytes(&options.out);
        remove(&options.out);
        let mut damaged = 0;
        // At the last event all layers are saved and nothing is written.
        for stop in [events / 2, events - 1] {
            remove(&work);
            assert!(matches!(quantize_until(&options, stop).0, Err(Error::Interrupted)));
            assert!(!options.out.exists());
            let kept = copies(&work);
            for (file, (path, _)) in kept.iter().enumerate() {
                restore(&work, &kept);
                flip_a_bit(path, stop + file);
                damaged += 1;
                if quantize_until(&options, usize::MAX).0.is_ok() {
                    assert_eq!(bytes(&options.out), whole, "{target:?}: {}", path.display());
                }
                remove(&options.out);
            }
        }
        assert!(damaged >= 4, "{damaged}");
    }
}

#[test]
fn progress_advances_by_one_step_per_stage_of_a_layer() {
    let dir = folder();
    let options = quantize_options(dir.path(), targets()[0]);
    let mut told = Vec::new();
    quantize(&options, &mut |event| {
        if let Event::Stage { name: "quantising", done, total, .. } = event {
            told.push((*done, *total));
        }
        true
    })
    .unwrap();
    // Two layers of four stages, and the embedding.
    assert_eq!(told, (0..=9).map(|done| (done, 9)).collect::<Vec<_>>());
}

#[test]
fn saved_work_that_is_lost_during_a_job_is_an_error() {
    for target in targets() {
        let dir = folder();
        let options = quantize_options(dir.path(), target);
        let work = dir.path().join(".out.work");
        let lose: [(&str, &dyn Fn()); 3] = [
            ("removed", &|| remove(&work)),
            ("one removed", &|| remove(&files(&work.join("layers"))[0])),
            ("damaged", &|| files(&work).iter().for_each(|path| flip_a_bit(path, 5))),
        ];
        for (how, lose) in lose {
            let done = quantize(&options, &mut |event| {
                if matches!(event, Event::Stage { detail: "finished", .. }) {
                    lose();
                }
                true
            });
            let error = done.expect_err(how);
            assert!(error.to_string().contains("run again"), "{how}: {error}");
            assert!(!options.out.exists(), "{how}");
        }
        // Another run starts again.
        quantize(&options, &mut |_| true).unwrap();
    }
}

#[test]
fn two_jobs_to_one_path_never_mix() {
    let dir = folder();
    let options = |encoding| quantize_options(dir.path(), QuantizeTarget::Encoding(encoding));
    let (first, second) = (options(Encoding::Q4_0), options(Encoding::Q8_0));
    let whole = [&first, &second].map(|options| {
        quantize(options, &mut |_| true).unwrap();
        let whole = bytes(&options.out);
        remove(&options.out);
        whole
    });
    for at in 1..=4 {
        let (mut told, mut other) = (0, None);
        let done = quantize(&first, &mut |_| {
            told += 1;
            if told == at {
                other = Some(quantize(&second, &mut |_| true));
            }
            true
        });
        let expected = match (done.is_ok(), other.unwrap().is_ok()) {
            (true, _) => Some(&whole[0]),
            (false, true) => Some(&whole[1]),
            (false, false) => None,
        };
        assert_eq!(Some(bytes(&first.out)).filter(|found| !found.is_empty()).as_ref(), expected, "at event {at}");
        remove(&first.out);
    }
}

pub fn optimize_options(dir: &Path) -> OptimizeOptions {
    OptimizeOptions {
        force: false,
        model: small_model(dir),
        out: dir.join("out"),
        containers: vec![Container::gguf()],
        ladder: Vec::new(),
        bits: Some(4),
        group_size: None,
        size_decides: false,
        budget: 1e9.into(),
        gates: Gates::default(),
        allocation: Default::default(),
        ablation: false,
        other_engine: None,
        calibrations: vec![TextSource::File(write_text(&dir.join("calibration.txt"), 100, 1))],
        recipes: vec![NamedRecipe::new("gptq", honelm::Recipe::gptq())],
        calibration_samples: 2,
        calibration_length: 16,
        text: TextSource::File(write_text(&dir.join("text.txt"), 800, 2)),
        protocol: Protocol::LlamaCpp(16),
        restart: false,
        command: None,
        run: run_options(),
    }
}

pub fn speed() -> Speed {
    Speed {
        load_seconds: 0.1,
        prefill_tokens_per_second: 1.0 / 3.0,
        decode_tokens_per_second: 7.0,
        first_token_seconds: 0.2,
        peak_memory_bytes: None,
    }
}

/// Runs a job that stops when a stage has reached `done`.
pub fn optimize_until(options: &OptimizeOptions, stop: Option<(&str, usize)>) -> Result<Outcome, Error> {
    let goes_on = |event: &Event<'_>| match (event, stop) {
        (Event::Stage { name, done, .. }, Some((stage, at))) => *name != stage || *done < at,
        _ => true,
    };
    optimize(options, &mut |event| goes_on(event), &mut |_| Ok(speed()))
}

const RESULTS: [&str; 4] = ["model.gguf", "report.json", "report.md", "report.svg"];

/// Removes the date and the times from a report: a job that starts again has others.
fn without_date(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    if name == "report.json" {
        let mut report: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        ["date", "stages"].iter().for_each(|key| report[key] = serde_json::Value::Null);
        for row in report["rows"].as_array_mut().unwrap() {
            row["quantise_seconds"] = serde_json::Value::Null;
        }
        return serde_json::to_vec(&report).unwrap();
    }
    if name != "report.md" {
        return bytes;
    }
    let (text, mut is_time) = (String::from_utf8(bytes).unwrap(), false);
    let stays = |line: &&str| {
        if line.starts_with("## ") {
            is_time = *line == "## Time";
        }
        !is_time && !line.starts_with("- date: ")
    };
    text.lines().filter(stays).collect::<Vec<_>>().join("\n").into_bytes()
}

fn results(options: &OptimizeOptions) -> Vec<Option<Vec<u8>>> {
    RESULTS.iter().map(|name| fs::read(options.out.join(name)).ok().map(|bytes| without_date(name, bytes))).collect()
}

#[test]
fn a_flipped_bit_in_interrupted_optimisation_never_reaches_the_result() {
    let dir = folder();
    let options = optimize_options(dir.path());
    let outcome = optimize_until(&options, None).unwrap();
    assert_eq!(outcome.report.chosen.as_deref(), Some("Q4_0"));
    let whole = results(&options);
    let text = |name: &str| fs::read_to_string(options.out.join(name)).unwrap();
    assert!(text("report.md").contains("](report.svg)") && text("report.md").contains(&outcome.report.date));
    let plot = text("report.svg");
    assert!(plot.starts_with("<svg ") && plot.contains(">Q4_0</text>") && plot.contains(">budget "), "{plot}");
    let stops = [("Q4_0: quantising", 8), ("Q4_0: scoring", 3), ("writing a sample", 0)];
    for stop in stops {
        remove(&options.out);
        assert!(matches!(optimize_until(&options, Some(stop)), Err(Error::Interrupted)), "{stop:?}");
        assert!(!options.out.join("report.json").exists());
        let kept = copies(&options.out);
        assert!(kept.len() > 3, "{stop:?}: {}", kept.len());
        for (file, (path, _)) in kept.iter().enumerate() {
            restore(&options.out, &kept);
            flip_a_bit(path, file);
            match optimize_until(&options, None) {
                Ok(outcome) => {
                    assert!(!outcome.was_done);
                    assert!(results(&options) == whole, "{stop:?}: {}", path.display());
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn an_interrupted_comparison_resumes_at_the_recipe() {
    let dir = folder();
    let recipes = vec![
        NamedRecipe::new("rtn", honelm::Recipe::rtn()),
        NamedRecipe::new("gptq", honelm::Recipe::gptq()),
        NamedRecipe::new("my own.toml", honelm::Recipe::of(&["asymmetric", "gptq"])),
    ];
    let options = OptimizeOptions { recipes, bits: None, ..optimize_options(dir.path()) };
    let whole = optimize_until(&options, None).unwrap().report;
    let files = results(&options);
    let row = |at: usize| (whole.rows[at].name.as_str(), whole.rows[at].recipe.as_deref());
    assert_eq!((row(0), row(1)), (("original", None), ("Q4_0 rtn", Some("rtn"))));
    assert_eq!((row(3), whole.rows.len()), (("Q4_0 my own.toml", Some("my own.toml")), 4));
    assert!(whole.rows.iter().all(|row| !row.rejected_early && row.quality.chunks == whole.rows[0].quality.chunks));
    assert!(
        whole.summary().starts_with(&format!("{} is picked", whole.chosen.clone().unwrap())),
        "{}",
        whole.summary()
    );
    assert!(whole.markdown().contains("\n## Recipes\n\n| recipe | size |"), "{}", whole.markdown());
    for stop in [("Q4_0 gptq: quantising", 2), ("Q4_0 my own.toml: scoring", 3), ("writing a sample", 0)] {
        remove(&options.out);
        assert!(matches!(optimize_until(&options, Some(stop)), Err(Error::Interrupted)), "{stop:?}");
        let mut stages = Vec::new();
        optimize(&options, &mut |event| note(event, &mut stages), &mut |_| Ok(speed())).unwrap();
        assert!(!stages.iter().any(|stage| stage.starts_with("Q4_0 rtn: ")), "{stop:?}: {stages:?}");
        for (name, (resumed, uninterrupted)) in RESULTS.iter().zip(results(&options).into_iter().zip(&files)) {
            // The text shows the times of the compressions.
            assert!(*name == "report.md" || resumed == *uninterrupted, "{stop:?}: {name}");
        }
    }
}

/// Notes the names of stages.
fn note(event: &Event<'_>, stages: &mut Vec<String>) -> bool {
    if let Event::Stage { name, .. } = event {
        stages.push((*name).to_owned());
    }
    true
}

#[test]
fn a_resumed_job_reports_the_circumstances_of_its_first_run() {
    let dir = folder();
    let options = |command: &str| OptimizeOptions { command: Some(command.to_owned()), ..optimize_options(dir.path()) };
    assert!(matches!(optimize_until(&options("first"), Some(("Q4_0: scoring", 3))), Err(Error::Interrupted)));
    let resumed = optimize_until(&options("second"), None).unwrap().report;
    assert_eq!(resumed.command.as_deref(), Some("first"));
    assert!(resumed.date.ends_with('Z') && resumed.machine.threads == 1 && resumed.compute.starts_with("cpu ("));
    let done = optimize_until(&options("third"), None).unwrap();
    assert!(done.was_done && done.report == resumed);
}

#[test]
fn a_finished_job_with_a_damaged_result_is_repeated_or_an_error() {
    let dir = folder();
    let options = optimize_options(dir.path());
    optimize_until(&options, None).unwrap();
    let whole = results(&options);
    assert!(optimize_until(&options, None).unwrap().was_done);
    let forced = OptimizeOptions { force: true, ..options.clone() };
    let sealed = files(&options.out.join(".work/report"));
    assert_eq!(sealed.len(), 3);
    for (i, path) in RESULTS.iter().map(|name| options.out.join(name)).chain(sealed).enumerate() {
        flip_a_bit(&path, i);
        match optimize_until(&options, None) {
            Ok(outcome) => assert!(!outcome.was_done, "{}", path.display()),
            // The published model has changed: its figures are not known.
            Err(error) => {
                assert_eq!(error.code(), "output-exists", "{}", path.display());
                assert!(!optimize_until(&forced, None).unwrap().was_done);
            }
        }
        assert!(results(&options) == whole, "{}", path.display());
        assert!(optimize_until(&options, None).unwrap().was_done);
    }
}
