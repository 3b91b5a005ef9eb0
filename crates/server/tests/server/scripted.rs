//! A model without arithmetic, for what concerns the server alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use honelm_backend::{
    Batch, CacheKind, CacheSpec, CacheType, SavedSequence, SequenceId, Sequences, Ticket, Token, Truncated, choose,
};
use honelm_engine::{DriverOptions, Generation, LoadedModel};
use honelm_model::{CacheUse, Facts, ModelError, ReadStep, Runner, StepOutput};
use honelm_server::model::{ModelCard, Need, Served, vocabulary_digest};
use honelm_server::{Loader, Registry};
use honelm_tensor::Matrix;
use honelm_text::{EncodeOptions, Tokenizer};

const PAGE: usize = 16;
const CONTEXT: usize = 100_000;

/// The chat template of a model with a script: that of the shipped model, with tags for reasoning.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\
    {% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}{{ message['content'] }}\
    {% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// The answers of a model.
#[derive(Clone)]
enum Answer {
    /// The same token for ever.
    Token(u32),
    /// A function of the text of the prompt.
    Script(Arc<dyn Fn(&str) -> String + Send + Sync>),
}

/// A model that writes an answer, with a pause before each step.
pub struct Scripted {
    facts: Facts,
    spec: CacheSpec,
    sequences: Sequences,
    outputs: BTreeMap<u64, StepOutput>,
    next: u64,
    answer: Answer,
    tokenizer: Tokenizer,
    /// The tokens of each sequence, for a script.
    tokens: BTreeMap<SequenceId, Vec<u32>>,
    pause: Duration,
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_dir(&honelm_testing::pocket_dir()).unwrap()
}

impl Scripted {
    fn new(answer: Answer, pause: Duration) -> Self {
        let tokenizer = tokenizer();
        let kind = CacheKind::Full;
        let mut sequences = Sequences::new(&[kind], PAGE, CONTEXT, 0);
        sequences.set_limit(&[PAGE], None);
        let facts = Facts {
            architecture: "scripted",
            name: "scripted".to_owned(),
            layers: 0,
            width: 1,
            vocabulary: tokenizer.vocab_size(),
            context: CONTEXT,
            parameters: 0,
            encoder: false,
        };
        let spec = CacheSpec { groups: vec![kind], layers: Vec::new(), page_len: PAGE, element: CacheType::F32 };
        let (outputs, tokens) = (BTreeMap::new(), BTreeMap::new());
        Self { facts, spec, sequences, outputs, next: 0, answer, tokenizer, tokens, pause }
    }

    /// Returns the token that follows those of a sequence. The answer of a script begins behind the last mark of an
    /// assistant's turn.
    fn following(&self, sequence: SequenceId) -> u32 {
        let script = match &self.answer {
            Answer::Token(token) => return *token,
            Answer::Script(script) => script,
        };
        let mark = self.tokenizer.id_of("<|assistant|>").unwrap();
        let end = self.tokenizer.id_of("<|end|>").unwrap();
        let tokens = &self.tokens[&sequence];
        let Some(at) = tokens.iter().rposition(|&id| id == mark) else { return end };
        let answer = script(&self.tokenizer.decode(&tokens[..=at], false));
        let answer = self.tokenizer.encode(&answer, EncodeOptions::default()).unwrap();
        answer.get(tokens.len() - at - 1).copied().unwrap_or(end)
    }
}

/// Returns the loader of a scripted model that claims to need `bytes`, and that pauses before each step.
pub fn loader(bytes: u64, pause: Duration) -> Loader {
    let plan = move || Ok(Need { weights: bytes, ..Need::default() });
    let load = move || {
        let tokenizer = tokenizer();
        let token = tokenizer.encode("a", EncodeOptions::default()).unwrap()[0];
        let runner = Scripted::new(Answer::Token(token), pause);
        let driver = DriverOptions { answers: 64, cache_bytes: Some(1 << 30), ..DriverOptions::default() };
        let model = LoadedModel::new(Box::new(runner), tokenizer, Generation::greedy(16), driver);
        Ok(Box::new(Script(model, None)) as Box<dyn Served>)
    };
    Loader::new(plan, load)
}

/// Adds a model that answers by a script.
pub fn add(registry: &Registry, name: &str, script: impl Fn(&str) -> String + Send + Sync + 'static) {
    add_slow(registry, name, Duration::ZERO, None, script);
}

/// Adds a model that answers by a script, pauses before each step, and perhaps claims to have another vocabulary.
pub fn add_slow(
    registry: &Registry,
    name: &str,
    pause: Duration,
    vocabulary: Option<&'static str>,
    script: impl Fn(&str) -> String + Send + Sync + 'static,
) {
    let answer = Answer::Script(Arc::new(script));
    let load = move || {
        let runner = Scripted::new(answer.clone(), pause);
        let driver = DriverOptions { answers: 64, cache_bytes: Some(1 << 30), ..DriverOptions::default() };
        let mut model = LoadedModel::new(Box::new(runner), tokenizer(), Generation::greedy(512), driver);
        model.set_template(TEMPLATE.to_owned()).unwrap();
        Ok(Box::new(Script(model, vocabulary)) as Box<dyn Served>)
    };
    registry.add(name.to_owned(), Loader::new(|| Ok(Need::default()), load));
}

/// A model, with the digest of the vocabulary that it claims to have.
struct Script(LoadedModel, Option<&'static str>);

impl Served for Script {
    fn loaded(&mut self) -> &mut LoadedModel {
        &mut self.0
    }

    fn card(&self, name: &str) -> ModelCard {
        ModelCard {
            name: name.to_owned(),
            digest: Default::default(),
            path: Default::default(),
            architecture: "scripted".to_owned(),
            parameters: 0,
            vocabulary: self.0.tokenizer().vocab_size(),
            vocabulary_digest: self.1.map_or_else(|| vocabulary_digest(self.0.tokenizer()), str::to_owned),
            context: CONTEXT,
            generation: self.0.generation().clone(),
            template_digest: None,
            template: self.0.chat_template().map(str::to_owned),
            reasons: self.0.reasoning().is_some(),
            images: false,
            ends: (None, None),
            embedding: None,
            encoder: false,
            device: "script".to_owned(),
            load_seconds: 0.0,
        }
    }
}

impl Runner for Scripted {
    fn facts(&self) -> &Facts {
        &self.facts
    }
    fn context(&self) -> usize {
        self.sequences.context()
    }
    fn describe(&self) -> String {
        "script".to_owned()
    }
    fn is_batch_invariant(&self) -> bool {
        false
    }
    fn steps_in_flight(&self) -> usize {
        1
    }
    fn sequence_bytes(&self, tokens: usize) -> usize {
        tokens.next_multiple_of(PAGE)
    }
    fn set_cache_limit(&mut self, bytes: Option<usize>) {
        self.sequences.set_limit(&[PAGE], bytes);
    }
    fn cache_use(&self) -> CacheUse {
        let sequences = self.sequences.open_count();
        CacheUse { held: self.sequences.bytes_held(), limit: self.sequences.limit(), sequences }
    }
    fn open(&mut self) -> SequenceId {
        let id = self.sequences.open();
        self.tokens.insert(id, Vec::new());
        id
    }
    fn close(&mut self, id: SequenceId) -> Result<(), ModelError> {
        self.tokens.remove(&id);
        Ok(self.sequences.close(id)?)
    }
    fn len(&self, id: SequenceId) -> Result<usize, ModelError> {
        Ok(self.sequences.len(id)?)
    }
    fn step(&mut self, batch: &Batch) -> Result<Ticket, ModelError> {
        std::thread::sleep(self.pause);
        let step = self.sequences.step(batch)?;
        let mut output = StepOutput::default();
        for row in 0..batch.rows() {
            let want = batch.want[row];
            if let (Answer::Script(_), Token::Id(id)) = (&self.answer, batch.tokens[row]) {
                self.tokens.entry(batch.sequence[row]).or_default().push(id);
            }
            if want.logits || want.sample.is_some() {
                let mut logits = vec![0.0; self.facts.vocabulary];
                logits[self.following(batch.sequence[row]) as usize] = 100.0;
                if let Some(how) = want.sample {
                    output.sampled.push(choose(&logits, &how, u64::from(step.positions[row])));
                }
                if want.logits {
                    output.logits.rows += 1;
                    output.logits.cols = logits.len();
                    output.logits.data.extend(&logits);
                }
            }
        }
        self.next += 1;
        self.outputs.insert(self.next, output);
        Ok(Ticket(self.next))
    }
    fn read(&mut self, ticket: Ticket) -> ReadStep {
        let output = self.outputs.remove(&ticket.0).expect("each ticket is read once");
        Box::pin(std::future::ready(Ok(output)))
    }
    fn accept(&mut self, id: SequenceId, path: &[u32]) -> Result<(), ModelError> {
        self.sequences.accept(id, path)?;
        let kept = self.sequences.len(id)?;
        self.tokens.entry(id).or_default().truncate(kept);
        Ok(())
    }
    fn truncate(&mut self, id: SequenceId, len: usize) -> Result<Truncated, ModelError> {
        let kept = self.sequences.truncate(id, len)?;
        self.tokens.entry(id).or_default().truncate(kept.len);
        Ok(kept)
    }
    fn fork(&mut self, id: SequenceId) -> Result<SequenceId, ModelError> {
        let fork = self.sequences.fork(id)?;
        let tokens = self.tokens.get(&id).cloned().unwrap_or_default();
        self.tokens.insert(fork, tokens);
        Ok(fork)
    }
    fn cache_spec(&self) -> &CacheSpec {
        &self.spec
    }
    fn saved(&self, id: SequenceId) -> Result<SavedSequence, ModelError> {
        Ok(self.sequences.saved(id)?)
    }
    fn export(&mut self, _: SequenceId, _: usize) -> Result<Ticket, ModelError> {
        panic!("a script has no cells")
    }
    fn open_saved(&mut self, _: &SavedSequence) -> Result<SequenceId, ModelError> {
        panic!("a script has no cells")
    }
    fn import(&mut self, _: SequenceId, _: usize, _: &[u8]) -> Result<Ticket, ModelError> {
        panic!("a script has no cells")
    }
    fn logits(&mut self, _: &Matrix) -> Result<Matrix, ModelError> {
        Ok(Matrix::default())
    }
}
