//! The processes of the tests, under the name by which the tests know them.

#[path = "../../tests/crash/child.rs"]
#[allow(dead_code, clippy::all, clippy::restriction)]
pub mod child;
