//! The account after the last death: the journal is sound, and holds what was answered, once.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use countersign::domain::{Binding, Change, Fact, Transition, Verdict};
use countersign::journal::{self, Log};
use countersign::wire::pb;

use super::life::Acknowledged;
use crate::support::sealed;

#[derive(Default)]
struct Books {
    decisions: HashMap<String, pb::Outcome>,
    opened: HashMap<Binding, usize>,
    used: HashMap<String, usize>,
    settled: HashMap<String, usize>,
    votes: HashSet<(String, String)>,
}

pub fn check(dir: &Path, acknowledged: &[Acknowledged]) {
    journal::verify(dir, None, &mut |_| {}).expect("a sound journal");
    let vault = sealed::of_kept(dir);
    assert!(!vault.seals(), "reads only");
    let small = journal::Settings { segment_bytes: 2 << 20, reserve_bytes: 1, ..journal::Settings::new(dir) };
    let log = Log::open(journal::Settings { vault, ..small });
    let books = Books::read(&log.expect("a journal that opens"));
    for told in acknowledged {
        match told {
            Acknowledged::Decision { id, outcome, .. } => {
                assert_eq!(books.decisions.get(id), Some(outcome), "on record: {told:?}");
            }
            Acknowledged::Vote { approval, who } => {
                assert!(books.votes.contains(&(approval.clone(), (*who).to_owned())), "on record: {told:?}");
            }
        }
    }
    assert!(
        books.opened.values().all(|times| *times == 1),
        "one query, one approval, however often it was asked again"
    );
    assert!(books.used.values().all(|times| *times == 1), "a grant is used once");
    assert!(books.settled.values().all(|times| *times == 1), "an approval settles once");
}

impl Books {
    fn read(log: &Log) -> Self {
        let (mut books, mut next) = (Self::default(), 1);
        loop {
            let chunk = log.read_raw(next, 1_000, 1 << 20).unwrap();
            let Some(last) = chunk.last() else { return books };
            next = last.sequence + 1;
            chunk.iter().for_each(|raw| books.enter(raw.parse(log.vault()).unwrap().fact));
        }
    }

    fn enter(&mut self, fact: Fact) {
        match fact {
            Fact::Decided(decided) => {
                let told = decided.repeats.unwrap_or(decided.id).to_string();
                if decided.repeats.is_none() {
                    let twice = self.decisions.insert(told, pb::Outcome::from(decided.outcome));
                    assert!(twice.is_none(), "a decision is there once");
                }
                match &decided.change {
                    Change::None => {}
                    Change::Opened(opening) => *self.opened.entry(opening.binding).or_default() += 1,
                    Change::Redeemed(_) => *self.used.entry(decided.approval.unwrap().to_string()).or_default() += 1,
                }
            }
            Fact::Moved(moved) => self.moved(moved.approval.to_string(), &moved.transition),
            Fact::Started(_)
            | Fact::Refused(_)
            | Fact::PoliciesReloaded(_)
            | Fact::EntitiesChanged(_)
            | Fact::Revealed(_) => {}
        }
    }

    fn moved(&mut self, approval: String, transition: &Transition) {
        if let Transition::Reviewed(review) | Transition::Approved(review, _) = transition {
            assert_eq!(review.verdict, Verdict::Approve);
            let first = self.votes.insert((approval.clone(), review.reviewer.uid.id.to_string()));
            assert!(first, "a vote is there once");
        }
        if !matches!(transition, Transition::Reviewed(_)) {
            *self.settled.entry(approval).or_default() += 1;
        }
    }
}
