//! The account over all replicas: what their journals say together, held against what clients were told and against what
//! every replica shows at the end.
//!
//! It trusts nothing that it checks: events are put in the order that the store gave them, and every approval is folded
//! anew from its records.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use countersign::domain::{
    Approval, ApprovalId, ApprovalState, Change, Decided, DecisionId, Fact, GrantTerms, Moved, Outcome, PrincipalKind,
    Record, Review, Timestamp, Transition, Verdict,
};
use countersign::journal::{self, Log};

use crate::support::sealed;

/// The place that the store gave to an event: one order per shard, over all replicas.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub shard: String,
    pub number: u64,
}

/// One line of one journal.
#[derive(Debug, Clone)]
pub struct Line {
    pub journal: usize,
    pub place: Option<Place>,
    pub fact: Fact,
}

/// Something that a client was told.
#[derive(Debug, Clone)]
pub enum Told {
    Decision { id: DecisionId, outcome: Outcome, approval: Option<ApprovalId> },
    Vote { approval: ApprovalId, who: String },
    Settled { approval: ApprovalId, state: &'static str },
}

/// What a replica shows of an approval in the end.
#[derive(Debug, Clone)]
pub struct Shown {
    pub replica: usize,
    pub approval: ApprovalId,
    pub state: String,
}

/// All that is known of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub lines: Vec<Line>,
    pub told: Vec<Told>,
    pub shown: Vec<Shown>,
    /// The store lost approvals, which were denied then: of what is settled on record it need not know.
    pub loses: bool,
}

/// What came of the check.
#[derive(Debug, Default)]
pub struct Findings {
    pub violations: Vec<String>,
    /// Events that are in two journals, under one place: somebody took over what its maker had written already.
    pub doubled: usize,
    pub approvals: usize,
}

impl History {
    /// Reads journals that nobody has open any more, each sound in itself.
    pub fn of_journals(dirs: &[std::path::PathBuf]) -> Self {
        let lines = dirs.iter().enumerate().flat_map(|(journal, dir)| read(journal, dir)).collect();
        Self { lines, ..Self::default() }
    }

    pub fn check(&self) -> Findings {
        let mut books = Books::default();
        books.enter(&self.lines);
        books.fold();
        self.told.iter().for_each(|told| books.was_told(told));
        books.told_one_use_each(&self.told);
        self.shown.iter().filter(|shown| !self.loses || shown.state != "nothing").for_each(|shown| books.shows(shown));
        if self.loses {
            self.shown.iter().filter(|shown| shown.state == "nothing").for_each(|shown| books.is_settled(shown));
        }
        books.findings.approvals = books.approvals.len();
        books.findings
    }
}

fn read(journal: usize, dir: &Path) -> Vec<Line> {
    journal::verify(dir, None, &mut |_| {}).expect("a sound journal");
    let log = Log::open(journal::Settings { vault: sealed::of_kept(dir), ..super::small(dir) });
    let (log, mut next, mut lines) = (log.expect("a journal that opens"), 1, Vec::new());
    let mut last_at = Timestamp::default();
    loop {
        let chunk = log.read_raw(next, 1_000, 1 << 20).unwrap();
        let Some(last) = chunk.last() else { return lines };
        next = last.sequence + 1;
        for raw in &chunk {
            assert!(raw.at >= last_at, "time goes back in journal {journal}");
            last_at = raw.at;
            let record = raw.parse(log.vault()).unwrap();
            lines.push(Line { journal, place: place_of(&record), fact: record.fact });
        }
    }
}

/// The place that the store gave to a record.
fn place_of(record: &Record) -> Option<Place> {
    let origin = record.origin?;
    let epoch: String = origin.epoch.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Place { shard: format!("{:x} of {epoch}", origin.shard), number: origin.number })
}

#[derive(Default)]
struct Books<'a> {
    findings: Findings,
    /// Each event once, in the order of the store where it has one.
    events: Vec<&'a Line>,
    decisions: HashMap<DecisionId, &'a Decided>,
    /// Decisions by those that they repeat. Whoever gave the first answer may have died before he could write it down; the
    /// repeated one is on record all the same.
    repeated: HashMap<DecisionId, &'a Decided>,
    approvals: BTreeMap<ApprovalId, Approval>,
    votes: HashSet<(ApprovalId, String)>,
    settled: HashSet<(ApprovalId, &'static str)>,
}

impl<'a> Books<'a> {
    fn violated(&mut self, what: impl Into<String>) {
        self.findings.violations.push(what.into());
    }

    /// Takes every event once.
    fn enter(&mut self, lines: &'a [Line]) {
        let mut placed: BTreeMap<&Place, &Line> = BTreeMap::new();
        for line in lines {
            let Some(place) = &line.place else {
                self.events.push(line);
                continue;
            };
            match placed.insert(place, line) {
                None => {}
                Some(other) if other.journal == line.journal => {
                    self.violated(format!("{place:?} is twice in journal {}", line.journal));
                }
                Some(other) if other.fact != line.fact => {
                    self.violated(format!("{place:?} is one thing in one journal and another in the next"));
                }
                Some(_) => self.findings.doubled += 1,
            }
        }
        // The store numbers its events without a gap: a number that is nowhere is an event that nobody wrote down. A shard that began
        // anew in place of a lost one counts on.
        let mut last: HashMap<&str, u64> = HashMap::new();
        for place in placed.keys() {
            let ends = || placed.keys().filter(|other| is_before(other, place)).map(|other| other.number).max();
            let before = last.insert(&place.shard, place.number).unwrap_or_else(|| ends().unwrap_or(0));
            if place.number != before + 1 {
                self.violated(format!(
                    "events {} to {} of shard {} are in no journal",
                    before + 1,
                    place.number - 1,
                    place.shard
                ));
            }
        }
        let mut placed: Vec<_> = placed.into_iter().collect();
        placed.sort_by_key(|(place, _)| (shard_of(place), place.number));
        self.events.extend(placed.into_iter().map(|(_, line)| line));
    }

    /// Adds the records up, approval by approval.
    fn fold(&mut self) {
        for line in std::mem::take(&mut self.events) {
            match &line.fact {
                Fact::Decided(decided) => self.decided(decided),
                Fact::Moved(moved) => self.moved(moved),
                Fact::Started(_)
                | Fact::Refused(_)
                | Fact::PoliciesReloaded(_)
                | Fact::EntitiesChanged(_)
                | Fact::Revealed(_) => {}
            }
        }
        for (id, approval) in &self.approvals {
            if let Some(missing) = quorum_missing(approval) {
                self.findings.violations.push(format!("{id}: {missing}"));
            }
        }
    }

    fn decided(&mut self, decided: &'a Decided) {
        if self.decisions.insert(decided.id, decided).is_some() {
            self.violated(format!("{} is on record twice", decided.id));
        }
        self.repeated.extend(decided.repeats.map(|first| (first, decided)));
        match &decided.change {
            Change::None => {}
            Change::Opened(opening) => {
                if self.approvals.insert(opening.id, Approval::opened(opening.clone())).is_some() {
                    self.violated(format!("{} was opened twice", opening.id));
                }
            }
            Change::Redeemed(transition) => match decided.approval {
                Some(id) => self.step(id, transition),
                None => self.violated(format!("{} used a grant of nothing", decided.id)),
            },
        }
    }

    fn moved(&mut self, moved: &Moved) {
        if let Some(review) = vote(&moved.transition) {
            let who = review.reviewer.uid.to_string();
            if review.reviewer.kind != PrincipalKind::User {
                self.violated(format!("{}: {who} is no human", moved.approval));
            }
            if !self.votes.insert((moved.approval, who.clone())) && review.verdict == Verdict::Approve {
                self.violated(format!("{}: the vote of {who} is there twice", moved.approval));
            }
        }
        self.step(moved.approval, &moved.transition);
    }

    /// One step in the life of an approval, if it may be taken.
    fn step(&mut self, id: ApprovalId, transition: &Transition) {
        let Some(before) = self.approvals.get(&id) else {
            return self.violated(format!("{id}: {} without an opening", transition.name()));
        };
        let late = late(before, transition);
        match before.apply(transition) {
            Ok(after) => {
                if after.state.name() != before.state.name() {
                    self.settled.insert((id, after.state.name()));
                }
                self.approvals.insert(id, after);
            }
            Err(illegal) => self.violated(illegal.to_string()),
        }
        if late {
            self.violated(format!("{id}: {} after the deadline", transition.name()));
        }
    }

    /// What a client was told must be on record.
    fn was_told(&mut self, told: &Told) {
        match told {
            Told::Decision { id, outcome, approval } => match self.decisions.get(id).or(self.repeated.get(id)) {
                None => self.violated(format!("{id} ({outcome:?}) was told and is in no journal")),
                Some(decided) if (decided.outcome, decided.approval) != (*outcome, *approval) => {
                    self.violated(format!("{id} was told otherwise than it is on record"));
                }
                Some(_) => {}
            },
            Told::Vote { approval, who } => {
                if !self.votes.contains(&(*approval, who.clone())) {
                    self.violated(format!("{approval}: the vote of {who} was acknowledged and is in no journal"));
                }
            }
            Told::Settled { approval, state } => {
                if !self.settled.contains(&(*approval, state)) {
                    self.violated(format!("{approval}: {state} was told and is in no journal"));
                }
            }
        }
    }

    /// Whoever was let act on a grant for one use was the only one.
    fn told_one_use_each(&mut self, told: &[Told]) {
        let mut used: HashMap<ApprovalId, DecisionId> = HashMap::new();
        for told in told {
            let Told::Decision { id, outcome: Outcome::Allow, approval: Some(approval) } = told else { continue };
            let terms = self.approvals.get(approval).map(|approval| approval.opening.requirement.grant());
            if terms == Some(GrantTerms::Once) && *used.entry(*approval).or_insert(*id) != *id {
                self.violated(format!("{approval}: two were let act on one grant"));
            }
        }
    }

    /// What the store does not know any more must be settled on record.
    fn is_settled(&mut self, shown: &Shown) {
        let Shown { approval: id, replica, .. } = shown;
        if !self.approvals.get(id).is_some_and(|approval| approval.state.is_final()) {
            self.violated(format!("{id} is open on record, and replica {replica} does not know it"));
        }
    }

    /// A replica must show what the journals add up to.
    fn shows(&mut self, shown: &Shown) {
        let Shown { replica, approval: id, state } = shown;
        match self.approvals.get(id) {
            None => self.violated(format!("{id} is shown by replica {replica} and is in no journal")),
            Some(approval) if approval.state.name() != state => {
                let on_record = approval.state.name();
                self.violated(format!("{id} is {on_record} on record, and replica {replica} shows {state}"));
            }
            Some(_) => {}
        }
    }
}

/// The shard, whichever of its lives an event is of.
fn shard_of(place: &Place) -> &str {
    place.shard.split(' ').next().unwrap_or_default()
}

/// Whether an event is of the same shard as another, and of an earlier life of it.
fn is_before(other: &Place, place: &Place) -> bool {
    shard_of(other) == shard_of(place) && other.shard != place.shard && other.number < place.number
}

fn vote(transition: &Transition) -> Option<&Review> {
    match transition {
        Transition::Reviewed(review) | Transition::Approved(review, _) | Transition::Rejected(review) => Some(review),
        Transition::Expired { .. }
        | Transition::Escalated { .. }
        | Transition::Reminded { .. }
        | Transition::Cancelled { .. }
        | Transition::Revoked { .. }
        | Transition::BrokenGlass(..)
        | Transition::Examined(_)
        | Transition::Lapsed { .. }
        | Transition::Consumed { .. }
        | Transition::Used { .. }
        | Transition::Reported(_) => None,
    }
}

/// Whether a step says of itself that it was taken too late.
fn late(before: &Approval, transition: &Transition) -> bool {
    let at = match transition {
        Transition::Reviewed(review) | Transition::Approved(review, _) | Transition::Rejected(review) => review.at,
        Transition::Consumed { at, .. } | Transition::Used { at, .. } => *at,
        Transition::Expired { .. }
        | Transition::Escalated { .. }
        | Transition::Reminded { .. }
        | Transition::Cancelled { .. }
        | Transition::Revoked { .. }
        | Transition::BrokenGlass(..)
        | Transition::Examined(_)
        | Transition::Lapsed { .. }
        | Transition::Reported(_) => return false,
    };
    before.due_at(at).is_some()
}

/// What an approval that was granted lacks: distinct humans, for each gate, none of them the requester.
fn quorum_missing(approval: &Approval) -> Option<String> {
    let granted = matches!(
        approval.state,
        ApprovalState::Approved(_)
            | ApprovalState::Revoked { .. }
            | ApprovalState::Lapsed { .. }
            | ApprovalState::Consumed(_)
    );
    let query = &approval.opening.query;
    let own = |uid| uid == &query.principal || Some(uid) == query.on_behalf_of.as_ref();
    approval.opening.requirement.gates().iter().filter(|_| granted).find_map(|gate| {
        let votes = approval.reviews.iter().filter(|review| review.verdict == Verdict::Approve);
        let people: HashSet<_> = votes
            .filter(|review| review.gates.contains(&gate.id) && !own(&review.reviewer.uid))
            .map(|review| &review.reviewer.uid)
            .collect();
        let wanted = gate.quorum.get() as usize;
        (people.len() < wanted).then(|| format!("granted by {} of {wanted} people at {}", people.len(), gate.id))
    })
}
