//! Models in parts: streamed layers, observed inputs, output layers, generated weights.

use honelm_backend::{CacheType, Observe};
use honelm_blocks::Encoding;
use honelm_model::{Checkpoint, LoadOptions, Model, OutputLayer, Parameters, Runner, Slot, Stream};
use honelm_tensor::Matrix;

use crate::common::{cpu, deviation, device, distance, golden, load, logits};
use crate::tiny::{MODELS, tiny};

#[test]
fn streamed_layers_equal_the_loaded_model() {
    for &name in MODELS {
        let checkpoint = Checkpoint::open(tiny(name)).unwrap();
        let (tokens, _) = golden(&tiny(name));
        let sequences = vec![tokens[..16].to_vec(), tokens[5..14].to_vec(), vec![3]];
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let mut backend = cpu();
        let mut model = load(&tiny(name));
        let mut stream = Stream::new(&checkpoint, model.context()).unwrap();
        let mut x = stream.embed(&checkpoint, &sequences, &mut backend).unwrap();
        for i in 0..checkpoint.facts().layers {
            let layer = stream.bind(&checkpoint, i, &mut backend).unwrap();
            x = stream.run(&layer, i, &x, &lengths, &mut backend).unwrap();
        }
        let streamed = if checkpoint.facts().encoder {
            let refused = OutputLayer::load(checkpoint.blueprint(), &checkpoint, &mut backend).unwrap_err();
            assert_eq!(refused.code(), "model-is-encoder");
            let last = OutputLayer::load_norm(checkpoint.blueprint(), &checkpoint, &mut backend).unwrap();
            last.finish(&x, &mut backend).unwrap()
        } else {
            let output = OutputLayer::load(checkpoint.blueprint(), &checkpoint, &mut backend).unwrap();
            let hidden = output.finish(&x, &mut backend).unwrap();
            output.logits(&hidden, &mut backend).unwrap()
        };
        let mut row = 0;
        for sequence in &sequences {
            let expected = logits(&mut model, sequence, 16);
            let part = streamed.data[row * streamed.cols..][..expected.data.len()].to_vec();
            let part = Matrix::new(expected.rows, expected.cols, part);
            assert!(distance(&part, &expected) <= 1e-5 * deviation(&expected), "{name} from row {row}");
            row += sequence.len();
        }
        assert_eq!(row, streamed.rows);
    }
}

/// Computes x W^T + bias in f64.
fn linear(x: &Matrix, checkpoint: &Checkpoint, slot: Slot) -> Matrix {
    let parameter = checkpoint.parameter(slot).unwrap();
    let w = parameter.weight.dequantize();
    let mut y = Matrix::zeros(x.rows, w.rows);
    for r in 0..x.rows {
        for (o, weights) in w.iter_rows().enumerate() {
            let dot: f64 = x.row(r).iter().zip(weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            y.row_mut(r)[o] = dot as f32 + parameter.bias.as_ref().map_or(0.0, |bias| bias[o]);
        }
    }
    y
}

#[test]
fn observed_inputs_are_those_of_the_linear_modules() {
    let checkpoint = Checkpoint::open(tiny("llama-biases-tied")).unwrap();
    let (tokens, _) = golden(&tiny("llama-biases-tied"));
    let mut backend = cpu();
    let mut stream = Stream::new(&checkpoint, 24).unwrap();
    let sequences = vec![tokens[..10].to_vec(), tokens[10..].to_vec()];
    let lengths = [10, tokens.len() - 10];
    let x = stream.embed(&checkpoint, &sequences, &mut backend).unwrap();
    let layer = stream.bind(&checkpoint, 0, &mut backend).unwrap();
    let y = stream.run(&layer, 0, &x, &lengths, &mut backend).unwrap();
    let watched = [layer.weight("o"), layer.weight("down")];
    let mut observe = Observe::new(&mut backend, &watched, true);
    let inputs = stream.observe(&layer, 0, &x, &lengths, &mut observe).unwrap();
    // The layer's output is the sum of its input and the outputs of these two modules.
    let slot = |module| Slot { layer: Some(0), module };
    let (o, down) = (linear(&inputs[0], &checkpoint, slot("o")), linear(&inputs[1], &checkpoint, slot("down")));
    let sum = x.data.iter().zip(&o.data).zip(&down.data).map(|((x, o), d)| x + o + d).collect();
    let sum = Matrix::new(y.rows, y.cols, sum);
    assert!(distance(&sum, &y) <= 1e-5 * deviation(&y));
    assert_eq!(inputs.len(), 2);
}

#[test]
fn parts_refuse_wrong_shapes() {
    let checkpoint = Checkpoint::open(tiny("llama-grouped")).unwrap();
    let mut backend = cpu();
    assert_eq!(Stream::new(&checkpoint, 129).unwrap_err().code(), "context-too-long");
    let mut stream = Stream::new(&checkpoint, 4).unwrap();
    assert_eq!(stream.embed(&checkpoint, &[vec![96]], &mut backend).unwrap_err().code(), "unknown-token");
    assert_eq!(stream.bind(&checkpoint, 3, &mut backend).unwrap_err().code(), "unknown-slot");
    let layer = stream.bind(&checkpoint, 0, &mut backend).unwrap();
    let mut run = |rows: usize, cols: usize, lengths: &[usize]| {
        stream.run(&layer, 0, &Matrix::zeros(rows, cols), lengths, &mut backend).map_err(|error| error.code())
    };
    assert_eq!(run(3, 63, &[3]), Err("width-mismatch"));
    assert_eq!(run(3, 64, &[2]), Err("row-mismatch"));
    assert_eq!(run(5, 64, &[5]), Err("context-full"));
    assert_eq!(run(0, 64, &[]).unwrap().rows, 0);
}

#[test]
fn a_context_beyond_the_models_own_is_refused() {
    let checkpoint = Checkpoint::open(tiny("llama-grouped")).unwrap();
    let options = LoadOptions { context: Some(129), ..LoadOptions::default() };
    let Err(error) = Model::load(checkpoint.blueprint(), &checkpoint, device(), &options) else {
        panic!("129 tokens of 128");
    };
    assert_eq!(error.code(), "context-too-long");
    assert!(error.to_string().contains("129") && error.to_string().contains("128"), "{error}");
}

#[test]
fn a_cache_of_codes_needs_whole_blocks_in_a_head() {
    let checkpoint = Checkpoint::open(tiny("llama-grouped")).unwrap();
    for cache_type in [CacheType::Q8_0, CacheType::Q4_0, CacheType::Q4_0Plain] {
        let options = LoadOptions { cache_type, ..LoadOptions::default() };
        let Err(error) = Model::load(checkpoint.blueprint(), &checkpoint, device(), &options) else {
            panic!("heads of 16 values");
        };
        assert_eq!(error.code(), "unsupported-cache-type");
        assert!(error.to_string().contains(cache_type.name()), "{error}");
    }
}

#[test]
fn generated_weights_have_their_published_sizes() {
    let checkpoint = Checkpoint::synthetic("llama-3.2-1b", Encoding::Q4_0, 1).unwrap();
    let name = |slot| checkpoint.parameter(slot).unwrap().weight.encoding_name();
    assert_eq!(name(Slot { layer: Some(15), module: "down" }), "Q4_0");
    assert_eq!(name(Slot { layer: Some(0), module: "attn_norm" }), "F32");
    assert_eq!(checkpoint.parameter(Slot { layer: None, module: "output" }).unwrap_err().code(), "unknown-slot");
}
