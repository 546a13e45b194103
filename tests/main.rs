//! Integration tests: the whole service over real gRPC, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;
mod tidy;

mod authoring;
mod away;
mod bad_input;
mod binding;
mod canary;
mod cases;
mod cedar_vectors;
mod cli;
mod cluster;
mod configuration;
mod conformance;
mod crash;
mod doctor;
mod documents;
mod entities;
mod explain;
mod full_disk;
mod glass;
mod healthcheck;
mod hostile_ids;
mod inbox;
mod invariants;
mod life;
mod masking;
mod metrics;
mod model;
mod mtls;
mod notify;
mod reload;
mod reports;
mod sealing;
mod sessions;
mod shapes;
mod shutdown;
mod sinks;
mod streams;
mod terminal;
mod tls;
mod told;
mod unix;
mod unmask;
mod veil;
