//! Everything about a job that is fixed before the work begins.

use honelm_compress::Calibration;
use honelm_eval::{EvalError, MAX_OVERLAP, overlap};
use honelm_model::Checkpoint;
use honelm_store::Digest;
use honelm_text::Tokenizer;

use super::{OptimizeOptions, TextCard};
use crate::Error;
use crate::measure::{ChunkedText, context_of};
use crate::open::{digest_of, tokenizer_digest, tokenizer_of};
use crate::quantize::calibration_of;
use crate::texts::Text;
use crate::work::JobCard;

/// The texts, digests and settings of a job.
pub(super) struct Plan {
    pub tokenizer: Tokenizer,
    pub calibration: Calibration,
    pub calibration_card: TextCard,
    pub heldout: ChunkedText,
    pub evaluation_card: TextCard,
    pub tokenizer_digest: String,
    pub context: usize,
    pub card: JobCard,
    /// Warnings about the texts.
    pub warnings: Vec<String>,
}

impl Plan {
    pub(super) fn new(options: &OptimizeOptions, checkpoint: &Checkpoint) -> Result<Self, Error> {
        let tokenizer = tokenizer_of(checkpoint)?;
        let length = options.calibration_length;
        let limit = checkpoint.facts().context;
        if length == 0 || length > limit {
            return Err(Error::Usage(format!("--length: found {length}, expected 1 to {limit}, the model's context")));
        }
        if !options.budget.is_finite() {
            return Err(Error::Usage(format!("--budget: found {}, expected a finite number", options.budget)));
        }
        let text = options.calibration.calibration()?;
        let calibration = calibration_of(&tokenizer, &text, options.calibration_samples, length)?;
        let source = options.text.heldout()?;
        let context = context_of(checkpoint, &options.run);
        let heldout = ChunkedText::new(&tokenizer, &source.documents[0], options.protocol, None, context)?;
        let share = overlap(calibration.samples.iter().map(Vec::as_slice), &heldout.tokens);
        if share > MAX_OVERLAP {
            return Err(EvalError::Overlap { share }.into());
        }
        let tokenizer_digest = tokenizer_digest(checkpoint, &tokenizer)?;
        let model_digest = digest_of(checkpoint)?;
        let recipes: Vec<String> =
            options.recipes.iter().map(|r| format!("{} {}", r.name, r.recipe.describe())).collect();
        let settings = format!(
            "{} {:?} {:?} {:?} {} {} {} {} {} {:?} {:?}",
            recipes.join(" "),
            options.container.name,
            options.bits,
            options.group_size,
            options.budget,
            options.calibration_samples,
            length,
            heldout.protocol,
            context,
            options.run.compute,
            options.run.cache_type,
        );
        let key = Digest::default()
            .with(env!("CARGO_PKG_VERSION"))
            .with(&model_digest)
            .with(&tokenizer_digest)
            .with(&text.digest)
            .with(&source.digest)
            .with(settings)
            .hex();
        let card_of = |text: &Text, tokens| TextCard { name: text.name.clone(), sha256: text.digest.clone(), tokens };
        Ok(Self {
            calibration_card: card_of(&text, calibration.tokens()),
            evaluation_card: card_of(&source, heldout.tokens.len()),
            card: JobCard { model: checkpoint.facts().name.clone(), model_digest, key },
            warnings: text.warnings.into_iter().chain(source.warnings).collect(),
            tokenizer,
            calibration,
            heldout,
            tokenizer_digest,
            context,
        })
    }
}
