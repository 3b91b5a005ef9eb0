//! The part of an answer that an upstream writes by verifying drafts of the local model.
//!
//! The local model drafts from the conversation as it leaves, with private data replaced. Drafts therefore tell an upstream nothing
//! that the request does not, and the answer is that of the upstream alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use honelm_gateway::accounting::Usage;
use honelm_gateway::drafts::{Round, RoundTimes};
use honelm_gateway::policy::Failure;
use honelm_text::Message;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::cloud::Stop;
use super::{Answer, End};
use crate::gateway::about::Drafted;
use crate::gateway::privacy::{Masked, Restoring};
use crate::gateway::upstream::{Failed, Piece};
use crate::gateway::upstreams::{Ability, Upstream};
use crate::job::{Finish, Job, Part, Prompt, Resumed};
use crate::messages;
use crate::openai::{VERIFY_VERSION, Verified};
use crate::registry::Lease;

/// The tokens that an upstream first writes alone in a round, and the most. The number doubles, so that the client gets its first
/// words soon and the ways cost little.
const ALONE: usize = 8;
const MOST_ALONE: usize = 128;
/// The most tokens of an answer.
const MOST_TOKENS: usize = 1 << 20;

/// The answer of `/props` of another HoneLM.
#[derive(Deserialize)]
struct Props {
    models: Vec<PropsOfModel>,
}

#[derive(Deserialize)]
struct PropsOfModel {
    name: String,
    verify: Option<Verifies>,
}

#[derive(Deserialize)]
struct Verifies {
    version: u64,
    vocabulary: String,
}

/// An answer that is written in rounds.
struct Rounds {
    /// The request, without the tokens of a round.
    request: Map<String, Value>,
    /// The job that drafts; `None` once the local model has failed.
    job: Option<Job>,
    begun: Vec<u32>,
    alone: usize,
    /// The tokens of the prompt that were cached at first.
    cached: Option<u64>,
    restoring: Restoring,
}

/// The part of a round that the device computes.
struct Draft {
    tokens: Vec<u32>,
    time: Duration,
    /// `true` for the device's attempt at a draft; the upstream writes alone otherwise.
    is_drafted: bool,
}

impl Answer {
    /// Returns the local model if drafts are wanted, possible and worth it. Notes the reason if they are not.
    pub(super) async fn drafting(&mut self, upstream: &Arc<Upstream>) -> Option<Lease> {
        if !upstream.settings.drafts {
            return None;
        }
        let is_plain = matches!(self.job.prompt, Prompt::Chat { .. })
            && self.job.choices == 1
            && self.job.tools.is_empty()
            && self.job.given.logprobs.is_none()
            && self.job.refuse_images().is_ok();
        if !is_plain {
            self.without_drafts("the request has tools, images, log-probabilities or several answers");
            return None;
        }
        let drafts = upstream.drafts(|drafts, now| drafts.begun(now));
        self.drafted =
            Some(Drafted { state: drafts.name(), reason: drafts.reason(), rounds: 0, drafted: 0, accepted: 0 });
        drafts.length()?;
        if let Ability::Lacks(reason) = upstream.ability() {
            self.without_drafts(reason);
            return None;
        }
        let Some(lease) = self.place.lease.clone() else {
            self.load_for_drafts(upstream);
            self.without_drafts("the local model is not loaded yet");
            return None;
        };
        if upstream.ability() == Ability::Unknown {
            self.probe(upstream, &lease).await;
        }
        match upstream.ability() {
            Ability::Verifies => Some(lease),
            Ability::Lacks(reason) => {
                self.without_drafts(reason);
                None
            }
            Ability::Unknown => {
                self.without_drafts("the upstream has not loaded its model yet");
                None
            }
        }
    }

    /// Notes that this answer has no drafts.
    pub(super) fn without_drafts(&mut self, reason: &str) {
        self.drafted = Some(Drafted { state: "unable", reason: reason.to_owned(), rounds: 0, drafted: 0, accepted: 0 });
    }

    /// Loads the local model beside this answer, for those that follow.
    fn load_for_drafts(&self, upstream: &Arc<Upstream>) {
        let (registry, upstream) = (Arc::clone(&self.registry), Arc::clone(upstream));
        let (name, keep_alive) = (self.place.card().name.clone(), self.place.keep_alive);
        tokio::spawn(async move {
            if registry.get(&name, keep_alive).await.is_err() {
                upstream.set_ability(Ability::Lacks("the local model cannot be loaded"));
            }
        });
    }

    /// Asks an upstream whether it verifies drafts of the local model. A model that is not loaded there says nothing yet.
    async fn probe(&self, upstream: &Upstream, lease: &Lease) {
        let endpoint = &upstream.endpoint;
        let props: Result<Props, Failed> = endpoint.document(&endpoint.props, None, self.deadline).await;
        let props = match props {
            Ok(props) => props,
            // It may be away for a moment.
            Err(failed) if matches!(failed.failure, Failure::Connect | Failure::Timeout) => return,
            Err(_) => return upstream.set_ability(Ability::Lacks("the upstream does not say that it verifies drafts")),
        };
        let Some(model) = props.models.into_iter().find(|model| model.name == upstream.settings.model) else { return };
        let own = &lease.card().vocabulary_digest;
        upstream.set_ability(match model.verify {
            Some(of) if of.version != VERIFY_VERSION => {
                Ability::Lacks("the upstream verifies drafts in another version")
            }
            Some(of) if of.vocabulary != *own => Ability::Lacks("the model of the upstream has another vocabulary"),
            Some(_) => Ability::Verifies,
            None => Ability::Lacks("the model of the upstream verifies no drafts"),
        });
    }

    /// Asks an upstream once, in rounds that verify drafts.
    pub(super) async fn exchange_drafts(
        &mut self,
        upstream: &Upstream,
        at: usize,
        masked: &Masked,
        local: &Lease,
    ) -> Result<(), Stop> {
        let begin = Instant::now();
        let mut rounds = self.rounds(masked, local)?;
        loop {
            let round = self.round(upstream, &mut rounds, local).await;
            if let Err(Stop::Failed(failed)) = &round {
                let was_read = !matches!(failed.failure, Failure::Status(_) | Failure::Connect);
                self.costs(was_read || rounds.cached.is_some());
            }
            let (verified, draft, total) = round?;
            if rounds.cached.is_none() {
                self.costs(true);
                self.taken.upstream = Some(at);
                upstream.has_answered(begin.elapsed());
            }
            self.learn(upstream, &rounds, &verified, &draft, total);
            rounds.cached.get_or_insert(verified.usage.cached_tokens);
            if self.write(&mut rounds, verified).await? {
                return self.complete(begin).await;
            }
        }
    }

    /// Prepares the rounds of an answer to the request as it leaves.
    fn rounds(&self, masked: &Masked, local: &Lease) -> Result<Rounds, Stop> {
        let broken = |_| Stop::Failed(Failed::new(Failure::Broken));
        let mut request: Map<String, Value> = serde_json::from_slice(&masked.body).map_err(broken)?;
        request.remove("stream");
        request.remove("stream_options");
        let seed = self.job.how.seed & i64::MAX as u64;
        request.insert("seed".to_owned(), json!(seed));
        request.insert("vocabulary".to_owned(), json!(local.card().vocabulary_digest));
        let job = self.draft_job(&request, local, seed);
        let restoring = self.restoring(masked);
        Ok(Rounds { request, job, begun: Vec::new(), alone: ALONE / 2, cached: None, restoring })
    }

    /// Returns the job that drafts from the messages of a request that leaves.
    fn draft_job(&self, request: &Map<String, Value>, local: &Lease, seed: u64) -> Option<Job> {
        let messages: Vec<Message> = serde_json::from_value(request.get("messages")?.clone()).ok()?;
        let mut job = self.localized(local).ok()?;
        if let Prompt::Chat { messages: own, .. } = &mut job.prompt {
            *own = messages::checked(messages, false).ok()?;
        }
        job.how.seed = seed;
        Some(job)
    }

    /// Runs a round. Returns what the upstream wrote, the draft, and the time that it took there and on the way.
    async fn round(
        &self,
        upstream: &Upstream,
        rounds: &mut Rounds,
        local: &Lease,
    ) -> Result<(Verified, Draft, Duration), Stop> {
        if rounds.cached.is_none() {
            // Both models read the prompt at the same time.
            let none = Draft { tokens: Vec::new(), time: Duration::ZERO, is_drafted: true };
            let body = rounds.body(&none)?;
            let (verified, first) = tokio::join!(self.verify(upstream, body), rounds.draft(local, 1));
            if first.is_none() {
                rounds.job = None;
            }
            let (verified, total) = verified?;
            return Ok((verified, none, total));
        }
        let draft = rounds.next_draft(upstream, local).await;
        let body = rounds.body(&draft)?;
        let (verified, total) = self.verify(upstream, body).await?;
        Ok((verified, draft, total))
    }

    /// Sends a round to the upstream.
    async fn verify(&self, upstream: &Upstream, body: Bytes) -> Result<(Verified, Duration), Stop> {
        let begin = Instant::now();
        let endpoint = &upstream.endpoint;
        tokio::select! {
            verified = endpoint.document(&endpoint.verify, Some(body), self.deadline) => Ok((verified?, begin.elapsed())),
            () = self.sender.closed() => Err(End::Gone.into()),
        }
    }

    /// Counts a round, and learns from its times.
    fn learn(&mut self, upstream: &Upstream, rounds: &Rounds, verified: &Verified, draft: &Draft, total: Duration) {
        let usage = &verified.usage;
        // The prompt was read before, and nothing but the draft was computed.
        let is_timed = rounds.cached.is_some() && draft.is_drafted && usage.cached_tokens >= usage.prompt_tokens;
        let times = RoundTimes {
            total: total.as_secs_f64(),
            verify: verified.seconds.total,
            step: verified.seconds.step,
            token: verified.seconds.token,
            draft: draft.time.as_secs_f64(),
        };
        let (drafted, accepted) = (draft.tokens.len(), verified.accepted.min(draft.tokens.len()));
        let round = Round { drafted, accepted, times: is_timed.then_some(times) };
        let drafts = upstream.drafts(|drafts, now| drafts.after(&round, now));
        if let Some(sums) = &mut self.drafted {
            (sums.state, sums.reason) = (drafts.name(), drafts.reason());
            sums.rounds += u64::from(drafted > 0);
            sums.drafted += drafted as u64;
            sums.accepted += accepted as u64;
        }
    }

    /// Sends on what a round wrote. Returns `true` at the end of the answer.
    async fn write(&mut self, rounds: &mut Rounds, verified: Verified) -> Result<bool, Stop> {
        let goes_on = verified.finish_reason.is_none();
        rounds.begun.extend(&verified.tokens);
        if goes_on && (verified.tokens.is_empty() || rounds.begun.len() > MOST_TOKENS) {
            return Err(Failed::new(Failure::Broken).into());
        }
        let (choice, logprobs) = (0, Vec::new());
        let usage = Usage {
            input: verified.usage.prompt_tokens,
            cached_input: rounds.cached.unwrap_or_default(),
            output: rounds.begun.len() as u64,
        };
        let finish = match verified.finish_reason.as_deref() {
            Some("length") => Finish::Length,
            _ => Finish::Stop,
        };
        let pieces = [
            (!verified.reasoning.is_empty()).then_some(Piece::Reasoning { choice, text: verified.reasoning }),
            (!verified.text.is_empty()).then_some(Piece::Text { choice, text: verified.text, logprobs }),
            Some(Piece::Usage(usage)),
            (!goes_on).then_some(Piece::Finish { choice, finish }),
        ];
        for piece in pieces.into_iter().flatten() {
            self.piece(piece, &mut rounds.restoring).await?;
        }
        Ok(!goes_on)
    }
}

impl Rounds {
    /// Returns the body of a round.
    fn body(&self, draft: &Draft) -> Result<Bytes, Stop> {
        let mut request = self.request.clone();
        request.insert("begun".to_owned(), json!(self.begun));
        request.insert("draft".to_owned(), json!(draft.tokens));
        request.insert("tokens".to_owned(), json!(if draft.is_drafted { 1 } else { self.alone }));
        let body = serde_json::to_vec(&request).map_err(|_| Stop::Failed(Failed::new(Failure::Broken)))?;
        Ok(body.into())
    }

    /// Returns the draft of the next round, if drafts pay.
    async fn next_draft(&mut self, upstream: &Upstream, local: &Lease) -> Draft {
        let begin = Instant::now();
        let length = upstream.drafts(|drafts, _| drafts).length();
        if let Some(length) = length {
            if let Some(tokens) = self.draft(local, length).await {
                return Draft { tokens, time: begin.elapsed(), is_drafted: true };
            }
            // The answer does not depend on it.
            self.job = None;
        }
        self.alone = (self.alone * 2).min(MOST_ALONE);
        Draft { tokens: Vec::new(), time: Duration::ZERO, is_drafted: false }
    }

    /// Lets the local model write `length` tokens behind those of the answer. Returns `None` if it cannot.
    async fn draft(&self, local: &Lease, length: usize) -> Option<Vec<u32>> {
        let begun = self.begun.clone();
        let resumed = Some(Resumed { begun, draft: Vec::new(), pause: Some(length) });
        let mut parts = local.submit(Job { resumed, ..self.job.clone()? }).ok()?;
        let mut drafted = None;
        while let Some(part) = parts.next().await {
            match part {
                Part::Failed(_) => return None,
                Part::Tokens { mut tokens, .. } => {
                    // The local model may have drafted for itself.
                    tokens.truncate(length);
                    drafted = Some(tokens);
                }
                _ => {}
            }
        }
        drafted
    }
}
