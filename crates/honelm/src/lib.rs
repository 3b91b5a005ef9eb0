#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod caches;
mod classify;
mod conversation;
mod device;
#[cfg(feature = "tune")]
mod distil;
mod documents;
mod draft;
mod dry_run;
mod embed;
mod error;
mod extract;
mod fallback;
mod imatrix;
mod inspect;
mod label;
mod list;
mod locate;
mod measure;
mod open;
pub mod optimize;
mod options;
mod parquet;
mod planned_run;
mod prompt;
mod prompt_cache;
mod prune;
mod pull;
mod quantize;
mod redact;
mod router;
mod session;
mod steps;
pub mod svg;
pub mod tasks;
mod texts;
mod times;
mod together;
mod types;
pub mod units;
mod work;

pub use answer::{Answer, BrokenToolCall};
pub use caches::data_folder;
pub use classify::{
    Classification, Classifier, ClassifyOptions, JudgedAnswers, Label, LabelScore, LabelledText, MOST_EXAMPLES,
    MOST_LABELS, Normalise, Question, direct_answers,
};
pub use conversation::Conversation;
pub use device::{CpuDevice, DeviceChoice, DeviceTest, Devices, GpuDevice, devices, machine_memory, trusted};
#[cfg(feature = "tune")]
pub use distil::{DistilGate, DistilOptions, DistilReport, DistilSpeed, Student, distil};
pub use documents::{Chat, Document};
pub use dry_run::{Planned, plan_quantize};
pub use embed::Embedding;
pub use error::Error;
pub use extract::{EXTRACT_TOKENS, ExtractOptions, Extraction, Extractor, MOST_KINDS, Mention, Wanted};
pub use fallback::{Fallback, fallback_lines};
pub use honelm_model::export::{CONTAINERS, Container};
pub use imatrix::{CollectedImatrix, ImatrixOptions, imatrix};
pub use inspect::{
    Contents, EncodingSummary, Inspection, JobNeed, MemoryNeed, StoredTensor, TensorEntry, TokenFact, TokenizerFacts,
    contents, inspect,
};
pub use label::{CloudSide, Compare, LabelOptions, LabelledTraffic, SideWork, label_traffic, router_confidence};
pub use list::{ListedFile, ListedModel, Listing, list};
pub use locate::{SHIPPED, locate};
pub use measure::{
    ActivationOptions, ActivationReport, BenchModel, BenchOptions, BenchRow, CeilingRow, Cpus, Differences,
    DivergeOptions, Divergence, EvaluateOptions, Evaluation, LayerDifference, PlacedOperation, SpeculationOptions,
    SpeculationRow, StageInputs, StageLoss, StatesCache, StepCost, SustainedOutcome, TimedKernel, WeightDifference,
    activations, bench_sustained, benchmark, diverge, evaluate, measure, speculation,
};
pub use open::{model_digest, open_tokenizer, text_digest};
pub use optimize::{Measure, NamedRecipe, OptimizeOptions, Outcome, optimize};
pub use options::{Event, Events, RunOptions};
pub use planned_run::plan_run;
pub use prompt::{Prompt, now, prompt};
pub use prompt_cache::PromptCacheError;
pub use prune::{PruneOptions, PruneReport, PrunedFigures, PrunedSizes, prune};
pub use pull::{PullOptions, pull};
pub use quantize::{QuantizeOptions, QuantizeTarget, Quantized, quantize};
pub use redact::{RedactOptions, RedactedPiece, redact};
pub use router::{
    CheckedRequest, DecisionTime, Judged, TrainRouterOptions, TrainedRouter, check_request, evaluate_router,
    open_estimator, open_gateway, open_traffic, replay_router, train_router,
};
pub use session::{Model, model_name};
pub use tasks::{TaskOptions, Tasks};
pub use texts::{CalibrationText, Text, TextSource};
pub use times::StageTime;
pub use together::CallLimits;
pub use types::{TensorType, TypeName, TypeRules};

pub use honelm_backend::CacheType;
pub use honelm_bench as bench;
pub use honelm_blocks::Encoding;
pub use honelm_compress::{
    BuiltIn, LayerFigures, MIXES, Mix, Pattern, PruneFigures, RECIPES, Recipe, SparseMethod, Sparsity, TuneFigures,
    UnitFigures, UnitImportance,
};
pub use honelm_cpu::{Compute, MOST_THREADS};
pub use honelm_engine::{
    Acceptance, Agreement, Cancel, ChatAsk, Confidence, EmbeddingSettings, FinishReason, Generation, OnUpdate,
    Overflow, Pooling, Samples, Speculate, Update,
};
pub use honelm_eval::{Budget, EvalError, Figures, Protocol, Verdict};
pub use honelm_formats::hub_cache::blobs as hub_blobs;
pub use honelm_formats::imatrix::Form as ImatrixForm;
pub use honelm_formats::{FormatError, OutputGate, write_atomic};
pub use honelm_formats::{LostPage, release_freed_memory, report_lost_pages};
pub use honelm_formats::{acts_on_terminals, open_file, printable, read_file, read_input, read_limited};
pub use honelm_gateway::{accounting, estimator, pii, policy};
pub use honelm_gpu::{AdapterKind, AdapterReport, Demotion, Needed, Sums, Trust};
pub use honelm_grammar::{Constraint, GrammarError};
pub use honelm_model::{Facts, Runner};
pub use honelm_store::hub::{ModelSpec, Pulled, PulledFile};
pub use honelm_text::answer::{Call, Event as AnswerEvent, Tool, ToolChoice};
pub use honelm_text::{EncodeOptions, Message, Reasoning, RenderOptions, Tokenizer};
#[cfg(feature = "tune")]
pub use honelm_train::{Fall, LayerPairs, Measured};
