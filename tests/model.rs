//! A model test: seeded random histories of everything that people, agents, clocks and crashes do, played against the
//! service and against a plain model of it. After every step both must have answered the same and be in the same state;
//! at every restart the state read back must be the state left; at the end the journal must account for all of it.
//!
//! `HISTORIES=1000000 cargo test --test integration model` runs more of them; `MODEL_SEED=<seed>` plays one again, as the
//! failure says.

#[path = "model/ledger.rs"]
mod ledger;
#[path = "model/reference.rs"]
mod reference;
#[path = "model/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use countersign::domain::{self, IdempotencyKey};
use countersign::store::{ManualClock, Store};
use tokio::sync::watch;

use self::reference::{Answer, Asked, Asker, HOUR, MINUTE, Model, SECOND, What};
use self::world::{Stage, World, ask, name_of, outcome};
use crate::support::random::Random;
use crate::support::today;

const HISTORIES: u64 = 10_000;
const STEPS: (u64, u64) = (8, 15);

#[test]
fn ten_thousand_random_histories_are_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stage = runtime.block_on(Stage::set());
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("MODEL_SEED") {
        return play_all(&stage, std::iter::once(seed));
    }
    let next = AtomicU64::new(0);
    let histories = number("HISTORIES").unwrap_or(HISTORIES);
    let seeds = || std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < histories));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                play_all(&stage, seeds());
            });
        }
    });
}

/// Plays histories; says how to play one again if it fails.
fn play_all(stage: &Stage, seeds: impl Iterator<Item = u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for seed in seeds {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async { History::begin(stage, seed).play().await });
        }));
        if let Err(panic) = played {
            eprintln!("history {seed} differs from the model; play it again with MODEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Memory as a disk, where there is: a sync costs nothing there, and no machine loses power during a test.
fn directory() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::tempdir_in(base).or_else(|_| tempfile::tempdir()).unwrap()
}

struct History<'a> {
    stage: &'a Stage,
    random: Random,
    clock: ManualClock,
    dir: tempfile::TempDir,
    stop: watch::Sender<bool>,
    world: World,
    model: Model,
    /// What the service answered, for the account at the end.
    answers: Vec<(Answer, Asked)>,
    told: Vec<String>,
}

impl<'a> History<'a> {
    fn begin(stage: &'a Stage, seed: u64) -> Self {
        let (dir, clock) = (directory(), ManualClock::starting_at(today()));
        let (stop, stopping) = watch::channel(false);
        let world = World::open(stage, dir.path(), &clock, stopping);
        let model = Model::starting_at(today().as_micros());
        Self { stage, random: Random::new(seed), clock, dir, stop, world, model, answers: Vec::new(), told: Vec::new() }
    }

    async fn play(mut self) {
        // Half of the histories have a timer that records what is due; the others show that nothing depends on it.
        let timed = self.random.below(2) == 0;
        self.start_timer(timed);
        for _ in 0..self.random.between(STEPS.0, STEPS.1) {
            match self.random.below(20) {
                0..=7 => self.authorize().await,
                8..=12 => self.review().await,
                13 => self.withdraw().await,
                14 => self.report().await,
                15 | 16 => self.pass_time(),
                17 => self.set_wall_clock(),
                18 => self.restart(timed).await,
                _ => self.crash(timed).await,
            }
            self.check_state().await;
        }
        self.restart(timed).await;
        self.stop.send_replace(true);
        ledger::check(self.world.store.log(), &self.model, &self.answers, &self.told);
    }

    fn start_timer(&self, timed: bool) {
        if timed {
            let service = self.world.service.clone();
            tokio::spawn(async move { service.keep_time().await });
        }
    }

    fn asked(&mut self) -> Asked {
        let by = self.random.of(&Asker::ALL);
        let what = match self.random.below(10) {
            0 => What::Read,
            1 => What::Drop,
            _ if by == Asker::Pipeline => What::Rotate(self.random.below(2) as u8),
            _ => What::Export(self.random.below(2) as u8),
        };
        Asked { by, what }
    }

    fn approval(&mut self) -> Option<usize> {
        let count = self.model.approvals.len() as u64;
        (count > 0).then(|| self.random.below(count) as usize)
    }

    /// One call: the query, the approval it names, its key, and whether it says why.
    fn call(&mut self) -> (Asked, Option<usize>, Option<u8>, bool) {
        let named = self.approval().filter(|_| self.random.below(3) == 0);
        // Mostly the query that the approval is for; else an attempt to use it for another.
        let fits = self.random.below(4) > 0;
        let asked = named.filter(|_| fits).map(|named| self.model.approvals[named].asked);
        let asked = asked.unwrap_or_else(|| self.asked());
        let key = (self.random.below(2) == 0).then(|| self.random.below(2) as u8);
        (asked, named, key, self.random.below(8) > 0)
    }

    fn as_asked(&self, asked: Asked, named: Option<usize>, key: Option<u8>, justified: bool) -> world::AskOf<'a> {
        let approval = named.map(|named| self.model.approvals[named].id.unwrap());
        let ask = countersign::service::authorize::Ask { approval, ..ask(asked, key, justified) };
        (self.stage.caller(name_of(asked.by)), ask)
    }

    async fn authorize(&mut self) {
        let (asked, named, key, justified) = self.call();
        let (caller, ask) = self.as_asked(asked, named, key, justified);
        let answered = self.world.service.authorize(caller, ask).await;
        let expected = self.model.authorize(asked, named, key, justified);
        match (answered, expected) {
            (Ok(answer), Ok(expected)) => self.compare(asked, &answer.decided, expected),
            (Err(refusal), Err(reason)) => assert_eq!(refusal.reason(), reason, "{asked:?}"),
            (answered, expected) => panic!("{asked:?}: {answered:?}, and the model {expected:?}"),
        }
    }

    fn compare(&mut self, asked: Asked, decided: &domain::Decided, expected: Answer) {
        let outcome = match decided.outcome {
            domain::Outcome::Allow => "ALLOW",
            domain::Outcome::Deny => "DENY",
            domain::Outcome::Pending => "PENDING",
        };
        let answer = (outcome, decided.reason.code(), decided.repeats.is_some());
        assert_eq!(answer, (expected.outcome, expected.reason, expected.repeated), "{asked:?}");
        let id = decided.repeats.unwrap_or(decided.id);
        let known = self.model.decisions[expected.decision].get_or_insert(id);
        assert_eq!(*known, id, "the same answer is the same decision");
        let place = expected.approval.map(|place| {
            let id = decided.approval.expect("an approval");
            *self.model.approvals[place].id.get_or_insert(id)
        });
        assert_eq!(decided.approval, place, "{asked:?}");
        self.answers.push((expected, asked));
        self.told.push(decided.id.to_string());
    }

    async fn stored(&self, place: usize) -> Arc<domain::Approval> {
        let id = self.model.approvals[place].id.unwrap();
        self.world.store.approval(id).await.unwrap().expect("an approval that was opened")
    }

    async fn review(&mut self) {
        let Some(place) = self.approval() else { return };
        let who = self.random.of(&["alice", "bob", "carol", "bob", "carol", "dave", "erin", "frank", "bot"]);
        let (yes, same_binding) = (self.random.below(6) > 0, self.random.below(12) > 0);
        let approval = self.stored(place).await;
        let done = self.world.review(self.stage, who, &approval, yes, same_binding).await;
        let expected = self.model.review(who, place, yes, same_binding).map(reference::State::name);
        assert_eq!(done, expected, "{who} on {:?}", self.model.approvals[place]);
    }

    async fn withdraw(&mut self) {
        let Some(place) = self.approval() else { return };
        let id = self.model.approvals[place].id.unwrap();
        let who = self.random.of(&["bot", "pipeline", "alice", "bob", "dave", "erin", "frank"]);
        let caller = self.stage.caller(who);
        let (done, expected) = if self.random.below(2) == 0 {
            (self.world.service.cancel(caller, id, None).await, self.model.cancel(who, place))
        } else {
            (self.world.service.revoke(caller, id, None).await, self.model.revoke(who, place))
        };
        assert_eq!(outcome(done), expected.map(reference::State::name), "{who} on {:?}", self.model.approvals[place]);
    }

    async fn report(&mut self) {
        let used = |approval: &reference::Approval| matches!(approval.state, reference::State::Consumed { .. });
        let place = self.model.approvals.iter().position(used).or_else(|| self.approval());
        let (Some(place), false) = (place, self.model.decisions.is_empty()) else { return };
        let by = match self.model.approvals[place].state {
            reference::State::Consumed { by, .. } if self.random.below(4) > 0 => by,
            _ => self.random.below(self.model.decisions.len() as u64) as usize,
        };
        let Some(decision) = self.model.decisions[by] else { return };
        let (who, succeeded) = (self.random.of(&["bot", "bot", "pipeline"]), self.random.below(2) == 0);
        let id = self.model.approvals[place].id.unwrap();
        let done = self.world.report(self.stage, who, id, decision, succeeded).await;
        let expected = self.model.report(who, place, by, succeeded).map(reference::State::name);
        assert_eq!(done, expected, "{who} on {:?}", self.model.approvals[place]);
    }

    fn pass_time(&mut self) {
        let spans = [SECOND, 4 * MINUTE, 5 * MINUTE, 11 * MINUTE, 15 * MINUTE, 50 * MINUTE, HOUR, 8 * HOUR];
        let span = self.random.of(&spans);
        self.clock.advance(Duration::from_micros(span as u64));
        let (before, now) = (self.model.now, self.world.store.now().as_micros());
        assert!((before + span..=before + span + 30 * SECOND).contains(&now), "{span} us passed: {before} -> {now}");
        self.model.at(now);
    }

    /// No jump makes time go back, and none makes it go forward by more than a correction.
    fn set_wall_clock(&mut self) {
        let by = self.random.of(&[-HOUR, -5 * SECOND, 5 * SECOND, HOUR, 24 * HOUR]);
        self.clock.jump(by);
        let (before, now) = (self.model.now, self.world.store.now().as_micros());
        assert!((before..=before + 30 * SECOND).contains(&now), "the wall jumped by {by} us: {before} -> {now}");
        self.model.at(now);
    }

    async fn check_state(&mut self) {
        for (place, expected) in self.model.approvals.iter().enumerate() {
            let approval = self.stored(place).await;
            let state = approval.state_at(domain::Timestamp::from_micros(self.model.now));
            assert_eq!(state.name(), expected.state.name(), "approval {place}: {expected:?}");
            let votes: Vec<_> = approval
                .reviews
                .iter()
                .map(|review| (&*review.reviewer.uid.id, review.verdict == domain::Verdict::Approve))
                .collect();
            assert_eq!(votes, expected.votes, "approval {place}");
        }
    }

    /// Every approval of this history, and the open one for its query.
    async fn approvals(&self) -> Vec<(Arc<domain::Approval>, Option<domain::ApprovalId>)> {
        let mut all = Vec::new();
        for place in 0..self.model.approvals.len() {
            let approval = self.stored(place).await;
            let standing = self.world.store.standing(approval.opening.binding).await.unwrap();
            // One that is settled may be let go of: it stands in nobody's way.
            let open = standing.filter(|standing| !standing.state.is_final());
            all.push((approval, open.map(|standing| standing.id())));
        }
        all
    }

    /// The answers that are remembered under keys.
    async fn remembered(&self) -> Vec<Option<Arc<domain::Decided>>> {
        let mut all = Vec::new();
        for (caller, key) in [("bot", 0), ("bot", 1), ("pipeline", 0), ("pipeline", 1)] {
            let caller = self.stage.caller(caller).identity().uid.clone();
            let key = IdempotencyKey { caller, key: format!("key-{key}").into() };
            all.push(self.world.store.here(&domain::Binding([0; 32]), Some(&key)).answer);
        }
        all
    }

    /// Stops at any moment, with or without a snapshot, and starts again: nothing may have changed.
    async fn restart(&mut self, timed: bool) {
        self.stop.send_replace(true);
        settle().await;
        if self.random.below(3) == 0 {
            self.world.store.compaction().run().unwrap();
        }
        let (now, approvals, remembered) = (self.model.now, self.approvals().await, self.remembered().await);
        let restarted_at = self.reopen();
        self.model.at(restarted_at);
        assert_eq!(self.approvals().await, approvals, "after a restart");
        // A wall clock that was ahead is believed after a restart: then answers may be too old.
        if self.model.now == now {
            assert_eq!(self.remembered().await, remembered, "after a restart");
        }
        self.start_timer(timed);
    }

    /// A call is under way when everything stops: it happened or it did not, and what was answered before stays.
    async fn crash(&mut self, timed: bool) {
        let (asked, named, key, justified) = self.call();
        let (caller, ask) = self.as_asked(asked, named, key, justified);
        let before = self.world.store.log().durable_through();
        let untouched = copy(self.dir.path());
        let service = self.world.service.clone();
        let mut call = Box::pin(service.authorize(caller, ask));
        // Polled once: the record is queued, and nobody waits for the answer any more.
        let answered = match futures_util::poll!(&mut call) {
            Poll::Ready(Err(refusal)) => {
                let expected = self.model.authorize(asked, named, key, justified);
                return assert_eq!(Err(refusal.reason()), expected);
            }
            Poll::Ready(Ok(_)) => true,
            Poll::Pending => false,
        };
        drop(call);
        self.stop.send_replace(true);
        settle().await;
        self.world.store.log().close();
        if self.random.below(2) == 0 && !answered && self.timer_is_still(before) {
            // The record had not reached the disk.
            restore(&untouched, self.dir.path());
        }
        let restarted_at = self.reopen();
        let log = self.world.store.log();
        let vault = log.vault().clone();
        let after = log.read_raw(before + 1, 1_000, 1 << 20).unwrap();
        for raw in after {
            if let domain::Fact::Decided(decided) = raw.parse(&vault).unwrap().fact {
                let expected = self.model.authorize(asked, named, key, justified).unwrap();
                self.compare(asked, &decided, expected);
            }
        }
        self.model.at(restarted_at);
        self.start_timer(timed);
    }

    /// Whether all that was recorded since `before` is of the call itself: only that may be undone.
    fn timer_is_still(&self, before: u64) -> bool {
        self.world.store.log().durable_through() <= before + 1
    }

    fn reopen(&mut self) -> i64 {
        let (stop, stopping) = watch::channel(false);
        self.world.store.log().close();
        // A machine whose clock was wrong starts with one that is not behind: what passed while it ran has passed.
        let behind = self.model.now - self.clock.wall().as_micros();
        self.clock.jump(behind.max(0));
        self.world = World::open(self.stage, self.dir.path(), &self.clock, stopping);
        self.stop = stop;
        let now = self.world.store.now().as_micros();
        assert!(now >= self.model.now, "time went back over a restart");
        now
    }
}

/// Lets tasks that were told to end do so.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn copy(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(dir.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    // A spare may be on its way to its place; one that is missed is made again.
    files.filter_map(|path| Some((path.clone(), std::fs::read(&path).ok()?))).collect()
}

fn restore(files: &[(PathBuf, Vec<u8>)], dir: &Path) {
    std::fs::remove_dir_all(dir.join("journal")).unwrap();
    std::fs::create_dir(dir.join("journal")).unwrap();
    files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
}
