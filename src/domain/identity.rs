//! Who asks: a proven identity, as the token's issuer or a certificate states it. Made only by the `identity` module from a verified
//! credential, or re-read from the journal; display names never decide anything.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::entity::EntityUid;
use super::time::Timestamp;

/// What sort of being a principal is. Only a [`PrincipalKind::User`] can review (invariant 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalKind {
    /// A human.
    User,
    /// An AI agent.
    Agent,
    /// A pipeline, service or other machine.
    Workload,
}

impl PrincipalKind {
    /// What a principal is said to be by the name of its type, where nothing else is known; never enough to review.
    #[must_use]
    pub fn said_by(uid: &EntityUid) -> Self {
        match uid.type_name.rsplit("::").next() {
            Some("User") => Self::User,
            Some("Agent") => Self::Agent,
            Some(_) | None => Self::Workload,
        }
    }
}

/// A principal with the proof of who it is. `(issuer, subject)` is the identity; `uid` is its name in policies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub uid: EntityUid,
    pub kind: PrincipalKind,
    /// Groups and roles from the token, as entities; the principal's parents in Cedar.
    pub groups: Vec<EntityUid>,
    /// The issuer as it is configured, whichever of its aliases the token named.
    pub issuer: Arc<str>,
    /// `sub` (or the actor's `sub`), verbatim.
    pub subject: Arc<str>,
    /// For people to read; decides nothing.
    pub display_name: Option<Arc<str>>,
    /// Whom the principal acts for (`act`, RFC 8693): the token's subject where an actor is named.
    pub on_behalf_of: Option<Box<Identity>>,
    /// Actors before the current one, nearest first; audit detail only.
    pub earlier_actors: Vec<Arc<str>>,
    pub proof: Proof,
}

/// How and when the identity was proved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proof {
    pub method: ProofMethod,
    /// When the credential stops being one.
    pub expires_at: Timestamp,
    /// When the person last authenticated (`auth_time`), if the issuer says.
    pub authenticated_at: Option<Timestamp>,
    /// What was verified; absent where nothing was.
    pub credential: Option<Arc<Credential>>,
}

/// A verified token, as far as it is on record: enough to find it at its issuer, and never enough to use it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Credential {
    /// Our short name of the issuer.
    pub issuer_name: Arc<str>,
    /// `iss`, verbatim: the issuer or one of its aliases. Empty where the token has none (JWT-SVIDs).
    pub issuer_spelt: Arc<str>,
    /// The rules it was held against, such as `rfc9068`.
    pub profile: Arc<str>,
    pub algorithm: Arc<str>,
    /// The key that it was verified with, as the issuer names it.
    pub key_id: Option<Arc<str>>,
    /// `jti`.
    pub token_id: Option<Arc<str>>,
    /// The client that it was issued to.
    pub client: Option<Arc<str>>,
    /// When it was issued: what it states, groups among it, was true then.
    pub issued_at: Option<Timestamp>,
    /// How the person authenticated: the class (`acr`) and the methods (`amr`), in the issuer's words.
    pub acr: Option<Arc<str>>,
    pub amr: Vec<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProofMethod {
    /// A signed token that we verified.
    Token,
    /// The client certificate of the connection.
    Certificate(Fingerprint),
    /// Named by a caller whom policy lets name it (`authorize_as`).
    Asserted,
    /// The service itself (timers, start-up).
    Service,
    /// A click in a chat product, from an account that the person had linked after logging in here. Weaker than a token: it
    /// says nothing of a login, so that whatever demands one is not met.
    Chat,
}

impl Proof {
    /// The word of a caller, good for as long as that caller is proven.
    #[must_use]
    pub const fn asserted(expires_at: Timestamp) -> Self {
        Self { method: ProofMethod::Asserted, expires_at, authenticated_at: None, credential: None }
    }

    /// Whether the person logged in less than so long before `at`. Unknown is not fresh.
    #[must_use]
    pub fn is_fresh(&self, most: Duration, at: Timestamp) -> bool {
        self.authenticated_at.is_some_and(|authenticated| !authenticated.after(most).is_due(at))
    }
}

/// SHA-256 of a certificate, as tools show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::hex::write(f, &self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Identity {
    /// Whether two identities are the same being: the same subject at the same issuer.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.uid == other.uid || (self.issuer == other.issuer && self.subject == other.subject)
    }

    /// This identity and all it acts for, nearest first.
    pub fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |identity| identity.on_behalf_of.as_deref())
    }

    /// Somebody whom no issuer knows, as tests of policies and benches imagine people: of the kind that the type says, in
    /// these groups, with a token that never ends.
    #[must_use]
    pub fn imagined(type_name: &str, id: &str, groups: &[&str]) -> Self {
        let uid = EntityUid::new(type_name, id);
        Self {
            kind: PrincipalKind::said_by(&uid),
            uid,
            groups: groups.iter().map(|group| EntityUid::new("Group", group)).collect(),
            issuer: "https://issuer.test".into(),
            subject: id.into(),
            display_name: None,
            on_behalf_of: None,
            earlier_actors: Vec::new(),
            proof: Proof {
                method: ProofMethod::Token,
                expires_at: Timestamp::MAX,
                authenticated_at: None,
                credential: None,
            },
        }
    }

    /// An identity that a caller asserted, of which nothing is proven but that the caller may assert it.
    #[must_use]
    pub fn asserted(uid: EntityUid, kind: PrincipalKind, by: &Self) -> Self {
        Self {
            subject: uid.id.clone(),
            uid,
            kind,
            groups: Vec::new(),
            issuer: by.issuer.clone(),
            display_name: None,
            on_behalf_of: None,
            earlier_actors: Vec::new(),
            proof: Proof::asserted(by.proof.expires_at),
        }
    }
}
