//! Interrupted work, damaged while nobody looked: what comes of it is right or refused, never wrong.

use std::fs;
use std::path::{Path, PathBuf};

use crate::small::{flip_a_bit, folder, run_options, small_model, write_text};
use honelm::bench::Speed;
use honelm::{
    Container, Encoding, Error, Event, OptimizeOptions, Outcome, Protocol, QuantizeOptions, QuantizeTarget, Quantized,
    TextSource, optimize, quantize,
};

fn quantize_options(dir: &Path, target: QuantizeTarget) -> QuantizeOptions {
    QuantizeOptions {
        force: false,
        strict: false,
        model: small_model(dir),
        out: dir.join("out"),
        target,
        max_shard_size: None,
        calibration: Some(TextSource::File(write_text(&dir.join("calibration.txt"), 100, 1))),
        calibration_samples: 2,
        calibration_length: 16,
        run: run_options(),
    }
}

/// Runs a job that stops at event number `stop`; the number of events that it told is the second value.
fn quantize_until(options: &QuantizeOptions, stop: usize) -> (Result<Quantized, Error>, usize) {
    let mut told = 0;
    let done = quantize(options, &mut |_| {
        told += 1;
        told <= stop
    });
    (done, told)
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

/// Puts back what was copied from below `folder`.
fn restore(folder: &Path, copies: &[(PathBuf, Vec<u8>)]) {
    remove(folder);
    for (path, contents) in copies {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
}

/// All files below a folder with their contents.
fn copies(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(folder).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// All bytes of a file, or of a folder's files.
fn bytes(path: &Path) -> Vec<Vec<u8>> {
    if path.is_dir() {
        return files(path).iter().map(|file| fs::read(file).unwrap()).collect();
    }
    fs::read(path).into_iter().collect()
}

fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

const TARGETS: [QuantizeTarget; 2] =
    [QuantizeTarget::Encoding(Encoding::Q4_0), QuantizeTarget::Gptq { bits: 4, group_size: 32 }];

#[test]
fn a_flipped_bit_in_interrupted_quantisation_never_reaches_the_result() {
    for target in TARGETS {
        let dir = folder();
        let options = quantize_options(dir.path(), target);
        let work = dir.path().join(".out.work");
        let (done, events) = quantize_until(&options, usize::MAX);
        done.unwrap();
        let whole = bytes(&options.out);
        remove(&options.out);
        let mut damaged = 0;
        // The last event is told when all layers are kept and nothing is written yet.
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
fn kept_work_that_is_lost_while_it_is_used_is_an_error_and_publishes_nothing() {
    for target in TARGETS {
        let dir = folder();
        let options = quantize_options(dir.path(), target);
        let work = dir.path().join(".out.work");
        let lose: [(&str, &dyn Fn()); 3] = [
            ("removed", &|| remove(&work)),
            ("one removed", &|| remove(&files(&work)[0])),
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
        // And running again makes it anew.
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

fn optimize_options(dir: &Path) -> OptimizeOptions {
    OptimizeOptions {
        force: false,
        model: small_model(dir),
        out: dir.join("out"),
        container: Container::Gguf,
        bits: Some(4),
        group_size: None,
        budget: 1e9,
        calibration: TextSource::File(write_text(&dir.join("calibration.txt"), 100, 1)),
        calibration_samples: 2,
        calibration_length: 16,
        text: TextSource::File(write_text(&dir.join("text.txt"), 800, 2)),
        protocol: Protocol::LlamaCpp(16),
        restart: false,
        run: run_options(),
    }
}

fn speed() -> Speed {
    Speed {
        load_seconds: 0.1,
        prefill_tokens_per_second: 1.0 / 3.0,
        decode_tokens_per_second: 7.0,
        first_token_seconds: 0.2,
        peak_memory_bytes: None,
    }
}

/// Runs a job that stops when a stage of this name has come as far as `done`.
fn optimize_until(options: &OptimizeOptions, stop: Option<(&str, usize)>) -> Result<Outcome, Error> {
    let goes_on = |event: &Event<'_>| match (event, stop) {
        (Event::Stage { name, done, .. }, Some((stage, at))) => *name != stage || *done < at,
        _ => true,
    };
    optimize(options, &mut |event| goes_on(event), &mut |_| Ok(speed()))
}

const RESULTS: [&str; 3] = ["model.gguf", "report.json", "report.md"];

fn results(options: &OptimizeOptions) -> Vec<Option<Vec<u8>>> {
    RESULTS.iter().map(|name| fs::read(options.out.join(name)).ok()).collect()
}

#[test]
fn a_flipped_bit_in_interrupted_optimisation_never_reaches_the_result() {
    let dir = folder();
    let options = optimize_options(dir.path());
    let outcome = optimize_until(&options, None).unwrap();
    assert_eq!(outcome.report.chosen.as_deref(), Some("Q4_0"));
    let whole = results(&options);
    let stops = [("Q4_0: quantising", 2), ("Q4_0: scoring", 3), ("writing a sample", 0)];
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
fn a_finished_job_whose_result_was_damaged_is_done_again_or_refused() {
    let dir = folder();
    let options = optimize_options(dir.path());
    optimize_until(&options, None).unwrap();
    let whole = results(&options);
    assert!(optimize_until(&options, None).unwrap().was_done);
    let forced = OptimizeOptions { force: true, ..options.clone() };
    let sealed = files(&options.out.join(".work/report"));
    assert_eq!(sealed.len(), 2);
    for (i, path) in RESULTS.iter().map(|name| options.out.join(name)).chain(sealed).enumerate() {
        flip_a_bit(&path, i);
        match optimize_until(&options, None) {
            Ok(outcome) => assert!(!outcome.was_done, "{}", path.display()),
            // Nobody can vouch for a model that is not what was published.
            Err(error) => {
                assert_eq!(error.code(), "output-exists", "{}", path.display());
                assert!(!optimize_until(&forced, None).unwrap().was_done);
            }
        }
        assert!(results(&options) == whole, "{}", path.display());
        assert!(optimize_until(&options, None).unwrap().was_done);
    }
}
