use honelm_backend::{
    Activation, Attention, Backend, BackendError, Batch, CacheKind, CacheSpec, CacheType, LayerCache, Sequences, Want,
    block_on,
};
use honelm_blocks::{BlockMatrix, Encoding};
use honelm_gpu::{Gpu, GpuBackend, GpuError};
use honelm_tensor::Matrix;
use honelm_testing::matrix;

use crate::{adapters, on_every_adapter};

fn spec(element: CacheType) -> CacheSpec {
    CacheSpec {
        groups: vec![CacheKind::Full],
        layers: vec![LayerCache { kv_heads: 2, head_width: 64, group: 0 }; 3],
        page_len: 16,
        element,
    }
}

#[test]
fn an_adapter_that_does_not_exist_is_refused() {
    let count = adapters().len();
    let refused = block_on(Gpu::open(Some(count))).map(|_| ()).unwrap_err();
    let code = if count == 0 { "no-adapter" } else { "no-such-adapter" };
    assert_eq!(refused.code(), code);
    assert!(matches!(refused, GpuError::NoAdapter | GpuError::NoSuchAdapter { .. }));
}

#[test]
fn the_cache_takes_exactly_the_bytes_of_its_pages() {
    on_every_adapter("the_cache_takes_exactly_the_bytes_of_its_pages", |gpu| {
        for element in CacheType::ALL {
            let mut b = GpuBackend::new(gpu).unwrap();
            let cache = b.create_cache(spec(element)).unwrap();
            let mut sequences = Sequences::new(&cache.spec().groups, 16, 1000, 0);
            let id = sequences.open();
            for (rows, pages) in [(3, 1), (14, 2), (40, 4)] {
                let mut batch = Batch::default();
                batch.extend(id, &vec![0; rows], Want::NOTHING);
                b.begin(sequences.step(&batch).unwrap(), &cache).unwrap();
                let ticket = b.submit();
                assert_eq!(block_on(b.read(ticket)).unwrap(), vec![]);
                assert_eq!(b.device_bytes().cache, pages * cache.spec().page_bytes(0) as u64, "{element:?}");
            }
            drop(cache);
            let ticket = b.submit();
            block_on(b.read(ticket)).unwrap();
            assert_eq!(b.device_bytes().cache, 0);
        }
    });
}

#[test]
fn freed_memory_is_reused() {
    on_every_adapter("freed_memory_is_reused", |gpu| {
        let mut b = GpuBackend::new(gpu).unwrap();
        let cache = b.create_cache(spec(CacheType::F16)).unwrap();
        let mut held = Vec::new();
        for round in 0..6 {
            let m = matrix(512, 512, round);
            let w = b.upload(BlockMatrix::quantize(&m, Encoding::F32, None).unwrap().into(), None).unwrap();
            b.begin(Default::default(), &cache).unwrap();
            let mut x = b.input(&matrix(9, 512, round + 10));
            for _ in 0..5 {
                x = b.linear(&x, &w);
                x = b.scale(x, 0.05);
            }
            b.output(0, &x);
            drop((x, w));
            let ticket = b.submit();
            block_on(b.read(ticket)).unwrap();
            held.push(b.device_bytes());
        }
        assert_eq!(held[1..].iter().min_by_key(|b| b.weights), held[1..].iter().max_by_key(|b| b.weights), "{held:?}");
        assert_eq!(held[1].activations, held[5].activations, "{held:?}");
    });
}

#[test]
fn tensors_outlive_the_arena_that_they_were_created_in() {
    on_every_adapter("tensors_outlive_the_arena_that_they_were_created_in", |gpu| {
        let mut b = GpuBackend::new(gpu).unwrap();
        let cache = b.create_cache(spec(CacheType::F32)).unwrap();
        let x = matrix(3, 50, 1);
        b.begin(Default::default(), &cache).unwrap();
        let kept = b.input(&x);
        let ticket = b.submit();
        block_on(b.read(ticket)).unwrap();
        b.begin(Default::default(), &cache).unwrap();
        let large = b.input(&matrix(200, 700, 2));
        let sum = b.add(large.clone(), &large);
        b.output(0, &sum);
        b.output(1, &kept);
        let ticket = b.submit();
        let found = block_on(b.read(ticket)).unwrap();
        assert_eq!(found[1], (1, honelm_backend::Value::Floats(x)));
    });
}

#[test]
fn an_allocation_that_does_not_fit_fails_and_the_device_remains_usable() {
    on_every_adapter("an_allocation_that_does_not_fit_fails_and_the_device_remains_usable", |gpu| {
        let mut b = GpuBackend::new(gpu).unwrap();
        let layer = LayerCache { kv_heads: 1 << 14, head_width: 1 << 14, group: 0 };
        let huge = CacheSpec { layers: vec![layer; 2], ..spec(CacheType::F32) };
        let cache = b.create_cache(huge).unwrap();
        let mut sequences = Sequences::new(&cache.spec().groups, 16, 1000, 0);
        let mut batch = Batch::default();
        batch.extend(sequences.open(), &[1, 2], Want::NOTHING);
        let refused = b.begin(sequences.step(&batch).unwrap(), &cache).unwrap_err();
        assert!(matches!(refused, BackendError::OutOfMemory { .. }), "{refused}");
        // Activations that exceed a binding: the step fails, and the next step succeeds.
        let cache = b.create_cache(spec(CacheType::F32)).unwrap();
        b.begin(Default::default(), &cache).unwrap();
        let x = b.input(&Matrix::new(1, 4, vec![1.0; 4]));
        let rows = vec![0; (gpu.report().max_binding / 16) as usize + 1];
        let y = b.select(&x, &rows);
        b.output(0, &y);
        drop(y);
        let ticket = b.submit();
        let failed = block_on(b.read(ticket)).unwrap_err();
        assert!(matches!(failed, BackendError::OutOfMemory { .. }), "{failed}");
        b.begin(Default::default(), &cache).unwrap();
        let x = b.input(&Matrix::new(1, 4, vec![2.0; 4]));
        b.output(0, &x);
        let ticket = b.submit();
        assert_eq!(block_on(b.read(ticket)).unwrap().len(), 1);
    });
}

#[test]
fn a_lost_device_is_reported_when_a_step_is_read() {
    on_every_adapter("a_lost_device_is_reported_when_a_step_is_read", |gpu| {
        let mut b = GpuBackend::new(gpu).unwrap();
        let cache = b.create_cache(spec(CacheType::F32)).unwrap();
        b.begin(Default::default(), &cache).unwrap();
        let x = b.input(&matrix(2, 8, 1));
        b.output(0, &x);
        gpu.destroy();
        let ticket = b.submit();
        let error = block_on(b.read(ticket)).unwrap_err();
        assert_eq!(error.code(), "device-lost", "{error}");
    });
}

/// Weights larger than a kernel's view of a buffer are split by rows.
#[test]
fn a_split_weight_gives_the_same_results() {
    on_every_adapter("a_split_weight_gives_the_same_results", |gpu| {
        let rows = 1000;
        let data = |seed| BlockMatrix::quantize(&matrix(rows, 64, seed), Encoding::F32, None).unwrap().into();
        let (bias, gain) = (matrix(1, rows, 3).data, matrix(1, 64, 4).data);
        let run = |gpu: &Gpu| {
            let mut b = GpuBackend::new(gpu).unwrap();
            let cache = b.create_cache(spec(CacheType::F32)).unwrap();
            let (w, up) = (b.upload(data(1), Some(&bias)).unwrap(), b.upload(data(2), None).unwrap());
            let gain = b.upload_vector(&gain).unwrap();
            let mut sequences = Sequences::new(&cache.spec().groups, 16, 1000, 0);
            let mut batch = Batch::default();
            batch.extend(sequences.open(), &[0, 64, 383, 384, 999], Want::NOTHING);
            b.begin(sequences.step(&batch).unwrap(), &cache).unwrap();
            let x = b.embed(&w);
            b.output(0, &x);
            for n in [1, 5] {
                let x = b.input(&matrix(n, 64, 5));
                let residual = b.input(&matrix(n, rows, 6));
                let sum = b.linear_add(&x, &w, residual);
                b.output(1, &sum);
                let gated = b.norm_gated(&x, &gain, 1e-5, &w, &up, Activation::Silu);
                b.output(2, &gated);
            }
            let ticket = b.submit();
            (block_on(b.read(ticket)).unwrap(), b.dispatches())
        };
        // Room for 384 rows and the activations.
        let (cut, more) = run(&gpu.clone().with_max_binding(384 * 64 * 4));
        let (whole, dispatches) = run(gpu);
        assert_eq!(cut, whole);
        assert!(more > dispatches, "{more} dispatches with pieces, {dispatches} without");
    });
}

#[test]
fn kernels_are_timed_where_the_device_has_a_clock() {
    on_every_adapter("kernels_are_timed_where_the_device_has_a_clock", |gpu| {
        let mut b = GpuBackend::new(gpu).unwrap();
        let cache = b.create_cache(spec(CacheType::F32)).unwrap();
        b.time_kernels();
        for read in [false, true] {
            b.begin(Default::default(), &cache).unwrap();
            let x = b.input(&matrix(20, 300, 1));
            let y = b.scale(x.clone(), 2.0);
            let y = b.scale(y, 2.0);
            if read {
                b.output(0, &y);
            }
            let ticket = b.submit();
            assert_eq!(block_on(b.read(ticket)).unwrap().len(), usize::from(read));
        }
        let calls: Vec<_> = b.kernel_times().into_iter().map(|(name, time)| (name, time.calls)).collect();
        let expected = if gpu.report().timestamps { vec![("copy", 2), ("map", 4)] } else { vec![] };
        assert_eq!(calls, expected);
        assert!(b.kernel_times().values().all(|time| time.seconds < 10.0), "{:?}", b.kernel_times());
    });
}

/// A fork whose first step fails for lack of memory still has its own copy of the shared page.
#[test]
fn edits_of_a_failed_step_are_made() {
    on_every_adapter("edits_of_a_failed_step_are_made", |gpu| {
        let run = |fails: bool| {
            let mut b = GpuBackend::new(&gpu.clone().with_max_binding(1 << 20)).unwrap();
            let cache = b.create_cache(spec(CacheType::F32)).unwrap();
            let mut sequences = Sequences::new(&cache.spec().groups, 16, 1000, 0);
            let begin = |b: &mut GpuBackend, sequences: &mut Sequences, id, rows: usize| {
                let mut batch = Batch::default();
                batch.extend(id, &vec![0; rows], Want::NOTHING);
                b.begin(sequences.step(&batch).unwrap(), &cache).unwrap();
            };
            let attend = |b: &mut GpuBackend, rows, seed| {
                let [q, k, v] = [0, 1, 2].map(|i: u64| b.input(&matrix(rows, 128, seed + i)));
                let out = b.attention(&q, &k, &v, &cache, 0, &Attention { heads: 2, scale: 0.1, softcap: None });
                b.output(0, &out);
                let ticket = b.submit();
                block_on(b.read(ticket))
            };
            let first = sequences.open();
            begin(&mut b, &mut sequences, first, 5);
            attend(&mut b, 5, 10).unwrap();
            let fork = sequences.fork(first).unwrap();
            begin(&mut b, &mut sequences, fork, 1);
            if fails {
                let x = b.input(&matrix(1, 1000, 1));
                drop(b.select(&x, &[0; 300]));
            }
            assert_eq!(attend(&mut b, 1, 20).is_err(), fails);
            sequences.truncate(fork, 5).unwrap();
            begin(&mut b, &mut sequences, fork, 1);
            attend(&mut b, 1, 30).unwrap()
        };
        assert_eq!(run(true), run(false));
    });
}
