//! The check of a written model before it is published.

use honelm_blocks::Encoding;
use honelm_model::{Checkpoint, Kind, Origin, Slot, StoredEncoding};

use crate::CompressError;
use crate::target::{Scheme, Target};

/// Checks that `written`, read back from its files, is `original` compressed by `scheme`.
///
/// Every matrix must have the encoding that the scheme gives it. A matrix that stays as it is must have a float encoding or
/// that of the original. Tensors that the original does not have are an error.
///
/// # Errors
/// [`CompressError::NotAsPlanned`] for the first tensor that differs.
pub fn check_written(written: &Checkpoint, original: &Checkpoint, scheme: &Scheme) -> Result<(), CompressError> {
    let file = || written.files().first().map_or_else(String::new, |path| path.display().to_string());
    let differs = |tensor: String, found: String, expected: String| {
        Err(CompressError::NotAsPlanned { file: file(), tensor, found, expected })
    };
    let tree = original.tree();
    let is_gguf = matches!(written.origin(), Origin::Gguf { .. });
    for slot in tree.slots() {
        let Some(module) = tree.module(slot) else { continue };
        let (target, found) = (scheme.target(tree, slot, module), written.encoding(slot)?);
        let is_met = match target {
            // GGUF stores norms and positions in F32.
            Target::Keep if is_gguf && matches!(module.kind, Kind::Norm | Kind::Positions | Kind::TokenTypes) => {
                found == StoredEncoding::Blocks(Encoding::F32)
            }
            Target::Keep => is_float(found) || found == original.encoding(slot)?,
            _ => target.is_met_by(found, module.shape[1]),
        };
        if !is_met {
            return differs(written.name_of(slot), shown(found), target.to_string());
        }
    }
    let slots = |model: &Checkpoint| model.tree().slots().collect::<Vec<Slot>>();
    if let Some(extra) = slots(written).into_iter().find(|&slot| tree.module(slot).is_none()) {
        return differs(written.name_of(extra), "an additional tensor".to_owned(), "none".to_owned());
    }
    match written.ignored_tensors().first() {
        Some(extra) => differs(extra.clone(), "an additional tensor".to_owned(), "none".to_owned()),
        None => Ok(()),
    }
}

fn is_float(stored: StoredEncoding) -> bool {
    matches!(stored, StoredEncoding::Blocks(encoding) if encoding.is_float())
}

fn shown(stored: StoredEncoding) -> String {
    Target::from(stored).to_string()
}
