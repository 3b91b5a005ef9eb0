use super::*;
use crate::{Batch, CacheKind, CacheType, LayerCache, Observe, Sequences, Want, block_on};

const D: usize = 8;
const F: usize = 24;
const V: usize = 50;

/// The weights of a decoder layer, and the operations on them in the order of an architecture.
struct Layer {
    gain: Weight,
    q: Weight,
    k: Weight,
    v: Weight,
    o: Weight,
    gate: Weight,
    up: Weight,
    down: Weight,
    rope: Rope,
}

impl Layer {
    fn new(b: &mut Recorder) -> Self {
        let mut w = |rows, cols| b.declare(rows, cols, rows * cols);
        Self {
            gain: w(1, D),
            q: w(D, D),
            k: w(4, D),
            v: w(4, D),
            o: w(D, D),
            gate: w(F, D),
            up: w(F, D),
            down: w(D, F),
            rope: Rope { inverse_frequencies: w(1, 2), head_width: 4, magnitude: 1.0 },
        }
    }

    fn run(&self, x: Tensor, b: &mut dyn Backend, cache: &Cache) -> Tensor {
        let qkv = b.norm_linears(&x, &self.gain, 1e-5, &[&self.q, &self.k, &self.v]);
        let [q, k, v] = <[Tensor; 3]>::try_from(qkv).expect("three results");
        let how = Attention { heads: 2, scale: 0.5, softcap: None };
        let a = b.rope_attention(q, k, &v, &self.rope, cache, 0, &how);
        let x = b.linear_add(&a, &self.o, x);
        let h = b.norm_gated(&x, &self.gain, 1e-5, &self.gate, &self.up, Activation::Silu);
        b.linear_add(&h, &self.down, x)
    }
}

fn cache_spec() -> CacheSpec {
    CacheSpec {
        groups: vec![CacheKind::Full],
        layers: vec![LayerCache { kv_heads: 1, head_width: 4, group: 0 }],
        page_len: 16,
        element: CacheType::F16,
    }
}

fn step(rows: u32) -> Step {
    let mut sequences = Sequences::new(&[CacheKind::Full], 16, 100, 0);
    let id = sequences.open();
    let mut batch = Batch::default();
    batch.extend(id, &(0..rows).collect::<Vec<_>>(), Want::LOGITS);
    sequences.step(&batch).expect("a valid batch")
}

struct Bench {
    b: Recorder,
    table: Weight,
    layer: Layer,
    cache: Cache,
}

fn bench(rows: u32) -> Bench {
    let mut b = Recorder::new(|_| 0);
    let table = b.declare(V, D, V * D);
    let layer = Layer::new(&mut b);
    let cache = b.create_cache(cache_spec()).expect("no device to refuse");
    b.begin(step(rows), &cache).expect("a valid step");
    Bench { b, table, layer, cache }
}

fn operations(b: &mut Recorder) -> Vec<(&'static str, u64)> {
    b.recorded().operations.clone().into_iter().collect()
}

#[test]
fn counts_bytes_and_operations_of_a_step() {
    let Bench { mut b, table, layer, cache } = bench(20);
    let x = b.embed(&table);
    let x = layer.run(x, &mut b, &cache);
    let logits = b.linear(&x, &table);
    b.output(7, &logits);
    drop((x, logits));
    let recorded = b.recorded().clone();
    let n = 20 * 4;
    // Two pages of 16 cells, with K and V of 4 halves each.
    assert_eq!(recorded.cache_bytes, 2 * 16 * 2 * 4 * 2);
    assert_eq!(recorded.weight_bytes, V * D + D + 2 * D * D + 2 * 4 * D + 3 * F * D + 2);
    assert_eq!(recorded.activation_bytes, n * V, "the pinned logits alone");
    // The peak is at v and the attention's result, which live to the end of the layer, x, its norm, gate and up.
    assert_eq!(recorded.activation_bytes_peak, n * (4 + D + D + D + 2 * F));
    let expected =
        [("add", 2), ("attention", 1), ("embed", 1), ("gate", 1), ("linear", 8), ("rms_norm", 2), ("rope", 2)];
    assert_eq!(operations(&mut b), expected);

    let ticket = b.submit();
    let outputs = block_on(b.read(ticket)).expect("first read");
    assert_eq!(outputs, vec![(7, Value::Floats(Matrix::zeros(20, V)))]);
    assert_eq!(block_on(b.read(ticket)).expect_err("second read").code(), "unknown-ticket");
    assert_eq!(b.recorded().activation_bytes, 0);
}

#[test]
fn counts_plain_operations_and_makes_them_void_once_observed() {
    let Bench { mut b, table, layer, cache } = bench(3);
    let norm = b.upload_norm(&[1.0; D], Some(&[0.0; D])).expect("no device to refuse");
    let wide = b.declare(3 * D, D, 0);
    b.reset();
    let run = |b: &mut dyn Backend| {
        let x = b.embed(&table);
        let p = b.positions(&table, 2);
        let x = b.add(x, &p);
        let h = b.layer_norm(&x, &norm, 1e-5);
        let h = b.linear(&h, &wide);
        let part = b.columns(&h, D, D);
        let part = b.activate(part, Activation::Relu);
        let part = b.scale(part, 0.5);
        b.linear(&part, &layer.up)
    };
    assert_eq!(run(&mut b).cols(), F);
    let first = [("activate", 1), ("add", 1), ("columns", 1), ("embed", 1), ("layer_norm", 1), ("linear", 2)];
    assert_eq!(operations(&mut b), [&first[..], &[("positions", 1), ("scale", 1)]].concat());
    // The peak is at x, the positions, the norm, the wide projection, a part of it, and the result.
    assert_eq!(b.recorded().activation_bytes_peak, 3 * 4 * (D + D + D + 3 * D + D + F));
    b.reset();
    let mut o = Observe::new(&mut b, &[&wide], true);
    o.begin(step(3), &cache).expect("a valid step");
    let y = run(&mut o);
    assert_eq!((y.rows(), y.cols(), keys(&mut o)), (3, F, vec![(Observe::KEY, D)]));
    assert_eq!(operations(&mut b), [("add", 1), ("embed", 1), ("layer_norm", 1), ("positions", 1)]);
}

#[test]
fn reset_measures_one_step_alone() {
    let Bench { mut b, table, layer, cache } = bench(20);
    let x = b.embed(&table);
    drop(layer.run(x, &mut b, &cache));
    b.reset();
    assert_eq!(b.recorded().activation_bytes_peak, 0);
    b.begin(step(1), &cache).expect("a valid step");
    let _x = b.embed(&table);
    assert_eq!(b.recorded().activation_bytes_peak, D * 4);
    assert_eq!(operations(&mut b), [("embed", 1)]);
}

#[test]
fn dropped_weights_are_given_back() {
    let mut b = Recorder::new(|_| 0);
    let w = b.declare(2, 3, 600);
    assert_eq!(b.recorded().weight_bytes, 600);
    drop(w);
    assert_eq!(b.recorded().weight_bytes, 0);
}

fn keys(b: &mut dyn Backend) -> Vec<(u32, usize)> {
    let ticket = b.submit();
    let outputs = block_on(b.read(ticket)).expect("outputs");
    let cols = |value: &Value| if let Value::Floats(m) = value { m.cols } else { 0 };
    outputs.iter().map(|(key, value)| (*key, cols(value))).collect()
}

#[test]
fn observes_every_input_and_still_runs_the_block() {
    let Bench { mut b, table, layer, cache } = bench(3);
    let x = b.embed(&table);
    let mut o = Observe::new(&mut b, &[&layer.q, &layer.o, &layer.down], false);
    let x = layer.run(x, &mut o, &cache);
    assert!(o.complete());
    o.output(1, &x);
    let k = Observe::KEY;
    assert_eq!(keys(&mut o), [(k, D), (k | 1, D), (k | 2, F), (1, D)]);
    assert_eq!(b.recorded().operations["linear"], 7);
}

#[test]
fn stops_after_the_norm_when_query_key_and_value_are_watched() {
    let Bench { mut b, table, layer, cache } = bench(3);
    let x = b.embed(&table);
    let mut o = Observe::new(&mut b, &[&layer.q, &layer.k, &layer.v], true);
    let x = layer.run(x, &mut o, &cache);
    assert_eq!((x.rows(), x.cols()), (3, D));
    o.output(1, &x);
    let logits = o.linear(&x, &table);
    assert_eq!((logits.rows(), logits.cols()), (3, V));
    o.sample(2, &logits, &[(0, Sampling::GREEDY); 3]);
    let k = Observe::KEY;
    assert_eq!(keys(&mut o), [(k, D), (k | 1, D), (k | 2, D)]);
    assert_eq!(operations(&mut b), [("embed", 1), ("rms_norm", 1)]);
}

#[test]
fn computes_a_watched_layer_that_a_later_watched_one_needs() {
    let Bench { mut b, table, layer, cache } = bench(3);
    let x = b.embed(&table);
    let mut o = Observe::new(&mut b, &[&layer.v, &layer.o], true);
    let x = layer.run(x, &mut o, &cache);
    drop(x);
    assert_eq!(keys(&mut o), [(Observe::KEY, D), (Observe::KEY | 1, D)]);
    let expected = [("attention", 1), ("embed", 1), ("linear", 3), ("rms_norm", 1), ("rope", 2)];
    assert_eq!(operations(&mut b), expected, "v is computed once, o never");
}

#[test]
fn watched_gate_and_up_cost_attention_and_no_more() {
    let Bench { mut b, table, layer, cache } = bench(3);
    let x = b.embed(&table);
    let mut o = Observe::new(&mut b, &[&layer.gate, &layer.up], true);
    drop(layer.run(x, &mut o, &cache));
    assert_eq!(keys(&mut o), [(Observe::KEY, D), (Observe::KEY | 1, D)]);
    let expected = [("add", 1), ("attention", 1), ("embed", 1), ("linear", 4), ("rms_norm", 2), ("rope", 2)];
    assert_eq!(operations(&mut b), expected);
}

#[test]
fn a_new_step_observes_anew() {
    let Bench { mut b, table, layer, cache } = bench(3);
    let mut o = Observe::new(&mut b, &[&layer.q], true);
    for rows in [3, 5] {
        o.begin(step(rows), &cache).expect("a valid step");
        assert!(!o.complete());
        let x = o.embed(&table);
        let x = layer.run(x, &mut o, &cache);
        assert!(o.complete());
        assert_eq!(x.rows(), rows as usize);
        // Once the observation is complete, nothing runs, not even another embedding.
        assert_eq!(o.embed(&table).rows(), rows as usize);
        assert_eq!(keys(&mut o), [(Observe::KEY, D)]);
    }
    assert_eq!(operations(&mut b), [("embed", 2), ("rms_norm", 2)]);
}

#[test]
fn results_given_away_are_changed_in_place() {
    let Bench { mut b, table, layer, .. } = bench(3);
    let x = b.embed(&table);
    let mut o = Observe::new(&mut b, &[&layer.q, &layer.o], true);
    let q = o.linear(&x, &layer.q);
    let q = o.softcap(q, 3.0);
    let _ = o.linear(&q, &layer.o);
    drop((x, q));
    drop(o);
    assert_eq!(b.recorded().activation_bytes_peak, 3 * D * 4 * 2, "x and q, no copy");
}

#[test]
fn what_leads_to_a_known_input_is_not_computed_again() {
    let Bench { mut b, table, layer, cache } = bench(3);
    let (attended, gated) = (Matrix::zeros(3, D), Matrix::zeros(3, F));
    let x = b.embed(&table);
    b.reset();
    let mut o = Observe::new(&mut b, &[&layer.gate], true).knowing(&[&layer.o], &attended);
    drop(layer.run(x.clone(), &mut o, &cache));
    assert_eq!(keys(&mut o), [(Observe::KEY, D)]);
    drop(o);
    assert_eq!(operations(&mut b), [("add", 1), ("input", 1), ("linear", 1), ("rms_norm", 1)]);
    b.reset();
    let mut o = Observe::new(&mut b, &[], false).knowing(&[&layer.o], &attended).knowing(&[&layer.down], &gated);
    let y = layer.run(x, &mut o, &cache);
    o.output(1, &y);
    assert_eq!(keys(&mut o), [(1, D)]);
    assert_eq!(operations(&mut b), [("add", 2), ("input", 2), ("linear", 2)]);
}
