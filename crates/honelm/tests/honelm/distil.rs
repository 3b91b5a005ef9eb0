//! Distillation: the written folder, resuming, stored distributions, the gate, and what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use honelm::{
    DistilGate, DistilOptions, DistilReport, Encoding, Error, Event, Protocol, RunOptions, Student, TextSource,
    Verdict, distil,
};
use honelm_model::{Checkpoint, Parameters, Slot};
use honelm_testing::write_small_model;

/// A small model's folder, texts, and room for outputs.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("small")).unwrap();
        write_small_model(&dir.path().join("small"), &[("generation_config.json", r#"{"eos_token_id": [6, 8]}"#)])
            .unwrap();
        let place = Self { dir };
        place.text("train.txt", 1, 3000);
        place.text("judge.txt", 2, 1500);
        place.text("few.txt", 3, 300);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a text in which a letter follows from the one before it more often than others do.
    fn text(&self, name: &str, seed: u64, letters: usize) {
        let (mut state, mut last, mut out) = (seed, 0, String::new());
        for _ in 0..letters {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            last = if state >> 62 != 0 { (state >> 40) as usize % 5 } else { (last + 2) % 5 };
            out.push(['a', 'n', 's', ' ', 'b'][last]);
        }
        std::fs::write(self.path(name), out).unwrap();
    }

    /// Writes a configuration with other values.
    fn config(&self, name: &str, changes: &[(&str, u64)]) -> PathBuf {
        let text = std::fs::read_to_string(self.path("small/config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        changes.iter().for_each(|(field, value)| config[field] = (*value).into());
        let path = self.path(name);
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    fn student(&self) -> Student {
        Student::Config { path: self.config("student.json", &[("hidden_size", 48), ("head_dim", 48)]), seed: 7 }
    }

    fn options(&self) -> DistilOptions {
        DistilOptions {
            text: TextSource::File(self.path("train.txt")),
            length: 16,
            steps: 12,
            rate: 1e-2,
            warmup: 2,
            every: 4,
            run: RunOptions { threads: Some(1), ..RunOptions::default() },
            ..DistilOptions::default()
        }
    }

    /// Trains a model on the text, as a teacher of others.
    fn teacher(&self) -> PathBuf {
        let options = DistilOptions { alpha: 0.0, steps: 40, dtype: Some(Encoding::F16), ..self.options() };
        let student = Student::Config { path: self.config("teacher.json", &[]), seed: 3 };
        let done = run(&self.path("small"), &student, &options, &self.path("teacher")).unwrap();
        assert!(done.after.nll < 0.9 * done.before.nll, "{done:?}");
        done.path
    }
}

fn run(teacher: &Path, student: &Student, options: &DistilOptions, out: &Path) -> Result<DistilReport, Error> {
    distil(teacher, student, options, out, &mut |_| true)
}

/// Returns the contents of a folder's files.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(entry).collect()
}

#[test]
fn a_student_gets_closer_to_its_teacher_and_resumes_to_the_same_bytes() {
    let place = Place::new();
    let (teacher, student) = (place.teacher(), place.student());
    let options = DistilOptions { alpha: 0.7, temperature: 2.0, dtype: Some(Encoding::BF16), ..place.options() };
    let (whole, parts) = (place.path("whole"), place.path("parts"));
    let done = run(&teacher, &student, &options, &whole).unwrap();
    assert!(done.after.divergence < 0.9 * done.before.divergence && done.after.step > 0, "{done:?}");
    assert_eq!((done.steps, done.tokens, done.dtype.as_str()), (12, 12 * 4 * 16, "bf16"));
    assert!(done.speed.unwrap().tokens_per_second > 0.0 && done.verdict.is_none());
    for stop in [2, 6] {
        let stopped = distil(
            &teacher,
            &student,
            &options,
            &parts,
            &mut |event| !matches!(event, Event::Stage { name: "distilling", done, .. } if *done >= stop),
        );
        assert!(matches!(stopped, Err(Error::Interrupted)) && !parts.exists());
    }
    let resumed = run(&teacher, &student, &options, &parts).unwrap();
    assert_eq!(resumed.curve, done.curve);
    let [whole, parts] = [contents(&whole), contents(&parts)];
    assert!(whole == parts, "{:?} {:?}", whole.keys(), parts.keys());
    assert!(!place.path(".parts.work").exists());
    for name in ["config.json", "distil.svg", "generation_config.json", "model.safetensors", "vocab.json"] {
        assert!(whole.contains_key(name), "{name}: {:?}", whole.keys());
    }
    // A student with weights of its own keeps its number type; its file is what was trained.
    let more = run(&teacher, &Student::Model(place.path("whole")), &place.options(), &place.path("more")).unwrap();
    assert_eq!((more.dtype.as_str(), more.before.step), ("bf16", 0));
    assert!((more.before.divergence - done.after.divergence).abs() < 1e-9, "{:?} {:?}", more.before, done.after);
    let config = String::from_utf8(contents(&more.path)["config.json"].clone()).unwrap();
    assert!(config.contains("\"torch_dtype\": \"bfloat16\""), "{config}");
    let narrow = DistilOptions { dtype: Some(Encoding::F32), steps: 1, ..place.options() };
    let narrow = run(&teacher, &Student::Model(place.path("whole")), &narrow, &place.path("narrow")).unwrap();
    let config = String::from_utf8(contents(&narrow.path)["config.json"].clone()).unwrap();
    assert!(config.contains("\"torch_dtype\": \"float32\""), "{config}");
    let norm = Checkpoint::open(&narrow.path).unwrap().parameter(Slot { layer: None, module: "norm" }).unwrap();
    assert_eq!(norm.weight.encoding_name(), "F32");
}

#[test]
fn stored_distributions_are_computed_once_and_belong_to_their_teacher_and_text() {
    let place = Place::new();
    let (teacher, student) = (place.teacher(), place.student());
    let options = DistilOptions { teacher_logits: Some(place.path("logits")), top: 4, ..place.options() };
    let first = run(&teacher, &student, &options, &place.path("first")).unwrap();
    assert!(first.after.divergence < first.before.divergence, "{first:?}");
    let mut stages = Vec::new();
    let again = distil(&teacher, &student, &options, &place.path("again"), &mut |event| {
        if let Event::Stage { name, .. } = event {
            stages.push((*name).to_owned());
        }
        true
    });
    assert_eq!(again.unwrap().curve, first.curve);
    assert!(!stages.iter().any(|stage| stage.starts_with("teacher")), "{stages:?}");
    assert!(contents(&place.path("first")) == contents(&place.path("again")));
    for (other, field) in [
        (DistilOptions { temperature: 2.0, ..options.clone() }, "`temperature`: found 1, expected 2"),
        (DistilOptions { top: 5, ..options.clone() }, "`top_k`: found 4, expected 5"),
        (DistilOptions { length: 8, ..options.clone() }, "`samples`: found"),
    ] {
        let error = run(&teacher, &student, &other, &place.path("other")).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
    assert!(!place.path("other").exists() && !place.path(".other.work").exists());
}

#[test]
fn the_gate_judges_the_written_student() {
    let place = Place::new();
    let (teacher, student) = (place.teacher(), place.student());
    let judged = |max_kl: f64, text: &str, out: &str| {
        let (text, protocol) = (TextSource::File(place.path(text)), Some(Protocol::Gptq(16)));
        let gate = DistilGate { text, protocol, max_kl: Some(max_kl), ..DistilGate::default() };
        run(&teacher, &student, &DistilOptions { gate, ..place.options() }, &place.path(out)).unwrap()
    };
    let [held, failed, few] = [(5.0, "judge.txt", "held"), (1e-9, "judge.txt", "failed"), (5.0, "few.txt", "few")]
        .map(|(kl, text, out)| judged(kl, text, out));
    let verdicts = [held.verdict, failed.verdict, few.verdict].map(Option::unwrap);
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Rejected, Verdict::NotEnoughText]);
    assert!(failed.path.exists() && held.gates[0].bound.unwrap() > 0.0);
    let quality = held.quality.unwrap();
    assert!(quality.chunks >= 30 && quality.kl_divergence.unwrap() <= held.gates[0].bound.unwrap());
    let same = DistilGate {
        text: TextSource::File(place.path("train.txt")),
        max_kl: Some(1.0),
        protocol: Some(Protocol::Gptq(16)),
        ..DistilGate::default()
    };
    let error = run(&teacher, &student, &DistilOptions { gate: same, ..place.options() }, &place.path("same"));
    assert_eq!(error.unwrap_err().code(), "texts-overlap");
}

#[test]
fn what_cannot_be_trained_is_refused_before_any_work() {
    let place = Place::new();
    let teacher = place.path("small");
    let (options, out) = (place.options(), place.path("out"));
    let config = |name: &str, changes: &[(&str, u64)]| Student::Config { path: place.config(name, changes), seed: 0 };
    std::fs::create_dir(place.path("other")).unwrap();
    let vocab = r#"{"a": 0, "b": 1, "ab": 2, "Ġ": 3, "s": 4, "n": 5, "<|endoftext|>": 6}"#;
    write_small_model(&place.path("other"), &[("vocab.json", vocab)]).unwrap();
    std::fs::write(place.path("short.txt"), "an").unwrap();
    let short = DistilOptions { text: TextSource::File(place.path("short.txt")), ..options.clone() };
    let long = DistilOptions { length: 64, ..options.clone() };
    let hidden = honelm::LayerPairs { weight: 1.0, pairs: Vec::new() };
    let hidden = DistilOptions { layers: Some(hidden), ..options.clone() };
    let cases: [(Student, &DistilOptions, &str); 8] = [
        (
            config("v.json", &[("vocab_size", 24)]),
            &options,
            "the vocabulary: found 24 tokens, expected the teacher's 16",
        ),
        (Student::Model(place.path("other")), &options, "token 4: found \"s\", expected the teacher's \"n\""),
        (config("w.json", &[("hidden_size", 192)]), &options, "found 192, expected at most the teacher's 96"),
        (config("s.json", &[]), &short, "expected at least"),
        (config("l.json", &[]), &long, "32"),
        (place.student(), &hidden, "their widths are 48 and 96, expected equal ones"),
        (Student::Config { path: place.path("none.json"), seed: 0 }, &options, "none.json"),
        (config("i.json", &[("initializer_range", 0)]), &options, "`initializer_range`: found 0"),
    ];
    for (student, options, problem) in cases {
        let error = run(&teacher, &student, options, &out).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        assert!(!out.exists() && !place.path(".out.work").exists(), "{error}");
    }
    for (wrong, problem) in [
        (DistilOptions { steps: 0, ..options.clone() }, "--steps: found 0, expected at least 1"),
        (DistilOptions { alpha: 1.5, ..options.clone() }, "--alpha: found 1.5"),
        (DistilOptions { temperature: f32::NAN, ..options.clone() }, "--temperature: found NaN"),
        (DistilOptions { dtype: Some(Encoding::Q4_0), ..options.clone() }, "--dtype: found q4_0"),
        (DistilOptions { teacher_logits: Some(place.path("x")), alpha: 0.0, ..options.clone() }, "--alpha 0"),
    ] {
        let error = run(&teacher, &place.student(), &wrong, &out).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let inside = run(&teacher, &place.student(), &options, &teacher.join("out")).unwrap_err();
    assert_eq!(inside.code(), "output-is-input");
}
