//! Model files that change while they are in use give no result.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::small::{folder, run_options, small_model, write_text};
use honelm::{
    BenchModel, BenchOptions, Cancel, Compute, Encoding, Error, EvaluateOptions, Event, Generation, Message, Model,
    Protocol, QuantizeOptions, QuantizeTarget, RunOptions, TextSource, benchmark, evaluate, quantize,
};

/// Overwrites some of a file's bytes in place.
fn overwrite(path: &Path) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[0x11; 64]).unwrap();
    // The file system's clock may be coarser than the duration of this test.
    let before = file.metadata().unwrap().modified().unwrap();
    file.set_modified(before + Duration::from_secs(3600)).unwrap();
}

fn weights(dir: &Path) -> PathBuf {
    small_model(dir).join("model.safetensors")
}

/// Overwrites the file at the first event of this stage.
fn overwriting<'a>(stage: &'a str, file: &'a Path) -> impl FnMut(&Event<'_>) -> bool + 'a {
    let mut done = false;
    move |event| {
        if !done && matches!(event, Event::Stage { name, .. } if *name == stage) {
            overwrite(file);
            done = true;
        }
        true
    }
}

fn assert_changed<T>(result: Result<T, Error>, file: &str) {
    let error = result.err().expect("refused");
    assert_eq!(error.code(), "file-changed", "{error}");
    assert!(error.to_string().contains(file), "{error}");
}

#[test]
fn a_model_that_changes_while_it_is_quantised_is_not_published() {
    for calibration in [None, Some(200)] {
        let dir = folder();
        let options = QuantizeOptions {
            force: false,
            strict: false,
            model: small_model(dir.path()),
            out: dir.path().join("out.gguf"),
            target: QuantizeTarget::Encoding(Encoding::Q4_0),
            max_shard_size: None,
            types: Default::default(),
            calibration: calibration.map(|words| TextSource::File(write_text(&dir.path().join("text"), words, 1))),
            recipe: None,
            imatrix: None,
            calibration_samples: 2,
            calibration_length: 16,
            run: run_options(),
        };
        let file = weights(dir.path());
        assert_changed(quantize(&options, &mut overwriting("quantising", &file)), "model.safetensors");
        assert!(!options.out.exists());
        let kept = fs::read_dir(dir.path().join(".out.gguf.work")).map_or(0, Iterator::count);
        assert_eq!(kept, 0, "no layer of it is saved");
        // A change after the last layer is saved must be noticed too.
        let done = quantize(&options, &mut |event| {
            if matches!(event, Event::Stage { detail: "finished", .. }) {
                overwrite(&file);
            }
            true
        });
        assert_changed(done, "model.safetensors");
        assert!(!options.out.exists());
    }
}

#[test]
fn a_model_that_changes_while_it_is_evaluated_has_no_perplexity() {
    let dir = folder();
    let model = small_model(dir.path());
    let other = folder();
    let options = |against: Option<PathBuf>| EvaluateOptions {
        text: TextSource::File(write_text(&dir.path().join("text"), 100, 1)),
        protocol: Protocol::LlamaCpp(16),
        chunks: Some(3),
        against,
        run: run_options(),
        scratch: Some(dir.path().to_owned()),
        ..EvaluateOptions::new(&model)
    };
    let file = weights(dir.path());
    assert_changed(evaluate(&options(None), &mut overwriting("scoring", &file)), "model.safetensors");
    let original = weights(other.path());
    let against = options(Some(small_model(other.path())));
    assert_changed(evaluate(&against, &mut overwriting("original: scoring", &original)), "model.safetensors");
    let left = fs::read_dir(dir.path()).unwrap().filter(|e| e.as_ref().unwrap().file_name() != "model").count();
    assert_eq!(left, 1, "the text alone: the states are gone");
}

#[test]
fn a_model_that_changes_while_it_is_loaded_is_an_error() {
    let dir = folder();
    let (model, file) = (small_model(dir.path()), weights(dir.path()));
    assert_changed(Model::open(&model, &run_options(), &mut overwriting("loading", &file)), "model.safetensors");
    let options = BenchOptions {
        prompts: vec![4],
        generates: vec![],
        repeats: 1,
        run: run_options(),
        ..BenchOptions::new(BenchModel::Path(model))
    };
    assert_changed(benchmark(&options, &mut overwriting("loading", &file), &mut |_| true), "model.safetensors");
}

#[test]
fn answers_are_errors_after_mapped_weights_change() {
    let dir = folder();
    let path = dir.path().join("small.gguf");
    let options = QuantizeOptions {
        force: false,
        strict: false,
        model: small_model(dir.path()),
        out: path.clone(),
        target: QuantizeTarget::Encoding(Encoding::Q4_0),
        max_shard_size: None,
        types: Default::default(),
        calibration: None,
        recipe: None,
        imatrix: None,
        calibration_samples: 1,
        calibration_length: 1,
        run: run_options(),
    };
    quantize(&options, &mut |_| true).unwrap();
    let question = [Message::new("user", "Hello")];
    let settings = Generation { max_tokens: 2, ..Generation::default() };
    let answer = |model: &mut Model| model.chat(&question, &settings, &Cancel::new(), &mut |_| ());
    let f32 = RunOptions { compute: Compute::F32, ..run_options() };
    let mut views = Model::open(&path, &f32, &mut |_| true).unwrap();
    answer(&mut views).unwrap();
    // A new file with the same name does not change the open one.
    let bytes = fs::read(&path).unwrap();
    fs::write(dir.path().join("new"), &bytes).unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    answer(&mut views).unwrap();
    let mut views = Model::open(&path, &f32, &mut |_| true).unwrap();
    let conversation = views.conversation().unwrap().ask("Hello", &settings, &Cancel::new(), &mut |_| ());
    conversation.unwrap();
    overwrite(&path);
    assert_changed(answer(&mut views), "small.gguf");
    let asked = views.conversation().unwrap().ask("Hello", &settings, &Cancel::new(), &mut |_| ());
    assert_changed(asked, "small.gguf");
}
