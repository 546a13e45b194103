//! The way to each shard's primary, kept open: found, checked, watched, and found again.
//!
//! A shard without a way is either being looked for, and a call waits for it within its time, or known to be out of reach,
//! and a call fails at once: while Redis is away nobody waits for it in vain. One task looks for it, a few times a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::{Cmd, Pipeline};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::answer;
use super::clock::SharedClock;
use super::discover::discover;
use super::guard::{self, Extent, Guard};
use super::keys::{Keys, SHARDS, Shard};
use super::node::{Node, Written};
use super::scripts::Scripts;
use super::settings::{Address, Settings};
use super::trouble::Trouble;

type Owners = [Option<Arc<Node>>; SHARDS as usize];

/// How often a server that answers is looked at.
const PROBE: Duration = Duration::from_millis(500);
/// How long to wait before the next attempt to reach one that does not.
const RETRY: Duration = Duration::from_millis(150);
/// Before a command that was turned away is sent again.
const PAUSE: Duration = Duration::from_millis(10);

pub struct Links {
    pub settings: Settings,
    pub keys: Keys,
    pub scripts: Scripts,
    pub clock: SharedClock,
    pub guard: Guard,
    pub meters: crate::store::Meters,
    owners: ArcSwap<Owners>,
    reach: watch::Sender<Reach>,
    wanted: Notify,
    /// Where nodes were when last seen.
    seen: Mutex<Vec<Address>>,
    /// Whether a shard that is not there is begun.
    begins: bool,
}

/// Whether every shard is within reach, and why not. Counts the changes, so that nobody misses one.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    pub trouble: Option<Arc<str>>,
    pub connected: bool,
    changes: u64,
}

impl Links {
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        Self {
            keys: Keys::new(&settings.prefix),
            settings,
            scripts: Scripts::new(),
            clock,
            guard: Guard::new(Extent::Whole),
            meters: crate::store::Meters::default(),
            owners: ArcSwap::from_pointee(Owners::default()),
            reach: watch::Sender::new(Reach::default()),
            wanted: Notify::new(),
            seen: Mutex::default(),
            begins: true,
        }
    }

    /// The same for somebody who looks at each shard by itself.
    pub fn by_shard(settings: Settings, clock: SharedClock) -> Self {
        Self { guard: Guard::default(), ..Self::new(settings, clock) }
    }

    /// The same for somebody who only looks.
    pub fn to_look(settings: Settings, clock: SharedClock) -> Self {
        Self { begins: false, ..Self::by_shard(settings, clock) }
    }

    /// Follows whether Redis is within reach.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// Why not all is well.
    pub fn trouble(&self) -> Option<Arc<str>> {
        let reach = self.reach.borrow().clone();
        let few = || self.nodes().iter().find_map(|node| node.check_replicas().err()).map(|few| few.to_string().into());
        reach.trouble.or_else(|| self.guard.lost()).or_else(few)
    }

    /// Reads in one shard. The state is held against what is known before anything in it is believed.
    pub async fn read(&self, shard: Shard, questions: &[Cmd]) -> Result<Vec<redis::Value>, Trouble> {
        let mut pipeline = Pipeline::with_capacity(questions.len() + 1);
        pipeline.cmd("HMGET").arg(self.keys.head(shard)).arg("epoch").arg("head").arg("after").arg("lost");
        for question in questions {
            pipeline.add_command(question.clone());
        }
        // What is learned while the question is on its way may be newer than its answer.
        let known = self.guard.expected(shard);
        let mut answers = self.ask(shard, &pipeline).await?;
        if answers.len() != pipeline.len() {
            return Err(Trouble::Unexpected("a read"));
        }
        self.meet(shard, known, &answer::seen(answers.remove(0))?)?;
        Ok(answers)
    }

    /// Holds what Redis says of a shard against what is known, and has what is wrong looked after.
    pub fn meet(&self, shard: Shard, expected: Option<(guard::Epoch, u64)>, seen: &guard::Seen) -> Result<(), Trouble> {
        let met = self.guard.meet(shard, expected, seen);
        match &met {
            Ok(()) => {}
            Err(Trouble::OutOfReach(_)) if self.guard.expected(shard).is_none() => {
                // Emptied before anything happened in it: it is begun again with the next connection.
                if let Some(node) = self.owner(shard) {
                    node.give_up();
                }
                self.wanted.notify_one();
            }
            // To be marked.
            Err(_) => self.wanted.notify_one(),
        }
        met
    }

    /// Asks the server of a shard, again where that may help and there is time.
    pub async fn ask(&self, shard: Shard, questions: &Pipeline) -> Result<Vec<redis::Value>, Trouble> {
        let deadline = Instant::now() + self.settings.command_timeout;
        loop {
            let node = self.node(shard, deadline).await?;
            let asked = tokio::time::timeout_at(deadline, node.ask(questions)).await;
            match asked.unwrap_or(Err(Trouble::TimedOut(self.settings.command_timeout))) {
                Ok(values) => return Ok(values),
                // A question can be asked twice.
                Err(trouble) if trouble.breaks_the_connection() && Instant::now() < deadline => {
                    self.lose(&node, &trouble)
                }
                Err(trouble) => self.again(shard, &node, trouble, deadline).await?,
            }
        }
    }

    /// Writes in a shard what must last. Tried again only where it certainly was not carried out.
    pub async fn write(&self, shard: Shard, command: &Cmd) -> Result<(Written, Arc<Node>), Trouble> {
        self.guard.is_open()?;
        let deadline = Instant::now() + self.settings.command_timeout;
        loop {
            let node = self.node(shard, deadline).await?;
            let written = tokio::time::timeout_at(deadline, node.write(command.clone())).await;
            match written.unwrap_or(Err(Trouble::TimedOut(self.settings.command_timeout))) {
                Ok(written) => return Ok((written, node)),
                Err(trouble) => self.again(shard, &node, trouble, deadline).await?,
            }
        }
    }

    /// The server of a shard, waiting for it while it is being looked for.
    async fn node(&self, shard: Shard, deadline: Instant) -> Result<Arc<Node>, Trouble> {
        let mut reach = self.reach.subscribe();
        loop {
            if let Some(node) = self.owner(shard) {
                return Ok(node);
            }
            let trouble = reach.borrow_and_update().trouble.clone();
            if let Some(trouble) = trouble {
                return Err(Trouble::OutOfReach(trouble));
            }
            let found = tokio::time::timeout_at(deadline, reach.changed()).await;
            if !matches!(found, Ok(Ok(()))) {
                return Err(Trouble::OutOfReach("it is being looked for".into()));
            }
        }
    }

    /// The server of a shard, if there is a way to it.
    pub fn owner(&self, shard: Shard) -> Option<Arc<Node>> {
        let owners = self.owners.load();
        owners.get(shard.index()).cloned().flatten().filter(|node| !node.is_given_up())
    }

    /// All servers that there is a way to.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        for node in self.owners.load().iter().flatten().filter(|node| !node.is_given_up()) {
            if !nodes.iter().any(|known| Arc::ptr_eq(known, node)) {
                nodes.push(node.clone());
            }
        }
        nodes
    }

    /// Makes another attempt possible, or says that there is none.
    async fn again(&self, shard: Shard, node: &Arc<Node>, trouble: Trouble, deadline: Instant) -> Result<(), Trouble> {
        if trouble.breaks_the_connection() {
            self.lose(node, &trouble);
            return Err(trouble);
        }
        if !trouble.is_worth_another_try() || Instant::now() + PAUSE >= deadline {
            return Err(trouble);
        }
        if trouble.is_missing_script() {
            return node.ask(&self.scripts.load()).await.map(drop);
        }
        // Not the primary, or not of this shard any more.
        tracing::info!(redis.shard = shard.number(), redis.address = %node.address(), %trouble, "looking for the primary");
        node.give_up();
        self.wanted.notify_one();
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    fn lose(&self, node: &Arc<Node>, trouble: &Trouble) {
        if !node.is_given_up() {
            self.meters.connections_lost.count();
            tracing::warn!(redis.address = %node.address(), %trouble, "the connection to redis is given up");
        }
        node.give_up();
        self.wanted.notify_one();
    }

    /// Looks after the ways for as long as the store lives.
    pub async fn keep(self: Arc<Self>) {
        loop {
            let pause = match self.look().await {
                Ok(()) => {
                    self.tell(None);
                    PROBE
                }
                Err(trouble) => {
                    self.tell(Some(trouble.to_string().into()));
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    fn tell(&self, trouble: Option<Arc<str>>) {
        self.reach.send_if_modified(|reach| {
            let news = reach.trouble != trouble || !reach.connected && trouble.is_none();
            if news {
                match &trouble {
                    Some(trouble) => {
                        tracing::warn!(%trouble, "redis is out of reach: only what needs no approval is answered")
                    }
                    None => tracing::info!("redis is within reach"),
                }
            }
            reach.connected = trouble.is_none();
            reach.trouble = trouble;
            reach.changes += u64::from(news);
            news
        });
    }

    /// Looks at every server, and for those that are missing. Ok when every shard has one.
    pub async fn look(&self) -> Result<(), Trouble> {
        let probed = self.nodes().into_iter().map(|node| async move {
            if let Err(trouble) = self.probe(&node).await {
                self.lose(&node, &trouble);
            }
        });
        futures_util::future::join_all(probed).await;
        if self.begins {
            self.mark().await;
        }
        if Shard::all().all(|shard| self.owner(shard).is_some()) {
            return Ok(());
        }
        self.repair().await
    }

    /// Tells Redis itself of what was found lost, so that no replica believes it, also one that knows of nothing. Where that
    /// fails it is tried again with the next look.
    async fn mark(&self) {
        for loss in self.guard.unmarked() {
            let Some(node) = self.owner(loss.shard) else { continue };
            if let Err(trouble) = node.write(self.marking(&loss)).await {
                tracing::debug!(%trouble, redis.shard = loss.shard.number(), "the loss could not be marked");
            }
            // It counts as marked once a read has told so.
        }
    }

    pub fn marking(&self, loss: &guard::Unmarked) -> Cmd {
        let mut call = self.scripts.mark.call(&[self.keys.head(loss.shard)]);
        call.arg(loss.seen.as_ref().map_or(&[][..], |epoch| &epoch[..])).arg(&*loss.why);
        call
    }

    /// Finds out who has which shard, and connects to those who are new.
    async fn repair(&self) -> Result<(), Trouble> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let map = discover(&self.settings, &self.keys, &seen).await?;
        let mut addresses: Vec<Address> = map.iter().flatten().cloned().collect();
        addresses.sort_by_key(ToString::to_string);
        addresses.dedup();
        let connected =
            futures_util::future::join_all(addresses.iter().map(|address| self.connect(address, &map))).await;
        let mut trouble = map.iter().any(Option::is_none).then(|| Trouble::OutOfReach("a shard has no primary".into()));
        let mut nodes = Vec::new();
        for outcome in connected {
            match outcome {
                Ok(node) => nodes.push(node),
                Err(failed) => trouble = Some(failed),
            }
        }
        let owner = |address: &Address| nodes.iter().find(|node| node.address() == address).cloned();
        let owners: Owners = std::array::from_fn(|shard| map.get(shard)?.as_ref().and_then(owner));
        self.owners.store(Arc::new(owners));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
        // Those whose shard is there need not wait for the others'.
        self.reach.send_modify(|reach| reach.changes += 1);
        trouble.map_or(Ok(()), Err)
    }

    /// A connection that may be used, with its shards taken up.
    async fn connect(&self, address: &Address, map: &super::discover::Map) -> Result<Arc<Node>, Trouble> {
        let known = self.nodes().into_iter().find(|node| node.address() == address);
        let node = match known {
            Some(node) => node,
            None => Node::connect(&self.settings, address).await?,
        };
        self.probe(&node).await?;
        super::policy::check(&node).await?;
        node.ask(&self.scripts.load()).await?;
        let shards: Vec<Shard> =
            Shard::all().filter(|shard| map.get(shard.index()).and_then(Option::as_ref) == Some(address)).collect();
        let mut begin = Pipeline::new();
        for shard in &shards {
            let mut call = self.scripts.begin.call(&[self.keys.head(*shard), self.keys.events(*shard)]);
            // Where this replica knows that something was, nothing new is begun in its place.
            let new = self.begins && self.guard.expected(*shard).is_none_or(|(_, head)| head == 0);
            call.arg(if new { uuid::Uuid::new_v4().as_bytes().to_vec() } else { Vec::new() });
            begin.add_command(call);
        }
        let known: Vec<_> = shards.iter().map(|shard| self.guard.expected(*shard)).collect();
        let asked = std::time::Instant::now();
        for ((shard, known), answer) in shards.iter().zip(known).zip(node.ask(&begin).await?) {
            let (seen, clock, told) = answer::begun(answer)?;
            self.clock.heard(clock, asked)?;
            self.clock.told(told, clock)?;
            // What is lost shows in the health; the connection is good.
            let _ = self.guard.meet(*shard, known, &seen);
        }
        Ok(node)
    }

    /// Whether it still is a primary that answers; learns its time and its replicas.
    async fn probe(&self, node: &Node) -> Result<(), Trouble> {
        let mut questions = Pipeline::new();
        questions.cmd("TIME").cmd("INFO").arg("replication");
        let asked = std::time::Instant::now();
        let mut answers = node.ask(&questions).await?.into_iter();
        let (time, replication) = (answers.next(), answers.next());
        self.clock.heard(answer::time(time.unwrap_or_default())?, asked)?;
        let Some(replicas) = answer::replicas(replication.unwrap_or_default())? else {
            return Err(Trouble::OutOfReach(format!("{} is not the primary", node.address()).into()));
        };
        node.has_replicas(replicas);
        Ok(())
    }
}

/// About so long: replicas that wait for the same thing do not all come at once.
pub fn jittered(pause: Duration) -> Duration {
    let [byte, ..] = *uuid::Uuid::new_v4().as_bytes();
    pause.mul_f64(0.75 + f64::from(byte) / 512.0)
}
