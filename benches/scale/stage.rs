//! A service without its edge, and somebody who may ask it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign::domain::{Attributes, EntityUid, Timestamp, Value};
use countersign::engine::{Engine, PolicySnapshot};
use countersign::identity::Verifier;
use countersign::service::authorize::{Ask, AskedPrincipal};
use countersign::service::{Caller, Limits, RequestId, Service};
use countersign::store::{Clock, Embedded, ManualClock, embedded};
use countersign::web::dev_issuer::{DevIssuer, find};
use countersign::{engine, journal};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Failure;

pub struct Stage {
    pub clock: ManualClock,
    pub caller: Caller,
    engine: Arc<Engine>,
    verifier: Arc<Verifier>,
}

pub struct World {
    pub service: Service,
    pub store: Embedded,
    _running: watch::Sender<bool>,
}

/// Everything that a bench may fill is large.
pub fn limits() -> embedded::Limits {
    embedded::Limits {
        pending_max: 10_000_000,
        pending_per_principal_max: 10_000_000,
        openings_per_minute_max: 10_000_000,
        ..embedded::Limits::default()
    }
}

pub fn policies() -> engine::Settings {
    engine::Settings::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"))
}

pub const TODAY: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

impl Stage {
    pub async fn set(dir: &Path) -> Result<Self, Failure> {
        let issuer = DevIssuer::bind(TcpListener::bind("127.0.0.1:0").await?)?;
        let (verifier, minter) = (Arc::new(Verifier::new(vec![issuer.settings()])?), issuer.minter());
        tokio::spawn(issuer.serve(std::future::pending()));
        let token = minter.mint(find("report-bot").ok_or("no bot")?, TODAY, &serde_json::Map::new());
        let engine = Arc::new(Engine::new(PolicySnapshot::load(&policies())?));
        let clock = ManualClock::starting_at(TODAY);
        let first = open(dir, &clock, &engine, &verifier)?;
        let caller = first.service.authenticate(&token, RequestId("bench".into())).await?;
        first.store.log().close();
        Ok(Self { clock, caller, engine, verifier })
    }

    pub fn open(&self, dir: &Path) -> Result<World, Failure> {
        open(dir, &self.clock, &self.engine, &self.verifier)
    }
}

fn open(dir: &Path, clock: &ManualClock, engine: &Arc<Engine>, verifier: &Arc<Verifier>) -> Result<World, Failure> {
    let settings = journal::Settings::new(dir.join("journal"));
    let store = Embedded::open(settings, limits(), |floor| Clock::manual(clock, floor))?;
    let (running, stopping) = watch::channel(false);
    let (log, engine) = (store.log().clone(), engine.clone());
    let masking = countersign::service::mask::Masking::new(countersign::service::mask::Settings::default())?;
    let service =
        Service::new(Arc::new(store.clone()), log, engine, verifier.clone(), Limits::default(), masking, stopping);
    Ok(World { service, store, _running: running })
}

/// One of any number of exports that people must countersign.
pub fn export(number: usize, wait: Duration) -> Ask {
    let destination = ("destination".into(), Value::string("s3://partner/quarterly"));
    let rows = ("rows".into(), Value::Long(i64::try_from(number).unwrap_or(i64::MAX)));
    Ask {
        principal: AskedPrincipal::Caller,
        action: EntityUid::new("Action", "export"),
        resource: EntityUid::new("Dataset", "customers"),
        context: Attributes::from([destination, rows]),
        environment: Attributes::new(),
        entities: Vec::new(),
        justification: Some("the quarterly report".into()),
        approval: None,
        wait,
        idempotency_key: None,
        at_least_revision: 0,
        explain: false,
        masking: countersign::domain::MaskSupport::Absent,
    }
}
