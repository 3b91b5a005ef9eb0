//! Attention over the cache. One dispatch writes the new keys and values, the next reads them.

use honelm_backend::{Attention, Cache, CacheType, LayerCache, Rope, Tensor, hadamard_len};

use super::{GpuBackend, stride, variant};
use crate::recording::{Bound, Group};
use crate::shaders::Constant;

/// The number of threads per workgroup of the attention kernel.
const THREADS: usize = 64;

/// The number of positions that the kernel scores at once.
const CHUNK: usize = 256;

/// The number of workgroups that occupies a device. With fewer, the positions are split between workgroups too.
const BUSY: usize = 512;

/// The rotations of the step's rows: the number of pairs, and the position of the table.
type Rotations = (usize, u32);

/// Returns the constants of a cache's number type.
fn element_constants(element: CacheType) -> [(&'static str, Constant); 2] {
    let (number, per_word) = match element {
        CacheType::F32 => (0, 1),
        CacheType::F16 => (1, 2),
        CacheType::Q8_0 => (2, 4),
        CacheType::Q4_0 | CacheType::Q4_0Plain => (3, 8),
    };
    [("ELEMENT", Constant::U32(number)), ("PER_WORD", Constant::U32(per_word))]
}

/// Returns the head width and the length of the runs of its rotation, 1 if there is none.
fn rotation(element: CacheType, head_width: usize) -> [(&'static str, Constant); 2] {
    let run = if element.is_rotated() { hadamard_len(head_width) } else { 1 };
    [("WIDTH", Constant::U32(head_width as u32)), ("RUN", Constant::U32(run as u32))]
}

impl GpuBackend {
    #[allow(clippy::too_many_arguments, reason = "the operands of one fused operation")]
    pub(super) fn attend(
        &mut self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        rope: Option<&Rope>,
        cache: &Cache,
        layer: usize,
        options: &Attention,
    ) -> Tensor {
        let shape = cache.spec().layers[layer];
        let (rows, kv) = (self.recording.frame.rows, shape.kv_heads * shape.head_width);
        assert!(shape.kv_heads > 0 && options.heads.is_multiple_of(shape.kv_heads), "{} heads", options.heads);
        assert_eq!((q.rows(), q.cols()), (rows, options.heads * shape.head_width), "the shape of queries");
        assert_eq!((k.rows(), k.cols()), (rows, kv), "the shape of keys");
        assert_eq!((v.rows(), v.cols()), (rows, kv), "the shape of values");
        let rotations = rope.map_or((0, 0), |rope| {
            let pairs = rope.inverse_frequencies.cols();
            assert!(rope.head_width == shape.head_width && 2 * pairs <= rope.head_width, "{pairs} rotated pairs");
            (pairs, self.rotations(rope))
        });
        let group = self.recording.frame.groups[shape.group].clone();
        self.append(k, v, rotations, &group, cache, layer);
        self.weigh(q, rotations, &group, cache, layer, options)
    }

    /// Writes keys and values to the cells of the rows.
    fn append(
        &mut self,
        k: &Tensor,
        v: &Tensor,
        (pairs, table): Rotations,
        group: &Group,
        cache: &Cache,
        layer: usize,
    ) {
        let spec = cache.spec();
        let LayerCache { kv_heads, head_width, .. } = spec.layers[layer];
        let (rows, kv) = (k.rows(), kv_heads * head_width);
        let [shape, inputs] = [[rows as u32, kv as u32], [self.at(k), self.at(v)]];
        let rest = [stride(kv) as u32, group.cells, pairs as u32, table];
        let bound = Bound::Cache(cache.clone(), layer);
        let [element, per_word] = element_constants(spec.element);
        if spec.element.is_rotated() {
            let [width, run] = rotation(spec.element, head_width);
            let params = [&shape[..], &inputs, &rest].concat();
            // The scales of two heads of an odd number of blocks share a word.
            let parts = if head_width / spec.element.block_len() % 2 == 1 { kv_heads.div_ceil(2) } else { kv_heads };
            self.dispatch(variant("append_rotated", [element, per_word, width, run]), bound, &params, rows * 2 * parts);
            return;
        }
        let units = match spec.element {
            CacheType::F32 => kv,
            CacheType::F16 => kv / 2,
            CacheType::Q8_0 | CacheType::Q4_0 | CacheType::Q4_0Plain => (kv / spec.element.block_len()).div_ceil(2),
        };
        let params = [&shape[..], &[head_width as u32], &inputs, &rest].concat();
        self.dispatch(variant("append", [element, per_word]), bound, &params, (rows * 2 * units).div_ceil(64));
    }

    /// Computes the softmax-weighted values of the cells that each row sees.
    fn weigh(
        &mut self,
        q: &Tensor,
        (pairs, table): Rotations,
        group: &Group,
        cache: &Cache,
        layer: usize,
        options: &Attention,
    ) -> Tensor {
        let spec = cache.spec();
        let LayerCache { kv_heads, head_width, .. } = spec.layers[layer];
        let (rows, heads) = (q.rows(), options.heads);
        let out = self.tensor(rows, q.cols());
        let wanted = (BUSY / (rows * heads).max(1)).clamp(1, 64);
        let span_len = group.most.div_ceil(wanted).max(1).next_multiple_of(CHUNK);
        let spans = group.most.div_ceil(span_len).max(1);
        let parts = (spans > 1).then(|| self.tensor(rows * heads * spans, head_width + 2));
        // The spans are stored without gaps, so they take fewer values than the matrix has.
        let spans_at = parts.as_ref().map_or(0, |parts| self.at(parts));
        let params = [
            rows as u32,
            heads as u32,
            (heads / kv_heads) as u32,
            (kv_heads * head_width) as u32,
            self.at(q),
            self.at(&out),
            stride(q.cols()) as u32,
            pairs as u32,
            table,
            group.seen,
            group.pages,
            group.extra,
            spec.page_len as u32,
            options.scale.to_bits(),
            options.softcap.unwrap_or(1.0).to_bits(),
            spans as u32,
            span_len as u32,
            spans_at,
        ];
        let [element, per_word] = element_constants(spec.element);
        let [width, run] = rotation(spec.element, head_width);
        let constants = [
            element,
            per_word,
            width,
            run,
            ("THREADS", Constant::U32(THREADS as u32)),
            ("CAPPED", Constant::Bool(options.softcap.is_some())),
            ("SPLIT", Constant::Bool(spans > 1)),
        ];
        let bound = Bound::Cache(cache.clone(), layer);
        self.dispatch(variant("attend", constants), bound, &params, rows * heads * spans);
        if spans > 1 {
            let params = [rows as u32, heads as u32, self.at(&out), stride(q.cols()) as u32, spans as u32, spans_at];
            self.dispatch(variant("join", [width]), Bound::Nothing, &params, rows * heads);
        }
        out
    }
}
