//! What the operator decides: `countersign.toml` < `COUNTERSIGN__*` variables < flags.
//!
//! There is one table of keys, in [`sections`]: it makes the structs, the defaults, the check for unknown keys,
//! `config print` and `docs/configuration.md` alike, so that none of them can drift. A value that cannot be understood is
//! never replaced by a default: every problem is reported, with the key, what was written, where, and what was expected.
//!
//! Reading order: [`sections`] (the table), [`values`] (what a value may be), [`load`] (the layers), [`check`] (what
//! several values mean together), [`print`], [`schema`].

pub mod certificate;
pub mod check;
pub mod issuer;
pub mod keys;
mod lines;
pub mod load;
pub mod masking;
pub mod notify;
pub mod print;
pub mod problem;
pub mod redact;
pub mod reviewers;
pub mod schema;
pub mod sealing;
mod section;
pub mod sections;
pub mod setup;
pub mod store;
pub mod values;
pub mod web;

pub use load::{FILE_NAME, Layers, Loaded};
pub use problem::{ConfigError, Origin, Problem};
pub use sealing::Sealing;
pub use section::{Entry, Section};
pub use sections::{
    Approvals, Config, Dev, Grpc, IdentitySection, Journal, Limits, Log, Masking, Notify, Policy, Review, Store,
    Telemetry, Web,
};
pub use values::{Count, LogFilter, LogFormat, OnError, Ratio, SealingMode, Span, StoreKind, Sync, Text};
pub use web::PublicUrl;
