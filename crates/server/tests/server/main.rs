//! The server over real connections, with the shipped model and with scripted ones.
#![allow(clippy::unwrap_used, reason = "tests")]

mod agents;
mod anthropic;
mod bad_input;
mod budget;
mod chat;
mod clients;
mod common;
mod confidence;
mod deployment;
mod draft;
mod embeddings;
mod gateway;
mod numbers;
mod ollama;
mod openapi;
mod page;
mod proof;
mod responses;
mod scripted;
mod security;
mod store;
mod streams;
mod understanding;
mod verify;
