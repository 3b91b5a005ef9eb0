//! A model that follows a script: its logits are a function of the tokens so far.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use honelm_backend::{Batch, CacheKind, SequenceId, Sequences, Ticket, Token, Truncated, choose};
use honelm_engine::{Completion, EngineError, Generation, Session, Update};
use honelm_model::{Facts, ModelError, Runner, StepOutput};
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
}

type Script = Box<dyn Fn(&[u32]) -> Vec<f32>>;

pub struct Scripted {
    facts: Facts,
    sequences: Sequences,
    tokens: BTreeMap<SequenceId, Vec<u32>>,
    script: Script,
    outputs: BTreeMap<u64, StepOutput>,
    next: u64,
    log: Rc<Log>,
    /// The maximum number of rows in a step.
    pub step_rows: usize,
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
        };
        let runner = Self {
            facts,
            sequences: Sequences::new(&[kind], 4, context, 0),
            tokens: BTreeMap::new(),
            script: Box::new(script),
            outputs: BTreeMap::new(),
            next: 0,
            log: Rc::clone(&log),
            step_rows: usize::MAX,
        };
        (runner, log)
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
    fn open(&mut self) -> SequenceId {
        let id = self.sequences.open();
        self.tokens.insert(id, Vec::new());
        id
    }
    fn close(&mut self, id: SequenceId) -> Result<(), ModelError> {
        Ok(self.sequences.close(id)?)
    }
    fn len(&self, id: SequenceId) -> Result<usize, ModelError> {
        Ok(self.sequences.len(id)?)
    }
    fn step(&mut self, batch: &Batch) -> Result<Ticket, ModelError> {
        let step = self.sequences.step(batch)?;
        self.log.rows.borrow_mut().push(batch.rows());
        let mut output = StepOutput::default();
        for row in 0..batch.rows() {
            let tokens = self.tokens.entry(batch.sequence[row]).or_default();
            let Token::Id(id) = batch.tokens[row] else { panic!("the engine reads every token") };
            assert_eq!(step.positions[row] as usize, tokens.len());
            tokens.push(id);
            let want = batch.want[row];
            if want.logits || want.sample.is_some() {
                let logits = (self.script)(tokens);
                if want.logits {
                    self.log.logits.set(self.log.logits.get() + 1);
                    output.logits.rows += 1;
                    output.logits.cols = logits.len();
                    output.logits.data.extend(&logits);
                }
                if let Some(how) = want.sample {
                    self.log.sampled.set(self.log.sampled.get() + 1);
                    output.sampled.push(choose(&logits, &how, tokens.len() as u64 - 1));
                }
            }
            *self.log.tokens.borrow_mut() = tokens.clone();
        }
        self.next += 1;
        self.outputs.insert(self.next, output);
        Ok(Ticket(self.next))
    }
    fn read(&mut self, ticket: Ticket) -> honelm_model::ReadStep {
        let output = self.outputs.remove(&ticket.0).expect("each ticket is read once");
        Box::pin(std::future::ready(Ok(output)))
    }
    fn accept(&mut self, id: SequenceId, path: &[u32]) -> Result<(), ModelError> {
        Ok(self.sequences.accept(id, path)?)
    }
    fn truncate(&mut self, id: SequenceId, len: usize) -> Result<Truncated, ModelError> {
        let kept = self.sequences.truncate(id, len)?;
        self.tokens.entry(id).or_default().truncate(kept.len);
        Ok(kept)
    }
    fn fork(&mut self, id: SequenceId) -> Result<SequenceId, ModelError> {
        Ok(self.sequences.fork(id)?)
    }
    fn logits(&mut self, _hidden: &Matrix) -> Result<Matrix, ModelError> {
        Ok(Matrix::default())
    }
}

/// The shipped model's tokenizer: byte-level BPE with chat tokens.
pub fn tokenizer() -> Tokenizer {
    Tokenizer::from_dir(&honelm_testing::pocket_dir()).expect("models/pocket has a tokenizer")
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

/// Returns a session that answers any prompt of `prompt_len` tokens with `answer` and the end token.
pub fn answering(tokenizer: &Tokenizer, prompt_len: usize, answer: Vec<u32>) -> (Session, Rc<Log>) {
    let vocabulary = tokenizer.vocab_size();
    let end = tokenizer.eos_ids()[0];
    let (runner, log) = Scripted::new(vocabulary, 1000, move |tokens| {
        favour(vocabulary, answer.get(tokens.len() - prompt_len).copied().unwrap_or(end))
    });
    (Session::new(Box::new(runner)), log)
}

/// Generates, and checks that the text is the concatenation of the updates' texts.
pub fn generate(
    session: &mut Session,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    how: &Generation,
) -> Result<Completion, EngineError> {
    let mut heard = String::new();
    let done = session.generate(tokenizer, prompt, how, &|| 0.0, &mut |update| {
        if let Update::Token { text, .. } | Update::Rest(text) = update {
            heard.push_str(text);
        }
        ControlFlow::Continue(())
    })?;
    assert_eq!(heard, done.text);
    Ok(done)
}
