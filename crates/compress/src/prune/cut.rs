//! Removal of rows and columns.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_model::{Channels, Checkpoint, ModelError, Module, Parameter, Parameters, Slot, StoredEncoding};
use honelm_store::Journal;
use honelm_tensor::Matrix;
use serde::{Deserialize, Serialize};

use crate::{Change, CompressError, saved};

/// The units of a layer that remain, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The layer's number in the original.
    pub layer: usize,
    /// The query heads.
    pub heads: Vec<usize>,
    /// The neurons.
    pub neurons: Vec<usize>,
}

/// The rows and the columns of a matrix that remain; `None` where all do.
type Cut = [Option<Vec<usize>>; 2];

impl Kept {
    /// Returns the units of a consumer that remain.
    fn units(&self, channels: &Channels) -> &[usize] {
        if channels.head_width > 1 { &self.heads } else { &self.neurons }
    }

    /// Returns the columns of a consumer that remain.
    pub(super) fn columns(&self, consumer: &Module) -> Vec<usize> {
        let Some(channels) = consumer.computed_by.first() else { return (0..consumer.shape[1]).collect() };
        let width = channels.head_width;
        self.units(channels).iter().flat_map(|unit| unit * width..(unit + 1) * width).collect()
    }

    /// Returns the rows of a module that compute what remains of a consumer's inputs.
    fn rows(&self, channels: &Channels) -> Vec<usize> {
        let mut heads: Vec<usize> = self.units(channels).iter().map(|unit| unit / channels.readers).collect();
        heads.dedup();
        let rows = |head: usize| (0..channels.head_width).map(move |i| channels.first + head * channels.head_width + i);
        heads.into_iter().flat_map(rows).collect()
    }

    /// Returns what remains of each module of a layer that loses something.
    fn cuts(&self, modules: &[Module]) -> BTreeMap<&'static str, Cut> {
        let mut cuts: BTreeMap<&'static str, Cut> = BTreeMap::new();
        for consumer in modules.iter().filter(|module| !module.computed_by.is_empty()) {
            cuts.entry(consumer.name).or_default()[1] = Some(self.columns(consumer));
            for channels in &consumer.computed_by {
                cuts.entry(channels.module).or_default()[0].get_or_insert_default().extend(self.rows(channels));
            }
        }
        cuts
    }
}

/// The weights of a pruned model, as those of [`Checkpoint::resized`].
pub(super) struct CutWeights {
    pub(super) base: Rc<Checkpoint>,
    pub(super) kept: Vec<Kept>,
    /// The restored consumers; `None` to leave what remains as it was.
    pub(super) restored: Option<Journal>,
    /// The layer whose restored consumers were read last.
    pub(super) cached: RefCell<Option<(usize, Vec<Change>)>>,
}

impl CutWeights {
    pub(super) fn new(base: &Rc<Checkpoint>, kept: Vec<Kept>, restored: Option<Journal>) -> Self {
        Self { base: Rc::clone(base), kept, restored, cached: RefCell::default() }
    }

    /// Returns the layer of the original with what remains of it; `None` outside of the layers.
    fn kept(&self, slot: Slot) -> Result<Option<&Kept>, ModelError> {
        let unknown = || ModelError::UnknownSlot { layer: slot.layer, module: slot.module.to_owned() };
        slot.layer.map(|i| self.kept.get(i).ok_or_else(unknown)).transpose()
    }

    /// Returns the restored parameter of a consumer.
    fn restored(&self, journal: &Journal, layer: usize, slot: Slot) -> Result<Option<Parameter>, ModelError> {
        let mut cached = self.cached.borrow_mut();
        if cached.as_ref().is_none_or(|(cached, _)| *cached != layer) {
            let read = load(journal, &self.base, layer).map_err(|error| ModelError::Replaced {
                layer: Some(layer),
                module: slot.module,
                reason: error.to_string(),
            })?;
            *cached = Some((layer, read));
        }
        let changes = cached.iter().flat_map(|(_, changes)| changes);
        Ok(changes.filter(|change| change.module == slot.module).map(|change| change.parameter.clone()).next())
    }

    fn own_slot(&self, slot: Slot) -> Result<Slot, ModelError> {
        Ok(Slot { layer: self.kept(slot)?.map(|kept| kept.layer), ..slot })
    }
}

impl Parameters for CutWeights {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let Some(kept) = self.kept(slot)? else { return self.float(slot) };
        if let Some(journal) = &self.restored
            && let Some(parameter) = self.restored(journal, kept.layer, slot)?
        {
            return Ok(parameter);
        }
        let own = self.own_slot(slot)?;
        let modules = self.base.tree().layers.get(kept.layer).map(Vec::as_slice).unwrap_or_default();
        match kept.cuts(modules).remove(slot.module) {
            Some(cut) => self.cut(own, &cut),
            None => self.float(own),
        }
    }

    fn encoding(&self, slot: Slot) -> Result<StoredEncoding, ModelError> {
        Ok(StoredEncoding::Blocks(float_encoding(self.base.encoding(self.own_slot(slot)?)?)))
    }

    fn rows(&self, slot: Slot, rows: Range<usize>) -> Result<Option<BlockMatrix>, ModelError> {
        if slot.layer.is_some() {
            return Ok(None);
        }
        match self.base.encoding(slot)? {
            StoredEncoding::Blocks(encoding) if encoding.is_float() => self.base.rows(slot, rows),
            _ => Ok(None),
        }
    }

    fn forget(&self) {
        self.base.forget();
    }
}

impl CutWeights {
    /// Returns a parameter of the original as floats.
    fn float(&self, slot: Slot) -> Result<Parameter, ModelError> {
        self.cut(slot, &[None, None])
    }

    fn cut(&self, slot: Slot, [rows, columns]: &Cut) -> Result<Parameter, ModelError> {
        let Parameter { weight, bias } = self.base.parameter(slot)?;
        let encoding = float_encoding((&weight).into());
        if rows.is_none() && columns.is_none() && StoredEncoding::from(&weight) == StoredEncoding::Blocks(encoding) {
            return Ok(Parameter { weight, bias });
        }
        let part = selected(&weight.dequantize(), rows.as_deref(), columns.as_deref());
        let bias = bias.map(|bias| match rows {
            Some(rows) => rows.iter().map(|&row| bias[row]).collect(),
            None => bias,
        });
        Ok(Parameter { weight: encoded(&part, encoding, &self.base.name_of(slot))?, bias })
    }
}

/// Returns the float encoding in which a weight is written: its own, or F16 for one that is quantised.
pub(super) fn float_encoding(stored: StoredEncoding) -> Encoding {
    match stored {
        StoredEncoding::Blocks(encoding) if encoding.is_float() => encoding,
        _ => Encoding::F16,
    }
}

/// Encodes values in floats. `name` is that of the weight.
pub(super) fn encoded(values: &Matrix, encoding: Encoding, name: &str) -> Result<WeightData, ModelError> {
    let at = |source| ModelError::Weight { file: "the pruned model".to_owned(), tensor: name.to_owned(), source };
    let matrix = BlockMatrix::quantize(values, encoding, None).map_err(at)?;
    matrix.check_finite().map_err(at)?;
    Ok(matrix.into())
}

/// Returns some rows and columns of a matrix.
pub(super) fn selected(w: &Matrix, rows: Option<&[usize]>, columns: Option<&[usize]>) -> Matrix {
    let all: Vec<usize>;
    let rows = match rows {
        Some(rows) => rows,
        None => {
            all = (0..w.rows).collect();
            &all
        }
    };
    let mut data = Vec::with_capacity(rows.len() * columns.map_or(w.cols, <[usize]>::len));
    for &row in rows {
        match columns {
            Some(columns) => data.extend(columns.iter().map(|&column| w.row(row)[column])),
            None => data.extend_from_slice(w.row(row)),
        }
    }
    Matrix::new(rows.len(), columns.map_or(w.cols, <[usize]>::len), data)
}

/// Returns a matrix with the columns of `part` at `columns`, and zeros elsewhere. // [M, k] -> [M, width]
pub(super) fn spread(part: &Matrix, columns: &[usize], width: usize) -> Matrix {
    let mut out = Matrix::zeros(part.rows, width);
    for (row, values) in part.iter_rows().enumerate() {
        columns.iter().zip(values).for_each(|(&column, &value)| out.row_mut(row)[column] = value);
    }
    out
}

fn entry(layer: usize) -> String {
    format!("layer-{layer:04}")
}

/// Saves the restored consumers of a layer.
pub(super) fn save(journal: &Journal, layer: usize, changes: &[Change]) -> Result<(), CompressError> {
    Ok(journal.put(&entry(layer), &saved::pack(changes))?)
}

/// Reads the restored consumers of a layer.
pub(super) fn load(journal: &Journal, base: &Checkpoint, layer: usize) -> Result<Vec<Change>, CompressError> {
    let modules: Vec<&'static str> =
        base.tree().layers.get(layer).into_iter().flatten().map(|module| module.name).collect();
    saved::unpack(&entry(layer), journal.require(&entry(layer))?, &modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coupled_rows_and_columns_go_together() {
        let linear = |name, shape| Module::linear(name, name, name, shape, false);
        // 4 heads of 2 values in 2 groups, fused q, k and v; 3 neurons with a fused gate.
        let modules = [
            linear("qkv", [16, 6]),
            linear("o", [6, 8]).computed_by(2, &[("qkv", 0, 1), ("qkv", 8, 2), ("qkv", 12, 2)]),
            linear("gate_up", [6, 6]),
            linear("down", [6, 3]).computed_by(1, &[("gate_up", 0, 1), ("gate_up", 3, 1)]),
        ];
        let kept = Kept { layer: 0, heads: vec![2, 3], neurons: vec![0, 2] };
        let cuts = kept.cuts(&modules);
        assert_eq!(cuts["qkv"][0].as_deref(), Some(&[4, 5, 6, 7, 10, 11, 14, 15][..]));
        assert_eq!(cuts["o"], [None, Some(vec![4, 5, 6, 7])]);
        assert_eq!(cuts["gate_up"][0].as_deref(), Some(&[0, 2, 3, 5][..]));
        assert_eq!(cuts["down"], [None, Some(vec![0, 2])]);
        let evenly = Kept { layer: 0, heads: vec![0, 3], neurons: vec![1] };
        assert_eq!(evenly.cuts(&modules)["qkv"][0].as_deref(), Some(&[0, 1, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15][..]));
    }

    #[test]
    fn spread_columns_are_those_that_were_selected() {
        let w = Matrix::new(2, 4, (0..8).map(|i| i as f32).collect());
        let part = selected(&w, Some(&[1]), Some(&[0, 3]));
        assert_eq!(part.data, [4.0, 7.0]);
        assert_eq!(spread(&part, &[0, 3], 4).data, [4.0, 0.0, 0.0, 7.0]);
    }
}
