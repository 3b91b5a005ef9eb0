//! Shrink, prove and run language models on the device in front of you.
#![forbid(unsafe_code)]

mod auto;
mod bench_run;
mod device;
mod devices;
mod divergence;
mod error;
mod evaluate;
mod fallback;
mod inspect;
mod locate;
mod open;
pub mod optimize;
mod options;
mod prompt;
mod pull;
mod quantize;
mod remembered;
mod session;
mod texts;
mod trust;
mod work;

pub use bench_run::{BenchModel, BenchOptions, BenchRow, PlacedOperation, TimedKernel, benchmark, measure};
pub use device::DeviceChoice;
pub use devices::{CpuDevice, DeviceTest, Devices, GpuDevice, devices};
pub use divergence::{DivergeOptions, Divergence, LayerDifference, WeightDifference, diverge};
pub use error::Error;
pub use evaluate::{Differences, EvaluateOptions, Evaluation, evaluate};
pub use fallback::{Fallback, fallback_lines};
pub use inspect::{EncodingSummary, Inspection, JobNeed, MemoryNeed, TensorEntry, TokenFact, TokenizerFacts, inspect};
pub use locate::{SHIPPED, locate};
pub use open::open_tokenizer;
pub use optimize::{Container, Measure, OptimizeOptions, Outcome, optimize};
pub use options::{Event, Events, RunOptions};
pub use prompt::{Prompt, prompt};
pub use pull::{PullOptions, pull};
pub use quantize::{QuantizeOptions, QuantizeTarget, Quantized, quantize};
pub use session::{Answer, Conversation, Model, OnPiece, OnText, model_name};
pub use texts::{Text, TextSource};
pub use trust::trusted;

pub use honelm_backend::CacheType;
pub use honelm_bench as bench;
pub use honelm_blocks::Encoding;
pub use honelm_cpu::{Compute, MOST_THREADS};
pub use honelm_engine::{FinishReason, Generation, Overflow};
pub use honelm_eval::{EvalError, Figures, Protocol, Verdict};
pub use honelm_formats::hub_cache::blobs as hub_blobs;
pub use honelm_formats::{FormatError, OutputGate, write_atomic};
pub use honelm_formats::{LostPage, report_lost_pages};
pub use honelm_formats::{acts_on_terminals, open_file, printable, read_file, read_input, read_limited};
pub use honelm_gpu::{AdapterKind, AdapterReport, Demotion, Needed, Sums, Trust};
pub use honelm_model::{Facts, Runner};
pub use honelm_store::hub::{ModelSpec, Pulled, PulledFile};
pub use honelm_text::{EncodeOptions, Message, Piece, Reasoning, Tokenizer};
