//! Training of whole models: what it lowers, resuming, stops, and losses of hidden states.

use std::path::Path;

use honelm_blocks::Encoding;
use honelm_cpu::{Compute, CpuBackend, CpuOptions, Pool};
use honelm_model::{Checkpoint, Parameters};

use honelm_train::{
    AdamW, Fall, Fit, Fitted, Floats, Initial, LayerPairs, Measured, MemorySaves, Objective, Saves, Schedule, Settings,
    Stored, TrainError, Trainer, top_of,
};

fn open(name: &str) -> Checkpoint {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/tiny");
    let config = serde_json::from_slice(&std::fs::read(data.join(name).join("config.json")).unwrap()).unwrap();
    Checkpoint::made_up(name, &config, Encoding::F32, 3).unwrap()
}

/// Returns samples in which a token follows from the one before.
fn samples(seed: u32, count: u32) -> Vec<Vec<u32>> {
    let sample = |s: u32| -> Vec<u32> {
        std::iter::successors(Some((s * 7 + seed) % 64), |token| Some((token * 5 + 11) % 64)).take(12).collect()
    };
    (0..count).map(sample).collect()
}

fn settings(steps: u32) -> Settings {
    Settings {
        steps,
        samples: 3,
        adam: AdamW { rate: 5e-3, betas: [0.9, 0.95], decay: 0.0, ..AdamW::default() },
        schedule: Schedule { fall: Fall::Cosine, warmup: 2, steps, floor: 0.1 },
        clip: 1.0,
        every: 4,
        patience: 3,
        objective: Objective { alpha: 0.5, temperature: 2.0, layers: None },
        shuffle: Some(1),
    }
}

/// A training of a random student of one architecture by a teacher of another.
struct Case {
    teacher: Checkpoint,
    student: Checkpoint,
    text: [Vec<Vec<u32>>; 2],
}

impl Case {
    fn new() -> Self {
        let (teacher, student) = (open("llama-grouped"), open("gpt2-tied"));
        Self { teacher, student, text: [samples(0, 10), samples(0, 4)] }
    }

    /// Returns weights of the teacher that are far from even distributions.
    fn weights(&self) -> Initial<'_> {
        Initial { blueprint: self.teacher.blueprint(), seed: 2, deviation: 0.3 }
    }

    fn run(
        &self,
        settings: &Settings,
        (saves, stored): (&MemorySaves, Option<Stored<'_>>),
        encoding: Encoding,
        report: &mut dyn FnMut(u32, &[Measured]) -> bool,
    ) -> Result<(Fitted, Vec<Vec<f32>>), TrainError> {
        let initial = Initial { blueprint: self.student.blueprint(), seed: 5, deviation: 0.05 };
        let weights = self.weights();
        let mut model = Floats::new(self.student.blueprint(), &initial, encoding);
        let mut backend = CpuBackend::new(CpuOptions { threads: Some(1), compute: Compute::F32, isa: None });
        let pool = Pool::new(Some(1));
        let fit = Fit {
            student: self.student.blueprint(),
            teacher: self.teacher.blueprint(),
            weights: &weights,
            settings,
            samples: [&self.text[0], &self.text[1]],
            stored,
            saves,
            pool: &pool,
        };
        let fitted = fit.run(&mut model, &mut backend, &mut |progress| report(progress.done, progress.curve))?;
        let tree = self.student.tree();
        Ok((fitted, tree.slots().map(|slot| model.parameter(slot).unwrap().weight.dequantize().data).collect()))
    }

    fn train(&self, settings: &Settings, stored: Option<Stored<'_>>) -> (Fitted, Vec<Vec<f32>>) {
        self.run(settings, (&MemorySaves::default(), stored), Encoding::F32, &mut |_, _| true).unwrap()
    }
}

#[test]
fn the_loss_falls_and_the_state_with_the_lowest_is_kept() {
    let case = Case::new();
    for alpha in [0.0, 0.5, 1.0] {
        let mut settings = settings(40);
        settings.objective.alpha = alpha;
        let (fitted, _) = case.train(&settings, None);
        let (first, last) = (fitted.curve[0], fitted.kept);
        println!("alpha {alpha}: {first:?} -> {last:?}");
        assert!(last.loss < 0.9 * first.loss && last.step > 0, "alpha {alpha}: {first:?} -> {last:?}");
        assert!(fitted.curve.iter().all(|m| m.loss >= last.loss));
        let loss = f64::from(alpha) * last.divergence + f64::from(1.0 - alpha) * last.nll;
        assert!((last.loss - loss).abs() < 1e-9);
    }
}

#[test]
fn training_that_was_interrupted_ends_in_the_same_bytes() {
    let (case, settings) = (Case::new(), settings(11));
    let [whole, parts] = [MemorySaves::default(), MemorySaves::default()];
    let expected = case.run(&settings, (&whole, None), Encoding::F16, &mut |_, _| true).unwrap();
    // Before the first step, between two measurements, after one, and where a state was saved only in part.
    for stop in [0, 2, 4, 7, 8] {
        let stopped = case.run(&settings, (&parts, None), Encoding::F16, &mut |done, _| done < stop);
        assert_eq!(stopped.map(|(fitted, _)| fitted).unwrap_err().code(), "interrupted");
    }
    // The state after step 8 is the third one, which the even entries do not hold.
    parts.put("training-even-0001", b"half").unwrap();
    let mut begun = Vec::new();
    let found = case.run(&settings, (&parts, None), Encoding::F16, &mut |done, _| {
        begun.push(done);
        true
    });
    assert!(found.unwrap() == expected);
    assert_eq!(begun, [8, 9, 10]);
    assert!(whole == parts);
    // Damaged work is done again.
    parts.put("training-even-0001", b"half").unwrap();
    parts.put("training-odd-0001", b"half").unwrap();
    assert!(case.run(&settings, (&parts, None), Encoding::F16, &mut |_, _| true).unwrap() == expected);
}

#[test]
fn a_loss_that_is_not_finite_ends_training_with_the_best_state_before() {
    let (case, saves) = (Case::new(), MemorySaves::default());
    let (before, expected) = case.run(&settings(8), (&saves, None), Encoding::F16, &mut |_, _| true).unwrap();
    assert!(before.kept.step > 0, "{before:?}");
    // The same work goes on with steps that leave the range of half precision.
    let mut wild = settings(30);
    wild.adam.rate = 1e6;
    let (fitted, values) = case.run(&wild, (&saves, None), Encoding::F16, &mut |_, _| true).unwrap();
    let problem = fitted.stopped.expect("values beyond half precision");
    assert!(problem.starts_with("step 9: layer "), "{problem}");
    assert_eq!((fitted.steps, fitted.kept), (8, before.kept));
    assert!(values == expected, "the kept values are those of the best state");
}

#[test]
fn stored_distributions_of_the_whole_vocabulary_train_as_the_teacher_does() {
    let (case, settings) = (Case::new(), settings(8));
    let (live, _) = case.train(&settings, None);
    let mut backend = CpuBackend::new(CpuOptions { threads: Some(1), compute: Compute::F32, isa: None });
    let pool = Pool::new(Some(1));
    for (top, tolerance) in [(64, 2e-3), (8, 0.2)] {
        let saves = MemorySaves::default();
        let mut trainer = Trainer::new(case.teacher.blueprint(), 12, &mut backend, &pool).unwrap();
        for (i, sample) in case.text[0].iter().enumerate() {
            let rows = top_of(&mut trainer, &case.weights(), sample, (top, 2.0)).unwrap();
            saves.put(&Stored::entry(i), &rows).unwrap();
        }
        let (stored, _) = case.train(&settings, Some(Stored { saves: &saves, top }));
        let [a, b] = [&live, &stored].map(|fitted| fitted.kept.divergence);
        assert!((a / b - 1.0).abs() < tolerance, "{top}: {a} {b}");
        saves.put(&Stored::entry(4), b"damaged").unwrap();
        let lost = Stored { saves: &saves, top };
        let lost = case.run(&settings, (&MemorySaves::default(), Some(lost)), Encoding::F32, &mut |_, _| true);
        let error = lost.map(|(fitted, _)| fitted).unwrap_err();
        assert_eq!(error.code(), "journal-damaged");
    }
}

#[test]
fn layers_of_different_widths_or_beyond_the_last_are_refused() {
    let case = Case::new();
    let mut with = settings(2);
    for (pairs, problem) in [
        (
            vec![[0, 3]],
            "layer 1 of the student and layer 4 of the teacher: found no such layer, expected at most 2 and 3",
        ),
        (vec![[2, 0]], "found no such layer"),
    ] {
        with.objective.layers = Some(LayerPairs { weight: 1.0, pairs });
        let refused = case.run(&with, (&MemorySaves::default(), None), Encoding::F32, &mut |_, _| true);
        let error = refused.map(|(fitted, _)| fitted).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    with.objective.layers = Some(LayerPairs { weight: 1.0, pairs: Vec::new() });
    let (fitted, _) = case.train(&with, None);
    assert!(fitted.curve[1].training.unwrap() > 0.0);
}

#[test]
fn samples_are_taken_once_per_pass() {
    let settings = settings(10);
    let order: Vec<usize> = (1..=4).flat_map(|step| settings.order(step, 6)).collect();
    for pass in order.chunks(6) {
        let mut seen = pass.to_vec();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }
    assert_ne!(order[..6], order[6..]);
    let plain = Settings { shuffle: None, ..settings };
    assert_eq!(plain.order(2, 4), [3, 0, 1]);
}
