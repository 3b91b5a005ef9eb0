//! Everything about a job that is fixed before the work begins.

use honelm_compress::{Calibration, Pipeline};
use honelm_eval::{Chunk, EvalError, MAX_OVERLAP, overlap};
use honelm_model::Checkpoint;
use honelm_store::Digest;
use honelm_text::Tokenizer;

use super::gates::{self, FurtherText};
use super::{OptimizeOptions, TextCard, calibrations};
use crate::Error;
use crate::documents::calibration_of;
use crate::measure::{ChunkedText, Heldout, context_of};
use crate::open::{digest_of, tokenizer_digest, tokenizer_of};
use crate::work::JobCard;

/// A calibration text of a job.
pub(super) struct CalibrationPlan {
    pub calibration: Calibration,
    pub card: TextCard,
}

/// The texts, digests and settings of a job.
pub(super) struct Plan {
    pub tokenizer: Tokenizer,
    /// The calibration texts, in the order in which they were given.
    pub calibrations: Vec<CalibrationPlan>,
    pub heldout: ChunkedText,
    /// The further texts that the gates need.
    pub further: Vec<FurtherText>,
    /// The half of the held-out text that a choice sees; the gate judges on the other. Empty without a choice.
    pub search: Vec<Chunk>,
    pub evaluation_card: TextCard,
    pub tokenizer_digest: String,
    pub context: usize,
    pub card: JobCard,
    /// Warnings about the texts.
    pub warnings: Vec<String>,
}

impl Plan {
    pub(super) fn new(
        options: &OptimizeOptions,
        pipeline: Option<&Pipeline>,
        checkpoint: &Checkpoint,
    ) -> Result<Self, Error> {
        let tokenizer = tokenizer_of(checkpoint)?;
        let length = options.calibration_length;
        let limit = checkpoint.facts().context;
        if length == 0 || length > limit {
            return Err(Error::Usage(format!("--length: found {length}, expected 1 to {limit}, the model's context")));
        }
        if !options.budget.value().is_finite() {
            return Err(Error::Usage(format!("--budget: found {}, expected a finite number", options.budget)));
        }
        let context = context_of(checkpoint, &options.run);
        let how = (options.protocol, None);
        let Heldout { name, digest, warnings: of_heldout, chunked: mut heldout } =
            Heldout::read(&options.text, checkpoint, &tokenizer, how, context)?;
        let card_of =
            |name: &str, sha256: &str, tokens| TextCard { name: name.to_owned(), sha256: sha256.to_owned(), tokens };
        let (mut calibrations, mut digests, mut warnings) =
            (Vec::<CalibrationPlan>::new(), Digest::default(), Vec::new());
        for source in &options.calibrations {
            let text = source.calibration()?;
            if calibrations.iter().any(|other| other.card.sha256 == text.digest) {
                let problem = format!("--calibration: found the text of {} twice, expected different texts", text.name);
                return Err(Error::Usage(problem));
            }
            let calibration = calibration_of(&tokenizer, &text, options.calibration_samples, length)?;
            let share = overlap(calibration.samples.iter().map(Vec::as_slice), &heldout.tokens);
            if share > MAX_OVERLAP {
                return Err(EvalError::Overlap { share }.into());
            }
            let card = card_of(&text.name, &text.digest, calibration.tokens());
            calibrations.push(CalibrationPlan { calibration, card });
            digests = digests.with(&text.digest);
            warnings.extend(text.warnings);
        }
        if calibrations.is_empty() {
            return Err(Error::Usage("--calibration: found no text, expected at least one".to_owned()));
        }
        let samples = || calibrations.iter().flat_map(|plan| plan.calibration.samples.iter().map(Vec::as_slice));
        let further = options.gates.read(options, checkpoint, &tokenizer, samples())?;
        warnings.extend(of_heldout);
        warnings.extend(gates::warnings(&options.gates, &further));
        let is_chosen = calibrations::are_tried(options) || options.allocation.goal.is_some();
        let search = match is_chosen {
            true => {
                let gate = heldout.chunks.split_off(heldout.chunks.len() / 2);
                std::mem::replace(&mut heldout.chunks, gate)
            }
            false => Vec::new(),
        };
        let tokenizer_digest = tokenizer_digest(checkpoint, &tokenizer)?;
        let model_digest = digest_of(checkpoint)?;
        let recipes: Vec<String> =
            options.recipes.iter().map(|r| format!("{} {}", r.name, r.recipe.describe())).collect();
        let settings = format!(
            "{} {:?} {:?} {:?} {:?} {} {} {} {} {} {:?} {:?} {} {}",
            recipes.join(" "),
            options.containers.iter().map(|container| container.name).collect::<Vec<_>>(),
            options.bits,
            options.ladder,
            options.group_size,
            options.budget,
            options.calibration_samples,
            length,
            heldout.protocol,
            context,
            options.run.compute,
            options.run.cache_type,
            options.gates.describe(&further),
            options.allocation.describe(),
        );
        let settings = if options.size_decides { settings + " size" } else { settings };
        let settings = match pipeline {
            Some(pipeline) => format!("{settings} {pipeline:?} {} {:?}", options.ablation, options.other_engine),
            None => settings,
        };
        let key = Digest::default()
            .with(env!("CARGO_PKG_VERSION"))
            .with(&model_digest)
            .with(&tokenizer_digest)
            .with(digests.hex())
            .with(&digest)
            .with(settings)
            .hex();
        Ok(Self {
            evaluation_card: TextCard { name, sha256: digest, tokens: heldout.tokens.len() },
            card: JobCard { model: checkpoint.facts().name.clone(), model_digest, key },
            warnings,
            tokenizer,
            calibrations,
            heldout,
            further,
            search,
            tokenizer_digest,
            context,
        })
    }
}
