//! More comes than can be answered: what is turned away then, so that the rest is answered in time. A call that is turned away is
//! no decision: nothing was begun, nothing is on record, and it is told when to ask again.
//!
//! ```text
//! arrive: before anything of a call is read; by how long calls wait for a processor ([`pressure`]), and by its deadline
//! enter:  a place among calls of its kind ([`gate`]), once it is known who calls; people decide while agents storm
//! quota:  what one caller may ask for in a second ([`quota`])
//! pace:   how many are told so in a second ([`pace`])
//! memory: near the limit of the control group nothing new is opened that stays ([`memory`])
//! ```
//!
//! Only work takes a place: a call that waits for people has given it back, and has one of its own among those who wait.

mod cgroup;
mod gate;
mod memory;
mod messages;
mod pace;
mod pressure;
mod quota;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use self::gate::Gate;
pub use self::gate::Place;
use self::memory::Memory;
pub use self::messages::Messages;
use self::pace::Pace;
use self::pressure::Pressure;
use self::quota::Quotas;
use super::{Caller, Refusal};
use crate::measure::{Counters, Durations};

/// What calls are there for. INVARIANT: one kind that is full keeps no other kind from its places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// May somebody do this?
    Decisions,
    /// What people do with approvals, and what becomes of them.
    Reviews,
    /// The journal's readers.
    Audit,
    /// Of texts.
    Masking,
    /// Policies and entities.
    Administration,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Decisions, Self::Reviews, Self::Audit, Self::Masking, Self::Administration];

    /// As metrics and errors name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Reviews => "reviews",
            Self::Audit => "audit",
            Self::Masking => "masking",
            Self::Administration => "administration",
        }
    }

    /// Whether it is turned away where calls wait too long for a processor. People and administrators are not: they are few, and
    /// they are who ends a storm.
    const fn gives_way(self) -> bool {
        match self {
            Self::Decisions | Self::Audit | Self::Masking => true,
            Self::Reviews | Self::Administration => false,
        }
    }
}

/// Why a call is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Calls wait longer for a processor than they should.
    Queueing,
    /// It would be too late for its caller.
    Deadline,
    /// All places of its kind are taken.
    Full,
    /// Its caller asks for more than its quota.
    Quota,
    /// The memory is nearly used up.
    Memory,
}

impl Why {
    pub const ALL: [Self; 5] = [Self::Queueing, Self::Deadline, Self::Full, Self::Quota, Self::Memory];

    /// As metrics and errors name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queueing => "queueing",
            Self::Deadline => "deadline",
            Self::Full => "full",
            Self::Quota => "quota",
            Self::Memory => "memory",
        }
    }
}

/// How much is taken on.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Queries that are answered at the same time; those that wait for people not among them.
    pub decisions_max: usize,
    pub reviews_max: usize,
    /// Searches and subscriptions that begin at the same time.
    pub audits_max: usize,
    pub maskings_max: usize,
    pub administrations_max: usize,
    /// How long calls may wait for a processor, on average, before fewer are taken.
    pub queueing_target: Duration,
    /// Calls and queries of one caller in a second; `None`: as many as it likes.
    pub calls_per_second: Option<u32>,
    /// The same at once, after a quiet time; `None`: those of one second.
    pub calls_burst: Option<u32>,
    /// Bytes of messages larger than 64 KiB that are on their way in, all together.
    pub messages_bytes_max: usize,
    /// Of the memory that the control group lets the server have.
    pub memory_share: f64,
    /// The directory of the control group; `None`: the one that this process is in.
    pub cgroup: Option<PathBuf>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decisions_max: 4_096,
            reviews_max: 256,
            audits_max: 1_024,
            maskings_max: 256,
            administrations_max: 64,
            queueing_target: Duration::from_millis(50),
            calls_per_second: None,
            calls_burst: None,
            messages_bytes_max: 256 << 20,
            memory_share: 0.85,
            cgroup: None,
        }
    }
}

/// What is counted of it.
#[derive(Debug, Default)]
pub struct Meters {
    turned_away: Counters<{ Kind::ALL.len() * Why::ALL.len() }>,
    /// From a call's arrival until it is begun.
    pub queueing: Durations,
}

/// What the server has taken on.
#[derive(Debug)]
pub struct Load {
    pressure: Pressure,
    refusals: Pace,
    gates: [Gate; Kind::ALL.len()],
    quotas: Option<Quotas>,
    pub memory: Memory,
    messages_bytes: AtomicUsize,
    messages_bytes_max: usize,
    pub meters: Meters,
}

impl Load {
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let gate = |kind| match kind {
            Kind::Decisions => Gate::new(limits.decisions_max),
            Kind::Reviews => Gate::new(limits.reviews_max),
            Kind::Audit => Gate::new(limits.audits_max),
            Kind::Masking => Gate::new(limits.maskings_max),
            Kind::Administration => Gate::new(limits.administrations_max),
        };
        Arc::new(Self {
            pressure: Pressure::new(limits.queueing_target),
            refusals: Pace::new(),
            gates: Kind::ALL.map(gate),
            quotas: Quotas::new(limits.calls_per_second, limits.calls_burst),
            memory: Memory::new(limits.cgroup.clone(), limits.memory_share),
            messages_bytes: AtomicUsize::new(0),
            messages_bytes_max: limits.messages_bytes_max,
            meters: Meters::default(),
        })
    }

    /// A call comes. What it would be told anyway it is told now, where it has cost nothing.
    ///
    /// # Errors
    /// [`Refusal::Busy`].
    pub fn arrive(self: &Arc<Self>, kind: Kind, deadline: Option<Instant>) -> Result<Arrived, Refusal> {
        let now = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        if kind.gives_way()
            && let Err(why) = self.pressure.admit(now, left)
        {
            return Err(self.busy(kind, why));
        }
        if self.gate(kind).is_full() {
            return Err(self.busy(kind, Why::Full));
        }
        self.pressure.came();
        Ok(Arrived { load: Some(self.clone()), at: now })
    }

    /// A place for work of a kind, for as long as it is kept.
    ///
    /// # Errors
    /// [`Refusal::Busy`] where all are taken.
    pub fn enter(&self, kind: Kind) -> Result<Place<'_>, Refusal> {
        self.gate(kind).enter().ok_or_else(|| self.busy(kind, Why::Full))
    }

    /// The same for what was begun and has to be brought to its end: there is always one.
    pub fn enter_again(&self, kind: Kind) -> Place<'_> {
        self.gate(kind).enter_again()
    }

    /// Takes so many calls from what a caller may ask for.
    ///
    /// # Errors
    /// [`Refusal::OverQuota`].
    pub fn charge(&self, kind: Kind, caller: &Caller, calls: usize) -> Result<(), Refusal> {
        let Some(quotas) = self.quotas.as_ref().filter(|_| calls > 0) else { return Ok(()) };
        quotas.take(&caller.identity.uid, calls).inspect_err(|_| self.count(kind, Why::Quota))
    }

    /// Whether there is memory for something that stays: an approval, a wait, a stream.
    ///
    /// # Errors
    /// [`Refusal::LowMemory`].
    pub fn room(&self, kind: Kind) -> Result<(), Refusal> {
        if self.memory.is_low() {
            self.count(kind, Why::Memory);
            return Err(Refusal::LowMemory);
        }
        Ok(())
    }

    /// How long it takes until a call is told that it was turned away ([`pace`]).
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.refusals.pause(Instant::now())
    }

    /// Calls that were turned away, by their kind and why.
    pub fn turned_away(&self) -> impl Iterator<Item = (Kind, Why, u64)> {
        let all = Kind::ALL.into_iter().flat_map(|kind| Why::ALL.into_iter().map(move |why| (kind, why)));
        all.zip(self.meters.turned_away.all()).map(|((kind, why), count)| (kind, why, count))
    }

    /// What is under way of each kind, and how much may be.
    pub fn under_way(&self) -> impl Iterator<Item = (Kind, usize, usize)> {
        Kind::ALL.into_iter().zip(&self.gates).map(|(kind, gate)| (kind, gate.taken(), gate.most()))
    }

    /// Which part of the calls that may be turned away is taken at the moment: 1 is all.
    #[must_use]
    pub fn admitted(&self) -> f64 {
        self.pressure.admitted(Instant::now())
    }

    fn gate(&self, kind: Kind) -> &Gate {
        let [decisions, reviews, audit, masking, administration] = &self.gates;
        match kind {
            Kind::Decisions => decisions,
            Kind::Reviews => reviews,
            Kind::Audit => audit,
            Kind::Masking => masking,
            Kind::Administration => administration,
        }
    }

    fn busy(&self, kind: Kind, why: Why) -> Refusal {
        self.count(kind, why);
        Refusal::Busy { kind, why }
    }

    fn count(&self, kind: Kind, why: Why) {
        self.meters.turned_away.count(kind as usize * Why::ALL.len() + why as usize);
    }
}

/// A call that came and is not begun.
#[derive(Debug)]
pub struct Arrived {
    load: Option<Arc<Load>>,
    at: Instant,
}

impl Arrived {
    /// It has a processor now.
    pub fn begin(mut self) {
        if let Some(load) = self.load.take() {
            let now = Instant::now();
            let waited = now.saturating_duration_since(self.at);
            load.pressure.began(now, waited);
            load.meters.queueing.record(waited);
        }
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        // It went away before it had one.
        if let Some(load) = &self.load {
            load.pressure.went();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(refused: Result<impl Sized, Refusal>) -> Option<(Kind, Why)> {
        match refused {
            Ok(_) => None,
            Err(Refusal::Busy { kind, why }) => Some((kind, why)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn one_kind_that_is_full_keeps_no_other_from_its_places() {
        let load = Load::new(&Limits { decisions_max: 2, ..Limits::default() });
        let taken = [load.enter(Kind::Decisions).unwrap(), load.enter(Kind::Decisions).unwrap()];
        assert_eq!(why(load.enter(Kind::Decisions)), Some((Kind::Decisions, Why::Full)));
        assert_eq!(why(load.arrive(Kind::Decisions, None)), Some((Kind::Decisions, Why::Full)));
        for kind in [Kind::Reviews, Kind::Audit, Kind::Masking, Kind::Administration] {
            assert!(load.arrive(kind, None).is_ok() && load.enter(kind).is_ok(), "{kind:?}");
        }
        // What was begun is brought to its end.
        let again = load.enter_again(Kind::Decisions);
        drop(taken);
        assert_eq!(load.under_way().next(), Some((Kind::Decisions, 1, 2)));
        drop(again);
        assert!(load.under_way().all(|(_, taken, _)| taken == 0));
        let counted: Vec<_> = load.turned_away().filter(|(.., count)| *count > 0).collect();
        assert_eq!(counted, [(Kind::Decisions, Why::Full, 2)]);
    }
}
