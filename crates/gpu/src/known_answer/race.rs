//! Which of two variants sums a decode step's linear layers faster, on this very device.

use honelm_backend::{Backend, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Weight};
use honelm_tensor::Matrix;

use super::{Variants, back_end, weights};
use crate::pack::Layout;
use crate::{Gpu, GpuBackend};

/// Rows and columns of a weight: those of a model's on a GPU, fewer where a processor does a GPU's work.
const SIDE: usize = 2048;
const SOFTWARE_SIDE: usize = 512;

/// Layers of a step, alone and behind a norm.
const LAYERS: usize = 8;

/// Steps that are timed, after one that is not; the shortest counts.
const STEPS: usize = 4;

/// Seconds of a step of linear layers of one row in each variant. They take turns, so that what else the machine does hinders both.
///
/// # Errors
/// What the device says where it refuses; it is left in the variant that it refuses.
pub(super) async fn race(
    gpu: &Gpu,
    layout: Layout,
    variants: [Variants; 2],
    clock: &dyn Fn() -> f64,
) -> Result<[f64; 2], String> {
    let mut track = Track::new(gpu, layout)?;
    let mut best = [f64::INFINITY; 2];
    for step in 0..=STEPS {
        for (variants, best) in variants.into_iter().zip(&mut best) {
            gpu.use_variants(variants);
            let begin = clock();
            track.run().await?;
            if step > 0 {
                *best = best.min(clock() - begin);
            }
        }
    }
    Ok(best)
}

/// What a step needs.
struct Track {
    b: GpuBackend,
    cache: Cache,
    weight: Weight,
    gain: Weight,
    x: Matrix,
}

impl Track {
    fn new(gpu: &Gpu, layout: Layout) -> Result<Self, String> {
        let mut b = back_end(gpu)?;
        let side = if gpu.report().software { SOFTWARE_SIDE } else { SIDE };
        let weight = weights::of_shape(layout, [side, side]).map_err(|e| e.to_string())?;
        let ones = vec![1.0; weight.cols()];
        let spec = CacheSpec {
            groups: vec![CacheKind::Full],
            layers: vec![LayerCache { kv_heads: 1, head_width: 4, group: 0 }],
            page_len: 16,
            element: CacheType::F32,
        };
        Ok(Self {
            cache: b.create_cache(spec).map_err(|e| e.to_string())?,
            weight: b.upload(weight, None).map_err(|e| e.to_string())?,
            gain: b.upload_vector(&ones).map_err(|e| e.to_string())?,
            x: Matrix::new(1, ones.len(), ones),
            b,
        })
    }

    async fn run(&mut self) -> Result<(), String> {
        let Self { b, cache, weight, gain, x } = self;
        b.begin(Default::default(), cache).map_err(|e| e.to_string())?;
        let input = b.input(x);
        for layer in 1..=LAYERS {
            let normed = b.norm_linears(&input, gain, 1e-5, &[weight]);
            let plain = b.linear(&input, weight);
            if layer == LAYERS {
                b.output(0, &normed[0]);
                b.output(1, &plain);
            }
        }
        let ticket = b.submit();
        b.read(ticket).await.map_err(|e| e.to_string())?;
        Ok(())
    }
}
