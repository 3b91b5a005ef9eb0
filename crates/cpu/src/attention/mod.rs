//! Attention over the paged cache.
//!
//! Every row walks the cells that it sees in the order of their positions, in chunks of 256 positions: scores, their
//! maximum, weights `exp(score - maximum)`, their sum and the weighted values of a chunk, each in an order that depends on
//! positions alone; chunks are merged in order (online softmax, Milakov and Gimelshein 2018). So the bits of a row depend on
//! nothing but its own query and the cells it sees.

mod block;
mod source;

use std::ops::Range;

use honelm_backend::{Attention, Step};

use crate::cache::{Columns, Head, Store};
use crate::{Isa, Output, Pool};

pub(crate) use block::Scratch;

/// Query vectors that share a converted chunk of keys and values.
const VECTORS: usize = 48;
/// Writing fewer values than this to the cache is not worth waking threads.
const SERIAL: usize = 16 * 1024;

/// What a call of attention works on.
pub(crate) struct Call<'a> {
    pub(crate) step: &'a Step,
    pub(crate) layer: usize,
    pub(crate) how: &'a Attention,
    /// Queries. // [N, H * E]
    pub(crate) q: &'a [f32],
    /// Keys. // [N, G * E]
    pub(crate) k: &'a [f32],
    /// Values. // [N, G * E]
    pub(crate) v: &'a [f32],
}

/// Some rows of a segment and one key-value head.
struct Task {
    segment: usize,
    rows: Range<usize>,
    head: usize,
}

/// Writes keys and values to the cache, then attends. // -> out: [N, H * E]
pub(crate) fn run(
    pool: &Pool,
    isa: Isa,
    scratch: &mut [impl AsMut<Scratch> + Send],
    store: &mut Store,
    call: &Call<'_>,
    out: &Output<'_>,
) {
    let shape = store.spec.layers[call.layer];
    let (width, page_len, group) = (shape.head_width, store.spec.page_len, shape.group);
    let stride = shape.kv_heads * width;
    let heads = &mut store.layers[call.layer];
    let write = |g: usize, head: &mut Head| {
        let columns = |data| Columns { data, stride, at: g * width, width };
        head.write(call.step, group, page_len, columns(call.k), columns(call.v));
    };
    if call.k.len() < SERIAL {
        heads.iter_mut().enumerate().for_each(|(g, head)| write(g, head));
    } else {
        pool.run_chunks(heads, 1, |g, heads| heads.iter_mut().for_each(|head| write(g, head)));
    }

    let shared = call.how.heads / shape.kv_heads;
    let tasks = tasks(call.step, shape.kv_heads, (VECTORS / shared).max(1));
    let heads = &*heads;
    pool.run_with(scratch, tasks.len(), |i, scratch| {
        let task = &tasks[i];
        let segment = block::Segment {
            cache: source::Cells::new(call.step, group, task.segment, &heads[task.head].pages, page_len, width),
            step_group: &call.step.groups[group],
            how: call.how,
            q: call.q,
            first_head: task.head * shared,
            heads: shared,
            out,
        };
        block::run(isa, &segment, task.rows.clone(), scratch.as_mut());
    });
}

/// Blocks of at most `most` rows of every segment, each with every head; the longest first.
fn tasks(step: &Step, heads: usize, most: usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (segment, rows) in step.segments.iter().enumerate().map(|(i, s)| (i, s.rows.clone())) {
        for first in rows.clone().step_by(most).rev() {
            let rows = first..rows.end.min(first + most);
            tasks.extend((0..heads).map(|head| Task { segment, rows: rows.clone(), head }));
        }
    }
    tasks
}
