//! Folders whose modules are quantised, and models in several files.

use std::path::PathBuf;

use honelm_blocks::Encoding;
use honelm_formats::gguf::Gguf;
use honelm_formats::gptq::QuantizeConfig;
use honelm_formats::{ElementType, IntegerType, RawTensor, TensorSource, read_json};
use honelm_model::export::{HuggingFace, gguf, gguf_parts, huggingface, sampling_metadata};
use honelm_model::{Checkpoint, Kind, ModelError, Parameters, Slot, StoredEncoding};
use serde_json::{Value as Json, json};

use crate::common::{changed, deviation, distance, golden, load, load_with, logits};
use crate::tiny::tiny;

const SCALE: f32 = 1.0 / 64.0;

/// A matrix as MLX has it at 8 bit, where codes are bytes: w = (q - 128) / 64.
fn mlx(tensor: &RawTensor) -> [RawTensor; 3] {
    let name = tensor.name.strip_suffix(".weight").unwrap();
    let [rows, cols] = tensor.shape[..] else { panic!("a matrix") };
    let floats = |suffix: &str, value: f32| RawTensor {
        name: format!("{name}.{suffix}"),
        element: ElementType::Weights(Encoding::F32),
        shape: vec![rows, cols / 32],
        bytes: value.to_le_bytes().repeat(rows * cols / 32).into(),
    };
    let ElementType::Weights(encoding) = tensor.element else { panic!("weights") };
    let mut values = vec![0.0; rows * cols];
    encoding.dequantize_row(&tensor.bytes, &mut values);
    let codes: Vec<u8> = values.iter().map(|w| (w / SCALE + 128.0).round().clamp(0.0, 255.0) as u8).collect();
    let weight = RawTensor {
        element: ElementType::Integer(IntegerType::U32),
        shape: vec![rows, cols / 4],
        bytes: codes.into(),
        ..tensor.clone()
    };
    [weight, floats("scales", SCALE), floats("biases", -128.0 * SCALE)]
}

/// A folder in MLX's format, its embedding too, but for module `plain`.
fn mlx_folder(plain: &str, edit: impl FnOnce(&mut Vec<RawTensor>)) -> tempfile::TempDir {
    let settings = json!({"group_size": 32, "bits": 8, plain: false});
    let config = |config: &mut Json| {
        config["quantization"] = settings.clone();
        config["quantization_config"] = settings.clone();
    };
    changed("llama-grouped", config, |tensors| {
        let matrices: Vec<RawTensor> =
            tensors.extract_if(.., |t| t.shape.len() == 2 && !t.name.starts_with(plain)).collect();
        tensors.extend(matrices.iter().flat_map(mlx));
        edit(tensors);
    })
}

fn slot(layer: Option<usize>, module: &'static str) -> Slot {
    Slot { layer, module }
}

#[test]
fn an_mlx_folder_computes_what_its_weights_say() {
    let plain = "model.layers.1.mlp.up_proj";
    let dir = mlx_folder(plain, |_| {});
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.quantized_format(), Some("mlx"));
    for slot in checkpoint.tree().slots() {
        let (module, name) = (checkpoint.tree().module(slot).unwrap(), checkpoint.tensor_name(slot).unwrap());
        let groups = module.kind != Kind::Norm && !name.starts_with(plain);
        let stored = checkpoint.encoding(slot).unwrap();
        assert_eq!(matches!(stored, StoredEncoding::Groups { bits: 8, group_size: 32, .. }), groups, "{name}");
        assert_eq!(StoredEncoding::from(&checkpoint.parameter(slot).unwrap().weight), stored, "{name}");
    }
    // Rounded to 1/64 it is nearly the same model, and exactly that of its values in F32.
    let (tokens, _) = golden(&tiny("llama-grouped"));
    let found = logits(&mut load(dir.path()), &tokens, 16);
    let original = logits(&mut load(&tiny("llama-grouped")), &tokens, 16);
    assert!(distance(&found, &original) < deviation(&original), "{}", distance(&found, &original));
    let path = dir.path().join("model.gguf");
    gguf(&path, checkpoint.blueprint(), &checkpoint, Vec::new(), &|_| Some(Encoding::F32)).unwrap();
    assert_eq!(logits(&mut load(&path), &tokens, 16), found);
}

#[test]
fn packed_modules_that_are_broken_or_left_out_are_refused_by_name() {
    let code = |edit: &dyn Fn(&mut Vec<RawTensor>)| {
        let dir = mlx_folder("none", edit);
        let error = match Checkpoint::open(dir.path()) {
            Ok(checkpoint) => checkpoint.tree().slots().find_map(|slot| checkpoint.parameter(slot).err()).unwrap(),
            Err(error) => error,
        };
        assert!(error.to_string().contains("model.layers.0.mlp.up_proj"), "{error}");
        error.code()
    };
    let name = |suffix: &str| format!("model.layers.0.mlp.up_proj.{suffix}");
    assert_eq!(code(&|t| t.retain(|t| t.name != name("biases"))), "missing-tensor");
    assert_eq!(code(&|t| t.retain(|t| t.name != name("scales"))), "shape-mismatch");
    let nan = |tensors: &mut Vec<RawTensor>| {
        let scales = tensors.iter_mut().find(|t| t.name == name("scales")).unwrap();
        scales.bytes = f32::NAN.to_le_bytes().repeat(scales.bytes.len() / 4).into();
    };
    assert_eq!(code(&nan), "weight-not-finite");
}

#[test]
fn modules_with_settings_of_their_own_are_read_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let original = Checkpoint::open(tiny("llama-grouped")).unwrap();
    let settings = json!({"bits": 8, "group_size": 64, "sym": true, "dynamic": {
        "-:.*v_proj": {}, ".*": {"bits": 4, "group_size": 32}}});
    let settings = QuantizeConfig::parse("test", &settings).unwrap();
    let params = crate::containers::Grouped(&original, crate::containers::FORM);
    let options = HuggingFace { quantization: Some(&settings), copy: &[], max_shard_size: None };
    // The rules leave v out, and its weight is packed: that cannot be written, nor can it be read.
    assert_eq!(huggingface(dir.path(), &original, &params, &options).unwrap_err().code(), "not-representable");
    let all = json!({"bits": 8, "group_size": 64, "sym": true, "dynamic": {".*": {"bits": 4, "group_size": 32}}});
    let all = QuantizeConfig::parse("test", &all).unwrap();
    let options = HuggingFace { quantization: Some(&all), ..options };
    huggingface(dir.path(), &original, &params, &options).unwrap();
    let again = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(again.parameter(slot(Some(0), "v")).unwrap().weight.encoding_name(), "int4 g32");
    std::fs::write(dir.path().join("quantize_config.json"), settings.to_json().to_string()).unwrap();
    let error = Checkpoint::open(dir.path()).unwrap_err();
    assert_eq!(error.code(), "missing-tensor");
    assert!(error.to_string().contains("v_proj.weight"), "{error}");
}

fn accept(_: &Checkpoint) -> Result<(), ModelError> {
    Ok(())
}

#[test]
fn parts_that_are_refused_never_appear() {
    let dir = tempfile::tempdir().unwrap();
    let original = Checkpoint::open(tiny("llama-grouped")).unwrap();
    for limit in [100_000, 1 << 30] {
        let refuse = |written: &Checkpoint| {
            assert_eq!(written.facts().parameters, original.facts().parameters);
            assert_eq!(written.tree().slots().count(), original.tree().slots().count());
            Err(ModelError::NotAModel { path: "refused".to_owned() })
        };
        let path = dir.path().join("m.gguf");
        let error = gguf_parts(&path, limit, original.blueprint(), &original, Vec::new(), &|_| None, refuse);
        assert_eq!(error.unwrap_err().code(), "not-a-model");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn files_that_change_after_opening_are_noticed() {
    let (dir, original) = (tempfile::tempdir().unwrap(), Checkpoint::open(tiny("llama-grouped")).unwrap());
    let path = dir.path().join("m.gguf");
    gguf(&path, original.blueprint(), &original, Vec::new(), &|_| None).unwrap();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    huggingface(&folder, &original, &original, &HuggingFace::default()).unwrap();
    for (opened, file) in [(&path, path.clone()), (&folder, folder.join("model.safetensors"))] {
        let checkpoint = Checkpoint::open(opened).unwrap();
        checkpoint.check_files().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes).unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(checkpoint.check_unchanged().unwrap_err().code(), "file-changed");
        assert_eq!(checkpoint.check_files().unwrap_err().code(), "file-changed");
    }
    let checkpoint = Checkpoint::open(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    checkpoint.check_unchanged().unwrap();
    assert!(checkpoint.check_files().unwrap_err().to_string().contains("config.json"));
}

#[test]
fn a_model_in_parts_gives_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let original = Checkpoint::open(tiny("llama-grouped")).unwrap();
    let (tokens, _) = golden(&tiny("llama-grouped"));
    let expected = logits(&mut load_with(&original, &original), &tokens, 16);
    let path = dir.path().join("m.gguf");
    let parts = gguf_parts(&path, 100_000, original.blueprint(), &original, Vec::new(), &|_| None, accept).unwrap();
    assert!(parts.len() > 2 && !path.exists(), "{parts:?}");
    assert!(parts.iter().all(|part| std::fs::metadata(part).unwrap().len() <= 100_000));
    for part in [&parts[0], &parts[parts.len() - 1]] {
        assert_eq!(logits(&mut load(part), &tokens, 16), expected);
        assert_eq!(Checkpoint::open(part).unwrap().files(), parts);
    }
    let whole = gguf_parts(&path, 1 << 30, original.blueprint(), &original, Vec::new(), &|_| None, accept).unwrap();
    assert_eq!(whole, std::slice::from_ref(&path));
    assert_eq!(logits(&mut load(&path), &tokens, 16), expected);

    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let options = HuggingFace { max_shard_size: Some(100_000), ..HuggingFace::default() };
    huggingface(&folder, &original, &original, &options).unwrap();
    let shards: Vec<PathBuf> = Checkpoint::open(&folder).unwrap().files()[1..].to_vec();
    assert!(shards.len() > 2 && shards.iter().all(|shard| std::fs::metadata(shard).unwrap().len() <= 100_000));
    assert!(read_json(folder.join("model.safetensors.index.json")).unwrap().is_some());
    assert_eq!(logits(&mut load(&folder), &tokens, 16), expected);
}

#[test]
fn sampling_settings_survive_a_gguf_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let original = Checkpoint::open(tiny("llama-grouped")).unwrap();
    let generation = json!({"eos_token_id": 2, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.05,
        "repetition_penalty": 1.1, "do_sample": true});
    let metadata = sampling_metadata(Some(&generation));
    gguf(&path, original.blueprint(), &original, metadata, &|_| None).unwrap();
    let file = Gguf::open(&path).unwrap();
    assert_eq!(file.get_f32("general.sampling.temp").unwrap(), Some(0.6));
    assert_eq!(file.get_f32("general.sampling.penalty_repeat").unwrap(), Some(1.1));
    assert_eq!(file.get_i32("general.sampling.top_k").unwrap(), Some(20));
    assert!(!file.contains("general.sampling.eos_token_id"));
    let expected = json!({"temperature": 0.6, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1, "top_k": 20});
    assert_eq!(Checkpoint::open(&path).unwrap().generation_config(), Some(&expected));
    let through = |generation: Json| {
        gguf(&path, original.blueprint(), &original, sampling_metadata(Some(&generation)), &|_| None).unwrap();
        Checkpoint::open(&path).unwrap().generation_config().cloned()
    };
    // GGUF has no key for texts that end an answer, nor for whether tokens are drawn at all.
    assert_eq!(through(json!({"stop_strings": ["a", "b c"]})), Some(json!({"stop_strings": ["a", "b c"]})));
    assert_eq!(through(json!({"stop_strings": "a"})), Some(json!({"stop_strings": ["a"]})));
    assert_eq!(through(json!({"do_sample": false, "temperature": 0.6})), Some(json!({"temperature": 0.0})));
    assert_eq!(through(json!({"do_sample": true})), Some(json!({"temperature": 1.0})));
    assert_eq!(through(json!({"stop_strings": [1]})), None);
    assert_eq!(sampling_metadata(None), Vec::new());
    assert_eq!(sampling_metadata(Some(&json!({"temperature": "hot", "top_k": 1.5, "mirostat": null}))), Vec::new());
}
