//! The protobuf words and how they map to the domain's: shared by the journal, which keeps them on disk, and by the gRPC
//! edge, which sends them. The only place that names `prost` (docs/adr/0001).
//!
//! Towards the wire nothing can fail. From the wire everything can: each `parse` names the field that is wrong.

pub mod approval;
mod explanation;
mod gate;
mod identity;
pub mod json;
mod malformed;
mod names;
mod policies;
pub mod record;
mod secret;
#[cfg(test)]
mod secret_tests;
mod transition;
pub mod value;

/// The generated messages.
#[allow(clippy::all, clippy::pedantic, clippy::too_many_lines, missing_docs)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/messages/countersign.v1.rs"));
}

/// The compiled protos, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use malformed::Malformed;

/// Moments and spans, as the messages hold them.
pub use prost_types as well_known;

/// How long a message is on the wire.
#[must_use]
pub fn encoded_bytes(message: &impl prost::Message) -> usize {
    message.encoded_len()
}

/// How many bytes an entity is, encoded: what limits on entities and records count.
#[must_use]
pub fn entity_bytes(entity: &crate::domain::Entity) -> usize {
    encoded_bytes(&pb::Entity::from(entity))
}
