//! Timing of two variants of a decode step's linear modules on the device.

use honelm_backend::{Backend, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Ticket, Weight};
use honelm_tensor::Matrix;

use super::{Variants, back_end, for_kernels, weights};
use crate::pack::Layout;
use crate::{Gpu, GpuBackend};

/// The rows and columns of a weight: as large as a model's on a GPU, smaller on a software adapter.
const SIDE: usize = 2048;
const SOFTWARE_SIDE: usize = 512;

/// The number of repetitions per step of a linear module alone and of one after a norm.
const MODULES: usize = 8;

/// The number of timed steps, after one that is not timed; the shortest counts.
const STEPS: usize = 4;

/// Returns the seconds of a step of linear modules of one row in each variant. The variants alternate, so that other load on the
/// machine affects both.
///
/// # Errors
/// The device's error, if it rejects a kernel. The device stays in the variant that failed.
pub(super) async fn time_steps(
    gpu: &Gpu,
    layout: Layout,
    variants: [Variants; 2],
    clock: &dyn Fn() -> f64,
) -> Result<[f64; 2], String> {
    let mut requests = DecodeStep::new(for_kernels(gpu)?, layout)?;
    for variants in variants {
        gpu.use_variants(variants);
        requests.record()?;
    }
    gpu.built().await;
    let mut decode = DecodeStep::new(back_end(gpu)?, layout)?;
    let mut best = [f64::INFINITY; 2];
    for step in 0..=STEPS {
        for (variants, best) in variants.into_iter().zip(&mut best) {
            gpu.use_variants(variants);
            let begin = clock();
            decode.run().await?;
            if step > 0 {
                *best = best.min(clock() - begin);
            }
        }
    }
    Ok(best)
}

/// The objects that a step needs.
struct DecodeStep {
    b: GpuBackend,
    cache: Cache,
    weight: Weight,
    gain: Weight,
    x: Matrix,
}

impl DecodeStep {
    fn new(mut b: GpuBackend, layout: Layout) -> Result<Self, String> {
        let side = if b.gpu().report().software { SOFTWARE_SIDE } else { SIDE };
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
        let ticket = self.record()?;
        self.b.read(ticket).await.map_err(|e| e.to_string())?;
        Ok(())
    }

    fn record(&mut self) -> Result<Ticket, String> {
        let Self { b, cache, weight, gain, x } = self;
        b.begin(Default::default(), cache).map_err(|e| e.to_string())?;
        let input = b.input(x);
        for i in 1..=MODULES {
            let normed = b.norm_linears(&input, gain, 1e-5, &[weight]);
            let plain = b.linear(&input, weight);
            if i == MODULES {
                b.output(0, &normed[0]);
                b.output(1, &plain);
            }
        }
        Ok(b.submit())
    }
}
