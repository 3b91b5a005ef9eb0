//! Lets a model answer the items of a task file.

use std::collections::BTreeMap;
use std::rc::Rc;

use honelm_backend::block_on;
use honelm_engine::{Driver, DriverOptions, Event as Answered, Generation, Request, sampling_defaults};
use honelm_eval::{Continuations, EvalError, Likelihood, likelihoods};
use honelm_model::{Checkpoint, Runner};
use honelm_store::Digest;
use serde::{Deserialize, Serialize};

use super::file::{Context, Kind, Tasks};
use super::prompt::{Reader, Written};
use crate::{Error, Event, Events};

/// The verdict on one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// `true` if the accuracy counts the answer as correct.
    pub correct: bool,
    /// For a choice: whether the most likely one per byte is the right one.
    pub per_byte: Option<bool>,
}

/// A prompt with the settings of its answer.
#[derive(Debug, Clone)]
struct Question {
    prompt: Vec<u32>,
    how: Generation,
}

/// The items of a task file as a model reads them.
pub(crate) struct Prepared<'t> {
    tasks: &'t Tasks,
    reader: Reader,
    requests: Vec<Continuations>,
    questions: Vec<Question>,
    /// Warnings about the items.
    pub warnings: Vec<String>,
}

impl<'t> Prepared<'t> {
    /// Encodes the items for a model with a context of `context` tokens. With `chat`, plain contexts become messages.
    ///
    /// # Errors
    /// [`Error::Task`] for an item that does not fit the context or has no tokens, an invalid tokenizer or template, a
    /// template that rejects a conversation.
    pub(crate) fn new(checkpoint: &Checkpoint, tasks: &'t Tasks, chat: bool, context: usize) -> Result<Self, Error> {
        let reader = Reader::new(checkpoint)?;
        let settings = sampling_defaults("generation_config.json", checkpoint.generation_config())?;
        let mut prepared = Self { tasks, reader, requests: Vec::new(), questions: Vec::new(), warnings: Vec::new() };
        let mut cut = 0;
        for item in &tasks.items {
            let bad = |problem: String| Error::Task { path: tasks.name.clone(), line: item.line, problem };
            let written = prepared.reader.written(&item.context, chat)?;
            cut += usize::from(prepared.item(&item.kind, &written, &settings, context)?.map_err(bad)?);
        }
        if cut > 0 {
            let told =
                format!("{cut} items are longer than the context of {context} tokens: their beginning is left out");
            prepared.warnings.push(told);
        }
        let talks = tasks.items.iter().any(|item| chat || matches!(item.context, Context::Messages(_)));
        if talks && !prepared.reader.has_template {
            let told = "the model has no chat template: messages are written one per line";
            prepared.warnings.push(told.to_owned());
        }
        Ok(prepared)
    }

    /// Adds an item. Returns `true` if its context was cut, or what is wrong with it.
    fn item(
        &mut self,
        kind: &Kind,
        written: &Written,
        settings: &Generation,
        room: usize,
    ) -> Result<Result<bool, String>, Error> {
        let (delimiter, texts): (_, Vec<&str>) = match kind {
            Kind::Choice { choices, delimiter, .. } => (delimiter, choices.iter().map(String::as_str).collect()),
            Kind::Cloze { target, delimiter } => (delimiter, vec![target]),
            Kind::Generate { stop, max_tokens, .. } => {
                let (mut prompt, continues) = self.reader.prompt(written)?;
                if prompt.is_empty() {
                    return Ok(Err("the context has no tokens".to_owned()));
                }
                if *max_tokens >= room {
                    return Ok(Err(format!(
                        "max_tokens: found {max_tokens}, expected fewer than the context of {room}"
                    )));
                }
                let is_cut = cut(&mut prompt, room - max_tokens);
                let stop = settings.stop.iter().chain(stop).cloned().collect();
                let how = Generation {
                    stop,
                    stop_tokens: settings.stop_tokens.clone(),
                    continues,
                    ..Generation::greedy(*max_tokens)
                };
                self.questions.push(Question { prompt, how });
                return Ok(Ok(is_cut));
            }
        };
        let delimiter = Kind::delimiter(delimiter, written.is_chat());
        let mut request = match self.reader.continuations(written, delimiter, &texts)? {
            Ok(request) => request,
            Err(problem) => return Ok(Err(problem)),
        };
        let longest = request.of.iter().map(Vec::len).max().unwrap_or(0);
        if longest > room {
            return Ok(Err(format!("a text of {longest} tokens, expected at most the context of {room}")));
        }
        // The last token of a continuation is not an input.
        let is_cut = cut(&mut request.context, room + 1 - longest);
        self.requests.push(request);
        Ok(Ok(is_cut))
    }

    /// Returns a digest of everything that decides the answers of a model, and their verdicts.
    pub(crate) fn digest(&self) -> String {
        let bytes = |tokens: &[u32]| tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>();
        let mut digest = Digest::default().with(&self.tasks.digest);
        for request in &self.requests {
            digest = digest.with(bytes(&request.context));
            digest = request.of.iter().fold(digest, |digest, of| digest.with(bytes(of)));
        }
        for Question { prompt, how } in &self.questions {
            digest = digest.with(bytes(prompt)).with(format!("{how:?}"));
        }
        digest.hex()
    }

    /// Lets a model answer all items. Returns the model, and the verdicts in the order of the items.
    ///
    /// # Errors
    /// An error of the model, logits that are not finite, an expression that takes too much work,
    /// [`Error::Interrupted`] if `events` returns `false`.
    pub(crate) fn answer(
        &self,
        mut runner: Box<dyn Runner>,
        stage: &str,
        events: Events<'_>,
    ) -> Result<(Box<dyn Runner>, Vec<Outcome>), Error> {
        let total = self.tasks.items.len();
        let mut tell = |done: usize| events(&Event::Stage { name: stage, detail: "", done, total });
        let named = |error| match error {
            EvalError::ItemNotFinite { item } => EvalError::ItemNotFinite { item: self.number_of_request(item) },
            other => other,
        };
        let scored = likelihoods(&mut *runner, &self.requests, &mut tell).map_err(named)?;
        let first = self.requests.len();
        let mut driver = Driver::new(runner, Rc::clone(&self.reader.tokenizer), DriverOptions::default());
        let texts = together(&mut driver, &self.questions, &mut |done| tell(first + done))?;
        let (mut scored, mut texts) = (scored.into_iter(), texts.into_iter());
        let verdict = |item: &super::file::Item| match &item.kind {
            Kind::Choice { choices, answer, per_byte, .. } => {
                let found = scored.next().unwrap_or_default();
                let (plain, by_byte) = (best(&found, |_| 1), best(&found, |i| choices[i].len()));
                let [plain, by_byte] = [plain, by_byte].map(|best| best == Some(*answer));
                Ok(Outcome { correct: if *per_byte { by_byte } else { plain }, per_byte: Some(by_byte) })
            }
            Kind::Cloze { .. } => {
                let found = scored.next().unwrap_or_default();
                Ok(Outcome { correct: found.iter().all(|likelihood| likelihood.greedy), per_byte: None })
            }
            Kind::Generate { exact, .. } => {
                let right = exact.is_right(&texts.next().unwrap_or_default());
                let bad = |problem| Error::Task { path: self.tasks.name.clone(), line: item.line, problem };
                Ok(Outcome { correct: right.map_err(bad)?, per_byte: None })
            }
        };
        let verdicts = self.tasks.items.iter().map(verdict).collect::<Result<_, Error>>()?;
        Ok((driver.into_runner()?, verdicts))
    }

    /// Returns the number of the item with this request.
    fn number_of_request(&self, request: usize) -> usize {
        let scored = |item: &super::file::Item| !matches!(item.kind, Kind::Generate { .. });
        let mut numbers = (0..self.tasks.items.len()).filter(|&i| scored(&self.tasks.items[i]));
        numbers.nth(request).unwrap_or(request)
    }
}

/// Generates the answers to several prompts, whose next tokens share steps. `progress` receives the number of finished
/// answers before every step, and stops the work by returning `false`.
fn together(
    driver: &mut Driver,
    questions: &[Question],
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<String>, Error> {
    let clock = || 0.0;
    let mut places = BTreeMap::new();
    for (at, Question { prompt, how }) in questions.iter().enumerate() {
        places.insert(driver.submit(Request::new(prompt.clone(), how.clone()), clock())?, at);
    }
    let (mut texts, mut done) = (vec![String::new(); questions.len()], 0);
    while done < questions.len() {
        if !progress(done) {
            return Err(Error::Interrupted);
        }
        for (id, event) in block_on(driver.step(&clock)) {
            match event {
                Answered::Update(_) => {}
                Answered::Done(completion) => {
                    done += 1;
                    if let Some(text) = places.get(&id).and_then(|&at| texts.get_mut(at)) {
                        *text = completion.text;
                    }
                }
                Answered::Failed(error) => return Err(error.into()),
            }
        }
    }
    progress(done);
    Ok(texts)
}

/// Returns the index of the likelihood with the largest logarithm divided by a length; of equal ones, the first.
fn best(likelihoods: &[Likelihood], length: impl Fn(usize) -> usize) -> Option<usize> {
    let score = |i: usize| likelihoods[i].log / length(i) as f64;
    (0..likelihoods.len()).reduce(|best, i| if score(i) > score(best) { i } else { best })
}

/// Keeps the last `most` tokens. Returns `true` if there were more.
fn cut(tokens: &mut Vec<u32>, most: usize) -> bool {
    let over = tokens.len().saturating_sub(most.max(1));
    tokens.drain(..over);
    over > 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::{Path, PathBuf};

    use honelm_backend::CacheType;
    use honelm_cpu::Compute;
    use honelm_engine::Cancel;
    use honelm_model::Model;

    use super::*;
    use crate::device::load;
    use crate::{DeviceChoice, RunOptions};

    fn shipped() -> Checkpoint {
        Checkpoint::open(crate::locate(None, None).unwrap()).unwrap()
    }

    fn sample() -> Tasks {
        Tasks::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tasks.jsonl")).unwrap()
    }

    fn model(compute: Compute, cache_type: CacheType) -> Model {
        let run =
            RunOptions { device: DeviceChoice::Cpu, threads: Some(1), compute, cache_type, ..RunOptions::default() };
        load(&shipped(), &run, &mut |_| true).unwrap()
    }

    /// Every choice and cloze item of the sample, with the figures of lm-evaluation-harness, made by
    /// `tests/scripts/make_task_likelihoods.py`.
    #[test]
    fn likelihoods_and_verdicts_are_those_of_the_harness() {
        #[derive(Deserialize)]
        struct Golden {
            line: usize,
            log: Vec<f64>,
            greedy: Vec<bool>,
            acc: bool,
            acc_norm: Option<bool>,
        }
        let tasks = sample();
        let mut prepared = Prepared::new(&shipped(), &tasks, false, 1024).unwrap();
        assert!(prepared.warnings.is_empty(), "{:?}", prepared.warnings);
        // The generated answers are not looked at here.
        prepared.questions.iter_mut().for_each(|question| question.how.max_tokens = 1);
        let mut model = model(Compute::F32, CacheType::F32);
        let found = likelihoods(&mut model, &prepared.requests, &mut |_| true).unwrap();
        let (_, verdicts) = prepared.answer(Box::new(model), "", &mut |_| true).unwrap();
        let golden: Vec<Golden> = include_str!("../../tests/data/task-likelihoods.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(golden.len(), found.len());
        for (golden, found) in golden.iter().zip(&found) {
            for ((log, greedy), found) in golden.log.iter().zip(&golden.greedy).zip(found) {
                assert!((log - found.log).abs() < 2e-3, "line {}: {log} {}", golden.line, found.log);
                assert_eq!(*greedy, found.greedy, "line {}", golden.line);
            }
            let at = tasks.items.iter().position(|item| item.line == golden.line).unwrap();
            assert_eq!(
                verdicts[at],
                Outcome { correct: golden.acc, per_byte: golden.acc_norm },
                "line {}",
                golden.line
            );
        }
    }

    #[test]
    fn answers_together_are_those_of_each_alone() {
        let tasks = sample();
        let prepared = Prepared::new(&shipped(), &tasks, false, 1024).unwrap();
        let mut questions = prepared.questions.clone();
        questions.iter_mut().for_each(|question| question.how.max_tokens = question.how.max_tokens.min(20));
        // A stop text, an answer that ends at once, and more answers than grow at a time.
        questions[0].how.stop = vec!["e".to_owned()];
        questions[1].how.max_tokens = 0;
        questions.extend_from_within(..8);
        let model = Box::new(model(Compute::Fast, CacheType::F16));
        let mut driver = Driver::new(model, Rc::clone(&prepared.reader.tokenizer), DriverOptions::default());
        let mut told = Vec::new();
        let mut progress = |done| {
            told.push(done);
            true
        };
        let texts = together(&mut driver, &questions, &mut progress).unwrap();
        assert!(told.is_sorted() && told.last() == Some(&questions.len()), "{told:?}");
        let mut distinct = std::collections::BTreeSet::new();
        for (question, text) in questions.iter().zip(&texts) {
            let request = Request::new(question.prompt.clone(), question.how.clone()).with_cancel(&Cancel::new());
            let alone = block_on(driver.complete(request, &|| 0.0, &mut |_| ())).unwrap();
            assert_eq!(alone.text, *text);
            distinct.insert(text);
        }
        assert!(distinct.len() > 5, "{distinct:?}");
        let stopped = together(&mut driver, &questions, &mut |_| false);
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }

    #[test]
    fn a_shared_start_of_contexts_changes_no_bit() {
        let tokens = |seed: u32, count: u32| (0..count).map(|i| 50 + (seed + i * i) % 4000).collect::<Vec<u32>>();
        let (start, mut model) = (tokens(1, 60), model(Compute::Fast, CacheType::F16));
        let request = |i: u32| Continuations {
            context: [&start[..], &tokens(i, i % 5)].concat(),
            of: vec![tokens(i, 1), tokens(i + 1, 3), tokens(i + 2, 2)],
        };
        let requests: Vec<Continuations> = (0..40).map(request).collect();
        let mut waves = 0;
        let together = likelihoods(&mut model, &requests, &mut |_| {
            waves += 1;
            true
        });
        assert!((3..8).contains(&waves), "{waves}");
        let together = together.unwrap();
        for (request, found) in requests.iter().zip(&together) {
            let alone = likelihoods(&mut model, std::slice::from_ref(request), &mut |_| true).unwrap();
            assert_eq!(alone[0], *found);
        }
        let unknown = [Continuations { context: vec![1], of: vec![vec![8192]] }];
        let error = likelihoods(&mut model, &unknown, &mut |_| true).unwrap_err();
        assert!(error.to_string().contains("8192"), "{error}");
    }

    fn file(dir: &tempfile::TempDir, lines: &[&str]) -> PathBuf {
        let path = dir.path().join("tasks.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    #[test]
    fn items_that_do_not_fit_are_cut_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let long = "word ".repeat(40);
        let cloze = format!(r#"{{"kind": "cloze", "context": "{long}", "target": "end"}}"#);
        let generate = format!(r#"{{"kind": "generate", "context": "{long}", "answers": ["a"], "max_tokens": 10}}"#);
        let empty = r#"{"kind": "cloze", "context": "", "target": "Once"}"#;
        let tasks = Tasks::read(&file(&dir, &[&cloze, &generate, empty])).unwrap();
        let prepared = Prepared::new(&shipped(), &tasks, false, 24).unwrap();
        let request = &prepared.requests[0];
        assert_eq!(request.context.len() + request.of[0].len() - 1, 24);
        assert_eq!(prepared.questions[0].prompt.len(), 14);
        assert!(prepared.warnings[0].starts_with("2 items are longer than the context of 24 tokens"));
        let bos = prepared.reader.tokenizer.bos().unwrap();
        assert_eq!(prepared.requests[1].context, [bos]);
        let whole = prepared.reader.tokenizer.encode_running(" Once").unwrap();
        assert_eq!([&prepared.requests[1].context[..], &prepared.requests[1].of[0]].concat(), whole);
        let text = Prepared::new(&shipped(), &tasks, false, 10).err().unwrap().to_string();
        assert!(text.contains("line 2: max_tokens: found 10, expected fewer than the context of 10"), "{text}");
        let wide = format!(r#"{{"kind": "cloze", "context": "a", "target": "{long}"}}"#);
        let tasks = Tasks::read(&file(&dir, &[&wide])).unwrap();
        let text = Prepared::new(&shipped(), &tasks, false, 24).err().unwrap().to_string();
        assert!(text.contains("line 1: a text of ") && text.contains("at most the context of 24"), "{text}");
    }

    #[test]
    fn white_space_and_templates_divide_texts_as_the_harness_does() {
        let dir = tempfile::tempdir().unwrap();
        let lines = [
            r#"{"kind": "cloze", "context": "Once upon a ", "target": "time", "delimiter": ""}"#,
            r#"{"kind": "cloze", "context": "Once upon a", "target": "time"}"#,
            r#"{"kind": "cloze", "messages": [{"role": "user", "content": "Hi <|end|>"}], "target": "Hello <|end|>"}"#,
        ];
        let tasks = Tasks::read(&file(&dir, &lines)).unwrap();
        let plain = Prepared::new(&shipped(), &tasks, false, 64).unwrap();
        assert_eq!(plain.requests[0], plain.requests[1]);
        let tokenizer = &plain.reader.tokenizer;
        assert_eq!(tokenizer.decode(&plain.requests[2].context, false), "<|bos|><|user|>Hi <|end|><|assistant|>");
        assert_eq!(tokenizer.decode(&plain.requests[2].of[0], false), "Hello <|end|>");
        // The text of a special token in a message or a target is text.
        let end = tokenizer.id_of("<|end|>").unwrap();
        let request = &plain.requests[2];
        assert!(!request.context.contains(&end) && !request.of[0].contains(&end));
        let chat = Prepared::new(&shipped(), &tasks, true, 64).unwrap();
        assert_eq!(tokenizer.decode(&chat.requests[1].context, false), "<|bos|><|user|>Once upon a<|assistant|>");
        assert_eq!(tokenizer.decode(&chat.requests[1].of[0], false), "time");
        assert_ne!(plain.digest(), chat.digest());
    }
}
