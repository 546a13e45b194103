//! The web edge (axum). So far: the development issuer.

pub mod dev_issuer;
