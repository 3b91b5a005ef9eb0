//! The part of an answer that upstreams give.

use std::sync::Arc;
use std::time::{Duration, Instant};

use honelm_gateway::accounting::Usage;
use honelm_gateway::policy::{self, Budget, Failure, Privacy};
use honelm_gateway::{GatewayError, pii};
use honelm_grammar::Constraint;

use super::{Answer, End, has_budget};
use crate::gateway::accounts::{Holder, Money, Reservation, Wish};
use crate::gateway::privacy::{self, Masked, Restoring};
use crate::gateway::upstream::{self, Failed, Piece};
use crate::gateway::upstreams::{Ability, Upstream};
use crate::job::{self, Part};

/// The bytes that a token has on average, where an upstream does not count them.
const BYTES_PER_TOKEN: u64 = 4;
/// The most tokens of an answer that must not exceed a budget, if the request names no number.
const BUDGETED_TOKENS: u64 = 4096;
/// The time that a reservation outlives the longest answer.
const SLACK: Duration = Duration::from_secs(60);

/// The outcome of asking upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    /// One has answered.
    Answered,
    /// None has, or one broke off.
    Failed,
    /// The private data of the request could not be replaced.
    MustStay,
}

/// An attempt at an upstream, for its cost.
#[derive(Debug)]
pub(super) struct Attempt {
    at: usize,
    reservation: Option<Reservation>,
    /// The tokens that the upstream counted.
    reported: Option<Usage>,
    received_bytes: u64,
    /// `true` if the request may have been answered, so that it has a cost.
    counts: bool,
    complete: bool,
}

/// The end of an attempt without an answer.
pub(super) enum Stop {
    /// The upstream failed.
    Failed(Failed),
    /// It may not be asked now, for a reason with this code.
    Skipped(&'static str),
    /// The answer ends here.
    End(End),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<Failed> for Stop {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl Answer {
    /// Asks upstreams in their order, until one has answered or has begun to.
    pub(super) async fn cloud(&mut self, upstreams: &[usize]) -> Result<Tried, End> {
        for &at in upstreams {
            match self.upstream(at).await? {
                Tried::Failed if !self.has_written() => {}
                other => return Ok(other),
            }
        }
        Ok(Tried::Failed)
    }

    /// Asks an upstream, again if the failure may pass.
    async fn upstream(&mut self, at: usize) -> Result<Tried, End> {
        let upstream = Arc::clone(&self.gateway.upstreams[at]);
        if !upstream::can_express(upstream.settings.api, &self.job) {
            self.failures.push((at, "cannot-express"));
            return Ok(Tried::Failed);
        }
        let Ok(masked) = self.masked(&upstream).await else { return Ok(Tried::MustStay) };
        let mut retried = 0;
        loop {
            let failed = match self.attempt(&upstream, at, &masked).await {
                Ok(()) => return Ok(Tried::Answered),
                Err(Stop::End(end)) => return Err(end),
                Err(Stop::Skipped(code)) => {
                    self.failures.push((at, code));
                    self.close_attempt().await;
                    return Ok(Tried::Failed);
                }
                Err(Stop::Failed(failed)) => failed,
            };
            self.failures.push((at, failed.code()));
            self.close_attempt().await;
            if self.has_written() || failed.failure == Failure::Connect {
                return Ok(Tried::Failed);
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            let settings = &self.gateway.settings.retry;
            let pause = policy::retry_pause(settings, retried, failed.failure, failed.retry_after, random(), left);
            match pause.filter(|_| upstream.breaker().allows(upstream.now())) {
                Some(pause) => self.wait(pause).await?,
                None => return Ok(Tried::Failed),
            }
            retried += 1;
        }
    }

    /// Returns the body for an upstream, with its private data replaced unless the request is open.
    async fn masked(&mut self, upstream: &Upstream) -> Result<Masked, GatewayError> {
        let body = upstream::body(&upstream.settings, &self.job, self.answer_tokens(upstream));
        let client = self.gateway.client(&self.ask).and_then(|client| client.privacy);
        let classes = [Some(self.gateway.settings.privacy), client, self.ask.privacy];
        let masked = match classes.into_iter().flatten().max() {
            Some(Privacy::Open) => return Ok(Masked::open(&body)),
            _ => {
                let api = match upstream.settings.api {
                    policy::Api::OpenAi => pii::Api::Chat,
                    policy::Api::Anthropic => pii::Api::Messages,
                };
                privacy::masked(&self.gateway.privacy, api, body).await?
            }
        };
        self.replaced = masked.replaced.clone();
        Ok(masked)
    }

    /// Returns the most tokens of an answer: what the request asks for, or a limit where a budget must hold.
    fn answer_tokens(&self, upstream: &Upstream) -> Option<u64> {
        let room = upstream.settings.context.saturating_sub(self.outline.request.prompt_tokens).max(1);
        let usual = (!self.holders(upstream).is_empty()).then_some(BUDGETED_TOKENS);
        self.outline.answer_tokens.or(usual).map(|tokens| tokens.min(room))
    }

    /// Returns the budgets that a request to an upstream must not exceed.
    fn holders(&self, upstream: &Upstream) -> Vec<(Holder, Budget)> {
        let client = self.gateway.client(&self.ask);
        let client = client.map(|client| (Holder::Client(client.name.clone()), client.budget));
        let upstream = (Holder::Upstream(upstream.settings.name.clone()), upstream.settings.budget);
        [Some(upstream), client].into_iter().flatten().filter(|(_, budget)| has_budget(budget)).collect()
    }

    /// Sets the cost of the longest answer aside.
    async fn reserve(&self, upstream: &Upstream) -> Result<Option<Reservation>, Stop> {
        let holders = self.holders(upstream);
        if holders.is_empty() {
            return Ok(None);
        }
        let output = self.answer_tokens(upstream).unwrap_or(BUDGETED_TOKENS).saturating_mul(self.written.len() as u64);
        let longest = Usage { input: self.outline.most_prompt_tokens, cached_input: 0, output };
        let amount = Money::cost(&upstream.settings.price, longest);
        let wish = Wish { holders, amount, lapses: upstream.endpoint.total() + SLACK };
        self.gateway.accounts.reserve(wish).await.map(Some).map_err(|_| Stop::Skipped("budget"))
    }

    /// Asks an upstream once.
    async fn attempt(&mut self, upstream: &Arc<Upstream>, at: usize, masked: &Masked) -> Result<(), Stop> {
        let reservation = self.reserve(upstream).await?;
        let (reported, received_bytes, counts, complete) = (None, 0, false, false);
        self.attempt = Some(Attempt { at, reservation, reported, received_bytes, counts, complete });
        if !upstream.begins() {
            // Another request has opened the breaker meanwhile.
            return Err(Stop::Skipped("breaker-open"));
        }
        let outcome = match self.drafting(upstream).await {
            None => self.exchange(upstream, at, masked).await,
            Some(local) => match self.exchange_drafts(upstream, at, masked, &local).await {
                Err(Stop::Failed(failed)) if !self.has_written() && refuses(&failed) => {
                    self.without_drafts("the upstream refuses to verify drafts");
                    upstream.set_ability(Ability::Lacks("the upstream refuses to verify drafts"));
                    self.exchange(upstream, at, masked).await
                }
                outcome => outcome,
            },
        };
        match &outcome {
            Ok(()) => upstream.has_succeeded(self.log),
            Err(Stop::Failed(failed)) => upstream.has_failed(failed, self.log),
            Err(_) => {}
        }
        outcome
    }

    async fn exchange(&mut self, upstream: &Upstream, at: usize, masked: &Masked) -> Result<(), Stop> {
        let begin = Instant::now();
        let reader = upstream::reader(upstream.settings.api, self.written.len());
        let sender = self.sender.clone();
        let sent = upstream.endpoint.send(masked.body.clone(), reader, self.deadline);
        let mut stream = tokio::select! {
            stream = sent => stream.inspect_err(|failed| self.costs(!matches!(failed.failure, Failure::Status(_) | Failure::Connect)))?,
            () = sender.closed() => return Err(End::Gone.into()),
        };
        self.costs(true);
        self.taken.upstream = Some(at);
        let mut restoring = self.restoring(masked);
        let mut first = None;
        loop {
            let piece = tokio::select! {
                piece = stream.next() => piece?,
                () = sender.closed() => return Err(End::Gone.into()),
            };
            let Some(piece) = piece else { break };
            if first.is_none() {
                upstream.has_answered(begin.elapsed());
            }
            let first = *first.get_or_insert_with(Instant::now);
            if let (Piece::Usage(usage), true) = (&piece, upstream.settings.drafts) {
                let token = first.elapsed().as_secs_f64() / usage.output.saturating_sub(1).max(1) as f64;
                upstream.drafts(|drafts, _| if usage.output > 1 { drafts.without_drafts(token) } else { drafts });
            }
            self.piece(piece, &mut restoring).await?;
        }
        self.complete(begin).await
    }

    /// Ends the answer of an upstream that is complete, and was asked at `begin`.
    pub(super) async fn complete(&mut self, begin: Instant) -> Result<(), Stop> {
        self.begun().await?;
        if let Some(attempt) = &mut self.attempt {
            attempt.complete = true;
        }
        self.count_answers(begin);
        Ok(())
    }

    /// Returns what turns the surrogates of the answer back.
    pub(super) fn restoring(&self, masked: &Masked) -> Restoring {
        let is_json = matches!(self.job.constraint, Some(Constraint::JsonObject | Constraint::JsonSchema(_)));
        Restoring::new(masked.restorer.clone(), is_json)
    }

    /// Notes whether the present attempt has a cost.
    pub(super) fn costs(&mut self, counts: bool) {
        if let Some(attempt) = &mut self.attempt {
            attempt.counts = counts;
        }
    }

    /// Sends a piece on.
    pub(super) async fn piece(&mut self, piece: Piece, restoring: &mut Restoring) -> Result<(), End> {
        if let Some(attempt) = &mut self.attempt {
            match &piece {
                Piece::Text { text, .. } | Piece::Reasoning { text, .. } => attempt.received_bytes += text.len() as u64,
                Piece::Call { name, arguments, .. } => attempt.received_bytes += (name.len() + arguments.len()) as u64,
                Piece::Usage(usage) => attempt.reported = Some(*usage),
                Piece::Finish { .. } | Piece::Progress => {}
            }
        }
        match piece {
            Piece::Text { choice, text, mut logprobs } => {
                self.flush(choice, true, restoring).await?;
                let text = restoring.push(choice, false, text);
                if !restoring.is_empty() {
                    // They are those of the surrogates.
                    logprobs.clear();
                }
                if !text.is_empty() || !logprobs.is_empty() {
                    self.begun().await?;
                    self.send(Part::Text { choice, text, logprobs }).await?;
                }
            }
            Piece::Reasoning { choice, text } => {
                let text = restoring.push(choice, true, text);
                if !text.is_empty() {
                    self.begun().await?;
                    self.send(Part::Reasoning { choice, text }).await?;
                }
            }
            Piece::Call { choice, id, name, arguments } => {
                self.flush(choice, true, restoring).await?;
                self.flush(choice, false, restoring).await?;
                self.begun().await?;
                let (index, fragment) = (self.written[choice].calls, restoring.arguments(arguments));
                self.send(Part::CallBegins { choice, index, id, name }).await?;
                self.send(Part::CallArguments { choice, index, fragment }).await?;
                self.send(Part::CallEnds { choice, index }).await?;
            }
            Piece::Finish { choice, finish } => {
                self.flush(choice, true, restoring).await?;
                self.flush(choice, false, restoring).await?;
                self.written[choice].done = Some((finish, job::Usage::default()));
            }
            Piece::Usage(_) | Piece::Progress => {}
        }
        Ok(())
    }

    async fn begun(&mut self) -> Result<(), End> {
        self.begin(self.outline.request.prompt_tokens as usize, 0).await
    }

    /// Sends the rest of a text, or of the reasoning, that could have become a surrogate.
    async fn flush(&mut self, choice: usize, is_reasoning: bool, restoring: &mut Restoring) -> Result<(), End> {
        let text = restoring.finish(choice, is_reasoning);
        if text.is_empty() {
            return Ok(());
        }
        self.begun().await?;
        self.send(if is_reasoning {
            Part::Reasoning { choice, text }
        } else {
            Part::Text { choice, text, logprobs: Vec::new() }
        })
        .await
    }

    /// Gives the answers of an upstream their numbers of tokens. It counts those of all answers together.
    fn count_answers(&mut self, begin: Instant) {
        let Some(usage) = self.attempt.as_ref().map(|attempt| self.used(attempt)) else { return };
        let first = self.first_token.unwrap_or_default();
        let decode = self.received.elapsed().saturating_sub(first);
        let begin = begin.saturating_duration_since(self.received);
        for (choice, written) in self.written.iter_mut().enumerate() {
            if let Some((_, of_choice)) = &mut written.done {
                *of_choice = job::Usage {
                    prompt_tokens: usage.input as usize,
                    cached_tokens: usage.cached_input as usize,
                    completion_tokens: if choice == 0 { usage.output as usize } else { 0 },
                    reasoning_tokens: 0,
                    first_token_seconds: first.saturating_sub(begin).as_secs_f64(),
                    decode_seconds: decode.as_secs_f64(),
                };
            }
        }
    }

    /// Returns the tokens of an attempt: those that the upstream counted, or an estimate.
    fn used(&self, attempt: &Attempt) -> Usage {
        let output = attempt.received_bytes.div_ceil(BYTES_PER_TOKEN);
        match attempt.reported {
            Some(usage) if attempt.complete => usage,
            // The count of an answer that broke off came too early.
            Some(usage) => Usage { output: usage.output.max(output), ..usage },
            None => Usage { input: self.outline.request.prompt_tokens, cached_input: 0, output },
        }
    }

    /// Ends the present attempt: counts its cost, and settles its reservation.
    pub(super) async fn close_attempt(&mut self) {
        let Some(mut attempt) = self.attempt.take() else { return };
        let usage = if attempt.counts { self.used(&attempt) } else { Usage::default() };
        let cost = Money::cost(&self.gateway.settings.upstreams[attempt.at].price, usage);
        self.cost = self.cost.plus(cost);
        if attempt.received_bytes > 0 || attempt.complete {
            self.usage = usage;
        }
        if let Some(reservation) = attempt.reservation.take() {
            // A store that fails keeps the reservation, so that nothing is spent twice.
            let _ = self.gateway.accounts.settle(reservation, cost).await;
        }
    }

    /// Waits, unless the client leaves.
    async fn wait(&self, time: Duration) -> Result<(), End> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.sender.closed() => Err(End::Gone),
        }
    }
}

/// Returns `true` if an upstream understands the request and does not want it.
fn refuses(failed: &Failed) -> bool {
    matches!(failed.failure, Failure::Status(status) if (400..500).contains(&status))
        && !failed.failure.is_of_upstream()
}

/// Returns a number from 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without a source of randomness, pauses have half their length.
    getrandom::fill(&mut bytes).map_or(0.5, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}
