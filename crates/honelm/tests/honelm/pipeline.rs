//! Pipelines: gates of steps, steps that are left out, resumed jobs, the ablation and its report.

use std::fs;
use std::path::Path;

use honelm::bench::Speed;
use honelm::optimize::{Goal, OtherEngine, StepResult};
use honelm::{Error, Event, NamedRecipe, OptimizeOptions, Outcome, Recipe, TextSource, optimize};

use crate::resume::{optimize_options, speed};
use crate::small::{folder, write_text};

/// Returns the options of a job with a pipeline whose recipe is this text.
fn options(dir: &Path, recipe: &str) -> OptimizeOptions {
    let recipe = NamedRecipe::new("mine", Recipe::from_toml("mine.toml", recipe).unwrap());
    let text = TextSource::File(write_text(&dir.join("long.txt"), 1200, 2));
    let mut options = OptimizeOptions { bits: None, recipes: vec![recipe], text, ..optimize_options(dir) };
    options.allocation.goal = Some(Goal::BitsPerWeight(6.5));
    (options.allocation.windows, options.allocation.search_windows, options.allocation.evaluations) = (2, 2, 2);
    options
}

/// Runs a job that stops when the stage named has begun. Models are faster, the smaller they are.
fn until(options: &OptimizeOptions, stop: Option<&str>) -> Result<Outcome, Error> {
    let goes_on = |event: &Event<'_>| !matches!(event, Event::Stage { name, .. } if stop == Some(*name));
    let mut measure = |path: &Path| {
        let is_file = path.is_file();
        Ok(Speed { decode_tokens_per_second: if is_file { 20.0 } else { 7.0 }, ..speed() })
    };
    optimize(options, &mut |event| goes_on(event), &mut measure)
}

fn names(steps: &[StepResult]) -> Vec<(&str, bool)> {
    steps.iter().map(|step| (&*step.step, step.kept)).collect()
}

const TUNED: &str = "[[stage]]\nkind = \"rtn\"\n[[stage]]\nkind = \"tune\"\noptional = true\nsteps = 2\nevery = 1\n";

#[test]
fn every_step_has_a_row_a_bar_and_a_reason() {
    let dir = folder();
    let options = OptimizeOptions { ablation: true, ..options(dir.path(), TUNED) };
    let other = r#"{"engine": "peer 1.2", "dtype": "float16", "threads": 1, "prefill_tokens_per_second": 100.0,
        "decode_tokens_per_second": 4.0, "first_token_seconds": 0.5}"#;
    let file = dir.path().join("peer.json");
    fs::write(&file, other).unwrap();
    let options = OptimizeOptions { other_engine: Some(OtherEngine::read(&file).unwrap()), ..options };
    let report = until(&options, None).unwrap().report;
    let pipeline = report.pipeline.clone().unwrap();
    let steps: Vec<&str> = pipeline.steps.iter().map(|step| &*step.step).collect();
    assert_eq!(steps, ["quantise", "tune"]);
    assert_eq!(pipeline.alone.iter().map(|step| &*step.step).collect::<Vec<_>>(), ["quantise", "tune"]);
    // The tuned model is published if tuning lowered the divergence, and the other one otherwise.
    let kl = |name: &str| report.rows.iter().find(|row| row.name == name).unwrap().quality.kl_divergence.unwrap();
    let is_lower = kl("mix of 6.5 bits tuned") < kl("mix of 6.5 bits");
    assert_eq!((pipeline.steps[1].kept, pipeline.steps[1].pays), (is_lower, is_lower));
    let chosen = if is_lower { "mix of 6.5 bits tuned" } else { "mix of 6.5 bits" };
    assert_eq!(report.chosen.as_deref(), Some(chosen));
    assert!(report.summary().contains("Relative to peer 1.2 in float16: decode 5.00x"), "{}", report.summary());
    let (plot, markdown) = (report.plot(), report.markdown());
    for step in ["original", "peer", "quantise", "tune"] {
        assert!(plot.matches(&format!(">{step}</text>")).count() >= 3, "{step}: {plot}");
    }
    // Panels without tasks, each with a bar for the original, two for each of two steps; three have one of the peer.
    let bars = plot.matches("<rect ").count() - plot.matches("height=\"11.0\"").count();
    assert_eq!(bars, 6 * 5 + 3, "{plot}");
    for part in
        ["## Steps\n\n| step |", "| peer 1.2 |", "tune alone: the KL divergence becomes", "![Steps](report.svg)"]
    {
        assert!(markdown.contains(part), "{part:?} is not in {markdown}");
    }
    assert!(until(&options, None).unwrap().was_done);
}

#[test]
fn a_step_over_its_budget_is_left_out_if_it_is_optional_and_ends_the_job_otherwise() {
    let dir = folder();
    let tight = TUNED.replace("optional = true", "optional = true\nbudget = -100");
    let found = until(&options(dir.path(), &tight), None).unwrap().report;
    let pipeline = found.pipeline.clone().unwrap();
    assert_eq!(names(&pipeline.steps), [("quantise", true), ("tune", false)]);
    assert!(!pipeline.steps[1].holds && found.is_complete());
    assert_eq!(found.chosen.as_deref(), Some("mix of 6.5 bits"));
    assert!(found.summary().ends_with("Steps: quantise. Left out: tune."), "{}", found.summary());
    let other =
        OptimizeOptions { out: dir.path().join("other"), ..options(dir.path(), &tight.replace("true", "false")) };
    let found = until(&other, None).unwrap().report;
    assert!(!found.is_complete() && found.published.is_empty() && !other.out.join("model.gguf").exists());
    assert!(found.summary().contains("The step tune is not optional"), "{}", found.summary());
}

#[test]
fn a_job_goes_on_at_the_step_where_it_stopped() {
    let dir = folder();
    let options = options(dir.path(), TUNED);
    let whole = until(&options, None).unwrap().report;
    let model = fs::read(options.out.join("model.gguf")).unwrap();
    for stop in ["choosing encodings: searching", "mix of 6.5 bits: quantising", "mix of 6.5 bits tuned: scoring"] {
        fs::remove_dir_all(&options.out).unwrap();
        assert!(matches!(until(&options, Some(stop)), Err(Error::Interrupted)), "{stop}");
        let resumed = until(&options, None).unwrap();
        assert!(!resumed.was_done);
        assert_eq!(resumed.report.pipeline, whole.pipeline, "{stop}");
        assert_eq!(
            (&resumed.report.published, fs::read(options.out.join("model.gguf")).unwrap()),
            (&whole.published, model.clone())
        );
    }
}

const PRUNED: &str = r#"
[[stage]]
kind = "prune"
optional = true
heads = 0.0
ffn = 0.34
[[stage]]
kind = "heal"
optional = true
steps = 2
[[stage]]
kind = "rtn"
[[stage]]
kind = "draft"
optional = true
tokens = 4
rounds = 1
"#;

#[test]
fn pruning_is_refused_before_it_is_quantised_or_compared_at_three_sizes() {
    let dir = folder();
    let options = |ablation, out: &str| {
        let mut options = options(dir.path(), PRUNED);
        // A third of the neurons of a random model costs more than rounding to 8.5 bits.
        options.allocation.goal = Some(Goal::BitsPerWeight(8.5));
        OptimizeOptions { ablation, out: dir.path().join(out), ..options }
    };
    let report = until(&options(false, "out"), None).unwrap().report;
    let pipeline = report.pipeline.unwrap();
    assert_eq!(names(&pipeline.steps)[..3], [("prune", false), ("heal", false), ("quantise", true)], "{pipeline:#?}");
    assert!(pipeline.steps[0].reason.contains("refused before it was quantised"), "{:?}", pipeline.steps);
    assert!(
        report.rows.iter().all(|row| !row.name.starts_with("prune+heal mix") && !row.name.starts_with("prune mix"))
    );
    assert_eq!(report.chosen.as_deref(), Some("mix of 8.5 bits"));
    // The context of the tiny model does not hold the prompts that drafts are measured on.
    assert_eq!(
        (&*pipeline.steps[3].step, pipeline.steps[3].kept, pipeline.speculate.is_some()),
        ("draft", false, false)
    );
    assert!(pipeline.steps[3].reason.contains("the prompt is too long"), "{pipeline:#?}");
    let report = until(&options(true, "ablation"), None).unwrap().report;
    let pairs = report.pipeline.clone().unwrap().equal_bytes;
    assert_eq!(pairs.len(), 3);
    let size = |name: &str| report.rows.iter().find(|row| row.name == name).unwrap().size_bytes;
    for pair in &pairs {
        assert!([&pair.pruned, &pair.quantised].iter().all(|name| size(name) <= pair.target_bytes), "{pair:?}");
        assert!(pair.pruned.starts_with("prune") && pair.quantised.starts_with("mix of"), "{pair:?}");
    }
    assert_eq!(report.equal_bytes_table().unwrap().rows.len(), 6);
    assert!(report.markdown().contains("## Pruned and quantised against quantised alone, at equal bytes"));
}

#[test]
fn a_step_that_is_not_optional_is_part_of_the_model() {
    let dir = folder();
    let forced = PRUNED.replacen("optional = true", "optional = false", 2);
    let options = options(dir.path(), &forced);
    let report = until(&options, None).unwrap().report;
    let pipeline = report.pipeline.unwrap();
    assert_eq!(names(&pipeline.steps)[..3], [("prune", true), ("heal", true), ("quantise", true)]);
    assert!(report.chosen.unwrap().starts_with("prune+heal mix of"));
    let published = honelm_model::Checkpoint::open(options.out.join("model.gguf")).unwrap();
    assert_eq!(published.config_json()["intermediate_size"], 64);
    // The same work again, from a job that was stopped while it healed.
    fs::remove_dir_all(&options.out).unwrap();
    assert!(matches!(until(&options, Some("prune+heal: scoring")), Err(Error::Interrupted)));
    assert!(options.out.join(".work/prune").is_dir());
    assert_eq!(until(&options, None).unwrap().report.published, report.published);
}

#[test]
fn pruning_that_the_model_does_not_admit_is_left_out_with_the_reason() {
    let dir = folder();
    let nothing = PRUNED.replace("heads = 0.0\nffn = 0.34", "heads = 0.2\nffn = 0.0");
    let report = until(&options(dir.path(), &nothing), None).unwrap().report;
    let pipeline = report.pipeline.clone().unwrap();
    assert_eq!(names(&pipeline.steps)[..2], [("prune", false), ("quantise", true)]);
    assert!(pipeline.steps[0].row.is_none() && pipeline.steps[0].reason.contains("nothing would be removed"));
    assert!(report.markdown().contains("- prune: left out; does not pay: "), "{}", report.markdown());
    let forced = OptimizeOptions {
        out: dir.path().join("forced"),
        ..options(dir.path(), &nothing.replacen("optional = true", "optional = false", 1))
    };
    assert!(until(&forced, None).unwrap_err().to_string().contains("nothing would be removed"));
}
