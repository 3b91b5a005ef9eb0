//! The thread of a loaded model: it takes jobs, steps the driver, and sends each job its parts.
//!
//! A client that reads slowly slows down nothing but itself: its parts are joined until there is room for them, and after
//! [`Limits::client_seconds`](crate::config::Limits) without any progress its job ends. The job of a client that is gone
//! ends at the next step.

mod outbox;
mod prepare;
mod score;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use honelm_backend::block_on;
use honelm_engine::{AnswerId, Cancel, Completion, Event, FinishReason, LoadedModel, Request, Update};

use crate::ApiError;
use crate::job::{Finish, Job, Part, StepTimes, Usage};
use crate::model::Served;
use outbox::Outbox;
pub(crate) use prepare::{gap_marks, prompt_tokens};

/// The interval at which parts are offered again to a client that reads slowly.
const FLUSH: Duration = Duration::from_millis(5);

/// A command to a worker.
pub(crate) enum Command {
    /// Answer a job.
    Job(Box<Submitted>),
    /// Run a function between two steps.
    Call(Box<dyn FnOnce(&mut LoadedModel) + Send>),
}

/// A job that was accepted.
pub(crate) struct Submitted {
    pub job: Job,
    pub sender: tokio::sync::mpsc::Sender<Part>,
    pub received: Instant,
}

/// The numbers of a worker that other threads read.
#[derive(Debug, Default)]
pub struct Load {
    /// The jobs that are accepted and not finished.
    pub jobs: AtomicUsize,
    /// The jobs whose answers are being computed.
    pub active: AtomicUsize,
    /// The tokens of prompts that were computed or cached.
    pub prompt_tokens: AtomicU64,
    /// Those of them that were cached.
    pub cached_tokens: AtomicU64,
    /// The tokens of answers.
    pub answer_tokens: AtomicU64,
    /// The draft tokens that were verified.
    pub drafted_tokens: AtomicU64,
    /// Those of them that were accepted.
    pub accepted_tokens: AtomicU64,
    /// The steps of the model.
    pub steps: AtomicU64,
    /// Ends all jobs.
    pub(crate) abort: AtomicBool,
}

/// The bounds of a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The time that an answer may take.
    pub request: Duration,
    /// The time for which a client may read nothing.
    pub client: Duration,
}

struct Open {
    outbox: Outbox,
    cancel: Cancel,
    /// The answers that follow once the prompt of the first one is cached.
    later: Vec<(usize, Request)>,
    /// The number of answers that are not complete.
    left: usize,
    begun: bool,
}

impl Open {
    /// Ends the job by an error. Its answers end with the next step.
    fn fail(&mut self, error: ApiError) {
        self.outbox.push(Part::Failed(error));
        self.outbox.close();
        self.cancel.cancel();
        self.later.clear();
        self.left = 0;
    }
}

struct Running {
    job: u64,
    choice: usize,
    stops: Vec<String>,
    begun: bool,
    /// The number of tokens before this part of the answer, and its draft, if the answer is resumed.
    resumed: Option<(usize, Vec<u32>)>,
    usage: Usage,
}

pub(crate) struct Worker {
    model: Box<dyn Served>,
    commands: Receiver<Command>,
    load: Arc<Load>,
    bounds: Bounds,
    begin: Instant,
    jobs: BTreeMap<u64, Open>,
    answers: BTreeMap<AnswerId, Running>,
    next: u64,
}

impl Worker {
    pub fn new(model: Box<dyn Served>, commands: Receiver<Command>, load: Arc<Load>, bounds: Bounds) -> Self {
        Self {
            model,
            commands,
            load,
            bounds,
            begin: Instant::now(),
            jobs: BTreeMap::new(),
            answers: BTreeMap::new(),
            next: 0,
        }
    }

    /// Works until all senders of commands are gone and all jobs are done.
    pub fn run(mut self) {
        let mut open = true;
        while open || !self.jobs.is_empty() {
            open = self.take_commands(open);
            self.watch_clients();
            if !self.model.loaded().driver().is_idle() {
                self.step();
            }
            self.close_finished();
        }
    }

    /// Takes all commands, and waits for one if there is nothing else to do. Returns `false` if no more can come.
    fn take_commands(&mut self, mut open: bool) -> bool {
        let idle = self.model.loaded().driver().is_idle();
        if idle && !open {
            std::thread::sleep(FLUSH);
        }
        if idle && open {
            let first = if self.jobs.is_empty() {
                self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.commands.recv_timeout(FLUSH)
            };
            match first {
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
        }
        while open {
            match self.commands.try_recv() {
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => open = false,
            }
        }
        open
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Call(call) => call(self.model.loaded()),
            Command::Job(submitted) => self.begin(*submitted),
        }
    }

    fn now(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    /// Begins a job.
    fn begin(&mut self, submitted: Submitted) {
        let Submitted { job, sender, received } = submitted;
        let mut outbox = Outbox::new(sender, self.bounds.client);
        let cancel = Cancel::new();
        let limit = job.deadline.unwrap_or(Duration::MAX).min(self.bounds.request);
        let deadline = self.now() + limit.saturating_sub(received.elapsed()).as_secs_f64();
        let id = self.next;
        self.next += 1;
        let prepared =
            self.model.check().map_err(ApiError::from).and_then(|()| prepare::requests(&job, self.model.loaded()));
        let prepared = prepared.and_then(|prepared| {
            if job.echo {
                let prompt = prepared.first().map_or(&[][..], |request| &request.prompt);
                score::echo(&job, prompt, self.model.loaded(), &mut outbox)?;
            }
            Ok(prepared)
        });
        let mut requests = match prepared {
            Ok(prepared) => prepared.into_iter().enumerate(),
            Err(error) => {
                outbox.push(Part::Failed(error));
                self.jobs.insert(id, Open { outbox, cancel, later: Vec::new(), left: 0, begun: false });
                return;
            }
        };
        let with = |(choice, request): (usize, Request)| {
            let request = Request { priority: job.priority, deadline: Some(deadline), ..request };
            (choice, request.with_cancel(&cancel))
        };
        let first = requests.next().map(with);
        let later: Vec<_> = requests.map(with).collect();
        let left = later.len() + usize::from(first.is_some());
        self.jobs.insert(id, Open { outbox, cancel: cancel.clone(), later, left, begun: false });
        if let Some((choice, request)) = first {
            self.submit(id, choice, request);
        }
    }

    fn submit(&mut self, job: u64, choice: usize, request: Request) {
        let now = self.now();
        let stops = request.how.stop.clone();
        let resumed = request.pause.map(|_| (request.begun.len(), request.draft.clone()));
        match self.model.loaded().driver().submit(request, now) {
            Ok(id) => {
                self.answers.insert(id, Running { job, choice, stops, begun: false, resumed, usage: Usage::default() });
            }
            Err(error) => self.fail(job, error.into()),
        }
    }

    /// Ends a job by an error. Its other answers end with the next step.
    fn fail(&mut self, job: u64, error: ApiError) {
        if let Some(open) = self.jobs.get_mut(&job) {
            open.fail(error);
        }
    }

    /// Ends the jobs of clients that are gone or have read nothing for too long.
    fn watch_clients(&mut self) {
        let abort = self.load.abort.load(Ordering::Relaxed);
        for open in self.jobs.values_mut() {
            open.outbox.flush();
            if abort || open.outbox.is_lost() {
                open.fail(ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "cut_off", "the answer was cut off", 5));
            }
        }
    }

    fn step(&mut self) {
        let begin = self.begin;
        let clock = move || begin.elapsed().as_secs_f64();
        let events = block_on(self.model.loaded().driver().step(&clock));
        self.load.steps.store(self.model.loaded().driver().counts().steps, Ordering::Relaxed);
        for (id, event) in events {
            match event {
                Event::Update(update) => self.update(id, update),
                Event::Done(done) => self.done(id, &done),
                Event::Failed(error) => {
                    if let Some(running) = self.answers.remove(&id) {
                        self.fail(running.job, error.into());
                    }
                }
            }
        }
    }

    fn update(&mut self, id: AnswerId, update: Update) {
        let Some(running) = self.answers.get_mut(&id) else { return };
        let Some(open) = self.jobs.get_mut(&running.job) else { return };
        let (job, choice) = (running.job, running.choice);
        match update {
            Update::Prefill { done, total } if !running.begun => {
                running.begun = true;
                if !open.begun {
                    open.begun = true;
                    self.load.active.fetch_add(1, Ordering::Relaxed);
                }
                self.load.prompt_tokens.fetch_add(total as u64, Ordering::Relaxed);
                self.load.cached_tokens.fetch_add(done as u64, Ordering::Relaxed);
                open.outbox.push(Part::Begun { choice, prompt_tokens: total, cached_tokens: done });
            }
            Update::Prefill { .. } => {}
            Update::Token { delta, logprobs, .. } => {
                self.load.answer_tokens.fetch_add(1, Ordering::Relaxed);
                let later = std::mem::take(&mut open.later);
                let tokenizer = self.model.loaded().tokenizer();
                let named = logprobs.map(|logprobs| prepare::named(tokenizer, &logprobs));
                if named.is_some() {
                    open.outbox.push(Part::Text { choice, text: String::new(), logprobs: named.into_iter().collect() });
                }
                let parts: Vec<Part> = prepare::parts(choice, delta).collect();
                running.usage.reasoning_tokens +=
                    usize::from(parts.iter().any(|part| matches!(part, Part::Reasoning { .. })));
                parts.into_iter().for_each(|part| open.outbox.push(part));
                // The prompt is cached now, so that the others begin with it.
                for (choice, request) in later {
                    self.submit(job, choice, request);
                }
            }
            Update::Rest(delta) => prepare::parts(choice, delta).for_each(|part| open.outbox.push(part)),
        }
    }

    fn done(&mut self, id: AnswerId, done: &Completion) {
        let Some(running) = self.answers.remove(&id) else { return };
        self.load.drafted_tokens.fetch_add(done.drafted_tokens as u64, Ordering::Relaxed);
        self.load.accepted_tokens.fetch_add(done.accepted_tokens as u64, Ordering::Relaxed);
        let usage = Usage {
            prompt_tokens: done.prompt_tokens,
            cached_tokens: done.cached_tokens,
            completion_tokens: done.completion_tokens(),
            first_token_seconds: done.first_token_seconds,
            decode_seconds: done.decode_seconds,
            ..running.usage
        };
        let finish = match done.finish_reason {
            FinishReason::Stop if !done.calls.is_empty() => Finish::ToolCalls,
            FinishReason::Stop => match prepare::stop_text(self.model.loaded().tokenizer(), done, &running.stops) {
                Some(text) => Finish::StopText(text),
                None => Finish::Stop,
            },
            FinishReason::Length | FinishReason::Context => Finish::Length,
            FinishReason::Paused => Finish::Paused,
            FinishReason::Cancelled => Finish::Cancelled,
            FinishReason::Deadline => {
                let limit = self.bounds.request.as_secs();
                let message = format!("the answer was not complete within the server's limit of {limit} s");
                let timeout = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message);
                return self.fail(running.job, timeout);
            }
        };
        let tokens = running.resumed.map(|(begun, draft)| self.new_tokens(running.choice, begun, &draft, done));
        let Some(open) = self.jobs.get_mut(&running.job) else { return };
        if let Some(tokens) = tokens {
            open.outbox.push(tokens);
        }
        if let Some(values) = done.embedding.clone() {
            open.outbox.push(Part::Embedding { choice: running.choice, values });
        }
        if let Some(values) = done.likelihoods.clone() {
            open.outbox.push(Part::Likelihoods { choice: running.choice, values });
        }
        if let Some(confidence) = done.confidence.as_deref().copied() {
            open.outbox.push(Part::Confidence { choice: running.choice, confidence });
        }
        open.outbox.push(Part::Done { choice: running.choice, finish, usage });
        open.left = open.left.saturating_sub(1);
        let later = std::mem::take(&mut open.later);
        for (choice, request) in later {
            self.submit(running.job, choice, request);
        }
    }

    /// Returns the tokens that a resumed answer has added to its `begun` ones. Those at their start that are the draft's were
    /// accepted.
    fn new_tokens(&mut self, choice: usize, begun: usize, draft: &[u32], done: &Completion) -> Part {
        let driver = self.model.loaded().driver();
        let seconds = |rows: usize| driver.step_seconds(rows).0.unwrap_or(0.0);
        let steps = StepTimes { one: seconds(1), draft: seconds(draft.len() + 1) };
        let tokens = done.token_ids.get(begun..).unwrap_or_default().to_vec();
        let accepted = tokens.iter().zip(draft).take_while(|(token, drafted)| token == drafted).count();
        Part::Tokens { choice, tokens, accepted, steps }
    }

    /// Removes the jobs whose parts have all been sent.
    fn close_finished(&mut self) {
        let (load, answers) = (&self.load, &self.answers);
        let abort = load.abort.load(Ordering::Relaxed);
        self.jobs.retain(|id, open| {
            open.outbox.flush();
            let lost = abort || open.outbox.is_lost();
            let is_answering = answers.values().any(|running| running.job == *id);
            let stays = open.left > 0 || is_answering || !(open.outbox.is_empty() || lost);
            if !stays {
                load.jobs.fetch_sub(1, Ordering::Relaxed);
                if open.begun {
                    load.active.fetch_sub(1, Ordering::Relaxed);
                }
            }
            stays
        });
    }
}
