//! The parts of a step that loaded models, streamed layers and separate output layers share.

use honelm_backend::{Backend, BackendError, Batch, Cache, Outputs, Read, Sampling, Step, StepGroup, Tensor, Value};
use honelm_tensor::Matrix;

use crate::{Architecture, Facts, ModelError, StepOutput};

/// The key of final hidden states. The output layer runs on one slice of rows after another; slice `s` has the keys
/// `1 + 2s` for logits and `2 + 2s` for tokens.
const HIDDEN: u32 = 0;

/// Records the forward pass of a step that has begun, with the outputs that its rows request.
pub(crate) fn forward(model: &dyn Architecture, facts: &Facts, batch: &Batch, cache: &Cache, b: &mut dyn Backend) {
    let mut x = model.embed(b);
    for i in 0..facts.layers {
        x = model.layer(i, x, b, cache);
    }
    let wanted = |want: &honelm_backend::Want| want.logits || want.hidden || want.sample.is_some();
    let rows: Vec<u32> = rows_where(batch, wanted);
    if rows.is_empty() {
        return;
    }
    let x = if rows.len() == batch.rows() { x } else { b.select(&x, &rows) };
    let h = model.finish(&x, b);
    drop(x);
    let place = |row: &u32| rows.binary_search(row).map_or(0, |i| i as u32);
    let hidden: Vec<u32> = rows_where(batch, |want| want.hidden).iter().map(place).collect();
    if !hidden.is_empty() {
        let kept = chosen(b, &h, &hidden);
        b.output(HIDDEN, &kept);
    }
    let output = rows_where(batch, |want| want.logits || want.sample.is_some());
    for (s, slice) in output.chunks(facts.output_rows()).enumerate() {
        let places: Vec<u32> = slice.iter().map(place).collect();
        let h = chosen(b, &h, &places);
        let y = model.logits(&h, b);
        let inside = |wants: &dyn Fn(u32) -> bool| -> Vec<u32> {
            (0..slice.len() as u32).filter(|&i| wants(slice[i as usize])).collect()
        };
        let key = 2 * s as u32;
        let logits = inside(&|row| batch.want[row as usize].logits);
        if !logits.is_empty() {
            let kept = chosen(b, &y, &logits);
            b.output(key + 1, &kept);
        }
        let how: Vec<(u32, Sampling)> =
            slice.iter().filter_map(|&row| Some((row, batch.want[row as usize].sample?))).collect();
        if !how.is_empty() {
            let sampled = inside(&|row| batch.want[row as usize].sample.is_some());
            let kept = chosen(b, &y, &sampled);
            b.sample(key + 2, &kept, &how);
        }
    }
}

fn rows_where(batch: &Batch, wanted: impl Fn(&honelm_backend::Want) -> bool) -> Vec<u32> {
    (0..batch.rows() as u32).filter(|&row| wanted(&batch.want[row as usize])).collect()
}

/// Selects rows of `x` in ascending order.
fn chosen(b: &mut dyn Backend, x: &Tensor, rows: &[u32]) -> Tensor {
    if rows.len() == x.rows() { x.clone() } else { b.select(x, rows) }
}

/// Collects the outputs of [`forward`], with rows in the order of the batch.
pub(crate) fn collect(outputs: Outputs) -> StepOutput {
    let mut out = StepOutput::default();
    for (key, value) in outputs {
        match value {
            Value::Floats(matrix) if key == HIDDEN => out.hidden = matrix,
            Value::Floats(matrix) => append(&mut out.logits, matrix),
            Value::Tokens(tokens) => out.sampled.extend(tokens),
            Value::Cells(cells) => out.cells.extend(cells),
        }
    }
    out
}

fn append(to: &mut Matrix, rows: Matrix) {
    if to.rows == 0 {
        *to = rows;
    } else {
        to.rows += rows.rows;
        to.data.extend(rows.data);
    }
}

/// Runs `layer` on final hidden states, a slice of rows at a time. // [rows, D] -> [rows, V]
pub(crate) fn output_layer(
    hidden: &Matrix,
    facts: &Facts,
    cache: &Cache,
    b: &mut dyn Backend,
    layer: &dyn Fn(&Tensor, &mut dyn Backend) -> Tensor,
) -> Result<Matrix, ModelError> {
    if hidden.cols != facts.width {
        return Err(ModelError::WrongWidth { what: "the hidden states", found: hidden.cols, expected: facts.width });
    }
    rows(hidden, facts.output_rows(), cache, b, layer)
}

/// Runs an operation on the rows of a matrix, `at_once` of them at a time. // [rows, K] -> [rows, M]
pub(crate) fn rows(
    x: &Matrix,
    at_once: usize,
    cache: &Cache,
    b: &mut dyn Backend,
    operation: &dyn Fn(&Tensor, &mut dyn Backend) -> Tensor,
) -> Result<Matrix, ModelError> {
    let width = x.cols;
    let mut out = Matrix::default();
    for start in (0..x.rows).step_by(at_once) {
        let end = x.rows.min(start + at_once);
        let slice = Matrix::new(end - start, width, x.data[start * width..end * width].to_vec());
        let groups = vec![StepGroup::default(); cache.spec().groups.len()];
        b.begin(Step { groups, ..Step::default() }, cache)?;
        let x = b.input(&slice);
        let y = operation(&x, b);
        b.output(HIDDEN, &y);
        let ticket = b.submit();
        append(&mut out, take_floats(finished(b.read(ticket))?, HIDDEN).unwrap_or_default());
    }
    Ok(out)
}

/// Returns the matrix with the key `wanted`.
pub(crate) fn take_floats(outputs: Outputs, wanted: u32) -> Option<Matrix> {
    outputs.into_iter().find_map(|(key, value)| match value {
        Value::Floats(matrix) if key == wanted => Some(matrix),
        _ => None,
    })
}

/// Waits for a read. Browsers cannot wait, so there the read must be ready at once, as those of the CPU are.
pub(crate) fn finished(read: Read) -> Result<Outputs, ModelError> {
    #[cfg(not(target_arch = "wasm32"))]
    return honelm_backend::block_on(read).map_err(ModelError::from);
    #[cfg(target_arch = "wasm32")]
    {
        let mut read = read;
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match read.as_mut().poll(&mut context) {
            std::task::Poll::Ready(outputs) => outputs.map_err(ModelError::from),
            std::task::Poll::Pending => Err(ModelError::WouldBlock),
        }
    }
}

/// Refuses outputs that an encoder does not have.
pub(crate) fn check_wants(facts: &Facts, batch: &Batch) -> Result<(), ModelError> {
    match batch.want.iter().any(|want| want.logits || want.sample.is_some()) {
        true => facts.check_generates(),
        false => Ok(()),
    }
}

/// Refuses tokens for which the embedding has no row.
pub(crate) fn check_tokens(tokens: impl IntoIterator<Item = u32>, vocabulary: usize) -> Result<(), ModelError> {
    match tokens.into_iter().find(|&token| token as usize >= vocabulary) {
        Some(token) => Err(BackendError::UnknownToken { token, vocabulary }.into()),
        None => Ok(()),
    }
}
