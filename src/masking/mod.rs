//! Finds personal data and secrets in text and takes them out. Pure: no clock, no I/O, no policies; what is asked for arrives as
//! [`MaskRules`](crate::domain::MaskRules).
//!
//! - [`detect`]: what is looked for, one file per family; [`shape`] runs what is known by form, [`context`] weighs the words around,
//!   [`custom`] is what the operator adds
//! - [`scan`]: one text to findings; [`view`] and [`encoded`] look through encodings; [`finding`] settles overlaps
//! - [`transform`]: what stands in place of a value, [`formed`] where it keeps its form ([`ff1`]); [`keys`] makes and opens what needs a key; [`token`] is how it is written
//! - [`masker`]: all of it together, for [`text`] and [`json`] that arrive in pieces, and for single values, within a [`budget`]
//!
//! Time is linear in the text and memory is bounded. Nothing here logs, and no error carries what was searched.

pub mod budget;
pub mod checksum;
pub mod context;
pub mod custom;
pub mod detect;
pub mod encoded;
pub mod ff1;
mod finding;
pub mod formed;
pub mod json;
pub mod keys;
pub mod masker;
pub mod scan;
pub mod shape;
pub mod text;
pub mod token;
pub mod transform;
pub mod view;

#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use custom::{Custom, CustomRules};
pub use finding::{Confidence, Finding, Layer};
pub use json::JsonStream;
pub use keys::{KeyError, Keyring};
pub use masker::{Counts, Masker, Mode, Profile};
pub use text::TextStream;

use crate::domain::{DataKind, Transform};

/// Why a text was not masked. The text then stays where it is: none of it comes out. Says nothing of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    #[error("the search could not be finished")]
    Engine,
    #[error("the search took too long")]
    Timeout,
    #[error("`{0}` is no pattern that can be used")]
    Pattern(String),
    #[error("expected UTF-8")]
    NotText,
    #[error("expected JSON; it breaks off or goes wrong at byte {0}")]
    NotJson(u64),
    #[error("expected JSON of at most {0} levels")]
    TooDeep(usize),
    #[error("expected JSON strings of at most {0} bytes")]
    TooLong(usize),
    #[error("expected as many cells in each row as there are columns")]
    Rows,
    #[error("masking did not come to an end")]
    Unsettled,
    #[error("`{}` needs a key that is not configured", .0.word())]
    NoKey(Transform),
    #[error("`{0}` is found by nothing that is configured")]
    UnknownKind(DataKind),
    #[error("a token that is not of this service, tenant and kind, or of a key that is gone")]
    Unopened,
}
