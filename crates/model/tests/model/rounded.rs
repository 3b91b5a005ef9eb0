use honelm_blocks::{BlockMatrix, Encoding};
use honelm_model::{Checkpoint, ModelError, Parameter, Parameters, Slot};

/// The encodings of the layers, in turn. The embedding, which may be the output matrix too, is Q8_0.
const ENCODINGS: [Encoding; 6] =
    [Encoding::Q4_0, Encoding::Q4_1, Encoding::Q5_0, Encoding::Q5_1, Encoding::Q8_0, Encoding::Q6K];

/// A checkpoint whose matrices are encoded when they are read, for products of 8-bit integers.
pub struct Rounded<'a>(pub &'a Checkpoint);

impl Parameters for Rounded<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let parameter = self.0.parameter(slot)?;
        if parameter.weight.rows() == 1 {
            return Ok(parameter);
        }
        let encoding = slot.layer.map_or(Encoding::Q8_0, |layer| ENCODINGS[layer % ENCODINGS.len()]);
        let rounded = BlockMatrix::quantize(&parameter.weight.dequantize(), encoding, None);
        Ok(Parameter { weight: rounded.expect("finite weights in whole blocks").into(), ..parameter })
    }
}
