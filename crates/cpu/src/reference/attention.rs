use honelm_backend::Attention;
use honelm_tensor::Matrix;

/// The keys and values that one query row sees, each `[seen, G * E]`, in the order of their positions.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Keys.
    pub k: Matrix,
    /// Values.
    pub v: Matrix,
}

/// Computes softmax(softcap(q k^T * scale)) v for each head of each row. Runs of heads share a key-value head.
/// // q: [N, H * E] -> [N, H * E]
#[must_use]
pub fn attention(q: &Matrix, seen: &[Seen], kv_heads: usize, options: &Attention) -> Matrix {
    let width = q.cols / options.heads;
    let shared = options.heads / kv_heads;
    let mut out = Matrix::zeros(q.rows, q.cols);
    for (n, seen) in seen.iter().enumerate() {
        for h in 0..options.heads {
            let kv = h / shared * width..(h / shared + 1) * width;
            let query = &q.row(n)[h * width..(h + 1) * width];
            let score = |k: &[f32]| {
                let dot: f64 = query.iter().zip(&k[kv.clone()]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let score = dot * f64::from(options.scale);
                options.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            };
            let scores: Vec<f64> = seen.k.iter_rows().map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for e in 0..width {
                let values = seen.v.iter_rows().zip(&weights);
                let value: f64 = values.map(|(v, w)| f64::from(v[kv.start + e]) * w).sum();
                out.row_mut(n)[h * width + e] = (value / sum) as f32;
            }
        }
    }
    out
}
