//! The order in which a token is examined, and the memory of those that passed. Cheap and unforgiving checks come
//! first; nothing a token says is used before its signature holds, except to find out whose key to hold against it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::check::{self, SettingsError};
use super::claims::{self, Clients, TimeRules, Validity};
use super::compact::{Compact, Header, plain_type};
use super::json::{self, Json};
use super::mapping::Mapping;
use super::meters::Meters;
use super::profile::{self, SPIFFE};
use super::refusal::{Reason, Refusal};
use super::ring::{Held, Need, Ring, RingSettings};
use super::settings::IssuerSettings;
use super::source::{self, KeySource};
use crate::domain::identity::{Credential, Identity, Proof, ProofMethod};
use crate::domain::time::Timestamp;

/// How many verified tokens are remembered.
pub const CACHED_TOKENS_MAX: usize = 10_000;

/// Verifies bearer tokens of the configured issuers.
pub struct Verifier {
    issuers: Vec<Issuer>,
    by_literal: HashMap<String, usize>,
    cache: Cache<[u8; 32], Arc<Remembered>>,
    meters: Arc<Meters>,
}

/// The proof that a token was good: only [`Verifier`] makes one.
#[derive(Clone)]
pub struct VerifiedToken {
    identity: Arc<Identity>,
    issuer_name: Arc<str>,
    expires_at: Timestamp,
}

/// The state of one issuer's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerHealth {
    pub name: Arc<str>,
    /// Whether tokens of this issuer can be verified now.
    pub ready: bool,
    /// How many usable keys there are.
    pub keys: usize,
    /// How long ago the keys were fetched.
    pub age: Option<Duration>,
    /// Why the last attempt to fetch them failed, if it did; for the operator.
    pub last_error: Option<String>,
    /// Attempts to fetch them that succeeded, and that failed, since the start.
    pub fetches: (u64, u64),
}

/// The background tasks that keep keys fresh; they end when this is dropped.
#[must_use = "keys go stale once this is dropped"]
pub struct KeyRefresh(Vec<tokio::task::JoinHandle<()>>);

struct Issuer {
    name: Arc<str>,
    settings: IssuerSettings,
    profile_name: Arc<str>,
    /// `spiffe://` and the name, where tokens are of a trust domain.
    trust_domain: Option<String>,
    token_types: Vec<String>,
    clients: Clients,
    times: TimeRules,
    mapping: Mapping,
    ring: Arc<Ring>,
}

/// A verified token, for as long as the keys and the clock stay within what was checked.
struct Remembered {
    token: Arc<VerifiedToken>,
    issuer: usize,
    generation: u64,
    validity: Validity,
}

/// How far one can get without waiting.
enum Step {
    Done(Arc<VerifiedToken>),
    KeysNeeded(usize, Need),
}

impl Verifier {
    /// A verifier whose keys come from where the settings say.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if the settings are unsafe or contradictory. That an issuer is out of reach is no error.
    pub fn new(issuers: Vec<IssuerSettings>) -> Result<Self, SettingsError> {
        let with_source = |settings: IssuerSettings| {
            let source = source::source_for(&settings).map_err(|problem| settings.problem(&problem))?;
            Ok((settings, source))
        };
        Self::with_sources(issuers.into_iter().map(with_source).collect::<Result<_, SettingsError>>()?)
    }

    /// A verifier with the given sources of keys.
    ///
    /// # Errors
    ///
    /// As [`Verifier::new`].
    pub fn with_sources(issuers: Vec<(IssuerSettings, Arc<dyn KeySource>)>) -> Result<Self, SettingsError> {
        let all: Vec<IssuerSettings> = issuers.iter().map(|(settings, _)| settings.clone()).collect();
        check::check_all(&all)?;
        let literals = |(index, settings): (usize, &IssuerSettings)| {
            settings.literals().map(|literal| (literal.to_owned(), index)).collect::<Vec<_>>()
        };
        let by_literal = all.iter().enumerate().flat_map(literals).collect();
        let issuers = issuers.into_iter().map(|(settings, source)| Issuer::new(settings, &all, source));
        let issuers = issuers.collect::<Result<_, SettingsError>>()?;
        Ok(Self { issuers, by_literal, cache: Cache::new(CACHED_TOKENS_MAX), meters: Arc::default() })
    }

    /// A verifier of one of these issuers alone, under other rules and with the same keys.
    pub(super) fn with_rules(
        &self,
        name: &str,
        rules: impl FnOnce(&IssuerSettings) -> IssuerSettings,
    ) -> Result<Self, SettingsError> {
        let unknown = || SettingsError::Issuer { name: name.to_owned(), problem: "is not configured".to_owned() };
        let found = self.issuers.iter().find(|issuer| &*issuer.name == name).ok_or_else(unknown)?;
        let settings = rules(&found.settings);
        settings.check()?;
        let all: Vec<IssuerSettings> = self.issuers.iter().map(|issuer| issuer.settings.clone()).collect();
        let by_literal = settings.literals().map(|literal| (literal.to_owned(), 0)).collect();
        let issuer = Issuer::with_ring(settings, &all, found.ring.clone())?;
        let meters = self.meters.clone();
        Ok(Self { issuers: vec![issuer], by_literal, cache: Cache::new(CACHED_TOKENS_MAX), meters })
    }

    /// Starts fetching keys in the background, now and then regularly. Needs a tokio runtime.
    pub fn start(&self) -> KeyRefresh {
        KeyRefresh(self.issuers.iter().map(|issuer| tokio::spawn(issuer.ring.clone().keep_fresh())).collect())
    }

    /// Verifies a bearer token (without `Bearer `) at `now`; fetches keys if there are none or one is missing.
    ///
    /// # Errors
    ///
    /// [`Refusal`], with a stable reason.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<VerifiedToken>, Refusal> {
        let verified = self.verify_in_time(token, now).await;
        self.count_refused(verified.as_ref().err());
        verified
    }

    async fn verify_in_time(&self, token: &str, now: Timestamp) -> Result<Arc<VerifiedToken>, Refusal> {
        let (issuer, need) = match self.step(token, now)? {
            Step::Done(token) => return Ok(token),
            Step::KeysNeeded(issuer, need) => (issuer, need),
        };
        let Some(found) = self.issuers.get(issuer) else { return Err(Reason::WrongIssuer.into()) };
        if !found.ring.refresh(need).await {
            return Err(found.refusal(need.into()));
        }
        match self.step(token, now)? {
            Step::Done(token) => Ok(token),
            Step::KeysNeeded(_, need) => Err(found.refusal(need.into())),
        }
    }

    /// As [`Verifier::verify`], without waiting: `None` if keys must be fetched first.
    pub fn verify_now(&self, token: &str, now: Timestamp) -> Option<Result<Arc<VerifiedToken>, Refusal>> {
        match self.step(token, now) {
            Ok(Step::Done(token)) => Some(Ok(token)),
            Ok(Step::KeysNeeded(..)) => None,
            Err(refusal) => {
                self.count_refused(Some(&refusal));
                Some(Err(refusal))
            }
        }
    }

    /// Whether this issuer, of that name, is believed here: one that was configured when somebody logged in need not be any more.
    #[must_use]
    pub fn believes(&self, name: &str, issuer: &str) -> bool {
        self.issuers.iter().any(|one| one.settings.name == name && one.settings.issuer == issuer)
    }

    /// What it and the verifiers made of it count.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    fn count_refused(&self, refusal: Option<&Refusal>) {
        if let Some(refusal) = refusal {
            self.meters.refuse(refusal.reason);
        }
    }

    /// The state of every issuer's keys, in the order of the settings.
    #[must_use]
    pub fn health(&self) -> Vec<IssuerHealth> {
        self.issuers.iter().map(Issuer::health).collect()
    }

    fn step(&self, token: &str, now: Timestamp) -> Result<Step, Refusal> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(remembered) = self.cache.get(&hash)
            && self.still_holds(&remembered, now)
        {
            self.meters.remembered.count();
            return Ok(Step::Done(remembered.token.clone()));
        }
        let compact = Compact::parse(token)?;
        let claims = json::parse_object(&compact.payload).map_err(Reason::from)?;
        let literal = issuer_of(&claims).ok_or(Reason::WrongIssuer)?;
        let index = *self.by_literal.get(literal).ok_or(Reason::WrongIssuer)?;
        let issuer = self.issuers.get(index).ok_or(Reason::WrongIssuer)?;
        match issuer.examine(&compact, &claims, now) {
            Ok(Examined::KeysNeeded(need)) => Ok(Step::KeysNeeded(index, need)),
            Ok(Examined::Good { token, generation, validity }) => {
                let token = Arc::new(token);
                let remembered = Remembered { token: token.clone(), issuer: index, generation, validity };
                self.cache.insert(hash, Arc::new(remembered));
                self.meters.examined.count();
                Ok(Step::Done(token))
            }
            Err(reason) => Err(issuer.refusal(reason)),
        }
    }

    /// Whether nothing has changed that the verdict rested on. The clock may have gone back, too.
    fn still_holds(&self, remembered: &Remembered, now: Timestamp) -> bool {
        let Some(issuer) = self.issuers.get(remembered.issuer) else { return false };
        let held = issuer.ring.current();
        let generation = held.as_deref().and_then(Option::as_ref).map(|held| held.generation);
        remembered.validity.contains(now) && generation == Some(remembered.generation)
    }
}

/// Whose token it says it is. Only a JWT-SVID may leave `iss` out: its trust domain is in the subject (JWT-SVID section 3),
/// and stands among the literals of an issuer of that profile alone.
fn issuer_of(claims: &json::Members) -> Option<&str> {
    match claims.get("iss") {
        Some(issuer) => issuer.as_text(),
        None => claims.get("sub").and_then(Json::as_text).and_then(profile::trust_domain_of),
    }
}

enum Examined {
    Good { token: VerifiedToken, generation: u64, validity: Validity },
    KeysNeeded(Need),
}

impl Issuer {
    fn new(
        settings: IssuerSettings,
        all: &[IssuerSettings],
        source: Arc<dyn KeySource>,
    ) -> Result<Self, SettingsError> {
        let ring = RingSettings {
            issuer_name: settings.name.clone(),
            algorithms: settings.algorithms.clone(),
            key_uses: settings.profile.key_uses(),
            refresh_interval: settings.refresh_interval,
            max_stale: settings.max_stale,
        };
        Self::with_ring(settings, all, Ring::new(source, ring))
    }

    fn with_ring(settings: IssuerSettings, all: &[IssuerSettings], ring: Arc<Ring>) -> Result<Self, SettingsError> {
        let trust_domain = settings.literals().find(|literal| literal.starts_with(SPIFFE)).map(str::to_owned);
        Ok(Self {
            name: settings.name.as_str().into(),
            profile_name: settings.profile.name().into(),
            trust_domain,
            token_types: match settings.token_types.as_slice() {
                [] => settings.profile.token_types().iter().map(|one| (*one).to_owned()).collect(),
                named => named.iter().map(|one| plain_type(one)).collect(),
            },
            clients: Clients::read(&settings.client_claims).map_err(|problem| settings.problem(&problem))?,
            times: TimeRules { leeway: settings.leeway, max_age: settings.max_age },
            mapping: Mapping::new(&settings, all)?,
            ring,
            settings,
        })
    }

    fn examine(&self, compact: &Compact<'_>, claims: &json::Members, now: Timestamp) -> Result<Examined, Reason> {
        let header = &compact.header;
        if !self.settings.algorithms.contains(&header.algorithm) {
            return Err(Reason::AlgNotAllowed);
        }
        let token_type = header.token_type.as_deref().unwrap_or_default();
        if !self.token_types.iter().any(|accepted| accepted == token_type) {
            return Err(Reason::WrongTyp);
        }
        let Some(held) = self.ring.current() else { return self.want(Need::Keys) };
        let Some(Held { keys, generation, .. }) = held.as_deref() else { return self.want(Need::Keys) };
        let key = match keys.find(header) {
            Ok(key) => key,
            Err(Reason::UntrustedKey) => return self.want(Need::UnknownKey),
            Err(reason) => return Err(reason),
        };
        key.verify(compact.signed, &compact.signature)?;
        let (token, validity) = self.accept(claims, header, key.id(), now)?;
        Ok(Examined::Good { token, generation: *generation, validity })
    }

    /// The checks of a token whose signature holds.
    fn accept(
        &self,
        claims: &json::Members,
        header: &Header,
        key_id: Option<&str>,
        now: Timestamp,
    ) -> Result<(VerifiedToken, Validity), Reason> {
        claims::check_audience(claims, &self.settings.audiences)?;
        let validity = self.times.check(claims, now)?;
        claims::refuse_bound(claims)?;
        self.settings.profile.check(claims, self.trust_domain.as_deref())?;
        self.clients.check(claims, &self.settings.allowed_clients)?;
        let credential = Credential {
            issuer_name: self.name.clone(),
            profile: self.profile_name.clone(),
            algorithm: header.algorithm.name().into(),
            key_id: key_id.map(Arc::from),
            ..claims::credential(claims, &self.clients)?
        };
        let proof = Proof {
            method: ProofMethod::Token,
            expires_at: validity.until,
            authenticated_at: self.times.authenticated_at(claims, now)?,
            credential: Some(Arc::new(credential)),
        };
        let identity = Arc::new(self.mapping.identity(claims, proof)?);
        Ok((VerifiedToken { identity, issuer_name: self.name.clone(), expires_at: validity.until }, validity))
    }

    /// Waiting for keys, unless that would be pointless so soon after the last time.
    fn want(&self, need: Need) -> Result<Examined, Reason> {
        if self.ring.may_refresh(need) { Ok(Examined::KeysNeeded(need)) } else { Err(need.into()) }
    }

    fn refusal(&self, reason: Reason) -> Refusal {
        Refusal { reason, issuer: Some(self.name.clone()) }
    }

    fn health(&self) -> IssuerHealth {
        let (held, last_error) = self.ring.health();
        let fetches = (self.ring.fetched.get(), self.ring.not_fetched.get());
        let (keys, age) = held.unzip();
        let keys = keys.unwrap_or(0);
        IssuerHealth { name: self.name.clone(), ready: keys > 0, keys, age, last_error, fetches }
    }
}

impl From<Need> for Reason {
    fn from(need: Need) -> Self {
        match need {
            Need::Keys => Self::JwksUnavailable,
            Need::UnknownKey => Self::UntrustedKey,
        }
    }
}

impl VerifiedToken {
    /// Who is proven.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Our short name of the issuer.
    #[must_use]
    pub fn issuer_name(&self) -> &str {
        &self.issuer_name
    }

    /// When the token stops being accepted, the leeway included. Streams and waits end then.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// Names the principal and nothing that the token said beside it.
impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken").field("principal", &self.identity.uid).finish_non_exhaustive()
    }
}

impl Drop for KeyRefresh {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
