//! Attention over the paged cache.
//!
//! Each row processes the cells that it sees in the order of their positions, in chunks of 256 positions. A chunk gives
//! scores, their maximum, the weights `exp(score - maximum)`, the sum of the weights and the weighted values, each in an order
//! that depends on positions alone. Chunks are merged in order (online softmax, Milakov and Gimelshein 2018). The bits of a
//! row therefore depend on its own query and the cells that it sees, and on nothing else.
//!
//! A task computes some rows with one key-value head. If there are too few tasks for the threads, as in decoding with few heads,
//! each is split by chunks, and the results of its chunks are merged when all are there.

mod blocks;
mod parts;
mod segment;
mod source;

use std::ops::Range;

use honelm_backend::{Attention, CacheSpec, Step};

use crate::cache::{Columns, Head, Store};
use crate::isa::multiversion;
use crate::{Isa, Output, Pool};

pub(crate) use segment::Scratch;

/// The number of query vectors that share a converted chunk of keys and values.
const VECTORS: usize = 48;
/// The number of tasks per thread below which tasks are split by chunks.
const TASKS: usize = 4;
/// The least number of chunks in a part of a task.
const PART: usize = 2;
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
#[derive(Debug, Clone)]
struct Task {
    segment: usize,
    rows: Range<usize>,
    head: usize,
    /// The chunks that the rows see, or those of a part.
    chunks: Range<usize>,
}

/// The results of chunks of split tasks.
#[derive(Debug, Default)]
pub(crate) struct Results(Vec<f32>);

impl Results {
    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<f32>()
    }
}

multiversion! {
    fn write(head: &mut Head, step: &Step, at: (usize, &CacheSpec), k: Columns<'_>, v: Columns<'_>) = Head::write;
}

/// Writes keys and values to the cache, then computes the attention. // -> out: [N, H * E]
pub(crate) fn run(
    pool: &Pool,
    isa: Isa,
    (scratch, results): (&mut [impl AsMut<Scratch> + Send], &mut Results),
    store: &mut Store,
    call: &Call<'_>,
    out: &Output<'_>,
) {
    let (spec, shape) = (&store.spec, store.spec.layers[call.layer]);
    let (width, group) = (shape.head_width, shape.group);
    let stride = shape.kv_heads * width;
    let heads = &mut store.layers[call.layer];
    let write = |g: usize, head: &mut Head| {
        let columns = |data| Columns { data, stride, at: g * width, width };
        write(isa, head, call.step, (group, spec), columns(call.k), columns(call.v));
    };
    if call.k.len() < SERIAL {
        heads.iter_mut().enumerate().for_each(|(g, head)| write(g, head));
    } else {
        pool.run_parts(heads, 1, |g, heads| heads.iter_mut().for_each(|head| write(g, head)));
    }

    let shared = call.options.heads / shape.kv_heads;
    let heads = &*heads;
    let segment = |task: &Task| segment::Segment {
        cache: source::Cells::new(call.step, group, task.segment, &heads[task.head].pages, spec.page_len, width),
        step_group: &call.step.groups[group],
        options: call.options,
        rotated: spec.element.is_rotated(),
        q: call.q,
        first_head: task.head * shared,
        heads: shared,
        out,
    };
    let tasks = tasks(call.step, group, shape.kv_heads, (VECTORS / shared).max(1));
    let chunks: usize = tasks.iter().map(|task| task.chunks.len()).sum();
    let each = chunks.div_ceil(TASKS * pool.threads()).max(PART);
    if pool.threads() == 1 || tasks.len() >= TASKS * pool.threads() || tasks.iter().all(|t| t.chunks.len() <= each) {
        pool.run_with(scratch, tasks.len(), |i, scratch| {
            segment::run(isa, &segment(&tasks[i]), &tasks[i].rows, &tasks[i].chunks, None, scratch.as_mut());
        });
        return;
    }
    let (split, firsts) = split(&tasks, each, shared);
    let cols = parts::part_cols(width);
    let rows = firsts.last().copied().unwrap_or(0);
    results.0.resize(results.0.len().max(rows * cols), 0.0);
    let all = Output::new(&mut results.0[..rows * cols], rows, cols);
    pool.run_with(scratch, split.len(), |i, scratch| {
        let (first, task) = &split[i];
        let parts = parts::Parts { all: &all, first: *first, cols };
        segment::run(isa, &segment(task), &task.rows, &task.chunks, Some(&parts), scratch.as_mut());
    });
    let results = &results.0;
    pool.run_with(scratch, tasks.len(), |i, scratch| {
        let results = &results[firsts[i] * cols..firsts[i + 1] * cols];
        parts::join(isa, &segment(&tasks[i]), &tasks[i].rows, results, scratch.as_mut().totals());
    });
}

/// Splits every segment into runs of at most `most` rows, each with every head; the longest tasks come first.
fn tasks(step: &Step, group: usize, heads: usize, most: usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (segment, rows) in step.segments.iter().enumerate().map(|(i, s)| (i, s.rows.clone())) {
        for first in rows.clone().step_by(most).rev() {
            let rows = first..rows.end.min(first + most);
            let chunks = segment::chunks(&step.groups[group].seen[rows.clone()]);
            tasks.extend((0..heads).map(|head| Task { segment, rows: rows.clone(), head, chunks: chunks.clone() }));
        }
    }
    tasks
}

/// Splits tasks into parts of at most `each` chunks. Returns each part with the row of its first result, and the row of the first
/// result of each task, followed by the number of rows. A result is that of one chunk and one of `shared` query heads of a row.
fn split(tasks: &[Task], each: usize, shared: usize) -> (Vec<(usize, Task)>, Vec<usize>) {
    let (mut parts, mut firsts) = (Vec::new(), vec![0]);
    let mut next = 0;
    for task in tasks {
        for start in task.chunks.clone().step_by(each) {
            let chunks = start..task.chunks.end.min(start + each);
            let results = chunks.len() * task.rows.len() * shared;
            parts.push((next, Task { chunks, ..task.clone() }));
            next += results;
        }
        firsts.push(next);
    }
    (parts, firsts)
}
