//! How fast the sums of a decode step are, on this very device.

use honelm_backend::{Backend, CacheKind, CacheSpec, CacheType, LayerCache};
use honelm_tensor::Matrix;

use super::{back_end, weights};
use crate::Gpu;
use crate::pack::Layout;

/// Rows and columns of a weight: those of a model's on a GPU, fewer where a processor does a GPU's work.
const SIDE: usize = 2048;
const SOFTWARE_SIDE: usize = 512;

/// Layers of a step, alone and behind a norm.
const LAYERS: usize = 8;

/// Steps that are timed, after one that is not; the shortest counts.
const STEPS: usize = 4;

/// Seconds of a step of linear layers of one row in the variants that the device uses.
///
/// # Errors
/// What the device says where it refuses.
pub(super) async fn seconds(gpu: &Gpu, layout: Layout, clock: &dyn Fn() -> f64) -> Result<f64, String> {
    let mut b = back_end(gpu)?;
    let side = if gpu.report().software { SOFTWARE_SIDE } else { SIDE };
    let weight = weights::of_shape(layout, [side, side]).map_err(|e| e.to_string())?;
    let cols = weight.cols();
    let weight = b.upload(weight, None).map_err(|e| e.to_string())?;
    let gain = b.upload_vector(&vec![1.0; cols]).map_err(|e| e.to_string())?;
    let x = Matrix::new(1, cols, vec![1.0; cols]);
    let spec = CacheSpec {
        groups: vec![CacheKind::Full],
        layers: vec![LayerCache { kv_heads: 1, head_width: 4, group: 0 }],
        page_len: 16,
        element: CacheType::F32,
    };
    let cache = b.create_cache(spec).map_err(|e| e.to_string())?;
    let mut best = f64::INFINITY;
    for step in 0..=STEPS {
        let begin = clock();
        b.begin(Default::default(), &cache).map_err(|e| e.to_string())?;
        let input = b.input(&x);
        for layer in 1..=LAYERS {
            let normed = b.norm_linears(&input, &gain, 1e-5, &[&weight]);
            let plain = b.linear(&input, &weight);
            if layer == LAYERS {
                b.output(0, &normed[0]);
                b.output(1, &plain);
            }
        }
        let ticket = b.submit();
        b.read(ticket).await.map_err(|e| e.to_string())?;
        if step > 0 {
            best = best.min(clock() - begin);
        }
    }
    Ok(best)
}
