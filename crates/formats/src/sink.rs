use std::io::Write;

use crate::{FormatError, TensorInfo};

/// Receives the data of one declared tensor, in any number of pieces.
pub struct TensorSink<'a> {
    out: &'a mut dyn Write,
    file: &'a str,
    tensor: &'a TensorInfo,
    written: u64,
}

impl<'a> TensorSink<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, file: &'a str, tensor: &'a TensorInfo) -> Self {
        Self { out, file, tensor, written: 0 }
    }

    /// Writes the next bytes of the tensor.
    ///
    /// # Errors
    /// [`FormatError::SizeMismatch`] if the tensor has fewer bytes than were written, or an I/O error.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        self.written += bytes.len() as u64;
        if self.written > self.tensor.size {
            return Err(self.mismatch());
        }
        self.out.write_all(bytes).map_err(|source| FormatError::io("write", self.file, source))
    }

    /// Checks that the whole tensor was written.
    pub(crate) fn finish(self) -> Result<(), FormatError> {
        if self.written == self.tensor.size { Ok(()) } else { Err(self.mismatch()) }
    }

    fn mismatch(&self) -> FormatError {
        FormatError::SizeMismatch {
            file: self.file.to_owned(),
            tensor: self.tensor.name.clone(),
            shape: self.tensor.shape.iter().map(|&d| d as u64).collect(),
            found: self.written,
            expected: self.tensor.size,
        }
    }
}
