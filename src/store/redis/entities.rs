//! The entities that were put over the API, known to all replicas.
//!
//! They lie in one shard, in a hash beside a number that counts their changes. A change is one script that compares that number,
//! and an event like any other: replicated, journaled by its maker or by whoever finds it lying there, followed by all. Each
//! replica keeps a copy and decides by it. It takes up what others changed in the order of the numbers, on record in its own journal
//! first, so that every journal says by which entities its replica decided; a hint that is lost is made up for within a second.
//!
//! While Redis is away the copy stands, at a start the one in the journal. A replica that knows of none, or that knows for
//! [`BEHIND_MAX`] that there are newer ones which it cannot take up, says so, and nothing is decided by it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::Cmd;
use tokio::sync::{Notify, watch};

use super::age::AsOf;
use super::clock::OFF_MAX;
use super::commit::{ORIGIN_BYTES, never_reached, unavailable};
use super::guard::Epoch;
use super::journaling::Entry;
use super::keys::{Keys, Name, Shard};
use super::links::jittered;
use super::remembered::{NOTHING_PUT, Remembered};
use super::trouble::Trouble;
use super::{Shared, answer};
use crate::domain::{EntitiesChanged, Entity, EntityData, Fact, Origin, Timestamp, change_entities};
use crate::store::{CommitError, Committed, PutEntities, Seen, StoreError};
use crate::vault::Vault;

const SHARD: Shard = Shard::of_entities();
/// The longest without a look at whether something changed: a hint may get lost.
const LOOK: Duration = Duration::from_secs(1);
/// Before another try at what could not be taken up.
const RETRY: Duration = Duration::from_millis(150);
/// How long a replica goes on with entities that it knows to be old.
pub(super) const BEHIND_MAX: Duration = Duration::from_secs(2);
/// Changes that are taken up one by one; behind by more, all entities are read.
const STEPS_MAX: usize = 64;
/// How often all entities are read until nothing changes meanwhile.
const TRIES: usize = 8;
/// Entities read at a time.
const SCAN: usize = 100;

/// What this replica knows of them.
pub(super) struct Kept {
    /// One change or look at a time: the journal has them in the order of their numbers. Held across writes on purpose.
    pub(super) turn: tokio::sync::Mutex<()>,
    age_max: Duration,
    inner: Mutex<Inner>,
    pub hint: Notify,
    news: watch::Sender<u64>,
}

struct Inner {
    remembered: Remembered,
    /// When Redis last said that these are the newest.
    as_of: AsOf,
    /// The life of the shard that told; `None` while only the journal did.
    epoch: Option<Epoch>,
    /// Since when there are newer ones that could not be taken up, and why not.
    behind: Option<(Instant, Arc<str>)>,
}

/// The newest change that Redis tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    pub version: u64,
    /// The event that made it; 0 before the first.
    pub event: u64,
    /// Entities that there are.
    pub count: usize,
}

impl Newest {
    pub const NONE: Self = Self { version: NOTHING_PUT, event: 0, count: 0 };

    pub fn question(keys: &Keys) -> Cmd {
        let mut question = redis::cmd("HGET");
        question.arg(keys.head(SHARD)).arg("entities");
        question
    }

    /// `version event count`
    pub fn parse(value: redis::Value) -> Result<Self, Trouble> {
        if value == redis::Value::Nil {
            return Ok(Self::NONE);
        }
        let unexpected = || Trouble::Unexpected("the number of changes of entities");
        let text = answer::text(value).ok_or_else(unexpected)?;
        let mut numbers = text.split(' ').map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(unexpected);
        let (version, event, count): (u64, u64, u64) = (next()?, next()?, next()?);
        Ok(Self { version, event, count: usize::try_from(count).unwrap_or(usize::MAX) })
    }
}

impl Kept {
    /// What the journal tells, known to have been the newest at a moment.
    pub fn new(remembered: Remembered, as_of: Timestamp, age_max: Duration) -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            age_max,
            inner: Mutex::new(Inner { remembered, as_of: AsOf::before(as_of), epoch: None, behind: None }),
            hint: Notify::new(),
            news: watch::Sender::new(0),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whole after every statement: a panic elsewhere cannot have torn it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self) -> Remembered {
        self.inner().remembered.clone()
    }

    /// Tells those who follow to look again.
    fn tell(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub fn as_of(&self) -> AsOf {
        self.inner().as_of
    }

    /// What is known, at a moment by the machine's clock.
    pub fn known(&self, now: Timestamp) -> Result<PutEntities, Trouble> {
        let inner = self.inner();
        if inner.remembered.version() == 0 {
            return Err(Trouble::EntitiesUnknown);
        }
        if inner.as_of.age(now) >= self.age_max {
            return Err(Trouble::EntitiesOld(self.age_max));
        }
        match &inner.behind {
            Some((since, why)) if since.elapsed() >= BEHIND_MAX => Err(Trouble::EntitiesBehind(why.clone())),
            _ => Ok(inner.remembered.as_put()),
        }
    }

    pub fn oldest(&self) -> Option<u64> {
        self.inner().remembered.oldest()
    }

    fn add(&self, records: &[(EntitiesChanged, u64)], epoch: Epoch, version: u64, now: Timestamp) {
        let mut inner = self.inner();
        inner.as_of = AsOf::confirmed(now);
        for (changed, sequence) in records {
            inner.remembered.add(changed, *sequence);
        }
        inner.remembered.is_of(version);
        inner.epoch = Some(epoch);
        inner.behind = None;
        drop(inner);
        self.tell();
    }

    #[cfg(test)]
    pub fn is_known_to_be_behind(&self) -> bool {
        self.inner().behind.is_some()
    }

    /// There are newer ones that could not be taken up.
    fn is_behind(&self, error: &StoreError) {
        let mut inner = self.inner();
        let since = inner.behind.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        inner.behind = Some((since, error.why().into()));
        drop(inner);
        if since.elapsed() >= BEHIND_MAX {
            self.tell();
        }
    }

    /// What is known is the newest there is: also where a newer one was seen, and a failover lost it before it was acknowledged.
    fn is_level(&self, now: Timestamp, said: Option<AsOf>) {
        let mut inner = self.inner();
        let was_old = inner.as_of.age(now) >= self.age_max;
        inner.as_of = said.unwrap_or(inner.as_of);
        let was_behind = inner.behind.take().is_some();
        drop(inner);
        if was_behind || was_old {
            self.tell();
        }
    }

    /// It could not even be asked. INVARIANT: what is known to be old ends whether or not Redis is there to say so again.
    fn is_out_of_reach(&self, now: Timestamp) {
        let inner = self.inner();
        let is_behind = matches!(&inner.behind, Some((since, _)) if since.elapsed() >= BEHIND_MAX);
        let is_over = is_behind || inner.as_of.age(now) >= self.age_max;
        drop(inner);
        if is_over {
            self.tell();
        }
    }
}

/// What lies in Redis of an entity.
pub(super) fn record_of(entity: Arc<Entity>) -> Fact {
    let put = vec![entity];
    Fact::EntitiesChanged(EntitiesChanged {
        by: None,
        put,
        deleted: Vec::new(),
        request_id: "".into(),
        version: 0,
        more_follows: false,
    })
}

/// An entity from what lies in Redis under its name.
pub(super) fn parse(vault: &Vault, name: &[u8], record: &[u8]) -> Result<Arc<Entity>, StoreError> {
    let fact = vault.open_shared(Timestamp::default(), record).map_err(unavailable)?.fact;
    let Fact::EntitiesChanged(EntitiesChanged { mut put, .. }) = fact else {
        return Err(Trouble::Unexpected("an entity").into());
    };
    let entity = put.pop().filter(|entity| put.is_empty() && Name::of_entity(&entity.uid).bytes() == name);
    entity.ok_or_else(|| Trouble::Unexpected("an entity, which is another's").into())
}

impl Shared {
    /// Puts or deletes entities, if nobody was faster.
    pub(super) async fn change_entities(&self, changed: EntitiesChanged, seen: Seen) -> Result<Committed, CommitError> {
        let Seen::Entities(version) = seen else { return Err(CommitError::Conflict) };
        let _turn = self.kept.turn.lock().await;
        if self.kept.inner().remembered.version() != version {
            return Err(CommitError::Conflict);
        }
        let changed = EntitiesChanged { version: version.saturating_add(1), ..changed };
        let fact = Fact::EntitiesChanged(changed.clone());
        let draft = self.log.vault().draft(&fact);
        let (bytes, limit) = (draft.bytes_max() + ORIGIN_BYTES, self.record_bytes_max);
        if bytes > limit {
            return Err(CommitError::TooLarge { bytes, limit });
        }
        let (epoch, known) = self.links.guard.expected(SHARD).ok_or_else(never_reached)?;
        self.log.check_room(&fact, bytes)?;
        let command = self.changing(&changed, version, (epoch, known), &self.shared_form(&draft)?)?;
        let verdict = self.carry_out(SHARD, (epoch, known), &command).await?;
        let origin = Origin { epoch, shard: SHARD.number(), number: verdict.head };
        let sequence = self.journal_own(&fact, &origin, draft, verdict.now).await.map_err(|error| match error {
            CommitError::Store(error) => CommitError::Store(error),
            error => unavailable(error).into(),
        })?;
        self.kept.add(&[(changed, sequence)], epoch, version.saturating_add(1), self.links.clock.machine());
        Ok(Committed::new(sequence))
    }

    fn changing(
        &self,
        changed: &EntitiesChanged,
        version: u64,
        (epoch, known): (Epoch, u64),
        event: &[u8],
    ) -> Result<Cmd, StoreError> {
        let (keys, scripts) = (&self.links.keys, &self.links.scripts);
        // What only goes must go on when Redis is full.
        let script = if changed.put.is_empty() { &scripts.forget } else { &scripts.put };
        let mut command = script.call(&[keys.head(SHARD), keys.entities(), keys.events(SHARD)]);
        command.arg(&epoch[..]).arg(known).arg(self.journaling.replica()).arg(version).arg(event);
        command.arg(self.links.clock.now().as_micros()).arg(OFF_MAX.as_micros().to_string());
        command.arg(changed.deleted.len());
        for uid in &changed.deleted {
            command.arg(Name::of_entity(uid).bytes());
        }
        for entity in &changed.put {
            let record = self.log.vault().draft(&record_of(entity.clone()));
            command.arg(Name::of_entity(&entity.uid).bytes()).arg(self.shared_form(&record)?);
        }
        Ok(command)
    }

    /// Takes up what others changed.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let _turn = self.kept.turn.lock().await;
        let epoch = self.epoch(SHARD)?;
        let newest = self.newest_change().await?;
        let known = {
            let inner = self.kept.inner();
            (inner.epoch == Some(epoch)).then(|| inner.remembered.version())
        };
        if known == Some(newest.version) {
            let now = self.links.clock.machine();
            // An old primary that nobody follows any more says what was, not what is.
            let is_followed = self.links.owner(SHARD).is_some_and(|node| node.check_replicas().is_ok());
            self.kept.is_level(now, is_followed.then(|| AsOf::confirmed(now)));
            return Ok(());
        }
        let had = self.kept.inner().remembered.version();
        if newest.version < had {
            // It is Redis that is behind: what is known stands.
            let why = format!(
                "redis has {} changes of entities and had {had}: it was restored from an old copy, or a failover lost what was \
                 acknowledged",
                newest.version
            );
            self.links.guard.doubt(SHARD, &why);
            return Err(Trouble::Lost(why.into()).into());
        }
        let taken_up = self.take_up(epoch, known, newest).await;
        taken_up.inspect_err(|error| self.kept.is_behind(error))
    }

    pub(super) async fn take_up(&self, epoch: Epoch, known: Option<u64>, newest: Newest) -> Result<(), StoreError> {
        let remembered = self.kept.remembered();
        let steps = match known {
            Some(known) => self.steps(known, newest).await?,
            None => None,
        };
        let (data, newest) = match steps {
            Some(steps) => (after(&remembered.data(), &steps), newest),
            None => self.whole().await?,
        };
        if newest.event > 0 {
            self.lasting(SHARD, epoch, newest.event).await?;
        }
        let (put, deleted) = remembered.steps_to(&data);
        let records = self.put_on_record(remembered.records(put, deleted, newest.version)).await?;
        self.kept.add(&records, epoch, newest.version, self.links.clock.machine());
        Ok(())
    }

    /// What stands, in the own journal, with the place of each record.
    async fn put_on_record(&self, records: Vec<EntitiesChanged>) -> Result<Vec<(EntitiesChanged, u64)>, StoreError> {
        let mut written = Vec::with_capacity(records.len());
        let mut last = None;
        for changed in records {
            let fact = Fact::EntitiesChanged(changed.clone());
            let draft = self.log.vault().draft(&fact);
            let ticket = self.log.append(&fact, draft, self.links.clock.now()).map_err(unavailable)?;
            written.push((changed, ticket.sequence));
            last = Some(ticket);
        }
        if let Some(last) = last {
            last.durable().await.map_err(unavailable)?;
        }
        Ok(written)
    }

    pub(super) async fn newest_change(&self) -> Result<Newest, StoreError> {
        let question = Newest::question(&self.links.keys);
        Ok(Newest::parse(self.links.read(SHARD, &[question]).await?.pop().unwrap_or_default())?)
    }

    /// The changes behind `known` up to the newest, oldest first; `None` where Redis does not have all of them any more, or where
    /// they are many.
    async fn steps(&self, known: u64, newest: Newest) -> Result<Option<Vec<EntitiesChanged>>, StoreError> {
        let (mut event, mut wanted, mut steps) = (newest.event, newest.version, Vec::new());
        while wanted > known && steps.len() < STEPS_MAX {
            let range = Entry::question(&self.links.keys, SHARD, event);
            let found = self.links.read(SHARD, &[range]).await?.pop().unwrap_or_default();
            let Some(entry) = answer::array(found, "XRANGE")?.pop() else { return Ok(None) };
            let entry = Entry::parse(entry)?;
            let fact = self.log.vault().open_shared(entry.at, &entry.record).map_err(unavailable)?.fact;
            match fact {
                Fact::EntitiesChanged(changed) if changed.version == wanted => steps.push(changed),
                _ => return Err(Trouble::Unexpected("a change of entities, which is another").into()),
            }
            let before = entry.field(b"n").and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
            event = before.ok_or(Trouble::Unexpected("the change before it"))?;
            wanted -= 1;
        }
        steps.reverse();
        Ok((wanted <= known).then_some(steps))
    }

    /// All of them, and as of which change.
    async fn whole(&self) -> Result<(EntityData, Newest), StoreError> {
        for _ in 0..TRIES {
            let before = self.newest_change().await?;
            let read = self.scan_entities().await;
            let newest = self.newest_change().await?;
            if newest != before {
                // Changed meanwhile: what was read may be of before and of after.
                continue;
            }
            let data = read?;
            if data.len() != newest.count {
                return Err(Trouble::Unexpected("the entities, some of which are not there").into());
            }
            return Ok((data, newest));
        }
        Err(Trouble::Busy.into())
    }

    async fn scan_entities(&self) -> Result<EntityData, StoreError> {
        let (mut data, mut cursor) = (EntityData::new(), "0".to_owned());
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(self.links.keys.entities()).arg(&cursor).arg("COUNT").arg(SCAN);
            let some = self.links.read(SHARD, &[scan]).await?.pop().unwrap_or_default();
            let (next, members) = answer::scanned(some)?;
            for (name, record) in members {
                let entity = parse(self.log.vault(), &name, &record)?;
                data.insert(entity.uid.clone(), entity);
            }
            if next == "0" {
                return Ok(data);
            }
            cursor = next;
        }
    }

    /// Says again of the entities last spoken of before `sequence` what stands, so that older records may go.
    pub(super) async fn restate_entities(&self, sequence: u64) -> Result<(), StoreError> {
        let _turn = self.kept.turn.lock().await;
        while let Some(changed) = self.kept.remembered().before(sequence) {
            let written = self.put_on_record(vec![changed]).await?;
            let mut inner = self.kept.inner();
            for (changed, at) in &written {
                inner.remembered.add(changed, *at);
            }
        }
        Ok(())
    }
}

/// What stands after these changes.
fn after(data: &EntityData, steps: &[EntitiesChanged]) -> EntityData {
    let mut data = data.clone();
    for changed in steps {
        change_entities(&mut data, &changed.put, &changed.deleted);
    }
    data
}

/// Takes up what others change, for as long as the store lives.
pub(super) async fn follow(shared: Arc<Shared>) {
    loop {
        let pause = match shared.catch_up().await {
            Ok(()) => LOOK,
            Err(error) => {
                let source = std::error::Error::source(&error);
                tracing::debug!(%error, ?source, "entities could not be looked at");
                shared.kept.is_out_of_reach(shared.links.clock.machine());
                RETRY
            }
        };
        tokio::select! {
            () = shared.kept.hint.notified() => {}
            () = tokio::time::sleep(jittered(pause)) => {}
        }
    }
}
