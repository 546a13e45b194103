//! What happens when Redis is not what it was: emptied, restored from an old copy, damaged, away, unfit; each with a real
//! one.

mod access;
mod checked;
mod closed;
mod entities;
mod hints;
mod losses;
mod places;
mod reconciled;
mod slots;
mod times;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use uuid::Uuid;

use super::*;
use crate::domain::{
    ApprovalState, Attributes, Breach, Change, Decided, DecisionId, EntityUid, Gate, Grant, GrantTerms, Identity,
    Justification, Moved, Opening, Outcome, PolicyDigest, PolicyId, PrincipalKind, Proof, ProofMethod, Query, Quorum,
    Reason, Requirement, Review, SelfReview, Severity, Transition, Value, Verdict,
};
use crate::store::embedded;
use crate::vault::Vault;

const HOUR: Duration = Duration::from_secs(3_600);

/// A Redis of its own, gone with the test.
struct Server {
    port: u16,
    dir: tempfile::TempDir,
    child: Option<Child>,
    arguments: Vec<String>,
}

impl Server {
    async fn start() -> Self {
        Self::with(Vec::new()).await
    }

    async fn with(arguments: Vec<String>) -> Self {
        let mut server = Self { port: free_port(), dir: tempfile::tempdir().unwrap(), child: None, arguments };
        server.run().await;
        server
    }

    async fn run(&mut self) {
        let port = self.port.to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.dir.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server; `tests/tools` installs it");
        self.child = Some(child);
        while self.try_tell(&["PING"]).await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    async fn try_tell<T: AsRef<[u8]>>(&self, words: &[T]) -> Option<::redis::Value> {
        let client = ::redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let mut command = ::redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        connection.send_packed_command(&command).await.ok()
    }

    async fn tell<T: AsRef<[u8]>>(&self, words: &[T]) -> ::redis::Value {
        self.try_tell(words).await.expect("an answer")
    }

    fn settings(&self) -> Settings {
        let seeds = vec![Address { host: "127.0.0.1".into(), port: self.port }];
        // Longer than by default: a busy machine is no fault here.
        let command_timeout = Duration::from_secs(2);
        let lease = Duration::from_millis(300);
        Settings { durability: Durability::Primary, command_timeout, lease, ..Settings::new(seeds) }
    }

    async fn store(&self, dir: &Path) -> Redis {
        let store = Redis::open(journal(dir), self.settings(), Clock::system).unwrap();
        store.reach_out().await.unwrap();
        store
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn journal(dir: &Path) -> journal::Settings {
    journal::Settings { segment_bytes: 4 << 20, reserve_bytes: 4 << 20, ..journal::Settings::new(dir) }
}

fn person(id: &str) -> Arc<Identity> {
    let (method, expires_at) = (ProofMethod::Token, Timestamp::MAX);
    Arc::new(Identity {
        uid: EntityUid::new("User", id),
        kind: PrincipalKind::User,
        groups: Vec::new(),
        issuer: "https://issuer.example".into(),
        subject: id.into(),
        display_name: None,
        on_behalf_of: None,
        earlier_actors: Vec::new(),
        proof: Proof { method, expires_at, authenticated_at: None, credential: None },
    })
}

fn decided(rows: i64, outcome: Outcome, reason: Reason) -> Decided {
    let query = Arc::new(Query {
        principal: EntityUid::new("User", "agent"),
        on_behalf_of: None,
        action: EntityUid::new("Action", "export"),
        resource: EntityUid::new("Dataset", "customers"),
        context: Attributes::from([("rows".into(), Value::Long(rows))]),
        environment: Attributes::new(),
        entities: Vec::new(),
    });
    Decided {
        id: DecisionId::from_uuid(Uuid::now_v7()),
        binding: Binding::of(&query),
        query,
        principal: person("agent"),
        caller: person("agent"),
        outcome,
        reason,
        determining: Vec::new(),
        errors: Vec::new(),
        obligations: Vec::new(),
        digest: PolicyDigest([0; 32]),
        revision: 1,
        justification: None,
        request_id: "request".into(),
        approval: None,
        change: Change::None,
        idempotency_key: None,
        repeats: None,
        follows: None,
    }
}

fn opening(rows: i64, now: Timestamp) -> (ApprovalId, Fact) {
    opening_until(rows, now, now.after(HOUR))
}

fn opening_until(rows: i64, now: Timestamp, deadline: Timestamp) -> (ApprovalId, Fact) {
    let gate = Gate {
        id: PolicyId("gate".into()),
        text: "why".into(),
        reviewers: vec![EntityUid::new("Group", "privacy")],
        quorum: Quorum::new(1).unwrap(),
        timeout: HOUR,
        grant: GrantTerms::Once,
        escalations: Vec::new(),
        reminders: Vec::new(),
        break_glass: Vec::new(),
        severity: Severity::Low,
        justification: Justification::Optional,
        self_review: SelfReview::Forbidden,
        notify: Vec::new(),
    };
    let plain = decided(rows, Outcome::Pending, Reason::ApprovalRequired);
    let id = ApprovalId::opened(Uuid::now_v7(), &plain.binding);
    let opening = Opening {
        id,
        binding: plain.binding,
        query: plain.query.clone(),
        principal: plain.principal.clone(),
        caller: plain.caller.clone(),
        requirement: Requirement::new(vec![gate]).unwrap(),
        justification: None,
        opened_at: now,
        deadline,
        digest: plain.digest,
        trace_parent: None,
    };
    let change = Change::Opened(Arc::new(opening));
    (id, Fact::Decided(Arc::new(Decided { approval: Some(id), change, ..plain })))
}

async fn open(store: &Redis, rows: i64) -> ApprovalId {
    let (id, fact) = opening(rows, store.now());
    store.commit(fact, Seen::Slot(None)).await.unwrap();
    id
}

async fn approve(store: &Redis, id: ApprovalId) -> Arc<Approval> {
    let before = store.approval(id).await.unwrap().unwrap();
    vote(store, &before).await.unwrap();
    store.approval(id).await.unwrap().unwrap()
}

async fn vote(store: &Redis, before: &Approval) -> Result<Committed, CommitError> {
    let (opening, at) = (&before.opening, store.now());
    let gates = vec![PolicyId("gate".into())];
    let review = Review {
        reviewer: person("alice"),
        verdict: Verdict::Approve,
        gates,
        comment: None,
        at,
        stands_in: Vec::new(),
    };
    let transition = Transition::Approved(review, Grant::given(&opening.requirement, at, HOUR));
    moved(store, before, transition).await
}

async fn moved(store: &Redis, before: &Approval, transition: Transition) -> Result<Committed, CommitError> {
    let opening = &before.opening;
    let moved = Moved {
        approval: before.id(),
        binding: opening.binding,
        principal: opening.query.principal.clone(),
        action: opening.query.action.clone(),
        resource: opening.query.resource.clone(),
        transition,
        request_id: "request".into(),
    };
    store.commit(Fact::Moved(moved), Seen::Version(before.version)).await
}

/// Files an event under a replica that is gone, as if it had never come to its disk.
async fn left_lying(server: &Server, store: &Redis, id: ApprovalId, event: &[u8]) {
    let events = store.shared.links.keys.events(Shard::of_approval(id));
    // Its maker has taken it off by now, and does not do so later.
    until("it is on record", async || {
        let range = [&b"XPENDING"[..], &events, b"journal", event, event, b"1"];
        answer::array(server.tell(&range).await, "XPENDING").unwrap().is_empty()
    })
    .await;
    server.tell(&[&b"XCLAIM"[..], &events, b"journal", b"gone", b"0", event, b"FORCE"]).await;
}

/// So many openings of one shard.
fn of_one_shard(count: usize) -> Vec<i64> {
    let shard = |rows: i64| Shard::of_approval(opening(rows, Timestamp::default()).0);
    (1..).filter(|rows| shard(*rows) == shard(1)).take(count).collect()
}

async fn redeem(store: &Redis, rows: i64, approval: &Approval) -> Result<Committed, CommitError> {
    let plain = decided(rows, Outcome::Allow, Reason::Granted);
    let (at, decision) = (store.now(), plain.id);
    let consumed = Transition::Consumed { by: None, decision, at, report_by: at.after(HOUR) };
    let fact = Decided { approval: Some(approval.id()), change: Change::Redeemed(consumed), ..plain };
    store.commit(Fact::Decided(Arc::new(fact)), Seen::Version(approval.version)).await
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn transitions(dir: &Path, id: ApprovalId) -> Vec<&'static str> {
    let mut names = Vec::new();
    journal::replay(dir, &mut |raw| {
        let record = raw.parse(&Vault::default()).unwrap();
        if record.fact.approval() == Some(id) {
            names.push(record.fact.transition().map_or("opened", |(_, transition)| transition.name()));
        }
    })
    .unwrap();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_maker_did_not_put_on_record_another_replica_does_once() {
    let server = Server::start().await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (server.store(dir.path()).await, server.store(other.path()).await);
    let id = open(&one, 1).await;
    left_lying(&server, &one, id, b"1-0").await;
    one.log().close();
    let (_, fact) = opening(2, one.now());
    assert!(one.commit(fact, Seen::Slot(None)).await.is_err(), "no answer without a record");
    drop(one);
    until("it is taken over", async || transitions(other.path(), id) == ["opened"]).await;
    // Longer than the lease: it is not taken over again.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(transitions(other.path(), id), ["opened"]);
    assert_eq!(two.approval(id).await.unwrap().unwrap().state, ApprovalState::Pending);
}

/// A grant that another replica used would look unused.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_of_a_replica_is_not_taken_for_all_there_is() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    open(&store, 1).await;
    store.log().close();
    drop(store);
    let alone = embedded::Embedded::open(journal(dir.path()), embedded::Limits::default(), Clock::system);
    assert!(matches!(alone, Err(embedded::OpenError::OneOfSeveral)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_plain_decisions_are_recorded_and_the_others_fail_at_once_until_it_is_back() {
    let mut server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let store = server.store(dir.path()).await;
    server.kill();
    until("it is known to be away", async || store.trouble().is_some()).await;
    let began = tokio::time::Instant::now();
    for rows in 0..20 {
        let (_, fact) = opening(rows, store.now());
        assert!(matches!(
            store.commit(fact, Seen::Slot(None)).await,
            Err(CommitError::Store(StoreError::Unavailable(_)))
        ));
        let plain = decided(rows, Outcome::Allow, Reason::Permitted);
        assert!(!store.here(&plain.binding, None).may_be_pending);
        store.commit(Fact::Decided(Arc::new(plain)), Seen::Nothing).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waits for it in vain");
    server.run().await;
    until("it is back", async || store.trouble().is_none()).await;
    open(&store, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_still_have_to_examine_stays_however_long_ago_it_was_settled() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { settled_retention: Duration::ZERO, ..server.settings() };
    let store = Redis::open(journal(dir.path()), settings.clone(), Clock::system).unwrap();
    store.reach_out().await.unwrap();
    let (forgotten, id) = (open(&store, 1).await, open(&store, 2).await);
    let step = async |id: ApprovalId, transition: Transition| {
        let before = store.approval(id).await.unwrap().unwrap();
        let query = &before.opening.query;
        let moved = Moved {
            approval: id,
            binding: before.opening.binding,
            principal: query.principal.clone(),
            action: query.action.clone(),
            resource: query.resource.clone(),
            transition,
            request_id: "request".into(),
        };
        store.commit(Fact::Moved(moved), Seen::Version(before.version)).await.unwrap();
    };
    let at = store.now();
    let grant = Grant { terms: GrantTerms::Once, granted_at: at, lapses_at: at.after(HOUR) };
    step(id, Transition::BrokenGlass(Breach { by: person("dave"), reason: "fire".into(), at }, grant)).await;
    step(id, Transition::Revoked { by: person("dave"), comment: None, at }).await;
    step(forgotten, Transition::Cancelled { by: person("agent"), comment: None, at }).await;
    until("what is settled may go", async || store.approval(forgotten).await.unwrap().is_none()).await;
    assert_eq!(fsck::check(settings.clone(), &Vault::default(), &[]).await.unwrap().findings, Vec::<String>::new());
    for who in ["alice", "bob"] {
        assert!(store.approval(id).await.unwrap().unwrap().is_to_be_examined());
        let gates = vec![PolicyId("gate".into())];
        let look = Review {
            reviewer: person(who),
            verdict: Verdict::Reject,
            gates,
            comment: None,
            at: store.now(),
            stands_in: Vec::new(),
        };
        step(id, Transition::Examined(look)).await;
    }
    until("now it may go", async || store.approval(id).await.unwrap().is_none()).await;
}
