//! The service under test, driven in this process: the real policies, tokens, store and journal; only gRPC is left out,
//! so that thousands of histories run in a minute.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign::domain::{Attributes, DecisionId, EntityUid, Report, ReviewRules, Value, Verdict};
use countersign::engine::{self, Engine, PolicySnapshot};
use countersign::identity::Verifier;
use countersign::journal::{self, JournalError};
use countersign::service::authorize::{Ask, AskedPrincipal};
use countersign::service::mask::{Masking, Settings};
use countersign::service::review::Vote;
use countersign::service::told::Told;
use countersign::service::{Caller, Limits, Refusal, RequestId, Service};
use countersign::store::embedded::OpenError;
use countersign::store::{Clock, Embedded, ManualClock, embedded};
use countersign::web::dev_issuer::{DevIssuer, find};
use serde_json::{Map, Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::reference::{Asked, Asker, What};
use crate::support::today;

/// What all histories share: it holds no state of theirs.
pub struct Stage {
    engine: Arc<Engine>,
    verifier: Arc<Verifier>,
    masking: Arc<Masking>,
    callers: HashMap<&'static str, Caller>,
    _stop: watch::Sender<bool>,
}

const PEOPLE: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

impl Stage {
    /// Loads the example policies and has every demo principal authenticated by a token of a real issuer.
    pub async fn set() -> Self {
        let policies = policies();
        let engine = PolicySnapshot::load(&engine::Settings::new(policies.path())).unwrap();
        let engine = Arc::new(Engine::new(engine));
        let issuer = DevIssuer::bind(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
        let (verifier, minter) = (Arc::new(Verifier::new(vec![issuer.settings()]).unwrap()), issuer.minter());
        tokio::spawn(issuer.serve(std::future::pending()));
        let mut tokens: Vec<(&'static str, String)> =
            PEOPLE.iter().map(|who| (*who, minter.mint(find(who).unwrap(), today(), &Map::new()))).collect();
        let (bot, pipeline) = (find("report-bot").unwrap(), find("ci-pipeline").unwrap());
        tokens.push(("bot", minter.mint(bot, today(), &Map::new())));
        tokens.push(("pipeline", minter.mint(pipeline, today(), &Map::new())));
        tokens.push(("bot for alice", minter.mint_delegated(bot, find("alice").unwrap(), today())));
        let dir = tempfile::tempdir().unwrap();
        let (stop, stopping) = watch::channel(false);
        let masking = Arc::new(Masking::new(Settings::default()).expect("detectors"));
        let mut stage = Self { engine, verifier, masking, callers: HashMap::new(), _stop: stop };
        let world = World::open(&stage, dir.path(), &ManualClock::starting_at(today()), stopping);
        for (who, token) in tokens {
            let caller = world.service.authenticate(&token, RequestId("model".into())).await.unwrap();
            stage.callers.insert(who, caller);
        }
        stage
    }

    pub fn caller(&self, who: &str) -> &Caller {
        &self.callers[who]
    }
}

/// The example policies, with one fact more: the bot is one of the agents also where it acts for somebody, when its
/// token tells the groups of neither.
fn policies() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for file in std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("entities.json");
    let mut entities: Vec<Json> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let agents = json!([{"type": "Group", "id": "agents"}]);
    entities.push(json!({"uid": {"type": "Agent", "id": "report-bot"}, "attrs": {}, "parents": agents}));
    std::fs::write(&path, serde_json::to_vec(&entities).unwrap()).unwrap();
    dir
}

/// One run of the service, between two crashes.
pub struct World {
    pub service: Service,
    pub store: Embedded,
}

impl World {
    pub fn open(stage: &Stage, dir: &Path, clock: &ManualClock, stopping: watch::Receiver<bool>) -> Self {
        let open = || {
            let mut settings = journal::Settings::new(dir.join("journal"));
            settings.record_bytes_max = 8 << 10;
            settings.segment_bytes = 16 << 10;
            settings.reserve_bytes = 0;
            let manual = clock.clone();
            Embedded::open(settings, embedded::Limits::default(), |floor| Clock::manual(&manual, floor))
        };
        // A process that another test starts holds every open file, the lock as well, until it becomes its own program.
        let is_held = |error: &OpenError| matches!(error, OpenError::Journal(JournalError::Locked { .. }));
        let opened = (0..500).find_map(|_| match open() {
            Err(error) if is_held(&error) => {
                std::thread::sleep(Duration::from_millis(2));
                None
            }
            opened => Some(opened),
        });
        let store = opened.expect("the lock came free").unwrap();
        let (log, engine, verifier) = (store.log().clone(), stage.engine.clone(), stage.verifier.clone());
        // Its people logged in once, at the beginning of time: how groups grow old is tested where that is the question.
        let review = ReviewRules { membership_max_age: Duration::MAX, ..ReviewRules::default() };
        let limits = Limits { review, ..Limits::default() };
        let service =
            Service::new(Arc::new(store.clone()), log, engine, verifier, limits, stage.masking.clone(), stopping);
        Self { service, store }
    }
}

pub fn ask(asked: Asked, key: Option<u8>, justified: bool) -> Ask {
    let (action, resource, rows) = match asked.what {
        What::Read => ("read", EntityUid::new("Dataset", "weather"), None),
        What::Drop => ("drop", EntityUid::new("Database", "warehouse"), None),
        What::Export(rows) => ("export", EntityUid::new("Dataset", "customers"), Some(rows)),
        What::Rotate(0) => ("rotate", EntityUid::new("Secret", "payments-api-key"), None),
        What::Rotate(_) => ("rotate", EntityUid::new("Secret", "warehouse-password"), None),
    };
    let destination = ("destination".into(), Value::string("s3://partner"));
    let context = rows.map(|rows| Attributes::from([destination, ("rows".into(), Value::Long(rows.into()))]));
    Ask {
        principal: AskedPrincipal::Caller,
        action: EntityUid::new("Action", action),
        resource,
        context: context.unwrap_or_default(),
        environment: Attributes::new(),
        entities: Vec::new(),
        justification: justified.then(|| "the quarterly report".into()),
        approval: None,
        wait: Duration::ZERO,
        idempotency_key: key.map(|key| format!("key-{key}").into()),
        at_least_revision: 0,
        explain: false,
        masking: countersign::domain::MaskSupport::Absent,
    }
}

pub fn name_of(asker: Asker) -> &'static str {
    match asker {
        Asker::Bot => "bot",
        Asker::BotForAlice => "bot for alice",
        Asker::Pipeline => "pipeline",
    }
}

impl World {
    pub async fn review(
        &self,
        stage: &Stage,
        who: &str,
        approval: &countersign::domain::Approval,
        yes: bool,
        same_binding: bool,
    ) -> Result<&'static str, &'static str> {
        let mut binding = approval.opening.binding;
        if !same_binding {
            binding.0[0] ^= 1;
        }
        let verdict = if yes { Verdict::Approve } else { Verdict::Reject };
        let vote = Vote { approval: approval.id(), verdict, comment: None, binding, gates: Vec::new() };
        outcome(self.service.review(stage.caller(who), vote).await)
    }

    pub async fn report(
        &self,
        stage: &Stage,
        who: &str,
        approval: countersign::domain::ApprovalId,
        decision: DecisionId,
        succeeded: bool,
    ) -> Result<&'static str, &'static str> {
        let report = if succeeded { Report::Succeeded } else { Report::Failed };
        outcome(self.service.report(stage.caller(who), approval, decision, report).await)
    }
}

/// The state that a call left, or the reason why it did nothing.
pub fn outcome(result: Result<Told, Refusal>) -> Result<&'static str, &'static str> {
    result.map(|told| told.approval().state.name()).map_err(|refusal| refusal.reason())
}

/// A call that is ready to be made.
pub type AskOf<'a> = (&'a Caller, Ask);
