//! Saving and restoring cached prefixes.

use honelm_backend::SavedSequence;

use super::Driver;
use crate::EngineError;

impl Driver {
    /// Returns the cached prefixes that no answer uses, the least recently used first.
    #[must_use]
    pub fn prefixes(&self) -> Vec<Vec<u32>> {
        self.prefixes.by_use()
    }

    /// Returns the shape of a cached prefix; `None` if there is none with these tokens.
    ///
    /// # Errors
    /// [`EngineError::Model`].
    pub fn saved_prefix(&self, tokens: &[u32]) -> Result<Option<SavedSequence>, EngineError> {
        Ok(self.prefixes.get(tokens).map(|sequence| self.runner.saved(sequence)).transpose()?)
    }

    /// Returns the cells of a cached prefix in one layer; `None` if there is no prefix with these tokens.
    ///
    /// # Errors
    /// [`EngineError::Model`], for example because the device cannot export cells.
    pub async fn export_prefix(&mut self, tokens: &[u32], layer: usize) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(sequence) = self.prefixes.get(tokens) else { return Ok(None) };
        let saved = self.runner.saved(sequence)?;
        let ticket = self.runner.export(sequence, layer)?;
        let mut cells = self.runner.read(ticket).await?.cells;
        // Cells behind the last token are not part of the prefix.
        cells.truncate(saved.layer_bytes(self.runner.cache_spec(), layer).unwrap_or(0));
        Ok(Some(cells))
    }

    /// Adds a prefix whose cells were exported from a model with the same arithmetic. `cells` returns those of a layer.
    ///
    /// # Errors
    /// The error of `cells`, a shape or cells that do not fit the model or its memory, an error of the device. No prefix is
    /// added then.
    pub async fn import_prefix<E: From<EngineError>>(
        &mut self,
        tokens: Vec<u32>,
        saved: &SavedSequence,
        mut cells: impl FnMut(usize) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        if tokens.len() != saved.len {
            let problem = format!("found {} tokens, expected {}", tokens.len(), saved.len);
            return Err(EngineError::from(honelm_backend::BackendError::InvalidSaved { problem }).into());
        }
        self.limit_memory();
        let sequence = self.runner.open_saved(saved).map_err(EngineError::from)?;
        for layer in 0..self.runner.cache_spec().layers.len() {
            let imported = match cells(layer) {
                Ok(cells) => {
                    self.runner.import(sequence, layer, &cells).map_err(|error| EngineError::from(error).into())
                }
                Err(error) => Err(error),
            };
            let done = match imported {
                Ok(ticket) => self.runner.read(ticket).await.map_err(|error| EngineError::from(error).into()),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                self.runner.close(sequence).map_err(EngineError::from)?;
                return Err(error);
            }
        }
        Ok(self.keep_prefix(tokens, sequence)?)
    }

    /// Returns the name of the model's arithmetic. Cells of one model are the same bits wherever this is the same.
    #[must_use]
    pub fn arithmetic(&self) -> String {
        self.runner.arithmetic()
    }

    /// Returns the largest number of bytes of all cached keys and values.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }
}
