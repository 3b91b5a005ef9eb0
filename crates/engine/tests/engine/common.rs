//! A model that follows a script: its logits are a function of the tokens so far.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Poll;

use honelm_backend::{
    BackendError, Batch, CacheKind, CacheSpec, CacheType, Parent, SavedSequence, SequenceId, Sequences, Ticket, Token,
    Truncated, block_on, choose,
};
use honelm_engine::{Cancel, Completion, Driver, DriverOptions, EngineError, Generation, OnUpdate, Request};
use honelm_model::{CacheUse, Facts, ModelError, Runner, StepOutput};
use honelm_tensor::Matrix;
use honelm_text::{EncodeOptions, Tokenizer};

/// The record of a scripted model.
#[derive(Debug, Default)]
pub struct Log {
    /// Rows of each step.
    pub rows: RefCell<Vec<usize>>,
    /// Tokens of the sequence after each step.
    pub tokens: RefCell<Vec<u32>>,
    /// The number of rows that requested logits.
    pub logits: Cell<usize>,
    /// The number of rows that were sampled on the device.
    pub sampled: Cell<usize>,
    /// The number of rows whose token the host had not seen.
    pub unseen: Cell<usize>,
    /// Bytes held and open sequences, after the last change.
    pub memory: Cell<(usize, usize)>,
}

/// The number of tokens in a page, which has as many bytes.
const PAGE: usize = 4;

type Script = Box<dyn Fn(&[u32]) -> Vec<f32>>;

pub struct Scripted {
    facts: Facts,
    spec: CacheSpec,
    sequences: Sequences,
    tokens: BTreeMap<SequenceId, Vec<u32>>,
    /// The pending draft cells: each with the whole text up to it.
    pending: BTreeMap<SequenceId, Vec<Vec<u32>>>,
    script: Script,
    outputs: BTreeMap<u64, StepOutput>,
    /// The tokens that were sampled, by step and row.
    drawn: BTreeMap<(u64, u32), u32>,
    next: u64,
    log: Rc<Log>,
    /// The maximum number of rows in a step.
    pub step_rows: usize,
    /// `true` if reads are not ready at once.
    pub is_slow: bool,
    /// The number of steps that the driver should have in flight.
    pub steps_in_flight: usize,
    /// The number of steps after which the device is lost.
    pub lost_after: Option<u64>,
}

impl Scripted {
    pub fn new(vocabulary: usize, context: usize, script: impl Fn(&[u32]) -> Vec<f32> + 'static) -> (Self, Rc<Log>) {
        Self::with_cache(vocabulary, context, CacheKind::Full, script)
    }

    pub fn with_cache(
        vocabulary: usize,
        context: usize,
        kind: CacheKind,
        script: impl Fn(&[u32]) -> Vec<f32> + 'static,
    ) -> (Self, Rc<Log>) {
        let log = Rc::new(Log::default());
        let facts = Facts {
            architecture: "scripted",
            name: "scripted".to_owned(),
            layers: 0,
            width: 1,
            vocabulary,
            context,
            parameters: 0,
            encoder: false,
        };
        let mut sequences = Sequences::new(&[kind], PAGE, context, 0);
        sequences.set_limit(&[PAGE], None);
        let runner = Self {
            facts,
            spec: CacheSpec { groups: vec![kind], layers: Vec::new(), page_len: PAGE, element: CacheType::F32 },
            sequences,
            tokens: BTreeMap::new(),
            pending: BTreeMap::new(),
            script: Box::new(script),
            outputs: BTreeMap::new(),
            drawn: BTreeMap::new(),
            next: 0,
            log: Rc::clone(&log),
            step_rows: usize::MAX,
            is_slow: false,
            steps_in_flight: 1,
            lost_after: None,
        };
        (runner, log)
    }
}

impl Scripted {
    fn note(&self) {
        self.log.memory.set((self.sequences.bytes_held(), self.sequences.open_count()));
    }
}

impl Runner for Scripted {
    fn facts(&self) -> &Facts {
        &self.facts
    }
    fn context(&self) -> usize {
        self.sequences.context()
    }
    fn step_rows(&self) -> usize {
        self.step_rows
    }
    fn describe(&self) -> String {
        "script".to_owned()
    }
    fn is_batch_invariant(&self) -> bool {
        true
    }
    fn steps_in_flight(&self) -> usize {
        self.steps_in_flight
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
        self.note();
        id
    }
    fn close(&mut self, id: SequenceId) -> Result<(), ModelError> {
        self.sequences.close(id)?;
        self.tokens.remove(&id);
        self.pending.remove(&id);
        self.note();
        Ok(())
    }
    fn len(&self, id: SequenceId) -> Result<usize, ModelError> {
        Ok(self.sequences.len(id)?)
    }
    fn step(&mut self, batch: &Batch) -> Result<Ticket, ModelError> {
        let step = self.sequences.step(batch)?;
        self.log.rows.borrow_mut().push(batch.rows());
        let mut output = StepOutput::default();
        let mut first = 0;
        for row in 0..batch.rows() {
            let id = batch.sequence[row];
            if row > 0 && batch.sequence[row - 1] != id {
                first = row;
            }
            let before = self.pending.get(&id).map_or(0, Vec::len) - (row - first);
            let accepted = self.tokens.entry(id).or_default();
            let pending = self.pending.entry(id).or_default();
            let mut tokens = match batch.parent[row] {
                Parent::Previous => pending.last().unwrap_or(accepted).clone(),
                Parent::Accepted => accepted.clone(),
                Parent::Row(parent) => pending[before + parent as usize - first].clone(),
                Parent::Draft(parent) => pending[parent as usize].clone(),
            };
            let token = match batch.tokens[row] {
                Token::Id(token) => token,
                Token::Sampled(ticket, row) => {
                    self.log.unseen.set(self.log.unseen.get() + 1);
                    self.drawn[&(ticket.0, row)]
                }
            };
            assert_eq!(step.positions[row] as usize, tokens.len());
            tokens.push(token);
            pending.push(tokens.clone());
            let want = batch.want[row];
            if want.logits || want.sample.is_some() {
                let logits = (self.script)(&tokens);
                if want.logits {
                    self.log.logits.set(self.log.logits.get() + 1);
                    output.logits.rows += 1;
                    output.logits.cols = logits.len();
                    output.logits.data.extend(&logits);
                }
                if let Some(how) = want.sample {
                    self.log.sampled.set(self.log.sampled.get() + 1);
                    let token = choose(&logits, &how, tokens.len() as u64 - 1);
                    output.sampled.push(token);
                    self.drawn.insert((self.next + 1, row as u32), token);
                }
            }
            *self.log.tokens.borrow_mut() = tokens;
        }
        for (id, pending) in &mut self.pending {
            // Rows without a draft are final.
            if self.sequences.pending(*id).is_ok_and(|count| count == 0)
                && let Some(last) = std::mem::take(pending).pop()
            {
                self.tokens.insert(*id, last);
            }
        }
        self.note();
        self.next += 1;
        self.outputs.insert(self.next, output);
        Ok(Ticket(self.next))
    }
    fn read(&mut self, ticket: Ticket) -> honelm_model::ReadStep {
        let mut output = self.outputs.remove(&ticket.0).expect("each ticket is read once");
        let mut waits = self.is_slow;
        let is_lost = self.lost_after.is_some_and(|steps| ticket.0 > steps);
        Box::pin(std::future::poll_fn(move |context| {
            if std::mem::take(&mut waits) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if is_lost {
                let (device, reason) = ("script".to_owned(), "it was destroyed".to_owned());
                return Poll::Ready(Err(BackendError::DeviceLost { device, reason }.into()));
            }
            Poll::Ready(Ok(std::mem::take(&mut output)))
        }))
    }
    fn accept(&mut self, id: SequenceId, path: &[u32]) -> Result<(), ModelError> {
        self.sequences.accept(id, path)?;
        let pending = self.pending.remove(&id).unwrap_or_default();
        if let Some(&last) = path.last() {
            self.tokens.insert(id, pending[last as usize].clone());
        }
        Ok(())
    }
    fn truncate(&mut self, id: SequenceId, len: usize) -> Result<Truncated, ModelError> {
        let kept = self.sequences.truncate(id, len)?;
        self.pending.remove(&id);
        self.tokens.entry(id).or_default().truncate(kept.len);
        Ok(kept)
    }
    fn fork(&mut self, id: SequenceId) -> Result<SequenceId, ModelError> {
        let fork = self.sequences.fork(id)?;
        self.tokens.insert(fork, self.tokens[&id].clone());
        self.note();
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
    fn logits(&mut self, _hidden: &Matrix) -> Result<Matrix, ModelError> {
        Ok(Matrix::default())
    }
}

/// The shipped model's tokenizer: byte-level BPE with chat tokens.
pub fn tokenizer() -> Rc<Tokenizer> {
    Rc::new(Tokenizer::from_dir(&honelm_testing::pocket_dir()).expect("models/pocket has a tokenizer"))
}

/// The same, where it need not be shared.
pub fn pocket() -> Tokenizer {
    Tokenizer::from_dir(&honelm_testing::pocket_dir()).expect("models/pocket has a tokenizer")
}

/// Returns a driver with the default limits.
pub fn driver(runner: impl Runner + 'static) -> Driver {
    limited(runner, DriverOptions::default())
}

pub fn limited(runner: impl Runner + 'static, options: DriverOptions) -> Driver {
    Driver::new(Box::new(runner), tokenizer(), options)
}

pub fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: true }).expect("text")
}

/// Returns tokens that spell `text` byte by byte, so that characters are split.
pub fn bytes_of(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let single = |byte: u8| {
        let spells = |id: &u32| tokenizer.token_bytes(*id).is_some_and(|b| b == [byte]) && !tokenizer.special(*id);
        (0..tokenizer.vocab_size() as u32).find(spells).expect("a token for each byte")
    };
    text.bytes().map(single).collect()
}

/// Returns logits that make `token` the most likely one of `vocabulary`.
pub fn favour(vocabulary: usize, token: u32) -> Vec<f32> {
    let mut logits = vec![0.0; vocabulary];
    logits[token as usize] = 20.0;
    logits
}

/// Returns a scripted model that answers any prompt of `prompt_len` tokens with `answer` and the end token.
pub fn answering(tokenizer: &Tokenizer, prompt_len: usize, answer: Vec<u32>) -> (Scripted, Rc<Log>) {
    let vocabulary = tokenizer.vocab_size();
    let end = tokenizer.eos_ids()[0];
    Scripted::new(vocabulary, 1000, move |tokens| {
        favour(vocabulary, answer.get(tokens.len() - prompt_len).copied().unwrap_or(end))
    })
}

/// Generates one answer, which `cancel` ends.
pub fn cancellable(
    driver: &mut Driver,
    prompt: &[u32],
    how: &Generation,
    cancel: &Cancel,
    on_update: OnUpdate<'_>,
) -> Result<Completion, EngineError> {
    let request = Request::new(prompt.to_vec(), how.clone()).with_cancel(cancel);
    block_on(driver.complete(request, &|| 0.0, on_update))
}

/// Generates, and checks that the text is the concatenation of the updates' texts.
pub fn generate(driver: &mut Driver, prompt: &[u32], how: &Generation) -> Result<Completion, EngineError> {
    let mut heard = String::new();
    let done = cancellable(driver, prompt, how, &Cancel::new(), &mut |update| heard.push_str(update.text()))?;
    assert_eq!(heard, done.text);
    Ok(done)
}
