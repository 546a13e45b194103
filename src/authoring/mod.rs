//! What those who write policies need before anybody is let or stopped by them: tests that say what the policies should
//! answer, how much of them the tests have seen, and what a change changes. In reading order:
//!
//! - [`suite`]: the YAML of a file of tests, strict; [`notation`]: its entities and values; [`cast`]: its people
//! - [`scenario`]: one test as the service would live it: the same engine, `domain::decide` and approvals, a clock that the
//!   test moves; [`expect`]: what was seen against what was expected; [`run`]: all tests of a file
//! - [`coverage`]: which policies and clauses were seen to matter
//! - [`diff`]: two sets of policies under the same questions
//!
//! Nothing here serves anybody: no store, no token, no journal. Who somebody is, a test simply says.

mod cast;
pub mod coverage;
pub mod diff;
mod expect;
mod glass;
pub mod notation;
pub mod run;
pub mod scenario;
pub mod suite;

pub use coverage::Coverage;
pub use run::{Outcome, Settings, Tested};
pub use suite::{Suite, SuiteError};
