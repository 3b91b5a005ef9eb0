//! Encodings of single tensors: `quantize` and `optimize` with rules, mixes, sizes.

use std::path::Path;

use serde_json::Value;

use crate::common::{assert_documented, assert_fails, assert_keys, document, run, status, stderr, write_text};

/// Everything but keys and values of two layers, so that little is chosen for.
const MOST: &str = r"attn_q|attn_output|ffn|token_embd|blk\.[2-7]=q4_0";

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn a_dry_run_prints_the_encodings_and_the_size_and_writes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out.gguf");
    let plan = |more: &[&str]| {
        document(&run(&[&["quantize", "pocket", "--dry-run", "--json", "-o", text(&out)], more].concat()))
    };
    let mix = plan(&["--to", "Q4_K_M"]);
    assert_documented(&mix);
    let types = &mix["tensor_types"];
    // 8 layers: the first, the last and every third between them get more bits.
    assert_eq!((&types["blk.0.ffn_down.weight"], &types["blk.1.ffn_down.weight"]), (&"Q6_K".into(), &"Q4_K".into()));
    assert_eq!((&types["token_embd.weight"], &types["blk.3.attn_v.weight"]), (&"Q6_K".into(), &"Q6_K".into()));
    let pure = plan(&["--to", "q4_k_m", "--pure"]);
    let all = pure["tensor_types"].as_object().expect("an object");
    assert!(all.len() == 57 && all.values().all(|kind| kind == "Q4_K"), "{all:?}");
    assert!(pure["size_bytes"].as_u64() < mix["size_bytes"].as_u64());
    let ruled = plan(&["--to", "q4_k", "--tensor-type", "v_proj=q8_0", "--tensor-type", r"attn_[vk]\.=f16"]);
    assert_eq!(ruled["tensor_types"]["blk.5.attn_v.weight"], "Q8_0");
    assert_eq!(ruled["tensor_types"]["blk.5.attn_k.weight"], "F16");
    assert!(dir.path().read_dir().expect("a folder").next().is_none());
}

#[test]
fn rules_that_cannot_be_kept_are_errors() {
    let quantize = |more: &[&str]| run(&[&["quantize", "pocket", "--dry-run", "--to", "q4_k"], more].concat());
    let output = quantize(&["--tensor-type", "attn_x=q8_0"]);
    assert_fails(&output, 2, &["'attn_x' matches the name of no matrix", "blk.7.ffn_down.weight"]);
    assert_fails(&quantize(&["--tensor-type", "(=q8_0"]), 2, &["regular expression '('"]);
    let model = tempfile::tempdir().expect("a folder");
    honelm_testing::write_small_model(model.path(), &[]).expect("written");
    // Rows of 96 values are no whole blocks of 256.
    let small =
        ["quantize", text(model.path()), "--dry-run", "--to", "q8_0", "--tensor-type", "attn_q=q4_k", "--strict"];
    assert_fails(&run(&small), 5, &["Q5_0 instead of Q4_K", "q_proj"]);
    let optimize = |more: &[&str]| run(&[&["optimize", "pocket", "--dry-run"], more].concat());
    assert_fails(&optimize(&["--container", "awq", "--target-size", "9MB"]), 2, &["--container gguf"]);
    assert_fails(&optimize(&["--target-size", "9MB", "--allocate"]), 2, &["--allocate"]);
}

#[test]
fn named_candidates_are_tried_from_the_smallest() {
    let arguments = ["optimize", "pocket", "--dry-run", "--json", "--candidates", "q5_k_m,q3_k_s,Q4_K_M"];
    let plan = document(&run(&arguments));
    let names: Vec<&Value> = plan["candidates"].as_array().expect("a list").iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["Q3_K_S", "Q4_K_M", "Q5_K_M"]);
}

#[test]
fn a_size_is_met_by_a_choice_for_each_tensor() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let (out, calibration, heldout) = (path("out"), path("calibration.txt"), path("text.txt"));
    write_text(&calibration, 400, 1);
    write_text(&heldout, 4800, 2);
    let job = |more: &[&str]| {
        let own = ["optimize", "pocket", "--recipe", "rtn", "--samples", "2", "--length", "64", "--tensor-type", MOST];
        let files = ["-o", text(&out), "--calibration", text(&calibration), "--text", text(&heldout)];
        run(&[&own[..], &files, &["--protocol", "llama.cpp-64"], more].concat())
    };
    // With all of them in Q6_K, the file has 5,044,064 bytes.
    let most = 5_030_000;
    let output = job(&["--target-size", &most.to_string(), "--tie-fused", "--json"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let report = document(&output);
    let row = &report["rows"][1];
    assert_keys(row, &["tensor_types", "size_bytes", "kl_divergence"]);
    let size = row["size_bytes"].as_u64().expect("a size");
    assert!(size <= most && size > most - 10_000, "{size} of {most}");
    let allocation = &report["allocations"][0];
    assert_eq!(allocation["size_bytes"].as_u64(), Some(size), "the size is known before the file is made");
    let kinds = row["tensor_types"].as_object().expect("an object");
    assert_eq!((&kinds["blk.2.ffn_up.weight"], kinds.len()), (&"Q4_0".into(), 57));
    for layer in 0..8 {
        let of = |name: &str| &kinds[&format!("blk.{layer}.{name}.weight")];
        assert_eq!(of("attn_k"), of("attn_v"), "fused modules have one encoding");
    }
    let reasons = std::fs::read_to_string(out.join("report.md")).expect("a report");
    assert!(reasons.contains("## Encodings of mix of ") && reasons.contains("blk.0.attn_k, attn_v"), "{reasons}");
    assert!(std::fs::read_to_string(out.join("report.svg")).expect("a plot").contains("predicted frontier"));
    let output = job(&["--target-size", "4MB", "--dry-run"]);
    assert_fails(&output, 2, &["the smallest file of this model has"]);
}
