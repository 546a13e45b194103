//! Where the Redis is, how careful to be with it, and how much may be in it.

use std::path::PathBuf;
use std::time::Duration;

use crate::store::embedded::Limits;

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How the Redis servers at [`Settings::seeds`] belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One primary, always at the same address.
    Single,
    /// The seeds are Sentinels; they say where the primary of this name is.
    Sentinel { master: String },
    /// The seeds are nodes of a Redis Cluster.
    Cluster,
}

/// What must have a change before anybody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The primary and so many of its replicas.
    Replicated { replicas: usize },
    /// The primary alone: what it takes with it when it fails over is lost, acknowledged or not.
    Primary,
}

/// How many of so many replicas must have a change, so that with their primary they are more than half of all and no two sides
/// of a partition both go on: half of one more than there are, beside the primary.
#[must_use]
pub const fn majority(replicas: usize) -> usize {
    replicas.div_ceil(2)
}

/// Who the server is to Redis. The password is read from its file for every connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
}

/// Whom to believe, where connections are encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encryption {
    /// PEM: the CAs of the Redis servers; the system's if there is none.
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub shape: Shape,
    pub seeds: Vec<Address>,
    /// `None`: in clear.
    pub encryption: Option<Encryption>,
    pub login: Login,
    /// To the Sentinels, which have users of their own.
    pub sentinel_login: Login,
    /// Every key begins with it.
    pub prefix: String,
    pub durability: Durability,
    /// How long a call waits for Redis, retries and replication included.
    pub command_timeout: Duration,
    /// How long a replica may take to put an event in its journal before another does.
    pub lease: Duration,
    /// Settled approvals leave Redis after so long.
    pub settled_retention: Duration,
    /// How long this replica decides by the entities that it knows while Redis does not say that they are the newest; over starts.
    pub entities_max_age: Duration,
    /// `settled_retention` in it is for the embedded store.
    pub limits: Limits,
}

impl Settings {
    /// The defaults, for one Redis that has a replica.
    #[must_use]
    pub fn new(seeds: Vec<Address>) -> Self {
        Self {
            shape: Shape::Single,
            seeds,
            encryption: None,
            login: Login::default(),
            sentinel_login: Login::default(),
            prefix: "countersign".to_owned(),
            durability: Durability::Replicated { replicas: 1 },
            command_timeout: Duration::from_millis(250),
            lease: Duration::from_secs(5),
            settled_retention: Duration::from_secs(24 * 3_600),
            entities_max_age: Duration::from_secs(24 * 3_600),
            limits: Limits::default(),
        }
    }
}
