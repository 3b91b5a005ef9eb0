//! Saving and restoring the cached cells of a sequence.

use honelm_backend::{Backend, BackendError, Cache, SavedSequence, SequenceId, Sequences, Ticket};

use crate::ModelError;

/// Checks that the cache has a layer.
fn check(cache: &Cache, layer: usize) -> Result<(), BackendError> {
    let layers = cache.spec().layers.len();
    if layer < layers {
        return Ok(());
    }
    Err(BackendError::InvalidSaved { problem: format!("found layer {layer}, expected one of {layers}") })
}

/// Records a step that reads a layer's cells of a sequence, in whole pages.
pub(crate) fn export(
    cache: &Cache,
    sequences: &mut Sequences,
    b: &mut dyn Backend,
    id: SequenceId,
    layer: usize,
) -> Result<Ticket, ModelError> {
    check(cache, layer)?;
    let pages = sequences.pages(id, cache.spec().layers[layer].group)?.to_vec();
    sequences.settle(|step| {
        b.begin(step, cache)?;
        b.export_cells(0, cache, layer, &pages)?;
        Ok(b.submit())
    })
}

/// Opens a sequence with unspecified cells.
pub(crate) fn open(
    cache: &Cache,
    sequences: &mut Sequences,
    b: &mut dyn Backend,
    saved: &SavedSequence,
) -> Result<SequenceId, ModelError> {
    let mut ticket = None;
    let id = sequences.open_saved(saved, |step| {
        b.begin(step, cache)?;
        ticket = Some(b.submit());
        Ok::<(), ModelError>(())
    })?;
    // Its result is empty; a failure of the device shows again in the next step.
    if let Some(ticket) = ticket {
        drop(b.read(ticket));
    }
    Ok(id)
}

/// Records a step that writes a layer's cells of a sequence.
pub(crate) fn import(
    cache: &Cache,
    sequences: &mut Sequences,
    b: &mut dyn Backend,
    id: SequenceId,
    layer: usize,
    cells: &[u8],
) -> Result<Ticket, ModelError> {
    check(cache, layer)?;
    let pages = sequences.pages(id, cache.spec().layers[layer].group)?.to_vec();
    let spec = cache.spec();
    let wanted = sequences.saved(id)?.layer_bytes(spec, layer).unwrap_or(0);
    if cells.len() != wanted {
        let problem = format!("layer {layer}: found {} bytes of cells, expected {wanted}", cells.len());
        return Err(BackendError::InvalidSaved { problem }.into());
    }
    let mut cells = cells.to_vec();
    cells.resize(pages.len() * spec.page_len * 2 * spec.layers[layer].plane_bytes(spec.element), 0);
    sequences.settle(|step| {
        b.begin(step, cache)?;
        b.import_cells(cache, layer, &pages, &cells)?;
        Ok(b.submit())
    })
}
