//! What the operator decides about the inbox.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::throttle::{Pace, REQUESTS};
use crate::identity::IdTokenRules;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The origin as browsers see it; `None`: the listener's own address, over HTTP on this machine.
    pub public_url: Option<String>,
    /// The name of the issuer at whose page people log in; `None`: the only one there is.
    pub issuer: Option<String>,
    pub client_id: String,
    /// `None`: a public client.
    pub client_secret_file: Option<PathBuf>,
    /// Beside `openid`.
    pub scopes: Vec<String>,
    pub id_token: IdTokenRules,
    pub session_lifetime: Duration,
    /// Others can reach the port, and somebody else encrypts.
    pub allow_plaintext: bool,
    /// Whose `x-forwarded-for` is believed.
    pub proxies: Vec<IpAddr>,
    /// How many requests of one address are answered.
    pub pace: Pace,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: None,
            issuer: None,
            client_id: "inbox".to_owned(),
            client_secret_file: None,
            scopes: vec!["profile".to_owned()],
            id_token: IdTokenRules::default(),
            session_lifetime: Duration::from_secs(8 * 3_600),
            allow_plaintext: false,
            proxies: Vec::new(),
            pace: REQUESTS,
        }
    }
}
