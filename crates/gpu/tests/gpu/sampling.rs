use honelm_backend::{
    Backend, Batch, CacheKind, CacheSpec, CacheType, LayerCache, Sampling, Sequences, Value, Want, block_on, choose,
    uniform,
};
use honelm_gpu::GpuBackend;
use honelm_tensor::Matrix;
use honelm_testing::matrix;

use crate::on_every_adapter;

/// Returns logits of every shape that is difficult for a sampler, by row.
fn logits(rows: usize, vocabulary: usize) -> Matrix {
    let mut x = matrix(rows, vocabulary, 77);
    for r in 0..rows {
        let row = x.row_mut(r);
        match r % 6 {
            0 => row.iter_mut().for_each(|v| *v *= 3.0),
            // Many equal logits, also at the bounds of top-k and top-p.
            1 => row.iter_mut().for_each(|v| *v = v.round()),
            2 => row.fill(1.25),
            3 => row.iter_mut().step_by(3).for_each(|v| *v = f32::NEG_INFINITY),
            4 => row.iter_mut().step_by(2).for_each(|v| *v = f32::NAN),
            // One token that is almost certain.
            _ => row[vocabulary / 2] = 30.0,
        }
    }
    x
}

fn settings(rows: usize) -> Vec<(u32, Sampling)> {
    let draw = |r: usize, what: u64| uniform(5, what, r as u64, 0);
    let one = |r: usize| {
        let base = Sampling { temperature: 0.3 + 1.5 * draw(r, 0), seed: r as u64, stream: 3, ..Sampling::GREEDY };
        match r / 6 % 6 {
            0 => base,
            1 => Sampling { top_k: 2 + (draw(r, 1) * 60.0) as u32, ..base },
            2 => Sampling { top_p: draw(r, 2), ..base },
            3 => Sampling { min_p: 0.3 * draw(r, 3), ..base },
            4 => Sampling { top_k: 40, top_p: 0.9, min_p: 0.02, ..base },
            _ => [
                Sampling { top_p: 0.0, ..base },
                Sampling { top_k: 1, ..base },
                Sampling { top_k: 1_000_000, top_p: 1.0, min_p: 1.0, ..base },
                Sampling { temperature: f32::NAN, ..base },
            ][r % 4],
        }
    };
    (0..rows).map(|r| (r as u32, one(r))).collect()
}

#[test]
fn every_setting_gives_the_token_of_the_definition() {
    on_every_adapter("every_setting_gives_the_token_of_the_definition", |gpu| {
        let mut b = GpuBackend::new(gpu).unwrap();
        let layer = LayerCache { kv_heads: 1, head_width: 4, group: 0 };
        let spec =
            CacheSpec { groups: vec![CacheKind::Full], layers: vec![layer], page_len: 256, element: CacheType::F32 };
        let cache = b.create_cache(spec).unwrap();
        for (rows, vocabulary) in [(144, 997), (72, 5000), (12, 3)] {
            let (x, samplings) = (logits(rows, vocabulary), settings(rows));
            let mut sequences = Sequences::new(&cache.spec().groups, 256, 1000, 0);
            let mut batch = Batch::default();
            batch.extend(sequences.open(), &vec![0; rows], Want::NOTHING);
            b.begin(sequences.step(&batch).unwrap(), &cache).unwrap();
            let uploaded = b.input(&x);
            b.sample(1, &uploaded, &samplings);
            let ticket = b.submit();
            let found = block_on(b.read(ticket)).unwrap();
            let [(1, Value::Tokens(found))] = &found[..] else { panic!("{found:?}") };
            for (r, (row, sampling)) in samplings.iter().enumerate() {
                let expected = choose(x.row(r), sampling, u64::from(*row));
                assert_eq!(found[r], expected, "row {r} of {rows}, {vocabulary} tokens, {sampling:?}");
            }
        }
    });
}
