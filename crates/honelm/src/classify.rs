//! Labels of texts, chosen by their likelihoods as answers of the model.

use honelm_engine::{ChatAsk, Completion, EngineError, Likelihood, Request};
use honelm_text::{Message, RenderOptions};
use serde::{Deserialize, Serialize};

use crate::prompt::now;
use crate::together::{Call, CallLimits};
use crate::{Cancel, Error, Model};

/// The most labels of a classification.
pub const MOST_LABELS: usize = 256;
/// The most examples of a classification.
pub const MOST_EXAMPLES: usize = 64;
/// The most bytes of the name of a label.
const MOST_NAME: usize = 200;

/// A label, or a kind of things in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The name, which is the answer of the model.
    pub name: String,
    /// The meaning.
    #[serde(default)]
    pub description: Option<String>,
}

impl Label {
    /// Creates a label without a description.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), description: None }
    }

    /// Returns the name, and the description behind `separator`.
    pub(crate) fn described(&self, separator: &str) -> String {
        self.description.as_ref().map_or_else(|| self.name.clone(), |text| format!("{}{separator}{text}", self.name))
    }
}

/// A text whose labels are known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelledText {
    /// The text.
    pub text: String,
    /// The labels: exactly one, except where any number can fit.
    pub labels: Vec<String>,
}

/// The comparison of labels of different lengths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// The score of a label is its log-likelihood per token, times the mean number of tokens of all labels. Labels of equal lengths
    /// are compared as with [`Normalise::None`].
    #[default]
    Length,
    /// The score of a label is its log-likelihood: the probabilities are those with which the model answers if it may answer by
    /// labels alone. Long labels are less likely.
    None,
}

/// The settings of a classification.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassifyOptions {
    /// The labels, at least 2, or at least 1 with `multi`.
    pub labels: Vec<Label>,
    /// Texts with known labels, which are shown to the model.
    pub examples: Vec<LabelledText>,
    /// The question to decide, in place of the usual sentence.
    pub instruction: Option<String>,
    /// Decides for each label on its own if it fits.
    pub multi: bool,
    /// The least probability of a label that is chosen with `multi`, 0 to 1.
    pub threshold: f64,
    /// The comparison of labels of different lengths.
    pub normalise: Normalise,
    /// The limits of the call.
    pub limits: CallLimits,
}

impl ClassifyOptions {
    /// Creates settings that choose one of these labels.
    #[must_use]
    pub fn new(labels: Vec<Label>) -> Self {
        Self {
            labels,
            examples: Vec::new(),
            instruction: None,
            multi: false,
            threshold: 0.5,
            normalise: Normalise::default(),
            limits: CallLimits::default(),
        }
    }
}

/// The score of a label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelScore {
    /// The name.
    pub label: String,
    /// The probability, 0 to 1. Those of all labels have the sum 1, except where each is decided on its own.
    pub probability: f64,
    /// The natural logarithm of the probability that the model answers exactly so; where each label is decided on its own, that it
    /// answers `yes`.
    pub log_likelihood: f64,
    /// The number of tokens of that answer, with the end token.
    pub tokens: usize,
}

/// The labels of a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classification {
    /// The chosen labels: the most probable one, or all that reach the threshold.
    pub labels: Vec<String>,
    /// The scores of all labels, in the order of the settings.
    pub scores: Vec<LabelScore>,
    /// The number of tokens of all prompts, and of those that were cached.
    pub prompt_tokens: usize,
    /// The number of those that were cached.
    pub cached_tokens: usize,
}

/// A prompt, and the answers whose likelihoods decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The messages.
    pub messages: Vec<Message>,
    /// The answers.
    pub answers: Vec<String>,
}

/// The likelihoods of a question's answers, with the numbers of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedAnswers {
    /// The likelihoods, in the order of the answers.
    pub likelihoods: Vec<Likelihood>,
    /// The number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// The number of those that were cached.
    pub cached_tokens: usize,
}

/// The answers to the question if a label fits.
const YES_NO: [&str; 2] = ["yes", "no"];

/// Checked settings: questions for the model, and what follows from their answers.
#[derive(Debug, Clone)]
pub struct Classifier {
    options: ClassifyOptions,
}

impl Classifier {
    /// Checks settings.
    ///
    /// # Errors
    /// [`EngineError::InvalidSetting`] for too few or too many labels, names that are empty, equal or broken, unknown labels of
    /// examples, a threshold out of range.
    pub fn new(options: ClassifyOptions) -> Result<Self, EngineError> {
        let least = if options.multi { 1 } else { 2 };
        if !(least..=MOST_LABELS).contains(&options.labels.len()) {
            let expected = if options.multi { "1 to 256 labels" } else { "2 to 256 labels, or 1 with multi" };
            return invalid("labels", format!("{} labels", options.labels.len()), expected);
        }
        check_names("labels", &options.labels)?;
        if !(0.0..=1.0).contains(&options.threshold) {
            return invalid("threshold", options.threshold.to_string(), "a number from 0 to 1");
        }
        if options.examples.len() > MOST_EXAMPLES {
            return invalid("examples", format!("{} texts", options.examples.len()), "at most 64 texts");
        }
        for example in &options.examples {
            if !options.multi && example.labels.len() != 1 {
                let found = format!("{} labels of a text", example.labels.len());
                return invalid("examples", found, "one label for each text, or multi");
            }
            let is_known = |name: &&String| options.labels.iter().any(|label| label.name == **name);
            if let Some(unknown) = example.labels.iter().find(|name| !is_known(name)) {
                return invalid("examples", format!("the label {unknown:?}"), "one of the labels");
            }
        }
        Ok(Self { options })
    }

    /// Returns the questions about a text: one, or with `multi` one for each label.
    #[must_use]
    pub fn questions(&self, text: &str) -> Vec<Question> {
        if self.options.multi {
            return self.options.labels.iter().map(|label| self.fits(text, label)).collect();
        }
        let names = self.options.labels.iter().map(|label| label.name.clone()).collect();
        vec![Question { messages: self.which(text), answers: names }]
    }

    fn instruction<'a>(&'a self, usual: &'a str) -> &'a str {
        self.options.instruction.as_deref().unwrap_or(usual)
    }

    /// Asks for one of the labels.
    fn which(&self, text: &str) -> Vec<Message> {
        let labels: Vec<String> =
            self.options.labels.iter().map(|label| format!("- {}", label.described(": "))).collect();
        let usual = "Classify the text: choose the label that fits best.";
        let head = format!(
            "{}\nAnswer with one of these labels and nothing else:\n{}\n\n",
            self.instruction(usual),
            labels.join("\n")
        );
        let mut messages = Vec::new();
        for example in &self.options.examples {
            messages.push(Message::new("user", format!("Text:\n{}\n\nLabel:", example.text)));
            messages.push(Message::new("assistant", example.labels.concat()));
        }
        messages.push(Message::new("user", format!("Text:\n{text}\n\nLabel:")));
        // Not a system message: some templates have none.
        if let Some(first) = messages.first_mut() {
            first.content = format!("{head}{}", first.content.as_str().unwrap_or_default()).into();
        }
        messages
    }

    /// Asks if a label fits. The label comes last, so that the questions about a text share what is before it.
    fn fits(&self, text: &str, label: &Label) -> Question {
        let mut prompt = self.instruction("Decide if the label fits the text.").to_owned();
        prompt.push_str(" Answer with yes or no.\n\n");
        for example in &self.options.examples {
            prompt.push_str(&format!("Text:\n{}\n\nLabels that fit: {}\n\n", example.text, example.labels.join(", ")));
        }
        prompt.push_str(&format!("Text:\n{text}\n\nLabel: {}\n\nDoes the label fit?", label.described(", ")));
        Question { messages: vec![Message::new("user", prompt)], answers: YES_NO.map(str::to_owned).to_vec() }
    }

    /// Returns the labels of a text whose questions were judged in this way.
    #[must_use]
    pub fn result(&self, judged: &[JudgedAnswers]) -> Classification {
        let scores = if self.options.multi { self.of_each(judged) } else { self.of_one(judged) };
        let labels = if self.options.multi {
            scores.iter().filter(|score| score.probability >= self.options.threshold).collect()
        } else {
            // Of equally probable ones, the first.
            let best = scores.iter().rev().max_by(|a, b| a.probability.total_cmp(&b.probability));
            best.into_iter().collect::<Vec<_>>()
        };
        Classification {
            labels: labels.into_iter().map(|score| score.label.clone()).collect(),
            scores,
            prompt_tokens: judged.iter().map(|one| one.prompt_tokens).sum(),
            cached_tokens: judged.iter().map(|one| one.cached_tokens).sum(),
        }
    }

    /// Returns the scores of labels of which one is chosen.
    fn of_one(&self, judged: &[JudgedAnswers]) -> Vec<LabelScore> {
        let likelihoods: Vec<Likelihood> = judged.iter().flat_map(|one| one.likelihoods.iter().copied()).collect();
        let probabilities = probabilities(&likelihoods, self.options.normalise);
        let all = self.options.labels.iter().zip(likelihoods).zip(probabilities);
        all.map(|((label, found), probability)| score(label, found, probability)).collect()
    }

    /// Returns the scores of labels that are each decided on their own.
    fn of_each(&self, judged: &[JudgedAnswers]) -> Vec<LabelScore> {
        let of = |(label, one): (&Label, &JudgedAnswers)| {
            let yes = one.likelihoods.first().copied()?;
            let probability = probabilities(&one.likelihoods, self.options.normalise).first().copied()?;
            Some(score(label, yes, probability))
        };
        self.options.labels.iter().zip(judged).filter_map(of).collect()
    }
}

fn score(label: &Label, found: Likelihood, probability: f64) -> LabelScore {
    LabelScore { label: label.name.clone(), probability, log_likelihood: found.log, tokens: found.tokens }
}

/// Returns the probabilities of answers of which one is given.
///
/// With log-likelihoods l and numbers of tokens n, p = softmax(l), or with [`Normalise::Length`] p = softmax(l m / n) with the
/// mean m of n. If no answer is possible, all are equally probable.
fn probabilities(found: &[Likelihood], normalise: Normalise) -> Vec<f64> {
    let mean = found.iter().map(|one| one.tokens as f64).sum::<f64>() / found.len().max(1) as f64;
    let score = |one: &Likelihood| match normalise {
        Normalise::None => one.log,
        Normalise::Length => one.log * mean / one.tokens.max(1) as f64,
    };
    let scores: Vec<f64> = found.iter().map(score).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !max.is_finite() {
        return vec![1.0 / found.len().max(1) as f64; found.len()];
    }
    let total: f64 = scores.iter().map(|score| (score - max).exp()).sum();
    scores.iter().map(|score| (score - max).exp() / total).collect()
}

pub(crate) fn invalid<T>(name: &'static str, found: String, expected: &'static str) -> Result<T, EngineError> {
    Err(EngineError::InvalidSetting { name, found, expected })
}

/// Checks the names of labels or kinds.
pub(crate) fn check_names(setting: &'static str, labels: &[Label]) -> Result<(), EngineError> {
    for (at, label) in labels.iter().enumerate() {
        let name = &label.name;
        if name.is_empty() || name.len() > MOST_NAME || name.trim() != name || name.contains(char::is_control) {
            let expected = "names of 1 to 200 bytes without spaces at the ends and without line breaks";
            return invalid(setting, format!("{:?}", name.chars().take(80).collect::<String>()), expected);
        }
        if labels[..at].iter().any(|other| other.name == *name) {
            return invalid(setting, format!("{name:?} twice"), "names that differ");
        }
    }
    Ok(())
}

/// Checks the texts of a call.
pub(crate) fn check_texts(texts: &[impl AsRef<str>]) -> Result<(), EngineError> {
    match texts.iter().any(|text| text.as_ref().trim().is_empty()) {
        true => invalid("text", "an empty text".to_owned(), "a text with at least one word"),
        false => Ok(()),
    }
}

/// Returns the settings of prompts whose answers have no reasoning before them.
#[must_use]
pub fn direct_answers() -> RenderOptions {
    let mut options = RenderOptions { clock: Some(now()), ..RenderOptions::default() };
    options.extra.insert("enable_thinking".to_owned(), false.into());
    options
}

impl Model {
    /// Classifies texts. All are computed together, on the device alone, and the same settings give the same probabilities.
    ///
    /// ```no_run
    /// use honelm::{Cancel, ClassifyOptions, Label, Model, RunOptions};
    ///
    /// # fn main() -> Result<(), honelm::Error> {
    /// let mut model = Model::open("model.gguf".as_ref(), &RunOptions::default(), &mut |_| true)?;
    /// let options = ClassifyOptions::new(vec![Label::new("refund"), Label::new("delivery"), Label::new("other")]);
    /// let found = model.classify(&["Where is my parcel?"], &options, &Cancel::new())?;
    /// println!("{} ({:.2})", found[0].labels[0], found[0].scores[1].probability);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Invalid settings ([`Classifier::new`]), an empty text, one that is longer than the context, a device that fails,
    /// [`Error::Interrupted`], [`Error::Deadline`].
    pub fn classify(
        &mut self,
        texts: &[impl AsRef<str>],
        options: &ClassifyOptions,
        cancel: &Cancel,
    ) -> Result<Vec<Classification>, Error> {
        self.check_unchanged()?;
        check_texts(texts)?;
        let (classifier, call) = (Classifier::new(options.clone())?, Call::new(options.limits, cancel));
        let ask = ChatAsk::from(direct_answers());
        let request = |question: &Question| -> Result<Request, Error> {
            Ok(self.loaded.likelihood_request(&question.messages, &ask, &question.answers)?)
        };
        let mut questions = Vec::with_capacity(texts.len());
        for text in texts {
            let of_text = classifier.questions(text.as_ref());
            questions.push(of_text.iter().map(request).collect::<Result<Vec<_>, _>>()?);
        }
        // The questions about a text share its tokens once the first one has been read.
        let first = questions.iter_mut().map(|of_text| of_text.remove(0)).collect();
        let rest: Vec<usize> = questions.iter().map(Vec::len).collect();
        let first = call.complete(self, first)?;
        let mut others = call.complete(self, questions.into_iter().flatten().collect())?.into_iter();
        let of_text = |(first, rest): (Completion, usize)| -> Result<Classification, Error> {
            let all = std::iter::once(first).chain(others.by_ref().take(rest));
            Ok(classifier.result(&all.map(judged).collect::<Result<Vec<_>, _>>()?))
        };
        first.into_iter().zip(rest).map(of_text).collect()
    }
}

/// Returns the likelihoods of a completion.
fn judged(done: Completion) -> Result<JudgedAnswers, EngineError> {
    let likelihoods = done.likelihoods.ok_or(EngineError::MissingOutput { what: "likelihoods" })?;
    Ok(JudgedAnswers { likelihoods, prompt_tokens: done.prompt_tokens, cached_tokens: done.cached_tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Vec<Label> {
        names.iter().map(|name| Label::new(*name)).collect()
    }

    #[test]
    fn probabilities_are_the_softmax_of_the_scores() {
        let found = [(0.5f64, 2), (0.25, 2), (0.125, 2)].map(|(p, tokens)| Likelihood { log: p.ln(), tokens });
        for normalise in [Normalise::None, Normalise::Length] {
            let p = probabilities(&found, normalise);
            assert!(p.iter().zip([4.0, 2.0, 1.0]).all(|(p, w)| (p - w / 7.0).abs() < 1e-12), "{p:?}");
        }
        // With 2 and 4 tokens, of mean 3: exp(3 ln(1/4) / 2) = 1/8 and exp(3 ln(1/16) / 4) = 1/8.
        let found = [(0.25f64, 2), (0.0625, 4)].map(|(p, tokens)| Likelihood { log: p.ln(), tokens });
        assert!(probabilities(&found, Normalise::Length).iter().all(|p| (p - 0.5).abs() < 1e-12));
        assert!((probabilities(&found, Normalise::None)[0] - 0.8).abs() < 1e-12);
        let impossible = [Likelihood { log: f64::NEG_INFINITY, tokens: 2 }; 4];
        assert_eq!(probabilities(&impossible, Normalise::None), [0.25; 4]);
    }

    #[test]
    fn examples_come_before_the_text_and_the_labels_first() {
        let mut options = ClassifyOptions::new(labels(&["a", "b"]));
        options.labels[0].description = Some("the first".to_owned());
        options.examples = vec![LabelledText { text: "one".to_owned(), labels: vec!["b".to_owned()] }];
        let classifier = Classifier::new(options.clone()).expect("valid");
        let [question] = &classifier.questions("two")[..] else { panic!("one question") };
        let texts: Vec<&str> = question.messages.iter().filter_map(|message| message.content.as_str()).collect();
        assert!(texts[0].contains("- a: the first\n- b\n\nText:\none\n\nLabel:"), "{}", texts[0]);
        assert_eq!(texts[1..], ["b", "Text:\ntwo\n\nLabel:"]);
        let multi = Classifier::new(ClassifyOptions { multi: true, ..options }).expect("valid");
        let questions = multi.questions("two");
        assert_eq!((questions.len(), &questions[0].answers[..]), (2, &YES_NO.map(str::to_owned)[..]));
        let text = questions[0].messages[0].content.as_str().expect("a text");
        assert!(text.ends_with("Text:\ntwo\n\nLabel: a, the first\n\nDoes the label fit?"), "{text}");
    }

    #[test]
    fn the_first_of_equal_labels_is_chosen_and_all_that_reach_the_threshold() {
        let judged = |logs: &[f64]| JudgedAnswers {
            likelihoods: logs.iter().map(|&log| Likelihood { log, tokens: 2 }).collect(),
            prompt_tokens: 7,
            cached_tokens: 3,
        };
        let options = ClassifyOptions::new(labels(&["a", "b", "c"]));
        let one = Classifier::new(options.clone()).expect("valid").result(&[judged(&[-2.0, -1.0, -1.0])]);
        assert_eq!((&one.labels[..], one.prompt_tokens), (&["b".to_owned()][..], 7));
        let multi = Classifier::new(ClassifyOptions { multi: true, threshold: 0.7, ..options }).expect("valid");
        let yes = |p: f64| judged(&[p.ln(), (1.0 - p).ln()]);
        let each = multi.result(&[yes(0.75), yes(0.5), yes(0.9)]);
        assert_eq!((each.labels, each.cached_tokens), (vec!["a".to_owned(), "c".to_owned()], 9));
        assert!((each.scores[1].probability - 0.5).abs() < 1e-12);
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        let example = |text: &str, of: &[&str]| LabelledText {
            text: text.to_owned(),
            labels: of.iter().map(|name| (*name).to_owned()).collect(),
        };
        let good = ClassifyOptions::new(labels(&["a", "b"]));
        let many: Vec<String> = (0..257).map(|i| i.to_string()).collect();
        for (name, options) in [
            ("labels", ClassifyOptions::new(Vec::new())),
            ("labels", ClassifyOptions::new(labels(&["a"]))),
            ("labels", ClassifyOptions { multi: true, ..ClassifyOptions::new(Vec::new()) }),
            ("labels", ClassifyOptions::new(labels(&["a", "b", "a"]))),
            ("labels", ClassifyOptions::new(labels(&["a", ""]))),
            ("labels", ClassifyOptions::new(labels(&["a", " b"]))),
            ("labels", ClassifyOptions::new(labels(&["a", "b\nc"]))),
            ("labels", ClassifyOptions::new(labels(&["a", &"b".repeat(201)]))),
            ("labels", ClassifyOptions::new(many.iter().map(Label::new).collect())),
            ("threshold", ClassifyOptions { threshold: f64::NAN, ..good.clone() }),
            ("threshold", ClassifyOptions { threshold: 1.5, ..good.clone() }),
            ("examples", ClassifyOptions { examples: vec![example("t", &["c"])], ..good.clone() }),
            ("examples", ClassifyOptions { examples: vec![example("t", &["a", "b"])], ..good.clone() }),
            ("examples", ClassifyOptions { examples: vec![example("t", &["a"]); 65], ..good.clone() }),
        ] {
            let error = Classifier::new(options).expect_err(name);
            assert!(
                matches!(error, EngineError::InvalidSetting { name: found, .. } if found == name),
                "{name}: {error}"
            );
        }
        assert!(Classifier::new(good).is_ok());
    }
}
