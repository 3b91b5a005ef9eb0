//! The gates: the budget, and what a candidate must hold beside it.

use std::rc::Rc;

use honelm_eval::{Baseline, Budget, Figures, MIN_CHUNKS, MIN_ITEMS, Verdict, judge, judge_bound, overlap, perplexity};
use honelm_eval::{EvalError, MAX_OVERLAP};
use honelm_model::{Checkpoint, Runner};
use honelm_store::{Digest, Journal};
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::state::Job;
use super::{OptimizeOptions, Quality, TextCard};
use crate::measure::{
    ChunkedText, Heldout, Home, Lazy, Original, States, StatesCache, answers, context_of, states_key,
};
use crate::tasks::{Outcome, Prepared, TaskOptions, TaskResults};
use crate::{Error, Events, TextSource};

/// The conditions beside the budget that a candidate must hold.
#[derive(Debug, Clone, Default)]
pub struct Gates {
    /// The largest mean KL divergence from the original in nats, by its upper 95% bound, on each text.
    pub max_kl: Option<f64>,
    /// Further held-out texts, each of which must hold the budget and [`Gates::max_kl`].
    pub texts: Vec<TextSource>,
    /// The tasks that the original and the candidates answer.
    pub tasks: Option<TaskOptions>,
    /// The largest loss of accuracy on the tasks, in percent of the original's, by the lower 95% bound of what is retained.
    pub max_accuracy_loss: Option<f64>,
    /// The cache of the original's hidden states; without one they are in the work folder.
    pub cache: Option<StatesCache>,
}

/// The kind of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateKind {
    /// The increase in perplexity on a text.
    Perplexity,
    /// The mean KL divergence on a text.
    Kl,
    /// The accuracy retained on tasks.
    Accuracy,
}

/// The result of one gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// The kind.
    pub gate: GateKind,
    /// The name of the text or of the task file.
    pub on: String,
    /// The bound that decides, in the unit of the limit; `None` for too few chunks or items.
    pub bound: Option<f64>,
    /// The limit: the largest increase in perplexity or in percent, the largest divergence, or the smallest percentage of
    /// accuracy retained.
    pub limit: f64,
    /// The verdict of this gate.
    pub verdict: Verdict,
    /// About how many items would decide, if too few leave it open whether the accuracy is retained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_needed: Option<usize>,
}

impl GateResult {
    /// Returns the figure and its limit in one sentence.
    #[must_use]
    pub fn sentence(&self, budget: Budget) -> String {
        let Self { on, limit, .. } = self;
        let (what, unit, sign) = match self.gate {
            GateKind::Perplexity => {
                ("perplexity difference", if matches!(budget, Budget::Relative(_)) { "%" } else { "" }, true)
            }
            GateKind::Kl => ("KL divergence", " nats", false),
            GateKind::Accuracy => ("accuracy retained", "%", false),
        };
        let shown = |value: f64| match (self.gate, sign) {
            (GateKind::Kl, _) => format!("{value:.4}{unit}"),
            (_, true) => format!("{value:+.3}{unit}"),
            _ => format!("{value:.1}{unit}"),
        };
        let Some(bound) = self.bound else {
            let few = match self.gate {
                GateKind::Accuracy => {
                    format!("fewer than {MIN_ITEMS} items, or none that the original answers correctly")
                }
                _ => format!("fewer than {MIN_CHUNKS} chunks"),
            };
            return format!("{what} on {on}: no verdict ({few})");
        };
        let limit = match self.gate {
            GateKind::Kl => format!("{limit}{unit}"),
            GateKind::Perplexity => budget.to_string(),
            GateKind::Accuracy => format!("{limit}{unit}"),
        };
        let (side, kind) = match self.gate {
            GateKind::Accuracy => ("at least", "required"),
            _ => ("at most", "allowed"),
        };
        let result = match self.verdict {
            Verdict::Accepted => "holds",
            _ => "fails",
        };
        let more = self.items_needed.map_or_else(String::new, |items| {
            format!("; the items are too few to decide, about {items} would do if the accuracy stays the same")
        });
        format!("{what} on {on}: {side} {} (95%), {kind} {limit}: {result}{more}", shown(bound))
    }
}

/// The quality on a further text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextQuality {
    /// The name of the text.
    pub text: String,
    /// The SHA-256 digest of the text.
    pub sha256: String,
    /// The figures.
    #[serde(flatten)]
    pub quality: Quality,
}

/// The findings about a model beside its quality on the first text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Findings {
    /// The results of the gates, in the order in which they were applied; empty for the original.
    #[serde(default)]
    pub gates: Vec<GateResult>,
    /// The quality on the further texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<TextQuality>,
    /// The accuracy on the tasks, if there are any.
    #[serde(flatten)]
    pub accuracy: Option<TaskResults>,
}

impl Findings {
    /// Returns the verdict of all gates: each must accept.
    pub(crate) fn verdict(&self) -> Verdict {
        let any = |verdict| self.gates.iter().any(|gate| gate.verdict == verdict);
        match (any(Verdict::Rejected), any(Verdict::NotEnoughText)) {
            (true, _) => Verdict::Rejected,
            (false, true) => Verdict::NotEnoughText,
            (false, false) => Verdict::Accepted,
        }
    }

    /// Applies the gates that have a limit to the figures on a text.
    pub(crate) fn text(&mut self, on: &str, figures: &Figures, budget: Option<Budget>, max_kl: Option<f64>) {
        self.gates.extend(budget.map(|budget| GateResult {
            gate: GateKind::Perplexity,
            on: on.to_owned(),
            bound: figures.upper95(budget),
            limit: budget.value(),
            verdict: judge(figures, budget),
            items_needed: None,
        }));
        self.gates.extend(max_kl.map(|limit| GateResult {
            gate: GateKind::Kl,
            on: on.to_owned(),
            bound: figures.kl_divergence_upper95,
            limit,
            verdict: judge_bound(figures.kl_divergence_upper95, limit),
            items_needed: None,
        }));
    }

    /// Applies the gate to the accuracy on tasks.
    fn tasks(&mut self, found: TaskResults, max_loss: Option<f64>) {
        self.gates.extend(max_loss.map(|loss| accuracy_gate(&found, loss)));
        self.accuracy = Some(found);
    }
}

/// Applies the gate of accuracy: the lower bound of what is retained must reach 100% without the allowed loss.
fn accuracy_gate(found: &TaskResults, max_loss: f64) -> GateResult {
    let limit = 100.0 - max_loss;
    let kept = found.all.against;
    let lower = kept.and_then(|kept| kept.accuracy_retained_percent_lower95);
    let upper = kept.and_then(|kept| kept.accuracy_retained_percent_upper95).unwrap_or(f64::INFINITY);
    let verdict = match lower {
        None => Verdict::NotEnoughText,
        Some(lower) if lower >= limit => Verdict::Accepted,
        Some(_) => Verdict::Rejected,
    };
    // The distance of a bound from the mean shrinks with the square root of the number of items.
    let is_open = verdict == Verdict::Rejected && upper >= limit;
    let items_needed = lower.zip(kept.and_then(|kept| kept.accuracy_retained_percent)).and_then(|(lower, mean)| {
        let wanted = ((mean - lower) / (mean - limit)).powi(2) * found.all.items as f64;
        (is_open && mean > limit && wanted.is_finite()).then_some(wanted.ceil() as usize)
    });
    GateResult { gate: GateKind::Accuracy, on: found.tasks_file.clone(), bound: lower, limit, verdict, items_needed }
}

/// A further text of a job.
pub(super) struct FurtherText {
    pub card: TextCard,
    pub heldout: ChunkedText,
    warnings: Vec<String>,
}

impl Gates {
    /// Checks the options, and reads the further texts. `calibration` must not overlap them.
    ///
    /// # Errors
    /// [`Error::Usage`] for a limit that makes no sense, an invalid text or task.
    pub(super) fn read<'s>(
        &self,
        options: &OptimizeOptions,
        checkpoint: &Checkpoint,
        tokenizer: &honelm_text::Tokenizer,
        calibration: impl Iterator<Item = &'s [u32]> + Clone,
    ) -> Result<Vec<FurtherText>, Error> {
        let usage = |text: String| Err(Error::Usage(text));
        if let Some(kl) = self.max_kl.filter(|kl| !(kl.is_finite() && *kl >= 0.0)) {
            return usage(format!("--max-kl: found {kl}, expected a number of at least 0"));
        }
        if let Some(loss) = self.max_accuracy_loss {
            if !(0.0..=100.0).contains(&loss) {
                return usage(format!("--max-accuracy-loss: found {loss}%, expected 0% to 100%"));
            }
            if self.tasks.is_none() {
                return usage("--max-accuracy-loss: found no tasks, expected --tasks FILE".to_owned());
            }
        }
        let context = context_of(checkpoint, &options.run);
        if let Some(tasks) = &self.tasks {
            Prepared::new(checkpoint, &tasks.tasks, tasks.chat, context)?;
        }
        let read = |source: &TextSource| {
            let Heldout { name, digest, warnings, chunked } =
                Heldout::read(source, checkpoint, tokenizer, (options.protocol, None), context)?;
            let share = overlap(calibration.clone(), &chunked.tokens);
            if share > MAX_OVERLAP {
                return Err(EvalError::Overlap { share }.into());
            }
            let card = TextCard { name, sha256: digest, tokens: chunked.tokens.len() };
            Ok(FurtherText { card, heldout: chunked, warnings })
        };
        self.texts.iter().map(read).collect()
    }

    /// Returns what the job's key depends on.
    pub(super) fn describe(&self, further: &[FurtherText]) -> String {
        let digest = further.iter().fold(Digest::default(), |digest, text| digest.with(&text.card.sha256));
        let tasks = self.tasks.as_ref().map(|tasks| (&tasks.tasks.digest, tasks.chat));
        format!("{:?} {} {tasks:?} {:?}", self.max_kl, digest.hex(), self.max_accuracy_loss)
    }
}

/// Returns warnings about the further texts and the tasks.
pub(super) fn warnings(gates: &Gates, further: &[FurtherText]) -> Vec<String> {
    let few = gates.tasks.as_ref().map(|tasks| tasks.tasks.items.len()).filter(|&items| items < MIN_ITEMS);
    let few = few.filter(|_| gates.max_accuracy_loss.is_none());
    let few = few.map(|items| format!("the tasks have {items} items: bounds need at least {MIN_ITEMS}"));
    further.iter().flat_map(|text| text.warnings.clone()).chain(few).collect()
}

impl Plan {
    /// Returns what is too little for a verdict, in one sentence.
    pub(super) fn shortage(&self, gates: &Gates) -> Option<String> {
        let further = self.further.iter().map(|text| (format!("the text {}", text.card.name), &text.heldout));
        let texts = std::iter::once(("the text".to_owned(), &self.heldout)).chain(further);
        let mut short = texts.filter(|(_, text)| text.chunks.len() < MIN_CHUNKS);
        if let Some((name, text)) = short.next() {
            return Some(format!("{name} has {} chunks: a verdict needs {MIN_CHUNKS}", text.chunks.len()));
        }
        let items = gates.tasks.as_ref().map_or(0, |tasks| tasks.tasks.items.len());
        (gates.max_accuracy_loss.is_some() && items < MIN_ITEMS)
            .then(|| format!("the tasks have {items} items: a verdict needs {MIN_ITEMS}"))
    }
}

/// The facts about the original beside its scores on the first text.
#[derive(Default)]
pub(super) struct Judges {
    /// The scores on the further texts.
    baselines: Vec<Baseline>,
    /// The verdicts on the tasks, if there are any.
    outcomes: Option<Vec<Outcome>>,
    /// The places of the hidden states.
    homes: Vec<Home>,
}

/// The quality of a candidate, and the verdict on it.
pub(super) struct Judgement {
    pub figures: Figures,
    pub rejected_early: bool,
    pub verdict: Verdict,
    pub findings: Findings,
}

impl Job<'_> {
    /// Scores the original on the first text, and on everything else that the gates need.
    pub(super) fn score_original(&mut self, lazy: &mut Lazy<'_>, events: Events<'_>) -> Result<Baseline, Error> {
        let (plan, gates) = (self.plan, &self.options.gates);
        let context = context_of(self.checkpoint, &self.options.run);
        let mut judges = Judges::default();
        let mut score = |name: &str, text: &ChunkedText| {
            let cached = gates.cache.as_ref().and_then(|cache| {
                let key = states_key(&plan.card.model_digest, &text.chunks, context, &self.options.run);
                Home::cached(Some(cache), &key)
            });
            let home = cached.unwrap_or_else(|| Home::work(Journal::new(&self.folder.work(name), &plan.card.key)));
            let states = States::new(home.journal().clone(), self.checkpoint);
            let baseline = Original::score(lazy, &text.chunks, states, &mut *events)?;
            judges.homes.push(home);
            Ok::<_, Error>(baseline)
        };
        let first = score("states", &plan.heldout)?;
        let further = plan.further.iter().enumerate();
        let baselines: Result<_, Error> =
            further.map(|(at, text)| score(&format!("states-{}", at + 2), &text.heldout)).collect();
        judges.baselines = baselines?;
        if let (Some(tasks), Some(home)) = (&gates.tasks, judges.homes.first()) {
            judges.outcomes = Some(answers(lazy, tasks, home.journal(), &mut *events)?);
        }
        self.judges = Rc::new(judges);
        Ok(first)
    }

    /// Returns what the report says about the original.
    pub(super) fn original_findings(&self) -> Findings {
        let texts = self.plan.further.iter().zip(&self.judges.baselines).map(|(text, baseline)| TextQuality {
            text: text.card.name.clone(),
            sha256: text.card.sha256.clone(),
            quality: Quality::of_original(baseline.scores.nll.len(), perplexity(&baseline.scores)),
        });
        let tasks = self.options.gates.tasks.as_ref().zip(self.judges.outcomes.as_ref());
        let accuracy = tasks.map(|(tasks, outcomes)| TaskResults::new(&tasks.tasks, outcomes, None));
        Findings { gates: Vec::new(), texts: texts.collect(), accuracy }
    }

    /// Applies all gates to a candidate: `figures` are those on the first text. Ends at the first gate that rejects, unless
    /// candidates are compared.
    pub(super) fn gates(
        &self,
        name: &str,
        (figures, rejected_early): (Figures, bool),
        reloaded: &Checkpoint,
        original: &mut Original,
        mut runner: Box<dyn Runner>,
        events: Events<'_>,
    ) -> Result<Judgement, Error> {
        let (gates, budget) = (&self.options.gates, self.options.budget);
        let mut findings = Findings::default();
        findings.text(&self.plan.evaluation_card.name, &figures, Some(budget), gates.max_kl);
        let early = self.options.early_budget();
        let goes_on = |findings: &Findings| early.is_none() || findings.verdict() != Verdict::Rejected;
        for (text, baseline) in self.plan.further.iter().zip(&self.judges.baselines) {
            if !goes_on(&findings) {
                break;
            }
            let stage = format!("{name}: scoring {}", text.card.name);
            let chunks = &text.heldout.chunks;
            let compared = original.compare(baseline, &mut *runner, chunks, &stage, early, &mut *events)?;
            let found = honelm_eval::figures(&compared);
            findings.text(&text.card.name, &found, Some(budget), gates.max_kl);
            let (text, sha256) = (text.card.name.clone(), text.card.sha256.clone());
            findings.texts.push(TextQuality { text, sha256, quality: Quality::from(&found) });
        }
        if let (Some(tasks), Some(outcomes), true) = (&gates.tasks, &self.judges.outcomes, goes_on(&findings)) {
            let context = context_of(reloaded, &self.options.run);
            let prepared = Prepared::new(reloaded, &tasks.tasks, tasks.chat, context)?;
            let (_, own) = prepared.answer(runner, &format!("{name}: answering"), events)?;
            findings.tasks(TaskResults::new(&tasks.tasks, &own, Some(outcomes)), gates.max_accuracy_loss);
        }
        Ok(Judgement { figures, rejected_early, verdict: findings.verdict(), findings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{TaskDifferences, TaskFigures};

    fn results(items: usize, [mean, lower, upper]: [Option<f64>; 3]) -> TaskResults {
        let against = TaskDifferences {
            base_accuracy_percent: 50.0,
            accuracy_retained_percent: mean,
            accuracy_retained_percent_lower95: lower,
            accuracy_retained_percent_upper95: upper,
        };
        let all = TaskFigures {
            items,
            accuracy_percent: 49.0,
            accuracy_stderr_percent: None,
            accuracy_norm_percent: None,
            against: Some(against),
        };
        TaskResults { tasks_file: "quiz.jsonl".to_owned(), tasks_sha256: String::new(), all, tasks: Vec::new() }
    }

    #[test]
    fn the_lower_bound_of_the_accuracy_decides_and_an_open_question_is_told() {
        let gate = |found: [Option<f64>; 3]| accuracy_gate(&results(100, found), 3.0);
        let held = gate([Some(99.0), Some(97.5), Some(101.0)]);
        assert_eq!((held.verdict, held.limit, held.items_needed), (Verdict::Accepted, 97.0, None));
        let open = gate([Some(99.0), Some(93.0), Some(104.0)]);
        // Nine times as many items make the distance a third: 6 becomes 2, which is the room between 99 and 97.
        assert_eq!((open.verdict, open.items_needed), (Verdict::Rejected, Some(900)));
        let sentence = open.sentence(Budget::from(0.5));
        assert_eq!(
            sentence,
            "accuracy retained on quiz.jsonl: at least 93.0% (95%), required 97%: fails; the items are too few to decide, \
             about 900 would do if the accuracy stays the same"
        );
        let failed = gate([Some(90.0), Some(85.0), Some(95.0)]);
        assert_eq!((failed.verdict, failed.items_needed), (Verdict::Rejected, None));
        let few = gate([Some(99.0), None, None]);
        assert_eq!(few.verdict, Verdict::NotEnoughText);
        assert!(few.sentence(Budget::from(0.5)).contains("no verdict (fewer than 30 items"));
    }

    #[test]
    fn every_gate_must_accept() {
        let gate = |verdict| GateResult {
            gate: GateKind::Kl,
            on: "a.txt".to_owned(),
            bound: Some(0.02),
            limit: 0.01,
            verdict,
            items_needed: None,
        };
        let of = |verdicts: &[Verdict]| {
            Findings { gates: verdicts.iter().map(|&verdict| gate(verdict)).collect(), ..Findings::default() }.verdict()
        };
        use Verdict::{Accepted, NotEnoughText, Rejected};
        assert_eq!(of(&[Accepted, Accepted]), Accepted);
        assert_eq!(of(&[Accepted, NotEnoughText]), NotEnoughText);
        assert_eq!(of(&[NotEnoughText, Rejected]), Rejected);
        let sentence = gate(Rejected).sentence(Budget::from(0.5));
        assert_eq!(sentence, "KL divergence on a.txt: at most 0.0200 nats (95%), allowed 0.01 nats: fails");
    }
}
