use honelm_backend::{Backend, BackendError, CacheType, Edit, Sampling, Step, Ticket, Token, Value, block_on, choose};
use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_tensor::Matrix;

use crate::common::{Rows, backend, begin_rows, cache_spec, random, step, test_weights, values};
use honelm_cpu::int8::Int8Kind;
use honelm_cpu::{Compute, CpuBackend, Isa, weight_bytes};

fn new() -> CpuBackend {
    backend(Isa::detect(), 2, Compute::Fast)
}

fn with_tokens(tokens: Vec<Token>) -> Step {
    let mut step = step(&[Rows::chain(0, 0, tokens.len(), 100)], 1, 1);
    step.tokens = tokens;
    step
}

#[test]
fn describes_itself() {
    let b = backend(Isa::Generic, 1, Compute::F32);
    assert_eq!(b.describe(), "cpu (generic, 1 thread, f32)");
    assert!(new().describe().ends_with(", 2 threads, fast)"));
}

#[test]
fn keeps_the_rows_of_every_encoding_in_the_planned_bytes() {
    for (rows, cols) in [(1, 256), (16, 256), (33, 512)] {
        for w in test_weights(&random(rows, cols, 1)) {
            for compute in [Compute::F32, Compute::Fast] {
                let mut b = backend(Isa::detect(), 2, compute);
                let cache = b.create_cache(cache_spec(1, 16, 256, CacheType::F32)).unwrap();
                let table = b.upload(w.clone(), None).unwrap();
                let order = matches!(&w, WeightData::Groups(m) if m.order.is_some());
                let planned = weight_bytes(Int8Kind::of(&w), rows, cols, compute) + if order { 4 * cols } else { 0 };
                let name = format!("{} {compute:?} [{rows}, {cols}]", w.encoding_name());
                assert_eq!(b.allocated_bytes().weights, planned, "{name}");
                let tokens: Vec<u32> = (0..rows as u32).rev().collect();
                b.begin(with_tokens(tokens.iter().copied().map(Token::Id).collect()), &cache).unwrap();
                let x = b.embed(&table);
                let all = w.dequantize();
                let expected: Vec<f32> = tokens.iter().flat_map(|&t| all.row(t as usize).to_vec()).collect();
                assert_eq!(values(&mut b, &x).data, expected, "{name}");
            }
        }
    }
}

#[test]
fn an_unknown_token_is_an_error_and_later_refused_before_anything_changes() {
    let mut b = new();
    let cache = b.create_cache(cache_spec(1, 16, 256, CacheType::F32)).unwrap();
    let weight: WeightData = BlockMatrix::quantize(&random(10, 16, 2), Encoding::F32, None).unwrap().into();
    let table = b.upload(weight, None).unwrap();
    b.begin(with_tokens(vec![Token::Id(10)]), &cache).unwrap();
    let x = b.embed(&table);
    b.output(0, &x);
    let ticket = b.submit();
    let unknown = |e| matches!(e, BackendError::UnknownToken { token: 10, vocabulary: 10 });
    assert!(unknown(block_on(b.read(ticket)).unwrap_err()));
    assert!(unknown(b.begin(with_tokens(vec![Token::Id(10)]), &cache).unwrap_err()));
}

#[test]
fn each_ticket_is_read_once() {
    let mut b = new();
    let x = b.input(&Matrix::new(1, 2, vec![1.0, 2.0]));
    b.output(7, &x);
    let first = b.submit();
    let second = b.submit();
    assert_ne!(first, second);
    assert_eq!(block_on(b.read(second)).unwrap(), vec![]);
    assert_eq!(block_on(b.read(first)).unwrap(), vec![(7, Value::Floats(Matrix::new(1, 2, vec![1.0, 2.0])))]);
    assert!(matches!(block_on(b.read(first)), Err(BackendError::UnknownTicket(t)) if t == first.0));
    assert!(block_on(b.read(Ticket(99))).is_err());
}

#[test]
fn sampled_tokens_feed_later_steps() {
    let mut b = new();
    let cache = b.create_cache(cache_spec(1, 16, 256, CacheType::F32)).unwrap();
    let sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 1, stream: 2 };
    let logits = random(2, 20, 3);
    b.begin(with_tokens(vec![Token::Id(0), Token::Id(1), Token::Id(2)]), &cache).unwrap();
    let x = b.input(&logits);
    b.sample(5, &x, &[(0, sampling), (2, sampling)]);
    let ticket = b.submit();
    let expected = vec![choose(logits.row(0), &sampling, 0), choose(logits.row(1), &sampling, 2)];
    assert_eq!(block_on(b.read(ticket)).unwrap(), vec![(5, Value::Tokens(expected.clone()))]);
    let table = random(20, 16, 4);
    let weight = b.upload(BlockMatrix::quantize(&table, Encoding::F32, None).unwrap().into(), None).unwrap();
    b.begin(with_tokens(vec![Token::Sampled(ticket, 2)]), &cache).unwrap();
    let x = b.embed(&weight);
    assert_eq!(values(&mut b, &x).data, table.row(expected[1] as usize));
    let unknown = b.begin(with_tokens(vec![Token::Sampled(ticket, 1)]), &cache).unwrap_err();
    assert!(matches!(unknown, BackendError::UnknownTicket(_)));
}

#[test]
fn refuses_steps_that_do_not_fit_the_cache() {
    let mut b = new();
    let cache = b.create_cache(cache_spec(1, 16, 16, CacheType::F32)).unwrap();
    let good = || step(&[Rows::chain(0, 0, 4, 100)], 2, 1);
    assert!(b.begin(good(), &cache).is_ok());
    assert!(b.begin(Step::default(), &cache).is_ok());
    let changes: [fn(&mut Step); 12] = [
        |s| s.positions.truncate(3),
        |s| s.segments[0].rows = 0..3,
        |s| s.segments[0].rows = 1..4,
        |s| s.groups.clear(),
        |s| s.groups[0].tables[0] = 0..9,
        |s| s.groups[0].seen[2].end = 40,
        |s| s.groups[0].seen[2].first = 9,
        |s| s.groups[0].seen[1].extra = 0..1,
        |s| s.groups[0].page_count = 0,
        |s| s.cells[0] = 99,
        |s| s.edits.push(Edit::CopyPage { group: 0, from: 0, to: 2, cells: 1 }),
        |s| s.edits.push(Edit::CopyCell { group: 0, from: (0, 16), to: (1, 0) }),
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut bad = good();
        change(&mut bad);
        let refused = b.begin(bad, &cache);
        assert!(matches!(refused, Err(BackendError::InvalidBatch { .. })), "change {i}: {refused:?}");
    }
}

#[test]
fn refuses_a_cache_of_codes_with_heads_that_are_not_blocks() {
    for element in [CacheType::Q8_0, CacheType::Q4_0] {
        let refused = new().create_cache(cache_spec(1, 48, 16, element));
        assert!(matches!(refused, Err(BackendError::UnsupportedEncoding { .. })));
    }
}

#[test]
fn memory_is_counted_and_reused() {
    let mut b = new();
    let empty = b.allocated_bytes();
    let weight: WeightData = BlockMatrix::quantize(&random(32, 64, 5), Encoding::F16, None).unwrap().into();
    let w = b.upload(weight, None).unwrap();
    assert_eq!(b.allocated_bytes().weights, 32 * 64 * 2);
    let cache = begin_rows(&mut b, &[0; 20]);
    assert_eq!(b.allocated_bytes().cache, 2 * 2 * 16 * 16 * 4);
    let mut after = 0;
    for round in 0..5 {
        let x = b.input(&random(20, 64, 6));
        let y = b.linear(&x, &w);
        let _ = b.linear(&x, &w);
        drop((x, y));
        let now = b.allocated_bytes().activations;
        assert!(now > 0 && (round == 0 || now == after), "{now} bytes after round {round}, {after} before");
        after = now;
    }
    drop((w, cache));
    for _ in 0..4 {
        b.submit();
    }
    assert_eq!(b.allocated_bytes().activations, 0, "memory that no step uses is freed");
    assert_eq!((b.allocated_bytes().weights, b.allocated_bytes().cache), (0, 0));
    assert_eq!(b.allocated_bytes().scratch, empty.scratch);
}

#[test]
fn values_changed_in_place_are_packed_again() {
    for encoding in [Encoding::F32, Encoding::Q8_0] {
        for n in [1, 5] {
            let weight: WeightData = BlockMatrix::quantize(&random(8, 64, 7), encoding, None).unwrap().into();
            let mut b = new();
            let w = b.upload(weight, None).unwrap();
            let x = b.input(&random(n, 64, 8));
            let _ = b.linear(&x, &w);
            let y = b.input(&random(n, 64, 9));
            let x = b.add(x, &y);
            let found = b.linear(&x, &w);
            let x = values(&mut b, &x);
            let fresh = b.input(&x);
            let expected = b.linear(&fresh, &w);
            assert_eq!(values(&mut b, &found), values(&mut b, &expected), "{encoding} {n}");
            // A residual with packed and rounded forms is written in place too.
            let wide: WeightData = BlockMatrix::quantize(&random(64, 64, 10), encoding, None).unwrap().into();
            let wide = b.upload(wide, None).unwrap();
            let sum = b.linear_add(&y, &wide, fresh);
            let found = b.linear(&sum, &w);
            let sum = values(&mut b, &sum);
            let fresh = b.input(&sum);
            let expected = b.linear(&fresh, &w);
            assert_eq!(values(&mut b, &found), values(&mut b, &expected), "{encoding} {n}");
        }
    }
}
