//! Countersign: a policy decision point that puts a human countersignature on risky actions.
//!
//! The map, in reading order. Arrows point down only (`tests/tidy.rs`):
//!
//! - [`domain`]: the rules of approval as pure values and functions; start with [`domain::decide`]
//! - [`measure`]: counters and durations that every part keeps of its own work; [`aead`]: how things are sealed, whatever they
//!   are; [`files`]: how a file is replaced; [`network`]: whose an address is
//! - [`wire`]: the protobuf words, shared by what is kept and what is sent
//! - [`vault`]: the keys that seal what is kept, and how
//! - [`engine`] (Cedar), [`identity`] (OIDC), [`journal`] (the log), [`store`] (approvals), [`notify`] (where people are told): what
//!   the rules need from the world
//! - [`masking`]: personal data and secrets, found and taken out
//! - [`service`]: the use cases, one file each; [`authoring`]: those of the people who write policies
//! - [`grpc`], [`web`]: the edges
//! - [`server`]: the composition root; [`upkeep`]: housekeeping that nobody waits for; [`reload`]: when policies are read again
//! - [`telemetry`]: what they counted, as Prometheus reads it
//! - [`config`]: what the operator decides; [`cli`]: the command line, which is one more client

pub mod aead;
pub mod authoring;
pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
pub mod files;
pub mod grpc;
pub mod identity;
pub mod journal;
pub mod masking;
pub mod measure;
pub mod network;
pub mod notify;
pub mod reload;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod upkeep;
pub mod vault;
pub mod web;
pub mod wire;
