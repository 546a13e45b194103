//! The policies: the only place that knows Cedar. In reading order:
//!
//! - [`settings`]: what the engine is told; [`source`]: files to text; [`scan`]: text is bounded before Cedar parses it
//! - [`annotation`], [`grammar`]: annotations to gates and obligations; [`problem`]: everything that can be wrong
//! - [`schema`], [`shape`], [`service_schema`]: what queries must look like, and the service's own part of it
//! - [`candidate`]: a directory, read whole at one moment; [`load`]: all of it to a [`PolicySnapshot`]; [`lint`]: what is
//!   hardly meant
//! - [`facts`]: the server's entity data; [`put`]: more of it, put over the API
//! - [`schema_size`], [`hierarchy`], [`json_text`]: bounds and places for what Cedar reads whole
//! - [`question`], [`entities`], [`known`], [`convert`]: a query to Cedar's request; [`index`]: the policies it concerns;
//!   [`evaluate`]: its answer; [`guard`]: the service asking about itself
//! - [`clauses`], [`trace`], [`explain`]: which clause of which policy held, for people; nothing is decided by them
//! - [`cedar_core`]: what of Cedar is not in its public interface
//! - [`format`]: one layout for the text
//!
//! No clock, no network; disk only in [`source`] and [`candidate`]. Evaluation never blocks and never changes a snapshot.

mod annotation;
mod candidate;
mod cedar_core;
mod clauses;
mod convert;
mod entities;
mod evaluate;
mod explain;
mod facts;
mod format;
mod grammar;
mod guard;
mod hierarchy;
/// Public for `benches/policies.rs`: it speaks Cedar's types, so nothing outside the engine may use it.
#[doc(hidden)]
pub mod index;
mod json_text;
mod known;
mod linked;
mod lint;
mod load;
mod problem;
mod put;
mod question;
mod scan;
mod schema;
mod schema_size;
mod service_schema;
mod settings;
mod shape;
mod snapshot;
mod source;
mod stack;
#[cfg(test)]
mod testing;
mod trace;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use candidate::{Candidate, fingerprint};
pub use format::{FormatError, format};
pub use grammar::duration;
pub use problem::{Annotation, Excerpt, Level, LoadError, Problem};
pub use question::QueryError;
pub use settings::{Limits, OnError, Settings};
pub use snapshot::{PolicyEntry, PolicyKind, PolicySnapshot, Summary};
pub use source::{FileKind, SourceFile};
pub use trace::{ClauseSite, GuardTrace, Reached, Traced};

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

    /// Puts another snapshot in force, whole and at once, and returns the one that was.
    pub fn swap(&self, next: PolicySnapshot) -> Arc<PolicySnapshot> {
        self.current.swap(Arc::new(next))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{ask, bot, example, ids, load, load_with, query};
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

    /// A set that permits and gates what is in its own folder, under its own names.
    fn world(name: &str) -> PolicySnapshot {
        let policies = format!(
            "@id(\"rule-{name}\") permit (principal, action, resource is Dataset) when {{ resource in Folder::\"{name}\" }};
             @id(\"gate-{name}\") @approval(\"a\") @reviewers(\"Group::\\\"a\\\"\")
             forbid (principal, action == Action::\"read\", resource is Dataset) when {{ resource in Folder::\"{name}\" }};"
        );
        let data = format!(
            r#"[{{"uid":{{"type":"Dataset","id":"d"}},"attrs":{{"pii":true}},"parents":[{{"type":"Folder","id":"{name}"}}]}}]"#
        );
        load_with(&policies, &data)
    }

    #[test]
    fn a_hundred_thousand_answers_during_a_thousand_swaps_are_each_of_one_set() {
        const ANSWERS: usize = 100_000;
        const SWAPS: usize = 1_000;
        const READERS: usize = 4;
        let worlds = [world("a"), world("b")];
        let expected = worlds.each_ref().map(PolicySnapshot::digest);
        let engine = Engine::new(worlds[0].clone());
        let query = query(&bot(), "read", ("Dataset", "d"));
        let answered = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    for _ in 0..ANSWERS / READERS {
                        let answer = ask(&engine.current(), &query, &bot()).unwrap();
                        let name = if answer.digest == expected[0] { "a" } else { "b" };
                        let of_one = (vec![format!("rule-{name}")], vec![format!("gate-{name}")]);
                        assert_eq!((answer.verdict, ids(&answer)), (RuleVerdict::Permitted, of_one));
                        answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
            for swap in 1..=SWAPS {
                // Spread over the answers.
                while answered.load(std::sync::atomic::Ordering::Relaxed) < swap * (ANSWERS / SWAPS) - ANSWERS / SWAPS {
                    std::thread::yield_now();
                }
                engine.swap(worlds[swap % 2].clone());
            }
        });
        assert_eq!(answered.into_inner(), ANSWERS);
    }

    #[test]
    fn an_engine_is_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Engine>();
    }
}
