//! Every architecture through compression, export and back.

use std::path::Path;

use honelm_blocks::{Encoding, ScaleType, WeightData};
use honelm_compress::{CompressError, Compressed, GroupNumbers, Recipe, Scheme, check_written};
use honelm_formats::gptq::{CheckpointFormat, Dynamic, QuantizeConfig};
use honelm_formats::read_json;
use honelm_model::export::{Container, GroupForm};
use honelm_model::{Checkpoint, Kind, Parameters, Slot, export};
use honelm_store::Journal;

use crate::common::{compressed, models};

/// Checks that `read` has the weights and biases of `written`.
fn assert_same(read: &Checkpoint, written: &dyn Parameters, name: &str) {
    for slot in read.tree().slots() {
        let (a, b) = (read.parameter(slot).unwrap(), written.parameter(slot).unwrap());
        assert_eq!(a.weight.dequantize(), b.weight.dequantize(), "{name} {slot:?}");
        assert_eq!(a.bias, b.bias, "{name} {slot:?}");
    }
}

fn assert_not_as_planned(written: &Checkpoint, original: &Checkpoint, scheme: &Scheme) {
    let error = check_written(written, original, scheme).unwrap_err();
    assert!(matches!(error, CompressError::NotAsPlanned { .. }), "{error}");
    assert_eq!(error.code(), "not-as-planned");
}

#[test]
fn a_model_with_one_matrix_of_the_original_is_not_as_planned() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let work = tempfile::tempdir().unwrap();
    let scheme = Scheme::gguf(Encoding::Q8_0, Recipe::gptq());
    let params = compressed(&checkpoint, &scheme, work.path());
    let path = work.path().join("model.gguf");
    let name = |slot| checkpoint.tree().gguf_name(slot).unwrap();
    let linear = |slot: &Slot| checkpoint.tree().module(*slot).unwrap().is_linear();
    for slot in checkpoint.tree().slots().filter(linear).step_by(5) {
        let original = |asked: Slot| (asked == slot).then_some(Encoding::F32);
        export::gguf(&path, checkpoint.blueprint(), &params, Vec::new(), &original).unwrap();
        let error = check_written(&Checkpoint::open(&path).unwrap(), &checkpoint, &scheme).unwrap_err();
        assert!(
            matches!(&error, CompressError::NotAsPlanned { tensor, .. } if tensor.contains(&name(slot))),
            "{error}"
        );
    }
}

#[test]
fn a_matrix_that_the_journal_lacks_is_never_the_originals() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let work = tempfile::tempdir().unwrap();
    let scheme = Scheme::gguf(Encoding::Q8_0, Recipe::gptq());
    let journal = Journal::new(&work.path().join("journal"), &scheme.describe());
    let nothing = Compressed::new(&checkpoint, &scheme, journal.clone());
    let other = Compressed::new(&checkpoint, &Scheme::gguf(Encoding::Q4_0, Recipe::gptq()), journal.clone());
    for slot in checkpoint.tree().slots() {
        assert!(nothing.parameter(slot).is_err(), "{slot:?}");
        assert!(nothing.encoding(slot).is_err(), "{slot:?}");
    }
    // Finished work that is not what another plan says is an error for that plan.
    let whole = compressed(&checkpoint, &scheme, work.path());
    for slot in checkpoint.tree().slots() {
        let linear = slot.layer.is_some() && checkpoint.tree().module(slot).unwrap().is_linear();
        whole.parameter(slot).unwrap();
        assert!(!linear || other.parameter(slot).unwrap_err().to_string().contains("expected Q4_0"), "{slot:?}");
    }
}

#[test]
fn gptq_folders_hold_every_architecture() {
    for (name, checkpoint) in models() {
        let work = tempfile::tempdir().unwrap();
        let params = compressed(&checkpoint, &Scheme::gptq(4, 32, false, Recipe::gptq()), work.path());
        for slot in checkpoint.tree().slots() {
            let linear = slot.layer.is_some() && checkpoint.tree().module(slot).unwrap().is_linear();
            let grouped = matches!(params.parameter(slot).unwrap().weight, WeightData::Groups(_));
            assert_eq!(grouped, linear, "{name} {slot:?}");
        }
        let settings = QuantizeConfig {
            bits: 4,
            group_size: Some(32),
            desc_act: false,
            sym: false,
            lm_head: false,
            checkpoint_format: CheckpointFormat::V2,
            dynamic: Dynamic::default(),
            extra: serde_json::Map::default(),
        };
        let folder = work.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        let options = export::HuggingFace { quantization: Some(&settings), copy: &[], max_shard_size: None };
        export::huggingface(&folder, &checkpoint, &params, &options).unwrap();
        let written = Checkpoint::open(&folder).unwrap();
        assert_same(&written, &params, &name);
        check_written(&written, &checkpoint, &Scheme::gptq(4, 32, false, Recipe::gptq())).unwrap();
        for other in [Scheme::gptq(8, 32, false, Recipe::gptq()), Scheme::gguf(Encoding::Q8_0, Recipe::rtn())] {
            assert_not_as_planned(&written, &checkpoint, &other);
        }
    }
}

#[test]
fn every_container_holds_the_numbers_that_its_readers_take() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/tiny/llama-biases-tied/config.json");
    let config = read_json(data).unwrap().unwrap();
    let polished = || {
        let mut recipe = Recipe::gptq();
        recipe.steps[0].settings.insert("polish".to_owned(), 1.into());
        recipe
    };
    for (encoding, own) in [(Encoding::BF16, ScaleType::BF16), (Encoding::F32, ScaleType::F16)] {
        let checkpoint = Checkpoint::made_up("bf16", &config, encoding, 7).unwrap();
        for (container, groups) in Container::folders() {
            let scale_type = groups.scale_type(checkpoint.tree(), &checkpoint).unwrap();
            let takes_own = matches!(container.name, "mlx" | "compressed-tensors");
            assert_eq!(scale_type, if takes_own { own } else { ScaleType::F16 }, "{container}");
            let numbers = GroupNumbers { scale_type, has_bias: groups.has_bias };
            let scheme = Scheme::gptq(4, 32, groups.symmetric, polished()).with_numbers(numbers);
            let work = tempfile::tempdir().unwrap();
            let params = compressed(&checkpoint, &scheme, work.path());
            let form = GroupForm { bits: 4, group_size: 32, symmetric: groups.symmetric };
            let format = container.format(checkpoint.tree(), &params, form).unwrap();
            let folder = work.path().join("folder");
            std::fs::create_dir(&folder).unwrap();
            let options = export::HuggingFace { quantization: Some(&*format), ..export::HuggingFace::default() };
            export::huggingface(&folder, &checkpoint, &params, &options).unwrap();
            let written = Checkpoint::open(&folder).unwrap();
            assert_same(&written, &params, container.name);
            check_written(&written, &checkpoint, &scheme).unwrap();
            let other = GroupNumbers { scale_type: ScaleType::F32, ..numbers };
            assert_not_as_planned(&written, &checkpoint, &scheme.with_numbers(other));
        }
    }
}

#[test]
fn gguf_files_hold_every_architecture() {
    for (name, checkpoint) in models() {
        if name == "llama-dynamic" {
            continue;
        }
        let work = tempfile::tempdir().unwrap();
        let params = compressed(&checkpoint, &Scheme::gguf(Encoding::Q8_0, Recipe::gptq()), work.path());
        let path = work.path().join("model.gguf");
        export::gguf(&path, checkpoint.blueprint(), &params, Vec::new(), &|_| None).unwrap();
        let read = Checkpoint::open(&path).unwrap();
        assert_same(&read, &params, &name);
        check_written(&read, &checkpoint, &Scheme::gguf(Encoding::Q8_0, Recipe::gptq())).unwrap();
        assert_not_as_planned(&read, &checkpoint, &Scheme::gguf(Encoding::Q5_0, Recipe::gptq()));
        let encoding = |slot: Slot| read.parameter(slot).unwrap().weight.encoding_name();
        for slot in read.tree().slots() {
            let exact =
                matches!(read.tree().module(slot).unwrap().kind, Kind::Norm | Kind::Positions | Kind::TokenTypes);
            assert_eq!(encoding(slot), if exact { "F32" } else { "Q8_0" }, "{name} {slot:?}");
        }
    }
}
