//! The policies: the only place that knows Cedar. In reading order:
//!
//! - [`settings`]: what the engine is told; [`source`]: files to text; [`scan`]: text is bounded before Cedar parses it
//! - [`annotation`], [`grammar`]: annotations to gates and obligations; [`problem`]: everything that can be wrong
//! - [`schema`], [`shape`], [`service_schema`]: what queries must look like, and the service's own part of it
//! - [`load`]: all of it to a [`PolicySnapshot`]; [`facts`]: the server's entity data; [`lint`]: what is hardly meant
//! - [`schema_size`], [`hierarchy`], [`json_text`]: bounds and places for what Cedar reads whole
//! - [`question`], [`entities`], [`convert`]: a query to Cedar's request; [`index`]: the policies it concerns;
//!   [`evaluate`]: its answer; [`guard`]: the service asking about itself
//!
//! - [`cedar_core`]: what of Cedar is not in its public interface
//!
//! No clock, no network; disk only in [`source`]. Evaluation never blocks and never changes a snapshot.

mod annotation;
mod cedar_core;
mod convert;
mod entities;
mod evaluate;
mod facts;
mod grammar;
mod guard;
mod hierarchy;
/// Public for `benches/policies.rs`: it speaks Cedar's types, so nothing outside the engine may use it.
#[doc(hidden)]
pub mod index;
mod json_text;
mod linked;
mod lint;
mod load;
mod problem;
mod question;
mod scan;
mod schema;
mod schema_size;
mod service_schema;
mod settings;
mod shape;
mod snapshot;
mod source;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use problem::{Annotation, Excerpt, Level, LoadError, Problem};
pub use question::QueryError;
pub use settings::{Limits, OnError, Reading, Settings};
pub use snapshot::{PolicyEntry, PolicyKind, PolicySnapshot, Summary};
pub use source::{FileKind, SourceFile};

/// The policies in force. A reader takes the current snapshot once per call and sees no other until it is done.
#[derive(Debug)]
pub struct Engine {
    current: ArcSwap<PolicySnapshot>,
}

impl Engine {
    #[must_use]
    pub fn new(snapshot: PolicySnapshot) -> Self {
        Self { current: ArcSwap::from_pointee(snapshot) }
    }

    #[must_use]
    pub fn current(&self) -> Arc<PolicySnapshot> {
        self.current.load_full()
    }

    /// Puts another snapshot in force, and returns the one that was.
    pub fn swap(&self, next: PolicySnapshot) -> Arc<PolicySnapshot> {
        self.current.swap(Arc::new(next))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{ask, bot, example, load, query};
    use super::*;
    use crate::domain::RuleVerdict;

    #[test]
    fn a_reader_keeps_the_snapshot_it_took_while_another_comes_into_force() {
        let engine = Engine::new(example());
        let taken = engine.current();
        let forbidding = load("forbid (principal, action, resource is Dataset);");
        let digest = forbidding.digest();
        assert_eq!(engine.swap(forbidding).digest(), taken.digest());
        assert_eq!(engine.current().digest(), digest);
        let query = query(&bot(), "read", ("Dataset", "weather"));
        assert_eq!(ask(&taken, &query, &bot()).unwrap().verdict, RuleVerdict::Permitted);
        assert_eq!(ask(&engine.current(), &query, &bot()).unwrap().verdict, RuleVerdict::Forbidden);
    }

    #[test]
    fn an_engine_is_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Engine>();
    }
}
