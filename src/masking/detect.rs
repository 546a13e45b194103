//! The detectors, one file per family. Each says what it looks for as data where it can; [`super::scan`] runs them.

pub mod contact;
pub mod credentials;
pub mod crypto;
pub mod dates;
pub mod fields;
pub mod government;
pub mod network;
pub mod payment;
pub mod persons;
pub mod places;
pub mod secrets;
