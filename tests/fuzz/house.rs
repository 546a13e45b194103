//! What the targets share: issuers with keys that are made anew in each process, so that no input can hold a signature
//! by them, and a clock that stands.
#![allow(dead_code, reason = "a part of each target, which uses what it needs")]

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::domain::Timestamp;
use countersign::identity::source::{Fetching, KeySource};
use countersign::identity::{IssuerSettings, Verifier};
use serde_json::json;

pub const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
pub const KID: &str = "k1";

/// One that people use, with agents by `act`; one with composite ids; one of workloads.
const ISSUERS: &str = r#"[
  {
    "name": "people", "namespace": "people", "issuer": "https://people.example", "audiences": ["countersign"],
    "user_clients": ["portal"], "groups": [{"claim": "/groups"}, {"claim": "/realm/roles", "entity_type": "Role", "strip_prefix": "r-"}],
    "actor": {"source": "act", "entity_type": "Agent", "trusted_issuers": ["cluster"], "depth_max": 3}
  },
  {
    "name": "tenants", "namespace": "tenants", "issuer": "https://tenants.example", "audiences": ["countersign"],
    "principals": [{"kind": "user", "entity_type": "User", "id": "{tid}/{oid}", "when": [{"claim": "/oid", "present": true}]}],
    "user_clients": ["*"],
    "max_age": "1h"
  },
  {
    "name": "cluster", "namespace": "cluster", "issuer": "https://cluster.example", "audiences": ["countersign"],
    "preset": "kubernetes", "algorithms": ["EdDSA"], "token_types": ["at+jwt"]
  }
]"#;

pub const NAMESPACES: [&str; 3] = ["people", "tenants", "cluster"];
pub const LITERALS: [&str; 3] = ["https://people.example", "https://tenants.example", "https://cluster.example"];

/// A signer, and a verifier that believes it.
pub struct House {
    pub verifier: Verifier,
    signer: Signer,
}

impl House {
    pub fn new() -> Self {
        let signer = Signer::new();
        let source = Arc::new(Source(signer.jwks().into_bytes()));
        let with_source = |settings: IssuerSettings| (settings, source.clone() as Arc<dyn KeySource>);
        let issuers: Vec<IssuerSettings> = serde_json::from_str(ISSUERS).expect("settings");
        let verifier = Verifier::with_sources(issuers.into_iter().map(with_source).collect()).expect("safe settings");
        let house = Self { verifier, signer };
        // Any token that names an issuer and a key makes the keys come.
        for literal in LITERALS {
            let claims = json!({"iss": literal}).to_string();
            drop(wait(house.verifier.verify(&house.token(claims.as_bytes()), NOW)));
        }
        assert!(house.verifier.health().iter().all(|issuer| issuer.ready), "the keys are there");
        house
    }

    /// A token with a good signature that claims this.
    pub fn token(&self, claims: &[u8]) -> String {
        self.signer.token(claims)
    }
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

pub struct Signer(Ed25519KeyPair);

impl Signer {
    pub fn new() -> Self {
        Self(Ed25519KeyPair::generate().expect("a key"))
    }

    pub fn token(&self, claims: &[u8]) -> String {
        let header = json!({"alg": "EdDSA", "kid": KID, "typ": "at+jwt"}).to_string();
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.0.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub fn jwks(&self) -> String {
        let key = encode(self.0.public_key());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": key, "kid": KID, "alg": "EdDSA"}]}).to_string()
    }
}

impl Default for Signer {
    fn default() -> Self {
        Self::new()
    }
}

/// A key set that is there at once.
pub struct Source(pub Vec<u8>);

impl KeySource for Source {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

pub fn wait<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
