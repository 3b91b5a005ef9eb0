//! Quantised models: fallbacks, end tokens, unknown fields.

use std::path::{Path, PathBuf};

use honelm::{
    CONTAINERS, Container, Encoding, Error, QuantizeOptions, QuantizeTarget, Quantized, RunOptions, quantize,
};
use honelm_model::Checkpoint;
use honelm_testing::write_small_model;
use honelm_text::Tokenizer;
use serde_json::json;

fn small(more: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_small_model(dir.path(), more).unwrap();
    dir
}

fn write(model: &Path, target: QuantizeTarget, out: &Path, strict: bool) -> Result<Quantized, Error> {
    let options = QuantizeOptions {
        strict,
        run: RunOptions { threads: Some(1), ..RunOptions::default() },
        ..QuantizeOptions::new(model, out, target)
    };
    quantize(&options, &mut |_| true)
}

#[test]
fn every_fallback_is_listed_with_its_reason_and_its_bits() {
    let model = small(&[]);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.gguf");
    let done = write(model.path(), QuantizeTarget::Encoding(Encoding::Q2K), &out, false).unwrap();
    // One of the eight matrices has rows of whole blocks of 256 values.
    let stored = Checkpoint::open(&out).unwrap();
    let named: Vec<(&str, &str, &str)> =
        done.fallbacks.iter().map(|f| (f.tensor.as_str(), f.wanted.as_str(), f.written.as_str())).collect();
    assert_eq!(named.len(), 7, "{named:?}");
    assert_eq!(named[0], ("model.embed_tokens.weight", "Q6_K", "Q8_0"));
    assert!(named[1..].iter().all(|(_, wanted, written)| (*wanted, *written) == ("Q2_K", "Q4_0")), "{named:?}");
    assert!(!named.iter().any(|(tensor, ..)| tensor.contains("down_proj")));
    assert!(done.fallbacks.iter().all(|f| f.reason.starts_with("rows of 96 values are no multiple of 256")));
    let lines = honelm::fallback_lines(&done.fallbacks);
    assert_eq!(lines.len(), 2);
    assert!(lines[1].starts_with("Q4_0 instead of Q2_K in 6 matrices, first model.layers.0."), "{}", lines[1]);
    // 16 x 96 values at 8.5 instead of 6.5625 bits, and 288 + 512 rows at 4.5 instead of 2.625.
    let above = (16.0 * (8.5 - 6.5625) + 800.0 * (4.5 - 2.625)) * 96.0 / stored.facts().parameters as f64;
    assert!((done.bits_per_weight - done.wanted_bits_per_weight - above).abs() < 1e-9, "{done:?}");
}

#[test]
fn strict_refuses_what_would_fall_back_before_any_work_and_nothing_else() {
    let model = small(&[]);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.gguf");
    let error = write(model.path(), QuantizeTarget::Encoding(Encoding::Q2K), &out, true).unwrap_err();
    assert_eq!(error.code(), "encoding-fallback");
    assert!(error.to_string().contains("Q8_0 instead of Q6_K in model.embed_tokens.weight: rows of 96"), "{error}");
    assert!(!out.exists() && !dir.path().join(".out.gguf.work").exists());
    let done = write(model.path(), QuantizeTarget::Encoding(Encoding::Q8_0), &out, true).unwrap();
    assert!(done.fallbacks.is_empty() && done.bits_per_weight == done.wanted_bits_per_weight);
}

#[test]
fn end_tokens_and_stop_texts_survive_every_container() {
    let generation = r#"{"eos_token_id": [6, 5, 8], "stop_strings": ["ab", "n"]}"#;
    let model = small(&[("generation_config.json", generation)]);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    write(model.path(), QuantizeTarget::Encoding(Encoding::F32), &path("out.gguf"), true).unwrap();
    let mut names = vec!["out.gguf".to_owned()];
    for container in CONTAINERS.iter().filter(|container| container.groups.is_some()) {
        let target = QuantizeTarget::Groups { container, bits: 4, group_size: 32 };
        names.extend([container.name.to_owned(), format!("{container}-through-gguf")]);
        write(model.path(), target, &path(container.name), true).unwrap();
        write(&path("out.gguf"), target, &path(names.last().unwrap()), true).unwrap();
    }
    for name in &names {
        let checkpoint = Checkpoint::open(path(name)).unwrap();
        assert_eq!(checkpoint.generation_config().unwrap()["stop_strings"], json!(["ab", "n"]), "{name}");
        let tokenizer = match checkpoint.gguf() {
            Some(gguf) => Tokenizer::from_gguf(gguf).unwrap(),
            None => Tokenizer::from_dir(&path(name)).unwrap(),
        };
        let mut ends = tokenizer.eos_ids().to_vec();
        ends.sort_unstable();
        assert_eq!(ends, [5, 6, 8], "{name}");
    }
}

#[test]
fn forms_and_models_that_a_container_cannot_hold_are_refused_before_any_work() {
    let model = small(&[]);
    let dir = tempfile::tempdir().unwrap();
    // The small model has 96 columns, so no groups of 64.
    for (name, bits, group_size, code) in [
        ("awq", 8, 32, "usage"),
        ("mlx", 4, 96, "usage"),
        ("gptq", 4, 33, "usage"),
        ("awq", 4, 64, "not-representable"),
    ] {
        let target = QuantizeTarget::Groups { container: Container::from_name(name).unwrap(), bits, group_size };
        let error = write(model.path(), target, &dir.path().join(name), false).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{error}");
    }
}

#[test]
fn an_unknown_field_is_ignored_where_the_options_allow_it() {
    let model = small(&[("quantize_config.json", r#"{"bits": 4, "group_size": 32, "odd": 1}"#)]);
    let mut run = RunOptions { threads: Some(1), ..RunOptions::default() };
    let refusal = honelm::inspect(model.path(), &run).unwrap_err();
    assert_eq!(refusal.code(), "unknown-quantization-setting");
    run.allow_unknown = vec!["odd".to_owned()];
    let found = honelm::inspect(model.path(), &run).unwrap();
    assert!(
        matches!(&found.warnings[..], [one] if one.contains("the unknown field odd ('1') is ignored")),
        "{:?}",
        found.warnings
    );
}

#[test]
fn a_plan_knows_the_exact_size_of_the_file() {
    let model = small(&[]);
    let dir = tempfile::tempdir().unwrap();
    let mix = |name: &str| QuantizeTarget::Mix(honelm::Mix::from_name(name).unwrap());
    let targets = [
        QuantizeTarget::Encoding(Encoding::Q8_0),
        mix("q4_k_m"),
        mix("iq2_xs"),
        QuantizeTarget::Encoding(Encoding::F32),
    ];
    for (i, target) in targets.into_iter().enumerate() {
        let out = dir.path().join(format!("{i}.gguf"));
        let options = QuantizeOptions::new(model.path(), &out, target);
        let planned = honelm::plan_quantize(&options, &mut |_| true).unwrap();
        assert!(!out.exists());
        let done = quantize(&options, &mut |_| true).unwrap();
        assert_eq!((planned.size_bytes, &planned.fallbacks), (done.size_bytes, &done.fallbacks), "{target:?}");
        assert_eq!(planned.tensor_types, done.tensor_types);
        let stored = Checkpoint::open(&out).unwrap();
        let gguf = stored.gguf().unwrap();
        if let QuantizeTarget::Mix(mix) = target {
            assert_eq!(gguf.get_as::<u32>("general.file_type").unwrap(), Some(mix.file_type));
        }
    }
}
