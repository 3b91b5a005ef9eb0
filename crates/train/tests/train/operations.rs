//! The gradient of every operation against finite differences of its definition in f64.

use honelm_backend::{
    Activation, Attention, Backend, BackendError, Batch, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Parent,
    Rope, Sequences, Tensor, Token, Want, Weight,
};
use honelm_blocks::{BlockMatrix, Encoding};
use honelm_cpu::{Compute, CpuBackend, CpuOptions, Pool};
use honelm_tensor::Matrix;
use honelm_testing::Naive;

use honelm_train::Tape;

/// The distance of neighbouring points of a finite difference.
const STEP: f32 = 1.0 / 64.0;
/// The largest relative error, times the largest gradient of the operand.
const TOLERANCE: f64 = 2e-4;
/// The lengths of the sequences of a step.
const LENGTHS: [usize; 2] = [4, 3];
const ROWS: usize = 7;

/// An uploaded operand.
#[derive(Clone)]
enum Operand {
    Matrix(Matrix, Option<Vec<f32>>),
    Norm(Vec<f32>, Option<Vec<f32>>),
    /// Frequencies, which have no gradient.
    Fixed(Vec<f32>),
}

type Program = dyn Fn(&mut Tape<'_>, &[Tensor], &[Weight], &Cache) -> Tensor;

/// The operands of a program and its attention.
struct Case<'a> {
    name: &'a str,
    tensors: Vec<Matrix>,
    weights: Vec<Operand>,
    kind: CacheKind,
    program: &'a Program,
}

impl Case<'_> {
    /// Records the program, and calls `f` with the tape and the handles.
    fn run<T>(&self, f: impl FnOnce(&mut Tape<'_>, &Tensor, &[Tensor], &[Weight]) -> T) -> T {
        let (mut naive, pool) = (Naive::new(), Pool::new(Some(1)));
        let mut tape = Tape::new(&mut naive, &pool);
        let weights: Vec<Weight> = self.weights.iter().map(|operand| upload(operand, &mut tape)).collect();
        let layer = LayerCache { kv_heads: 2, head_width: 4, group: 0 };
        let spec = CacheSpec { groups: vec![self.kind], layers: vec![layer], page_len: 16, element: CacheType::F32 };
        let mut sequences = Sequences::new(&spec.groups, spec.page_len, 64, 0);
        let cache = tape.create_cache(spec).unwrap();
        let mut batch = Batch::default();
        for len in LENGTHS {
            let tokens: Vec<u32> = (0..len as u32).map(|i| i * i % 5).collect();
            batch.extend(sequences.open(), &tokens, Want::NOTHING);
        }
        tape.begin(sequences.step(&batch).unwrap(), &cache).unwrap();
        let tensors: Vec<Tensor> = self.tensors.iter().map(|x| tape.input(x)).collect();
        let y = (self.program)(&mut tape, &tensors, &weights, &cache);
        tape.keep(&y);
        tape.finish().unwrap();
        f(&mut tape, &y, &tensors, &weights)
    }

    /// Returns the loss: the sum of the results times fixed factors.
    fn loss(&self) -> f64 {
        self.run(|tape, y, _, _| {
            let y = tape.value(y).unwrap();
            y.data.iter().zip(&factors(y).data).map(|(y, c)| f64::from(*y) * f64::from(*c)).sum()
        })
    }

    /// Compares every gradient with finite differences. Returns the worst relative error.
    fn check(mut self) -> f64 {
        let (tensors, weights) = self.run(|tape, y, tensors, weights| {
            let factors = factors(tape.value(y).unwrap());
            let mut gradients = tape.backward(y, factors, &|_| true);
            let tensors: Vec<Matrix> = tensors.iter().map(|x| gradients.take(x).unwrap()).collect();
            let weights: Vec<_> = weights.iter().map(|w| gradients.take_weight(w)).collect();
            (tensors, weights)
        });
        let mut worst = 0.0f64;
        for (i, gradient) in tensors.iter().enumerate() {
            worst = worst.max(self.compare(&gradient.data, &|case| &mut case.tensors[i].data));
        }
        for (i, gradient) in weights.iter().enumerate() {
            let Some(gradient) = gradient else {
                assert!(matches!(self.weights[i], Operand::Fixed(_)), "{}: weight {i} has no gradient", self.name);
                continue;
            };
            worst = worst.max(self.compare(&gradient.weight.data, &|case| case.weights[i].values()));
            match &gradient.bias {
                Some(bias) => worst = worst.max(self.compare(bias, &|case| case.weights[i].bias().unwrap())),
                None => assert!(self.weights[i].bias().is_none(), "{}: bias {i} has no gradient", self.name),
            }
        }
        worst
    }

    fn compare(&mut self, gradient: &[f32], values: &dyn for<'c> Fn(&'c mut Self) -> &'c mut Vec<f32>) -> f64 {
        assert_eq!(values(self).len(), gradient.len(), "{}", self.name);
        let largest = gradient.iter().fold(0.0f64, |most, g| most.max(f64::from(g.abs())));
        assert!(largest > 1e-2, "{}: no gradient to compare", self.name);
        let mut worst = 0.0f64;
        for (i, found) in gradient.iter().enumerate() {
            let x = values(self)[i];
            let mut at = |steps: f32| {
                values(self)[i] = x + steps * STEP;
                self.loss()
            };
            // The central difference of fourth order.
            let exact = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * f64::from(STEP));
            values(self)[i] = x;
            let error = (f64::from(*found) - exact).abs() / largest;
            assert!(error <= TOLERANCE, "{}: gradient {i} is {found}, expected {exact} ({error:e})", self.name);
            worst = worst.max(error);
        }
        worst
    }
}

impl Operand {
    fn values(&mut self) -> &mut Vec<f32> {
        match self {
            Self::Matrix(matrix, _) => &mut matrix.data,
            Self::Norm(values, _) | Self::Fixed(values) => values,
        }
    }

    fn bias(&mut self) -> Option<&mut Vec<f32>> {
        match self {
            Self::Matrix(_, bias) | Self::Norm(_, bias) => bias.as_mut(),
            Self::Fixed(_) => None,
        }
    }
}

fn upload(operand: &Operand, b: &mut dyn Backend) -> Weight {
    match operand {
        Operand::Matrix(matrix, bias) => {
            let weight = BlockMatrix::quantize(matrix, Encoding::F32, None).unwrap();
            b.upload(weight.into(), bias.as_deref()).unwrap()
        }
        Operand::Norm(gain, bias) => b.upload_norm(gain, bias.as_deref()).unwrap(),
        Operand::Fixed(values) => b.upload_vector(values).unwrap(),
    }
}

/// Returns the factors of the results in the loss.
fn factors(y: &Matrix) -> Matrix {
    honelm_testing::matrix(y.rows, y.cols, 99)
}

/// Returns values that stay away from 0, where ReLU has no derivative.
fn values(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut x = honelm_testing::matrix(rows, cols, seed);
    x.data.iter_mut().for_each(|x| *x += 0.1f32.copysign(*x));
    x
}

fn case<'a>(name: &'a str, cols: &[usize], weights: Vec<Operand>, program: &'a Program) -> Case<'a> {
    let tensors = cols.iter().zip(1..).map(|(&cols, seed)| values(ROWS, cols, seed)).collect();
    Case { name, tensors, weights, kind: CacheKind::Full, program }
}

fn matrix(rows: usize, cols: usize, bias: bool) -> Operand {
    Operand::Matrix(values(rows, cols, 11), bias.then(|| values(1, rows, 12).data))
}

fn norm(len: usize, bias: bool) -> Operand {
    Operand::Norm(values(1, len, 13).data, bias.then(|| values(1, len, 14).data))
}

fn check(case: Case<'_>) {
    let name = case.name.to_owned();
    println!("{name:28} worst relative error {:.1e}", case.check());
}

#[test]
fn lookups_and_selections() {
    check(case("embed", &[], vec![matrix(5, 3, false)], &|b, _, w, _| b.embed(&w[0])));
    check(case("positions", &[], vec![matrix(8, 3, false)], &|b, _, w, _| b.positions(&w[0], 2)));
    check(case("select", &[3], vec![], &|b, x, _, _| b.select(&x[0], &[6, 0, 3, 0])));
    check(case("columns", &[6], vec![], &|b, x, _, _| b.columns(&x[0], 2, 3)));
}

#[test]
fn products_and_sums() {
    check(case("linear", &[5], vec![matrix(4, 5, false)], &|b, x, w, _| b.linear(&x[0], &w[0])));
    check(case("linear with bias", &[5], vec![matrix(4, 5, true)], &|b, x, w, _| b.linear(&x[0], &w[0])));
    check(case("add", &[4, 4], vec![], &|b, x, _, _| b.add(x[0].clone(), &x[1])));
    check(case("add to itself", &[4], vec![], &|b, x, _, _| b.add(x[0].clone(), &x[0])));
    check(case("scale", &[4], vec![], &|b, x, _, _| b.scale(x[0].clone(), -1.5)));
    // A matrix that two operations use.
    check(case("linear twice", &[4], vec![matrix(4, 4, true)], &|b, x, w, _| {
        let h = b.linear(&x[0], &w[0]);
        b.linear_add(&h, &w[0], x[0].clone())
    }));
}

#[test]
fn norms() {
    check(case("rms norm", &[6], vec![norm(6, false)], &|b, x, w, _| b.rms_norm(&x[0], &w[0], 1e-2)));
    check(case("rms norm of heads", &[8], vec![norm(4, false)], &|b, x, w, _| b.rms_norm(&x[0], &w[0], 1e-2)));
    check(case("layer norm", &[6], vec![norm(6, true)], &|b, x, w, _| b.layer_norm(&x[0], &w[0], 1e-2)));
    check(case("layer norm of heads", &[8], vec![norm(4, false)], &|b, x, w, _| b.layer_norm(&x[0], &w[0], 1e-2)));
}

#[test]
fn activations() {
    for f in [Activation::Relu, Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
        check(case(&format!("activate {f:?}"), &[4], vec![], &move |b, x, _, _| b.activate(x[0].clone(), f)));
        check(case(&format!("gate {f:?}"), &[4, 4], vec![], &move |b, x, _, _| b.gate(x[0].clone(), &x[1], f)));
    }
    check(case("softcap", &[4], vec![], &|b, x, _, _| b.softcap(x[0].clone(), 1.5)));
}

fn rope(w: &Weight, head_width: usize) -> Rope {
    Rope { inverse_frequencies: w.clone(), head_width, magnitude: 1.25 }
}

#[test]
fn rotations() {
    let frequencies = || Operand::Fixed(vec![1.0, 0.3]);
    check(case("rope", &[8], vec![frequencies()], &|b, x, w, _| b.rope(x[0].clone(), &rope(&w[0], 4))));
    check(case("rope of a part", &[12], vec![frequencies()], &|b, x, w, _| b.rope(x[0].clone(), &rope(&w[0], 6))));
}

#[test]
fn attentions() {
    for (name, kind, softcap) in [
        ("attention", CacheKind::Full, None),
        ("attention with a window", CacheKind::Window(2), None),
        ("attention of an encoder", CacheKind::Bidirectional, None),
        ("attention with capped scores", CacheKind::Full, Some(0.75)),
    ] {
        let how = Attention { heads: 4, scale: 0.4, softcap };
        let program = move |b: &mut Tape<'_>, x: &[Tensor], _: &[Weight], cache: &Cache| {
            b.attention(&x[0], &x[1], &x[2], cache, 0, &how)
        };
        check(Case { kind, ..case(name, &[16, 8, 8], vec![], &program) });
    }
}

#[test]
fn fused_operations() {
    let how = Attention { heads: 4, scale: 0.4, softcap: None };
    let weights = || vec![norm(5, false), matrix(4, 5, true), matrix(4, 5, false)];
    check(case("norm and linears", &[5], weights(), &|b, x, w, _| {
        let parts = b.norm_linears(&x[0], &w[0], 1e-2, &[&w[1], &w[2]]);
        b.add(parts[0].clone(), &parts[1])
    }));
    check(case("norm and gate", &[5], weights(), &|b, x, w, _| {
        b.norm_gated(&x[0], &w[0], 1e-2, &w[1], &w[2], Activation::Silu)
    }));
    let frequencies = vec![Operand::Fixed(vec![1.0, 0.3])];
    check(case("rope and attention", &[16, 8, 8], frequencies, &move |b, x, w, cache| {
        b.rope_attention(x[0].clone(), x[1].clone(), &x[2], &rope(&w[0], 4), cache, 0, &how)
    }));
}

#[test]
fn steps_that_continue_a_sequence_or_hold_a_draft_are_refused() {
    let (mut naive, pool) = (Naive::new(), Pool::new(Some(1)));
    let mut tape = Tape::new(&mut naive, &pool);
    let layer = LayerCache { kv_heads: 1, head_width: 4, group: 0 };
    let (groups, layers) = (vec![CacheKind::Full], vec![layer]);
    let spec = CacheSpec { groups, layers, page_len: 16, element: CacheType::F32 };
    let mut sequences = Sequences::new(&spec.groups, spec.page_len, 64, 0);
    let cache = tape.create_cache(spec).unwrap();
    let id = sequences.open();
    let mut batch = Batch::default();
    batch.extend(id, &[1, 2], Want::NOTHING);
    tape.begin(sequences.step(&batch).unwrap(), &cache).unwrap();
    tape.submit();
    let continued = sequences.step(&batch).unwrap();
    let refused = |step| matches!(step, Err(BackendError::UnsupportedOperation { .. }));
    assert!(refused(tape.begin(continued, &cache)));
    let other = sequences.open();
    let draft = Batch {
        tokens: vec![Token::Id(1), Token::Id(2), Token::Id(3)],
        sequence: vec![other; 3],
        parent: vec![Parent::Previous, Parent::Previous, Parent::Row(0)],
        want: vec![Want::NOTHING; 3],
    };
    assert!(refused(tape.begin(sequences.step(&draft).unwrap(), &cache)));
}

#[test]
fn large_products_are_those_of_the_definition_on_any_number_of_threads() {
    // Rows and columns of several tiles of the products, with a rest.
    let (rows, inputs, outputs) = (300, 600, 520);
    let [x, w, dy] = [(rows, inputs, 1), (outputs, inputs, 2), (rows, outputs, 3)]
        .map(|(rows, cols, seed)| honelm_testing::matrix(rows, cols, seed));
    let [one, three] = [1, 3].map(|threads| {
        let (mut backend, pool) = (
            CpuBackend::new(CpuOptions { threads: Some(1), compute: Compute::F32, isa: None }),
            Pool::new(Some(threads)),
        );
        let mut tape = Tape::new(&mut backend, &pool);
        let weight = upload(&Operand::Matrix(w.clone(), Some(vec![0.0; outputs])), &mut tape);
        let spec = CacheSpec { groups: vec![], layers: vec![], page_len: 16, element: CacheType::F32 };
        let cache = tape.create_cache(spec).unwrap();
        tape.begin(honelm_backend::Step::default(), &cache).unwrap();
        let input = tape.input(&x);
        let y = tape.linear(&input, &weight);
        tape.finish().unwrap();
        let mut gradients = tape.backward(&y, dy.clone(), &|_| true);
        (gradients.take(&input).unwrap(), gradients.take_weight(&weight).unwrap())
    });
    assert_eq!(one, three);
    let (dx, dw) = one;
    let sum = |n: usize, f: &dyn Fn(usize) -> f32| (0..n).map(|i| f64::from(f(i))).sum::<f64>();
    let close = |found: f32, exact: f64| assert!((f64::from(found) - exact).abs() < 1e-3, "{found}, {exact}");
    for (r, c) in [(0, 0), (255, 511), (256, 512), (299, 599)] {
        close(dx.row(r)[c], sum(outputs, &|i| dy.row(r)[i] * w.row(i)[c]));
    }
    for (r, c) in [(0, 0), (255, 511), (256, 512), (519, 599)] {
        close(dw.weight.row(r)[c], sum(rows, &|i| dy.row(i)[r] * x.row(i)[c]));
    }
    let bias = dw.bias.unwrap();
    close(bias[519], sum(rows, &|i| dy.row(i)[519]));
}
