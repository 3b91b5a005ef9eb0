use honelm_tensor::f16;

use crate::loss::log_sum;

/// The most likely tokens of a teacher's next-token distribution, and what the others have together.
#[derive(Debug, Clone, PartialEq)]
pub struct Top {
    /// The tokens, the most likely first; of equally likely ones, the smaller first. // `[k]`
    pub ids: Vec<u32>,
    /// The natural logarithms of their probabilities. // `[k]`
    pub logs: Vec<f32>,
    /// The same of all other tokens together; minus infinity if there are none.
    pub rest: f32,
}

impl Top {
    /// Returns the `k` most likely tokens of softmax(logits / temperature), or all if there are fewer. // `[V]`
    #[must_use]
    pub fn new(logits: &[f32], k: usize, temperature: f32) -> Self {
        let inverse = 1.0 / temperature;
        let (top, sum) = log_sum(logits, inverse);
        let log = |x: f32| f64::from((x - top) * inverse) - sum;
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let k = k.min(ids.len());
        if k > 0 && k < ids.len() {
            ids.select_nth_unstable_by(k - 1, order);
        }
        let others = ids.split_off(k);
        ids.sort_unstable_by(order);
        // In the order of the vocabulary: a selection may leave the others in any.
        let mut named = vec![false; logits.len()];
        ids.iter().for_each(|id| named[*id as usize] = true);
        let rest: f64 = logits.iter().zip(&named).filter(|(_, named)| !**named).map(|(x, _)| log(*x).exp()).sum();
        let rest = if others.is_empty() { f64::NEG_INFINITY } else { rest.ln() };
        let logs = ids.iter().map(|id| log(logits[*id as usize]) as f32).collect();
        Self { ids, logs, rest: rest as f32 }
    }

    /// Writes rows with the same number of tokens: of each the tokens in 4 bytes, the logarithms in half precision, and that of the
    /// rest in 4 bytes.
    #[must_use]
    pub fn pack(rows: &[Self]) -> Vec<u8> {
        let mut out = Vec::new();
        for row in rows {
            out.extend(row.ids.iter().flat_map(|id| id.to_le_bytes()));
            out.extend(row.logs.iter().flat_map(|log| f16::from_f32(*log).to_le_bytes()));
            out.extend(row.rest.to_le_bytes());
        }
        out
    }

    /// Reads what [`Top::pack`] wrote for rows with `k` tokens of a vocabulary of `vocabulary`; `None` for any other bytes.
    #[must_use]
    pub fn unpack(bytes: &[u8], k: usize, vocabulary: usize) -> Option<Vec<Self>> {
        let len = k * 6 + 4;
        if !bytes.len().is_multiple_of(len) {
            return None;
        }
        let row = |bytes: &[u8]| {
            let (ids, bytes) = bytes.split_at(k * 4);
            let (logs, rest) = bytes.split_at(k * 2);
            let ids: Vec<u32> = ids.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
            let logs = logs.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect();
            let rest = f32::from_le_bytes(rest.try_into().ok()?);
            ids.iter().all(|id| (*id as usize) < vocabulary).then_some(Self { ids, logs, rest })
        };
        bytes.chunks_exact(len).map(row).collect()
    }
}
