use serde_json::{Map, Value as Json, json};

use super::*;
use crate::ModelError;
use crate::fields::Fields;

fn shape(head_width: usize, context: usize, partial: bool) -> RopeShape {
    RopeShape { head_width, context, theta: THETA, partial }
}

fn parse_as(json: &Json, shape: &RopeShape) -> Result<RopeConfig, ModelError> {
    RopeConfig::parse(&mut Fields::new("config.json", json)?, shape)
}

fn parse(json: Json) -> Result<RopeConfig, ModelError> {
    parse_as(&json, &shape(64, 131_072, false))
}

fn llama3() -> Json {
    json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192})
}

#[test]
fn frequencies_and_magnitudes_match_transformers() {
    let cases: Json = serde_json::from_str(include_str!("../../tests/data/rope.json")).expect("JSON");
    let cases = cases.as_array().expect("a list");
    assert!(cases.len() > 10, "{} cases", cases.len());
    for case in cases {
        let count = |name: &str| case[name].as_u64().expect("a number") as usize;
        let shape = shape(count("head_dim"), count("max_position_embeddings"), true);
        let rope = parse_as(&case["config"], &shape).expect("valid");
        let Rotation { inverse_frequencies, magnitude } = rope.rotation(count("session"));
        let expected: Vec<f64> =
            case["inverse_frequencies"].as_array().expect("a list").iter().filter_map(Json::as_f64).collect();
        assert_eq!(inverse_frequencies.len(), expected.len(), "{case}");
        for (found, expected) in inverse_frequencies.iter().zip(&expected) {
            assert!((f64::from(*found) / expected - 1.0).abs() < 1e-5, "{}: {found} for {expected}", case["config"]);
        }
        let expected = case["magnitude"].as_f64().expect("a number");
        assert!((f64::from(magnitude) - expected).abs() < 1e-6, "{}: {magnitude} for {expected}", case["config"]);
        // The written configuration is parsed to the same settings.
        let mut written = Map::new();
        rope.write(&shape, &mut written);
        assert_eq!(parse_as(&Json::Object(written), &shape).expect("own form"), rope);
    }
}

#[test]
fn both_generations_of_configurations_mean_the_same() {
    let old = parse(json!({"rope_theta": 5e5, "rope_scaling": llama3()})).expect("old");
    let mut inner = llama3();
    inner["rope_theta"] = json!(5e5);
    assert_eq!(parse(json!({"rope_parameters": inner})).expect("new"), old);
    let mut older = llama3();
    older["type"] = json!("llama3");
    assert_eq!(parse(json!({"rope_theta": 5e5, "rope_scaling": older})).expect("older"), old);
}

#[test]
fn llama3_keeps_short_waves_and_stretches_long_ones() {
    let rope = parse(json!({"rope_theta": 5e5, "rope_scaling": llama3()})).expect("llama3");
    let divisors = rope.divisors().expect("divisors");
    assert_eq!((divisors[0], divisors[31]), (1.0, 32.0));
    assert!(divisors.windows(2).all(|d| d[0] <= d[1]));
    // From a GGUF file only the divisors come: the published parameters are found again.
    assert_eq!(RopeConfig::from_divisors(5e5, divisors.clone()), rope);
    let mut other = divisors;
    other[20] *= 1.5;
    assert!(matches!(RopeConfig::from_divisors(5e5, other).scaling, RopeScaling::Divisors(_)));
}

#[test]
fn dynamic_scaling_is_that_of_the_session() {
    let dynamic = json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}});
    let rope = parse_as(&dynamic, &shape(64, 2048, false)).expect("dynamic");
    let plain = parse_as(&json!({}), &shape(64, 2048, false)).expect("default");
    assert_eq!(rope.limit(2048), 8192);
    assert_eq!(rope.rotation(2048), plain.rotation(2048));
    let (a, b) = (rope.rotation(8192).inverse_frequencies, plain.rotation(8192).inverse_frequencies);
    assert!(a[0] == b[0] && a[31] < b[31]);
}

#[test]
fn a_part_of_a_head_is_rotated_where_the_architecture_can() {
    let json = json!({"partial_rotary_factor": 0.75});
    let rope = parse_as(&json, &shape(128, 32, true)).expect("partial");
    assert_eq!((rope.rotated, rope.rotation(32).inverse_frequencies.len()), (96, 48));
    for rotated in (2..=96).step_by(2) {
        let shape = shape(96, 32, true);
        let rope = RopeConfig { rotated, theta: THETA, scaling: RopeScaling::Unscaled };
        let mut written = Map::new();
        rope.write(&shape, &mut written);
        assert_eq!(parse_as(&Json::Object(written), &shape).expect("own form"), rope);
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let yarn = |field: &str, value: Json| {
        let mut json = json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}});
        json["rope_scaling"][field] = value;
        json
    };
    let long = json!({"type": "longrope", "short_factor": vec![1.0; 32], "long_factor": vec![2.0; 31]});
    for (json, name) in [
        (json!({"rope_scaling": {"rope_type": "proportional", "factor": 4.0}}), "proportional"),
        (json!({"rope_scaling": {"rope_type": "mrope", "mrope_section": [1]}}), "mrope"),
        (json!({"rope_parameters": {"mrope_section": [16, 24, 24]}}), "mrope_section"),
        (json!({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "llama_4_scaling_beta": 0.1}}), "llama_4"),
        (json!({"rope_scaling": {"type": "dynamic", "factor": 0.5}}), "factor"),
        (json!({"rope_scaling": {"type": "linear", "rope_type": "llama3"}}), "type"),
        (json!({"rope_scaling": {"rope_type": "linear"}}), "factor"),
        (json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "beta_fast": 32}}), "beta_fast"),
        (json!({"rope_scaling": {"rope_type": "linear", "factor": 1e-320}}), "frequencies"),
        (json!({"rope_scaling": {"rope_type": "linear", "factor": 1e-300}}), "frequencies"),
        (json!({"rope_scaling": long}), "long_factor"),
        (yarn("truncate", json!("no")), "truncate"),
        (yarn("attention_factor", json!(-1.0)), "attention_factor"),
        (yarn("original_max_position_embeddings", json!(0)), "original_max_position_embeddings"),
        (json!({"rope_theta": 1.0, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "frequencies"),
        (json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), "partial_rotary_factor"),
        (json!({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 2e4}}), "rope_theta"),
        (json!({"rope_theta": -1.0}), "rope_theta"),
        (json!({"rope_scaling": "linear"}), "rope_scaling"),
        (json!({"rope_scaling": {}, "rope_parameters": {}}), "rope_scaling"),
    ] {
        let error = parse(json.clone()).expect_err("must be refused");
        assert!(error.to_string().contains(name), "{json}: {error}");
    }
    for part in [0.0, 0.01, 1.5, 0.3] {
        let error = parse_as(&json!({"partial_rotary_factor": part}), &shape(10, 8, true)).expect_err("refused");
        assert!(error.to_string().contains("partial_rotary_factor"), "{part}: {error}");
    }
}
