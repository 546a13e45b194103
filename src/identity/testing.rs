//! What the tests of this module share: signers with fresh keys, and an issuer that answers over real HTTP on a
//! loopback port, well or badly.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::settings::{IssuerSettings, KeyLocation};
use super::verifier::Verifier;
use crate::domain::time::Timestamp;

pub const ISSUER: &str = "https://issuer.example";
pub const NOW_SECONDS: i64 = 1_800_000_000;

pub fn now() -> Timestamp {
    seconds_from_now(0)
}

pub fn seconds_from_now(seconds: i64) -> Timestamp {
    Timestamp::from_micros((NOW_SECONDS + seconds) * 1_000_000)
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair that signs tokens.
pub struct Signer {
    pub kid: &'static str,
    pub alg: &'static str,
    key: Key,
}

enum Key {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(&'static RsaKeyPair),
}

impl Signer {
    pub fn es256(kid: &'static str) -> Self {
        Self { kid, alg: "ES256", key: Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    pub fn ed25519(kid: &'static str) -> Self {
        Self { kid, alg: "EdDSA", key: Key::Ed(Ed25519KeyPair::generate().unwrap()) }
    }

    /// All RSA signers share one key pair: making one takes long.
    pub fn rsa(kid: &'static str, alg: &'static str) -> Self {
        static PAIR: OnceLock<RsaKeyPair> = OnceLock::new();
        let pair = PAIR.get_or_init(|| RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap());
        Self { kid, alg, key: Key::Rsa(pair) }
    }

    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Key::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())}),
            Key::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": encode(public.n), "e": encode(public.e)})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.alg);
        jwk["use"] = json!("sig");
        jwk
    }

    pub fn header(&self) -> Value {
        json!({"alg": self.alg, "kid": self.kid, "typ": "at+jwt"})
    }

    /// Signs whatever it is given, sensible or not.
    pub fn sign(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", encode(signature))
    }

    pub fn token(&self, claims: &Value) -> String {
        self.sign(self.header().to_string(), claims.to_string())
    }

    pub fn signature(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Ec(pair) => pair.sign(&random, signed).unwrap().as_ref().to_vec(),
            Key::Ed(pair) => pair.sign(signed).as_ref().to_vec(),
            Key::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding =
                    if self.alg == "PS256" { &signature::RSA_PSS_SHA256 } else { &signature::RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, signed, &mut signature).unwrap();
                signature
            }
        }
    }
}

pub fn jwks(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// What a sound token of a human claims.
pub fn claims(issuer: &str) -> Value {
    json!({
        "iss": issuer, "aud": "countersign", "sub": "alice", "client_id": "portal", "jti": "1", "name": "Alice",
        "iat": NOW_SECONDS - 10, "exp": NOW_SECONDS + 300, "groups": ["privacy"],
    })
}

pub fn settings() -> IssuerSettings {
    let user_clients = vec!["portal".to_owned()];
    IssuerSettings { user_clients, ..IssuerSettings::new("test", ISSUER, "countersign") }
}

/// A verifier that reads this key set from a file.
pub fn verifier_with_keys(settings: IssuerSettings, document: &str) -> (Verifier, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), document).unwrap();
    let keys = KeyLocation::JwksFile(file.path().to_owned());
    (Verifier::new(vec![IssuerSettings { keys, ..settings }]).unwrap(), file)
}

/// How the issuer answers requests for its keys.
#[derive(Clone)]
pub enum Mood {
    Healthy,
    /// Closes the connection without a word.
    Down,
    /// Accepts and never answers.
    Silent,
    /// Sends this answer, whatever it is.
    Raw(Vec<u8>),
}

/// An issuer on a real loopback port.
pub struct FakeIssuer {
    pub url: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    document: Mutex<String>,
    claimed_issuer: Mutex<String>,
    mood: Mutex<Mood>,
    key_fetches: AtomicUsize,
}

impl FakeIssuer {
    pub async fn start(document: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            document: Mutex::new(document),
            claimed_issuer: Mutex::new(url.clone()),
            mood: Mutex::new(Mood::Healthy),
            key_fetches: AtomicUsize::new(0),
        });
        let task = tokio::spawn(serve(listener, url.clone(), state.clone()));
        Self { url, state, task }
    }

    pub fn settings(&self) -> IssuerSettings {
        let (name, issuer) = ("fake".to_owned(), self.url.clone());
        IssuerSettings { name, issuer, allow_insecure_http_loopback: true, ..settings() }
    }

    pub fn publish(&self, document: String) {
        *self.state.document.lock().unwrap() = document;
    }

    pub fn claim_to_be(&self, issuer: &str) {
        *self.state.claimed_issuer.lock().unwrap() = issuer.to_owned();
    }

    pub fn set_mood(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// How often the keys were asked for.
    pub fn key_fetches(&self) -> usize {
        self.state.key_fetches.load(Ordering::SeqCst)
    }
}

impl Drop for FakeIssuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, url: String, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(answer(stream, url.clone(), state.clone()));
    }
}

async fn answer(mut stream: tokio::net::TcpStream, url: String, state: Arc<State>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let is_for_keys = request.starts_with(b"GET /jwks ");
    if is_for_keys {
        state.key_fetches.fetch_add(1, Ordering::SeqCst);
    }
    let mood = state.mood.lock().unwrap().clone();
    let response = match mood {
        Mood::Healthy if is_for_keys => ok(&state.document.lock().unwrap()),
        Mood::Healthy => ok(&discovery(&state.claimed_issuer.lock().unwrap(), &url)),
        Mood::Down => return,
        Mood::Silent => std::future::pending().await,
        Mood::Raw(response) => response,
    };
    // The client may hang up early: that is what it should do with an answer that is too large.
    let _ = stream.write_all(&response).await;
}

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// No more than GitHub Actions and Kubernetes have: nobody logs in there.
fn discovery(issuer: &str, url: &str) -> String {
    json!({
        "issuer": issuer, "jwks_uri": format!("{url}/jwks"), "subject_types_supported": ["public"],
        "response_types_supported": ["id_token"], "id_token_signing_alg_values_supported": ["RS256"],
    })
    .to_string()
}
