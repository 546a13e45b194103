//! The gRPC edge: the only place that names `tonic`.
//!
//! [`decision_point`], [`administration`] and [`masking`] have one short handler for each rpc: who calls ([`call`]), what is asked ([`request`]), the use case,
//! the answer ([`answer`]) or the one map of refusals to codes ([`status`]). [`transport`] has every limit of HTTP/2 in
//! one place; [`load`] turns calls away where there are too many; [`connection`] takes connections, in clear, by [`tls`] or over a
//! [`unix`] socket; [`serve`] serves them; [`services`] knows which service a
//! call is for.

mod about;
mod administration;
pub mod answer;
mod call;
pub mod client;
pub mod connection;
mod deadline;
mod decision_point;
pub mod door;
mod filter;
/// A door for `tests/fuzz`, there only in its builds.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use super::request::ask;
}
pub mod health;
mod load;
pub mod local;
mod masking;
pub mod meters;
mod request;
mod serve;
mod services;
mod status;
mod stream;
pub mod tls;
mod trace;
pub mod transport;
mod unbroken;
mod uniform;
pub mod unix;
mod weigh;

/// The generated clients and servers of `countersign.v1.DecisionPoint`, `countersign.v1.Administration` and
/// `countersign.v1.Masking`.
#[allow(clippy::all, clippy::pedantic, clippy::too_many_lines, missing_docs)]
pub mod generated {
    include!(concat!(env!("OUT_DIR"), "/service/countersign.v1.rs"));
}

pub use decision_point::Edge;
#[cfg(test)]
pub(crate) use {status::status as refused, unbroken::unbroken};
