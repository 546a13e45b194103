//! What does it cost to know who calls: a token seen before, one that is new, one that is refused? Beside each new one the bare
//! signature check of the same bytes, which is the least that a miss can cost. The ratio of the two is measured first, in
//! processor time and turn by turn, so that other work on the machine plays little part in it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::domain::Timestamp;
use countersign::identity::source::{FetchError, Fetching, KeySource};
use countersign::identity::{IssuerSettings, Verifier};
use criterion::{BatchSize, Criterion, criterion_group};
use serde_json::{Value, json};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW_SECONDS: i64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

fn now() -> Timestamp {
    Timestamp::from_micros(NOW_SECONDS * 1_000_000)
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

struct Signer {
    alg: &'static str,
    key: Key,
}

impl Signer {
    fn all() -> [Self; 3] {
        let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        [
            Self { alg: "RS256", key: Key::Rsa(rsa) },
            Self { alg: "ES256", key: Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) },
            Self { alg: "EdDSA", key: Key::Ed(Ed25519KeyPair::generate().unwrap()) },
        ]
    }

    fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": encode(public.n), "e": encode(public.e)})
            }
            Key::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Key::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())}),
        };
        jwk["kid"] = json!(self.alg);
        jwk["alg"] = json!(self.alg);
        jwk
    }

    fn sign(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, signed, &mut signature).unwrap();
                signature
            }
            Key::Ec(pair) => pair.sign(&random, signed).unwrap().as_ref().to_vec(),
            Key::Ed(pair) => pair.sign(signed).as_ref().to_vec(),
        }
    }

    /// A token like those of real issuers: some groups, a kilobyte or less.
    fn token(&self, number: usize) -> String {
        let header = json!({"alg": self.alg, "kid": self.alg, "typ": "at+jwt"});
        let claims = json!({
            "iss": ISSUER, "aud": ["countersign", "account"], "sub": format!("user-{number}"), "client_id": "portal",
            "jti": format!("id-{number}"), "iat": NOW_SECONDS - 10, "exp": NOW_SECONDS + 3_600, "scope": "openid approvals",
            "auth_time": NOW_SECONDS - 60, "acr": "phr", "amr": ["hwk", "pin"], "name": "Somebody With A Name",
            "groups": ["privacy", "dpo", "engineering", "warehouse-readers", "on-call"],
        });
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature))
    }

    /// The signature check and nothing else, by the same library, with the key made ready.
    fn bare(&self) -> Check<'_> {
        match &self.key {
            Key::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                Box::new(move |signed, signature| {
                    public.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
                })
            }
            Key::Ec(pair) => {
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
                Box::new(move |signed, signature| key.verify(signed, signature).is_ok())
            }
            Key::Ed(pair) => {
                let key = UnparsedPublicKey::new(&signature::ED25519, pair.public_key().as_ref());
                Box::new(move |signed, signature| key.verify(signed, signature).is_ok())
            }
        }
    }
}

/// Whether a signature is of these bytes.
type Check<'a> = Box<dyn Fn(&[u8], &[u8]) -> bool + 'a>;

/// Keys that are always at hand.
struct AtHand(Vec<u8>);

impl KeySource for AtHand {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async { Ok::<_, FetchError>(self.0.clone()) })
    }
}

fn verifier(signers: &[Signer]) -> Verifier {
    let keys = json!({"keys": signers.iter().map(Signer::jwk).collect::<Vec<_>>()}).to_string();
    let settings = IssuerSettings {
        user_clients: vec!["portal".to_owned()],
        ..IssuerSettings::new("bench", ISSUER, "countersign")
    };
    Verifier::with_sources(vec![(settings, Arc::new(AtHand(keys.into_bytes())))]).unwrap()
}

fn parts(token: &str) -> (Vec<u8>, Vec<u8>) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    (signed.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(signature).unwrap())
}

fn benches(criterion: &mut Criterion) {
    let signers = Signer::all();
    let verifier = verifier(&signers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let known = signers[0].token(0);
    runtime.block_on(verifier.verify(&known, now())).unwrap();
    criterion.bench_function("identity/hit", |bench| {
        bench.iter(|| verifier.verify_now(black_box(&known), now()).unwrap().unwrap());
    });
    for signer in &signers {
        let alg = signer.alg;
        let tokens = [signer.token(0), signer.token(1)];
        // Each a token that was never seen: made outside of what is measured.
        let mut made = 1;
        let mut fresh = || {
            made += 1;
            signer.token(made)
        };
        criterion.bench_function(&format!("identity/miss/{alg}"), |bench| {
            let verify = |token: String| verifier.verify_now(black_box(&token), now()).unwrap().unwrap();
            bench.iter_batched(&mut fresh, verify, BatchSize::SmallInput);
        });
        let bare = signer.bare();
        criterion.bench_function(&format!("identity/bare signature/{alg}"), |bench| {
            let verify = |(signed, signature): (Vec<u8>, Vec<u8>)| assert!(bare(&signed, &signature));
            bench.iter_batched(|| parts(&fresh()), verify, BatchSize::SmallInput);
        });
        let forged = format!("{}.{}", tokens[0].rsplit_once('.').unwrap().0, encode(parts(&tokens[1]).1));
        criterion.bench_function(&format!("identity/refusal/forged/{alg}"), |bench| {
            bench.iter(|| verifier.verify_now(black_box(&forged), now()).unwrap().unwrap_err());
        });
    }
    let late = Timestamp::from_micros((NOW_SECONDS + 7_200) * 1_000_000);
    criterion.bench_function("identity/refusal/expired", |bench| {
        bench.iter(|| verifier.verify_now(black_box(&known), late).unwrap().unwrap_err());
    });
    let foreign = known.replacen('.', "x.", 1);
    criterion.bench_function("identity/refusal/malformed", |bench| {
        bench.iter(|| verifier.verify_now(black_box(&foreign), now()).unwrap().unwrap_err());
    });
}

const ROUNDS: usize = 60;
const ROUND_TOKENS: usize = 25;

/// The median round of new tokens beside that of their bare signatures.
fn ratios() {
    let signers = Signer::all();
    let verifier = verifier(&signers);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(verifier.verify(&signers[0].token(0), now())).unwrap();
    for signer in &signers {
        let bare = signer.bare();
        let (mut misses, mut checks) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let tokens: Vec<_> = (1..=ROUND_TOKENS).map(|token| signer.token(round * ROUND_TOKENS + token)).collect();
            let signed: Vec<_> = tokens.iter().map(|token| parts(token)).collect();
            misses.push(processor_time(|| {
                tokens.iter().for_each(|token| drop(verifier.verify_now(black_box(token), now()).unwrap().unwrap()));
            }));
            checks.push(processor_time(|| {
                signed.iter().for_each(|(signed, signature)| assert!(bare(black_box(signed), signature)));
            }));
        }
        let [miss, check] = [misses, checks].map(|mut rounds| {
            rounds.sort_unstable_by(f64::total_cmp);
            rounds[ROUNDS / 2] / ROUND_TOKENS as f64 * 1e6
        });
        println!("{}: a miss {miss:.1} us, the bare signature {check:.1} us: {:.2}", signer.alg, miss / check);
    }
}

/// Seconds that the processor gave to this thread for it.
fn processor_time(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let begin = now();
    work();
    now() - begin
}

criterion_group! {
    name = all;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(1));
    targets = benches
}

fn main() {
    ratios();
    all();
    Criterion::default().configure_from_args().final_summary();
}
