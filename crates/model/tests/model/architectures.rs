//! Peculiarities of architectures: names in their files, and the observation of their linear modules.

use honelm_backend::Observe;
use honelm_blocks::Encoding;
use honelm_formats::{ElementType, RawTensor};
use honelm_model::{Checkpoint, Stream};
use honelm_tensor::Matrix;

use crate::common::{changed, cpu, golden, load, logits};
use crate::tiny::{MODELS, tiny};

/// Copies the model `name` with every tensor renamed.
fn renamed(name: &str, rename: impl Fn(&str) -> String) -> tempfile::TempDir {
    changed(name, |_| {}, |tensors| tensors.iter_mut().for_each(|tensor| tensor.name = rename(&tensor.name)))
}

#[test]
fn folders_of_only_the_base_model_give_the_same_bits() {
    for (name, prefix) in [("gpt2-tied", "transformer."), ("opt-after", "model."), ("llama-biases-tied", "model.")] {
        let dir = renamed(name, |tensor| tensor.strip_prefix(prefix).unwrap_or(tensor).to_owned());
        let (tokens, _) = golden(&tiny(name));
        assert_eq!(logits(&mut load(dir.path()), &tokens, 16), logits(&mut load(&tiny(name)), &tokens, 16), "{name}");
    }
}

#[test]
fn masks_in_old_folders_are_not_weights() {
    let mask = |tensor: &str| RawTensor {
        name: tensor.to_owned(),
        element: ElementType::Weights(Encoding::F32),
        shape: vec![1, 1, 2, 2],
        bytes: [1f32, 0.0, 1.0, 1.0].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
    };
    let dir = changed("gpt2-tied", |_| {}, |tensors| tensors.push(mask("transformer.h.0.attn.bias")));
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.ignored_tensors(), ["transformer.h.0.attn.bias"]);
    // An unknown weight is refused under either name of a layer.
    for name in ["transformer.h.0.attn.q.weight", "h.0.attn.q.weight"] {
        let strip = |tensor: &str| tensor.strip_prefix("transformer.").unwrap_or(tensor).to_owned();
        let change = |tensors: &mut Vec<RawTensor>| {
            if !name.starts_with("transformer.") {
                tensors.iter_mut().for_each(|tensor| tensor.name = strip(&tensor.name));
            }
            tensors.push(mask(name));
        };
        let dir = changed("gpt2-tied", |_| {}, change);
        assert_eq!(Checkpoint::open(dir.path()).unwrap_err().code(), "unexpected-tensor", "{name}");
    }
}

#[test]
fn matrices_that_are_not_transposed_are_refused() {
    let turn = |tensors: &mut Vec<RawTensor>| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.name == "transformer.h.1.mlp.c_fc.weight").unwrap();
        tensor.shape.reverse();
    };
    let error = Checkpoint::open(changed("gpt2-wide", |_| {}, turn).path()).unwrap_err();
    assert_eq!(error.code(), "shape-mismatch");
    assert!(error.to_string().contains("[96, 64]") && error.to_string().contains("[64, 96]"), "{error}");
}

/// Observes all linear modules of a layer at once, then stage by stage without computing the rest of the layer.
#[test]
fn every_linear_module_of_every_architecture_is_observed() {
    for &name in MODELS {
        let checkpoint = Checkpoint::open(tiny(name)).unwrap();
        let (tokens, _) = golden(&tiny(name));
        let (mut backend, lengths) = (cpu(), [9, 7]);
        let mut stream = Stream::new(&checkpoint, 16).unwrap();
        let sequences = [tokens[..9].to_vec(), tokens[9..16].to_vec()];
        let x = stream.embed(&checkpoint, &sequences, &mut backend).unwrap();
        let layer = stream.bind(&checkpoint, 0, &mut backend).unwrap();
        let plain = stream.run(&layer, 0, &x, &lengths, &mut backend).unwrap();
        let linear: Vec<_> = checkpoint.tree().layers[0].iter().filter(|m| m.is_linear()).collect();
        let weights: Vec<_> = linear.iter().map(|m| layer.weight(m.name)).collect();
        let mut observe = Observe::new(&mut backend, &weights, false);
        let all = stream.observe(&layer, 0, &x, &lengths, &mut observe).unwrap();
        assert_eq!(all.len(), linear.len(), "{name}");
        let find = |module: &str| -> &Matrix {
            let width = linear.iter().find(|m| m.name == module).unwrap().shape[1];
            let found = &all[linear.iter().position(|m| m.name == module).unwrap()];
            assert_eq!((found.rows, found.cols), (16, width), "{name} {module}");
            found
        };
        for stage in checkpoint.tree().stages(0) {
            let mut observe = Observe::new(&mut backend, &[layer.weight(stage[0].name)], true);
            let alone = stream.observe(&layer, 0, &x, &lengths, &mut observe).unwrap();
            // The modules of a stage share their input.
            for module in &stage {
                assert_eq!(&alone[0], find(module.name), "{name} {}", module.name);
            }
        }
        assert_eq!(stream.run(&layer, 0, &x, &lengths, &mut backend).unwrap(), plain, "{name}");
    }
}
