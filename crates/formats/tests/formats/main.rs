//! Files: round trips, hostile input, quantised formats.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod changed;
mod common;
mod files;
mod gguf_hostile;
mod gptq;
mod imatrix;
mod outputs;
mod parquet;
mod quantized;
mod real_files;
mod remote;
mod round_trip;
mod safetensors_hostile;
mod shards;
mod writing;
