//! Jobs that write several containers, or compare widths.

use std::collections::BTreeMap;
use std::fs;

use honelm::optimize::Published;
use honelm::{Container, Error, Event, NamedRecipe, OptimizeOptions, optimize};

use crate::resume::{optimize_options, optimize_until, speed};
use crate::small::{flip_a_bit, folder};

fn named(names: &[&str]) -> Vec<&'static Container> {
    names.iter().map(|name| Container::from_name(name).unwrap()).collect()
}

#[test]
fn containers_with_one_grid_are_quantised_once_and_judged_each() {
    let dir = folder();
    let names = ["gguf", "gptq", "awq", "mlx"];
    let options = OptimizeOptions { containers: named(&names), group_size: Some(32), ..optimize_options(dir.path()) };
    let mut stages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut events = |event: &Event<'_>| {
        if let Event::Stage { name, detail, .. } = event {
            stages.entry((*name).to_owned()).or_default().push((*detail).to_owned());
        }
        true
    };
    let report = optimize(&options, &mut events, &mut |_| Ok(speed())).unwrap().report;
    let rows: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(rows, ["original", "Q4_0", "gptq int4 g32", "awq int4 g32", "mlx int4 g32"]);
    assert!(report.is_complete() && report.container.is_none() && report.rows[1..].iter().all(|row| row.chosen));
    assert_eq!(report.chosen.as_deref(), Some("Q4_0"));
    let published: Vec<&str> = report.published.iter().map(|published| published.container.as_str()).collect();
    assert_eq!(published, names);
    for Published { path, .. } in &report.published {
        assert!(options.out.join(path).exists(), "{}", path.display());
    }
    // Two layers of four stages, and the embedding; nothing of it for the second container with the same grid.
    assert_eq!(stages["gptq int4 g32: quantising"].len(), 10);
    assert_eq!(stages["awq int4 g32: quantising"], ["finished"]);
    // Groups with biases are another grid.
    assert_eq!(stages["mlx int4 g32: quantising"].len(), 10);
    for container in ["gptq", "awq", "mlx"] {
        assert!(stages[&format!("{container} int4 g32: scoring")].len() > 1);
    }
    assert_eq!(report.rows[2].quality.kl_divergence, report.rows[3].quality.kl_divergence);
    for container in names {
        assert!(report.summary().contains(container) || container == "gguf", "{}", report.summary());
    }
    assert!(optimize_until(&options, None).unwrap().was_done);
    // A published model that has changed is not overwritten.
    flip_a_bit(&options.out.join("gptq/model.safetensors"), 9999);
    assert_eq!(optimize_until(&options, None).unwrap_err().code(), "output-exists");
}

#[test]
fn a_job_resumes_at_the_container_where_it_stopped() {
    let dir = folder();
    let options =
        OptimizeOptions { containers: named(&["gptq", "awq"]), group_size: Some(32), ..optimize_options(dir.path()) };
    let stopped = optimize_until(&options, Some(("awq int4 g32: scoring", 2)));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let mut stages = Vec::new();
    let mut events = |event: &Event<'_>| {
        if let Event::Stage { name, .. } = event {
            stages.push((*name).to_owned());
        }
        true
    };
    let report = optimize(&options, &mut events, &mut |_| Ok(speed())).unwrap().report;
    assert_eq!(report.published.len(), 2);
    assert!(!stages.iter().any(|stage| stage.starts_with("gptq ")), "{stages:?}");
}

#[test]
fn a_container_without_a_candidate_within_the_budget_is_named() {
    let dir = folder();
    // The folder's only width does worse than the file's.
    let all = OptimizeOptions { containers: named(&["gguf", "awq"]), bits: None, ..optimize_options(dir.path()) };
    let rows = optimize_until(&all, None).unwrap().report.rows;
    let of = |name: &str| rows.iter().find(|row| row.name.ends_with(name)).unwrap().quality;
    let [file, folder] = ["Q4_0", "int4 g32"].map(|name| of(name).perplexity_difference_upper95.unwrap());
    assert_ne!(file, folder);
    let (met, unmet) = if file < folder { ("gguf", "awq") } else { ("awq", "gguf") };
    let options = OptimizeOptions { bits: Some(4), budget: f64::midpoint(file, folder).into(), restart: true, ..all };
    let report = optimize_until(&options, None).unwrap().report;
    assert!(!report.is_complete());
    assert_eq!(report.published.iter().map(|published| published.container.as_str()).collect::<Vec<_>>(), [met]);
    assert!(report.summary().contains(&format!("No candidate in {unmet} holds the budget")), "{}", report.summary());
    assert!(!options.out.join(Container::from_name(unmet).unwrap().output).exists());
}

#[test]
fn widths_are_compared_and_the_smallest_within_the_budget_is_published() {
    let dir = folder();
    let recipes = vec![NamedRecipe::new("rtn", honelm::Recipe::rtn())];
    let options = OptimizeOptions { recipes, bits: None, ladder: vec![16, 8, 4], ..optimize_options(dir.path()) };
    let report = optimize_until(&options, None).unwrap().report;
    let names: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["original", "F16", "Q8_0", "Q4_K"]);
    assert_eq!(report.chosen.as_deref(), Some("Q4_K"));
    assert!(report.rows.iter().all(|row| !row.rejected_early && row.quality.chunks == report.rows[0].quality.chunks));
    let upper = |at: usize| report.rows[at].quality.perplexity_difference_upper95.unwrap();
    let kl = |at: usize| report.rows[at].quality.kl_divergence.unwrap();
    assert!(kl(1) < kl(2) && kl(2) < kl(3), "{} {} {}", kl(1), kl(2), kl(3));
    let table = report.comparison_table().unwrap();
    assert_eq!((table.titles()[0], table.rows.len()), ("model", 4));
    assert!(report.markdown().contains("\n## Comparison\n\n| model | size |"), "{}", report.markdown());
    // The next one is published if the smallest does not hold the budget.
    assert!(upper(2) < upper(3));
    let strict = OptimizeOptions { budget: f64::midpoint(upper(2), upper(3)).into(), restart: true, ..options };
    let report = optimize_until(&strict, None).unwrap().report;
    assert_eq!(report.chosen.as_deref(), Some("Q8_0"));
    let summary = report.summary();
    assert!(summary.starts_with("Q8_0 is picked: it has the fewest bits") && summary.contains("(2 of 3)"), "{summary}");
    assert!(fs::metadata(strict.out.join("model.gguf")).is_ok());
}

#[test]
fn lists_that_make_no_sense_are_usage_errors() {
    let dir = folder();
    let options = optimize_options(dir.path());
    for wrong in [
        OptimizeOptions { containers: named(&["awq", "gguf", "awq"]), ..options.clone() },
        OptimizeOptions { containers: Vec::new(), ..options.clone() },
        OptimizeOptions { ladder: vec![8, 8], bits: None, ..options.clone() },
        OptimizeOptions { ladder: vec![8, 4], bits: Some(4), ..options.clone() },
        OptimizeOptions { ladder: vec![7], bits: None, ..options.clone() },
        OptimizeOptions { recipes: Vec::new(), ..options },
    ] {
        assert_eq!(optimize_until(&wrong, None).unwrap_err().code(), "usage");
        assert!(!wrong.out.exists());
    }
}
