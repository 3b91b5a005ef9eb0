//! Attention over the paged cache.
//!
//! Each row processes the cells that it sees in the order of their positions, in chunks of 256 positions. A chunk gives
//! scores, their maximum, the weights `exp(score - maximum)`, the sum of the weights and the weighted values, each in an order
//! that depends on positions alone. Chunks are merged in order (online softmax, Milakov and Gimelshein 2018). The bits of a
//! row therefore depend on its own query and the cells that it sees, and on nothing else.

mod segment;
mod source;

use std::ops::Range;

use honelm_backend::{Attention, Step};

use crate::cache::{Columns, Head, Store};
use crate::{Isa, Output, Pool};

pub(crate) use segment::Scratch;

/// The number of query vectors that share a converted chunk of keys and values.
const VECTORS: usize = 48;
/// Fewer values than this are written to the cache by the calling thread alone.
const SERIAL: usize = 16 * 1024;

/// The arguments of one call of attention.
pub(crate) struct Call<'a> {
    pub(crate) step: &'a Step,
    pub(crate) layer: usize,
    pub(crate) options: &'a Attention,
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

/// Writes keys and values to the cache, then computes the attention. // -> out: [N, H * E]
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
        pool.run_parts(heads, 1, |g, heads| heads.iter_mut().for_each(|head| write(g, head)));
    }

    let shared = call.options.heads / shape.kv_heads;
    let tasks = tasks(call.step, shape.kv_heads, (VECTORS / shared).max(1));
    let heads = &*heads;
    pool.run_with(scratch, tasks.len(), |i, scratch| {
        let task = &tasks[i];
        let segment = segment::Segment {
            cache: source::Cells::new(call.step, group, task.segment, &heads[task.head].pages, page_len, width),
            step_group: &call.step.groups[group],
            options: call.options,
            q: call.q,
            first_head: task.head * shared,
            heads: shared,
            out,
        };
        segment::run(isa, &segment, task.rows.clone(), scratch.as_mut());
    });
}

/// Splits every segment into runs of at most `most` rows, each with every head; the longest tasks come first.
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
