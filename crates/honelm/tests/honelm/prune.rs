//! Pruned models as files: both forms, measured, resumed, quantised before and after.

use std::fs;
use std::path::Path;

use honelm::{
    Encoding, Error, EvaluateOptions, Pattern, Protocol, PruneOptions, PruneReport, QuantizeOptions, QuantizeTarget,
    SparseMethod, Sparsity, TextSource, evaluate, prune, quantize,
};

use crate::small::{folder, run_options, small_model, write_text};

fn options(dir: &Path, model: &Path, out: &str) -> PruneOptions {
    PruneOptions {
        heads: 0.5,
        ffn: 0.34,
        calibration: TextSource::File(write_text(&dir.join("calibration.txt"), 400, 1)),
        calibration_samples: 8,
        calibration_length: 32,
        run: run_options(),
        ..PruneOptions::new(model, dir.join(out))
    }
}

fn done(options: &PruneOptions) -> PruneReport {
    prune(options, &mut |_| true).unwrap()
}

/// Returns the files of a folder, or a file, with their contents.
fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    if path.is_file() {
        return vec![("file".to_owned(), fs::read(path).unwrap())];
    }
    let read = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    let mut files: Vec<_> = path.read_dir().unwrap().map(|entry| read(entry.unwrap())).collect();
    files.sort();
    files
}

#[test]
fn a_measured_model_scores_the_same_when_it_is_read_again() {
    let dir = folder();
    let model = small_model(dir.path());
    let text = TextSource::File(write_text(&dir.path().join("held-out.txt"), 600, 2));
    for (out, gguf) in [("folder", false), ("model.gguf", true)] {
        let run = honelm::RunOptions { context: Some(64), ..run_options() };
        let options =
            PruneOptions { gguf, text: Some(text.clone()), run: run.clone(), ..options(dir.path(), &model, out) };
        let report = done(&options);
        assert_eq!((report.after.heads, report.after.kv_heads, report.after.ffn), (1, 1, 64));
        assert!(report.after.parameters < report.before.parameters && report.after.size_bytes > 0);
        let measured = report.after_restoration.unwrap();
        let eval = EvaluateOptions {
            text: text.clone(),
            protocol: Protocol::LlamaCpp(64),
            against: Some(model.clone()),
            run,
            ..EvaluateOptions::new(&options.out)
        };
        let again = evaluate(&eval, &mut |_| true).unwrap();
        let found = again.comparison.unwrap();
        assert!((again.perplexity - measured.perplexity).abs() < 1e-3, "{} {}", again.perplexity, measured.perplexity);
        assert!((found.kl_divergence - measured.differences.kl_divergence).abs() < 1e-5);
        assert!(measured.differences.kl_divergence < report.after_cutting.unwrap().differences.kl_divergence);
        assert!(!dir.path().join(format!(".{out}.work")).exists());
    }
}

#[test]
fn models_are_quantised_before_and_after() {
    let dir = folder();
    let model = small_model(dir.path());
    let pruned = done(&options(dir.path(), &model, "pruned"));
    let target = QuantizeTarget::Encoding(Encoding::Q4_0);
    let small = dir.path().join("small.gguf");
    let quantised = QuantizeOptions { run: run_options(), ..QuantizeOptions::new(&pruned.path, &small, target) };
    assert!(quantize(&quantised, &mut |_| true).unwrap().size_bytes < pruned.after.size_bytes);
    // The other way round: what was quantised becomes floats.
    let first = dir.path().join("first.gguf");
    let quantised = QuantizeOptions { run: run_options(), ..QuantizeOptions::new(&model, &first, target) };
    quantize(&quantised, &mut |_| true).unwrap();
    for gguf in [false, true] {
        let both = done(&PruneOptions { gguf, ..options(dir.path(), &first, if gguf { "b.gguf" } else { "b" }) });
        assert_eq!(both.after.ffn, 64);
    }
}

#[test]
fn an_interrupted_job_ends_in_the_same_files() {
    let dir = folder();
    let model = small_model(dir.path());
    let text = Some(TextSource::File(write_text(&dir.path().join("held-out.txt"), 400, 2)));
    let run = honelm::RunOptions { context: Some(64), ..run_options() };
    let options = PruneOptions { layers: 1, protect: [0, 0], text, run, ..options(dir.path(), &model, "out") };
    let mut events = 0;
    let whole = prune(&options, &mut |_| {
        events += 1;
        true
    });
    let (whole, expected) = (whole.unwrap(), contents(&options.out));
    for stop in (0..events).step_by(3) {
        fs::remove_dir_all(&options.out).unwrap();
        let mut told = 0;
        let stopped = prune(&options, &mut |_| {
            told += 1;
            told <= stop
        });
        assert!(matches!(stopped, Err(Error::Interrupted)) && !options.out.exists(), "{stop}");
        let resumed = done(&options);
        assert_eq!(contents(&options.out), expected, "{stop}");
        assert_eq!(resumed.after_restoration, whole.after_restoration);
    }
}

#[test]
fn sparse_models_keep_their_size() {
    let dir = folder();
    let model = small_model(dir.path());
    let sparsity = Some(Sparsity { pattern: Pattern::TwoOfFour, method: SparseMethod::Wanda });
    let report = done(&PruneOptions { heads: 0.0, ffn: 0.0, sparsity, ..options(dir.path(), &model, "out") });
    assert_eq!(report.before.parameters, report.after.parameters);
    assert!(report.figures.layers.iter().all(|layer| layer.zeros.unwrap() > 0));
    assert!(report.importance.is_none() && report.figures.kl_after_cutting.unwrap() > 0.0);
}

#[test]
fn what_cannot_be_done_is_said_before_any_work() {
    let dir = folder();
    let model = small_model(dir.path());
    let good = options(dir.path(), &model, "out");
    for (wrong, said) in [
        (PruneOptions { heads: 0.95, ..good.clone() }, "no head would remain of 2"),
        (PruneOptions { heads: 0.0, ffn: 0.01, ..good.clone() }, "nearest possible share"),
        (PruneOptions { calibration_samples: 1, ..good.clone() }, "expected at least 2"),
        (PruneOptions { calibration_length: 4096, ..good.clone() }, "expected at least 4096"),
        (PruneOptions { out: model.join("inside"), ..good.clone() }, "model"),
    ] {
        let error = prune(&wrong, &mut |_| true).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(!wrong.out.exists());
    }
}
