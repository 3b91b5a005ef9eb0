//! A model on this machine as a side.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use honelm_backend::block_on;
use honelm_engine::{AnswerId, ChatAsk, Completion, DriverOptions, Event, Generation, Request, Samples, Update};
use honelm_text::{Clock, RenderOptions};

use super::prompts::Row;
use super::{Answer, LabelOptions, Side, router_confidence};
use crate::tasks::TEMPLATE_SECONDS;
use crate::{Error, Events, Model};

/// A loaded model that answers prompts.
pub(super) struct LocalSide {
    model: Model,
    how: Generation,
    raw: bool,
    samples: Option<Samples>,
    confident: bool,
}

/// The place of an answer that is being written: the row, and `None` for its answer or the number of a sample.
type Place = (usize, Option<usize>);

/// The completions of a row.
#[derive(Default)]
struct Completions {
    answer: Option<Completion>,
    samples: Vec<Completion>,
}

impl LocalSide {
    /// Loads a model. With `confident`, its confidence is measured, and samples are drawn if the options want them.
    pub fn open(path: &Path, options: &LabelOptions, confident: bool, events: Events<'_>) -> Result<Self, Error> {
        let model = Model::open_with(path, &options.run, &DriverOptions::default(), events)?;
        let Generation { stop, stop_tokens, .. } = model.generation();
        let how = Generation { stop, stop_tokens, ..Generation::greedy(options.max_tokens) };
        let samples = options.samples.filter(|_| confident);
        Ok(Self { model, how, raw: options.raw, samples, confident })
    }

    fn request(&mut self, row: &Row) -> Result<Request, Error> {
        let request = if self.raw {
            self.model.loaded.continuation(row.text(), &self.how, None)?
        } else {
            let options = RenderOptions { clock: Some(Clock::new(TEMPLATE_SECONDS, 0)), ..RenderOptions::default() };
            let ask = ChatAsk { how: self.how.clone(), options, ..ChatAsk::default() };
            self.model.loaded.chat_request(&row.messages, &ask)?
        };
        Ok(Request { confidence: self.confident, ..request })
    }

    /// Submits the samples of a row, whose prompt is cached by now.
    fn sample(
        &mut self,
        request: &Request,
        row: usize,
        now: f64,
        places: &mut BTreeMap<AnswerId, Place>,
    ) -> Result<(), Error> {
        let Some(samples) = self.samples else { return Ok(()) };
        for (number, how) in Samples::settings(Some(samples), &request.how).into_iter().enumerate() {
            let request = Request { how, confidence: false, ..request.clone() };
            places.insert(self.model.loaded.driver().submit(request, now)?, (row, Some(number)));
        }
        Ok(())
    }
}

impl Side for LocalSide {
    fn answer(&mut self, rows: &[Row], progress: &mut dyn FnMut(usize) -> bool) -> Result<Vec<Option<Answer>>, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let (context, most) = (self.model.context(), self.how.max_tokens);
        let mut requests = Vec::with_capacity(rows.len());
        let mut places: BTreeMap<AnswerId, Place> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let request = self.request(row)?;
            let fits = request.prompt.len().saturating_add(most) <= context;
            if fits {
                places.insert(self.model.loaded.driver().submit(request.clone(), clock())?, (at, None));
            }
            requests.push(fits.then_some(request));
        }
        let mut found: Vec<Completions> = rows.iter().map(|_| Completions::default()).collect();
        let mut done = requests.iter().filter(|request| request.is_none()).count();
        let mut sampled = vec![false; rows.len()];
        while !self.model.loaded.driver().is_idle() {
            if !progress(done) {
                return Err(Error::Interrupted);
            }
            for (id, event) in block_on(self.model.loaded.driver().step(&clock)) {
                let Some(&(at, place)) = places.get(&id) else { continue };
                match event {
                    Event::Failed(error) => return Err(error.into()),
                    Event::Update(Update::Token { .. }) => {}
                    Event::Update(_) => continue,
                    Event::Done(completion) if place.is_some() => found[at].samples.push(completion),
                    Event::Done(completion) => {
                        done += 1;
                        found[at].answer = Some(completion);
                    }
                }
                // The prompt is cached from the first token on.
                if let Some(request) = requests[at].as_ref().filter(|_| !std::mem::replace(&mut sampled[at], true)) {
                    self.sample(request, at, clock(), &mut places)?;
                }
            }
        }
        progress(done);
        self.model.check_unchanged()?;
        Ok(found.into_iter().map(answer).collect())
    }
}

fn answer(found: Completions) -> Option<Answer> {
    let Completions { answer, samples } = found;
    let done = answer?;
    let confidence = done.confidence.as_ref().map(|confidence| confidence.with_samples(&samples));
    Some(Answer {
        confidence: confidence.as_ref().map(router_confidence),
        prompt_tokens: Some(done.prompt_tokens as u64),
        completion_tokens: Some(done.completion_tokens() as u64),
        sample_tokens: samples.iter().map(|sample| sample.completion_tokens() as u64).sum(),
        text: done.answer,
    })
}
