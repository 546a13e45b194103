//! Keys over time, against an issuer that answers over real HTTP: rotation, floods, cold starts, outages; and keys
//! that must never be loaded. Signatures are also checked against vectors that others made (Wycheproof).

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::compact::Compact;
use super::keys::{KEYS_MAX, KeySet};
use super::refusal::Reason;
use super::settings::{Algorithm, IssuerSettings, KeyLocation};
use super::source::DOCUMENT_BYTES_MAX;
use super::testing::{FakeIssuer, ISSUER, Mood, Signer, claims, encode, jwks, now, settings, verifier_with_keys};
use super::verifier::Verifier;

async fn issuer_with(signer: &Signer) -> (FakeIssuer, Verifier) {
    let issuer = FakeIssuer::start(jwks(&[signer])).await;
    let verifier = Verifier::new(vec![issuer.settings()]).unwrap();
    (issuer, verifier)
}

async fn reason(verifier: &Verifier, token: &str) -> Option<Reason> {
    verifier.verify(token, now()).await.err().map(|refusal| refusal.reason)
}

#[tokio::test]
async fn rs256_es256_and_eddsa_tokens_are_accepted_from_discovered_keys() {
    let signers = [Signer::rsa("rs", "RS256"), Signer::es256("es"), Signer::ed25519("ed")];
    let issuer = FakeIssuer::start(jwks(&signers.each_ref())).await;
    let verifier = Verifier::new(vec![issuer.settings()]).unwrap();
    for signer in &signers {
        assert_eq!(reason(&verifier, &signer.token(&claims(&issuer.url))).await, None, "{}", signer.alg);
    }
    assert_eq!(issuer.key_fetches(), 1);
    let health = verifier.health();
    assert!(health[0].ready && health[0].keys == 3 && health[0].last_error.is_none(), "{health:?}");
}

#[tokio::test]
async fn ps256_is_accepted_where_it_is_allowed() {
    let signer = Signer::rsa("ps", "PS256");
    let allowed = IssuerSettings { algorithms: vec![Algorithm::PS256], ..settings() };
    let (verifier, _file) = verifier_with_keys(allowed, &jwks(&[&signer]));
    assert_eq!(reason(&verifier, &signer.token(&claims(ISSUER))).await, None);
}

#[tokio::test]
async fn k07_a_rotated_key_is_found_by_one_refresh_and_the_old_one_ends() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let (issuer, verifier) = issuer_with(&old).await;
    let (before, after) = (old.token(&claims(&issuer.url)), new.token(&claims(&issuer.url)));
    assert_eq!(reason(&verifier, &before).await, None);
    issuer.publish(jwks(&[&new]));
    assert_eq!(reason(&verifier, &before).await, None, "remembered until the keys change");
    assert_eq!(reason(&verifier, &after).await, None);
    assert_eq!(issuer.key_fetches(), 2);
    assert_eq!(reason(&verifier, &before).await, Some(Reason::UntrustedKey), "the key was withdrawn");
    assert_eq!(issuer.key_fetches(), 2, "within the cool-down");
}

#[tokio::test]
async fn a_flood_of_forged_key_ids_causes_one_fetch() {
    let (good, forger) = (Signer::es256("good"), Signer::ed25519("forged"));
    let (issuer, verifier) = issuer_with(&good).await;
    assert_eq!(reason(&verifier, &good.token(&claims(&issuer.url))).await, None);
    let verifier = Arc::new(verifier);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..10_000 {
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": format!("forged-{number}")});
        let token = forger.sign(header.to_string(), claims(&issuer.url).to_string());
        let verifier = verifier.clone();
        calls.spawn(async move { reason(&verifier, &token).await });
    }
    assert!(calls.join_all().await.iter().all(|reason| *reason == Some(Reason::UntrustedKey)));
    assert_eq!(issuer.key_fetches(), 2, "one at first, one for the flood");
}

#[tokio::test]
async fn a_cold_start_with_a_thousand_callers_makes_one_fetch() {
    let signer = Signer::es256("k");
    let (issuer, verifier) = issuer_with(&signer).await;
    let verifier = Arc::new(verifier);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let mut claims = claims(&issuer.url);
        claims["jti"] = json!(number.to_string());
        let (token, verifier) = (signer.token(&claims), verifier.clone());
        calls.spawn(async move { reason(&verifier, &token).await });
    }
    assert!(calls.join_all().await.iter().all(Option::is_none));
    assert_eq!(issuer.key_fetches(), 1);
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_take_the_fetch_with_it() {
    let signer = Signer::es256("k");
    let (issuer, verifier) = issuer_with(&signer).await;
    let token = signer.token(&claims(&issuer.url));
    let mut first = Box::pin(verifier.verify(&token, now()));
    assert!(futures_util::poll!(&mut first).is_pending());
    drop(first);
    assert_eq!(reason(&verifier, &token).await, None);
    assert_eq!(issuer.key_fetches(), 1);
}

#[tokio::test]
async fn k10_an_issuer_that_is_down_at_start_is_unavailable_and_comes_back() {
    let signer = Signer::es256("k");
    let (issuer, verifier) = issuer_with(&signer).await;
    issuer.set_mood(Mood::Down);
    let token = signer.token(&claims(&issuer.url));
    let refusal = verifier.verify(&token, now()).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.is_retryable()), (Reason::JwksUnavailable, true));
    assert!(verifier.health().iter().all(|issuer| !issuer.ready && issuer.last_error.is_some()));
    issuer.set_mood(Mood::Healthy);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    assert_eq!(reason(&verifier, &token).await, None);
}

#[tokio::test]
async fn k09_bad_answers_keep_the_last_good_keys_until_they_are_too_old() {
    let signer = Signer::es256("k");
    let (issuer, verifier) = issuer_with(&signer).await;
    let token = signer.token(&claims(&issuer.url));
    assert_eq!(reason(&verifier, &token).await, None);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    let huge = format!("{head}{{\"keys\":[{}]}}", " ".repeat(DOCUMENT_BYTES_MAX));
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html>";
    let elsewhere = format!("HTTP/1.1 302 Found\r\nlocation: {}/jwks\r\ncontent-length: 0\r\n\r\n", issuer.url);
    let unknown = Signer::es256("unknown").token(&claims(&issuer.url));
    for answer in [huge.as_str(), page, &elsewhere, "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", "nonsense"] {
        issuer.set_mood(Mood::Raw(answer.into()));
        assert_eq!(reason(&verifier, &unknown).await, Some(Reason::UntrustedKey));
        assert_eq!(reason(&verifier, &token).await, None, "the last good keys serve");
        assert!(verifier.health()[0].last_error.is_some(), "{answer:.60}");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(24 * 60 * 60)).await;
    tokio::time::resume();
    let refusal = verifier.verify(&token, now()).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.is_retryable()), (Reason::JwksUnavailable, true));
    assert!(!verifier.health()[0].ready);
}

/// The verdict on a sound token, and the last error, when the key set's own address answers with `answer`.
async fn with_raw_answer(issuer: &FakeIssuer, signer: &Signer, answer: String) -> (Option<Reason>, String) {
    issuer.set_mood(Mood::Raw(answer.into_bytes()));
    let keys = KeyLocation::JwksUrl(format!("{}/jwks", issuer.url));
    let verifier = Verifier::new(vec![IssuerSettings { keys, ..issuer.settings() }]).unwrap();
    let reason = reason(&verifier, &signer.token(&claims(&issuer.url))).await;
    (reason, verifier.health()[0].last_error.clone().unwrap_or_default())
}

#[tokio::test]
async fn k09_a_redirect_is_not_followed_even_to_good_keys() {
    let signer = Signer::es256("k");
    let (issuer, _) = issuer_with(&signer).await;
    let (elsewhere, _) = issuer_with(&signer).await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let location = format!("location: {}/jwks", elsewhere.url);
        let answer = format!("HTTP/1.1 {status}\r\n{location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let (reason, error) = with_raw_answer(&issuer, &signer, answer).await;
        assert_eq!((reason, elsewhere.key_fetches()), (Some(Reason::JwksUnavailable), 0));
        assert!(error.contains("redirects are not followed"), "{error}");
    }
}

#[tokio::test]
async fn k09_a_key_set_is_read_up_to_its_limit_and_not_beyond() {
    let signer = Signer::es256("k");
    let (issuer, _) = issuer_with(&signer).await;
    let padded = |bytes: usize| {
        let keys = jwks(&[&signer]);
        let padding = " ".repeat(bytes - keys.len());
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{keys}{padding}")
    };
    assert_eq!(with_raw_answer(&issuer, &signer, padded(DOCUMENT_BYTES_MAX)).await, (None, String::new()));
    let (reason, error) = with_raw_answer(&issuer, &signer, padded(DOCUMENT_BYTES_MAX + 1)).await;
    assert_eq!(reason, Some(Reason::JwksUnavailable));
    assert!(error.contains("more than"), "{error}");
}

#[tokio::test]
async fn an_issuer_that_never_answers_is_given_up_after_two_seconds() {
    let signer = Signer::es256("k");
    let (issuer, verifier) = issuer_with(&signer).await;
    issuer.set_mood(Mood::Silent);
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    assert_eq!(reason(&verifier, &signer.token(&claims(&issuer.url))).await, Some(Reason::JwksUnavailable));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn i07_a_discovery_document_for_another_issuer_is_refused() {
    let signer = Signer::es256("k");
    let (issuer, verifier) = issuer_with(&signer).await;
    for other in ["https://other.example".to_owned(), format!("{}/", issuer.url)] {
        issuer.claim_to_be(&other);
        assert_eq!(reason(&verifier, &signer.token(&claims(&issuer.url))).await, Some(Reason::JwksUnavailable));
        assert!(verifier.health()[0].last_error.as_ref().unwrap().contains("another issuer"));
        assert_eq!(issuer.key_fetches(), 0);
    }
}

#[tokio::test]
async fn a_discovery_document_is_strict_and_names_an_address_that_may_be_asked() {
    let signer = Signer::es256("k");
    let (issuer, verifier) = issuer_with(&signer).await;
    let token = signer.token(&claims(&issuer.url));
    for (document, error) in [
        (json!({"issuer": issuer.url}).to_string(), "no `jwks_uri`"),
        (json!({"jwks_uri": issuer.url}).to_string(), "no `issuer`"),
        (json!({"issuer": issuer.url, "jwks_uri": "http://10.0.0.1/jwks"}).to_string(), "must be https"),
        (json!({"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"}).to_string(), "must be https"),
        (format!(r#"{{"issuer":"{0}","issuer":"{0}","jwks_uri":"{0}/jwks"}}"#, issuer.url), "strict JSON"),
        ("<html>".to_owned(), "strict JSON"),
    ] {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
        issuer.set_mood(Mood::Raw(format!("{head}{document}").into_bytes()));
        assert_eq!(reason(&verifier, &token).await, Some(Reason::JwksUnavailable), "{document}");
        let said = verifier.health()[0].last_error.clone().unwrap();
        assert!(said.contains(error), "{said}");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
    }
    issuer.set_mood(Mood::Healthy);
    assert_eq!(reason(&verifier, &token).await, None);
}

#[test]
fn certificates_that_are_not_there_keep_the_server_from_starting() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for file in [empty.path(), std::path::Path::new("/nowhere/ca.pem")] {
        let refused = Verifier::new(vec![IssuerSettings { ca_file: Some(file.into()), ..settings() }]).err().unwrap();
        assert!(refused.to_string().contains("`ca_file`"), "{refused}");
    }
}

#[tokio::test]
async fn background_refresh_withdraws_a_key_without_being_asked() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let issuer = FakeIssuer::start(jwks(&[&old])).await;
    let settings = IssuerSettings { refresh_interval: Duration::from_secs(1), ..issuer.settings() };
    let verifier = Verifier::new(vec![settings]).unwrap();
    let _refresh = verifier.start();
    let token = old.token(&claims(&issuer.url));
    assert_eq!(reason(&verifier, &token).await, None);
    issuer.publish(jwks(&[&new]));
    let seen = issuer.key_fetches();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    while issuer.key_fetches() == seen || verifier.verify_now(&token, now()).is_some_and(|verdict| verdict.is_ok()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(reason(&verifier, &token).await, Some(Reason::UntrustedKey));
}

#[test]
fn plain_http_is_for_loopback_in_development_only() {
    let with = |url: &str, allow: bool| {
        let keys = KeyLocation::JwksUrl(url.to_owned());
        Verifier::new(vec![IssuerSettings { keys, allow_insecure_http_loopback: allow, ..settings() }]).is_ok()
    };
    assert!(with("https://issuer.example/jwks", false));
    assert!(with("http://127.0.0.1:1/jwks", true) && with("http://[::1]:1/jwks", true));
    assert!(!with("http://127.0.0.1:1/jwks", false));
    for url in
        ["http://issuer.example/jwks", "http://127.0.0.1.evil.example/", "http://10.0.0.1/", "file:///etc/passwd"]
    {
        assert!(!with(url, true), "{url}");
    }
}

fn left_out(jwk: &Value) -> Vec<&'static str> {
    let document = json!({"keys": [jwk]}).to_string();
    let set = KeySet::parse(document.as_bytes(), &[Algorithm::RS256], &["sig"]).unwrap();
    assert_eq!(set.len() + set.left_out.len(), 1);
    set.left_out
}

#[test]
fn a06_a07_keys_that_protect_nothing_are_left_out() {
    let changed = |signer: &Signer, changes: Value| {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        jwk
    };
    let (rs, es, ed) = (Signer::rsa("r", "RS256"), Signer::es256("e"), Signer::ed25519("d"));
    for (jwk, reason) in [
        (changed(&rs, json!({"n": encode([0xff; 128])})), "weak_key"),
        (changed(&rs, json!({"n": encode([[0].as_slice(), &[0xff; 255]].concat())})), "weak_key"),
        (changed(&rs, json!({"e": encode([1])})), "weak_key"),
        (changed(&rs, json!({"e": encode([0, 1])})), "weak_key"),
        (changed(&rs, json!({"e": encode([2])})), "weak_key"),
        (changed(&rs, json!({"alg": "HS256"})), "unknown_key_algorithm"),
        (changed(&rs, json!({"alg": "ES256"})), "unknown_key_algorithm"),
        (changed(&rs, json!({"use": "enc"})), "key_not_for_signatures"),
        (changed(&rs, json!({"key_ops": ["encrypt"]})), "key_not_for_signatures"),
        (changed(&rs, json!({"d": "AQAB"})), "private_key_in_jwks"),
        (changed(&ed, json!({"x": encode([0; 32])})), "weak_key"),
        (changed(&ed, json!({"x": encode([[1].as_slice(), &[0; 31]].concat())})), "weak_key"),
        (changed(&ed, json!({"x": encode([0; 31])})), "malformed_key"),
        (changed(&es, json!({"crv": "secp256k1"})), "unknown_key_type"),
        (changed(&es, json!({"y": "AA"})), "malformed_key"),
        (changed(&es, json!({"y": encode([1; 32])})), "malformed_key"),
        (changed(&es, json!({"kid": 7})), "malformed_key"),
        (json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"}), "symmetric_key_in_jwks"),
    ] {
        assert_eq!(left_out(&jwk), [reason], "{jwk}");
    }
    for sound in [rs.jwk(), es.jwk(), ed.jwk()] {
        assert!(left_out(&sound).is_empty());
    }
}

#[test]
fn a06_a_roca_modulus_is_weak() {
    // A product of the form that the broken generator makes: a power of 65537 modulo every small prime. 65537^128 is
    // one, and has 2,049 bits.
    let mut modulus = vec![1_u8];
    for _ in 0..128 {
        let mut carry = 0_u64;
        for byte in modulus.iter_mut().rev() {
            let sum = u64::from(*byte) * 65_537 + carry;
            *byte = (sum & 0xff) as u8;
            carry = sum >> 8;
        }
        while carry > 0 {
            modulus.insert(0, (carry & 0xff) as u8);
            carry >>= 8;
        }
    }
    let mut jwk = Signer::rsa("r", "RS256").jwk();
    jwk["n"] = json!(encode(modulus));
    assert_eq!(left_out(&jwk), ["weak_key"]);
}

#[test]
fn a_key_set_is_bounded_and_strict() {
    let signers: Vec<Signer> = (0..=KEYS_MAX).map(|_| Signer::ed25519("k")).collect();
    let all: Vec<&Signer> = signers.iter().collect();
    assert!(KeySet::parse(jwks(&all).as_bytes(), &[], &["sig"]).is_err());
    assert_eq!(KeySet::parse(jwks(&all[1..]).as_bytes(), &[], &["sig"]).unwrap().len(), KEYS_MAX);
    for document in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(KeySet::parse(document.as_bytes(), &[], &["sig"]).is_err(), "{document}");
    }
}

/// Wycheproof calls these valid: a PS384 token under a key whose `alg` is PS256. One key, one algorithm: we refuse.
const REFUSED_THOUGH_VALID: [u64; 2] = [346, 350];

/// Vectors made by others, read from outside the project; absent in most clones.
#[test]
fn wycheproof_signatures_verify_as_they_should() {
    let directory = std::env::var_os("VECTORS_DIR").map_or_else(|| PathBuf::from("../shared/vectors"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(directory.join("jose/wycheproof_jws.json")) else {
        // Not captured: a run that checked nothing says so.
        let _ = writeln!(std::io::stderr(), "vectors absent, nothing checked: {}", directory.display());
        return;
    };
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let mut checked = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        // Symmetric groups have no public key: nothing of theirs may ever verify.
        let keys = json!({"keys": [group.get("public").unwrap_or(&group["private"])]}).to_string();
        let keys = KeySet::parse(keys.as_bytes(), &[], &["sig"]).unwrap();
        for test in group["tests"].as_array().unwrap() {
            let token = test["jws"].as_str().unwrap_or_default();
            let verdict = Compact::parse(token)
                .and_then(|parts| keys.find(&parts.header)?.verify(parts.signed, &parts.signature));
            let id = test["tcId"].as_u64().unwrap();
            let is_valid = test["result"] == "valid" && group.get("public").is_some();
            if REFUSED_THOUGH_VALID.contains(&id) {
                assert_eq!(verdict, Err(Reason::AlgKeyMismatch), "{id}");
            } else {
                assert_eq!(verdict.is_ok(), is_valid, "{id}: {verdict:?}");
            }
            checked += 1;
        }
    }
    assert_eq!(checked, vectors["numberOfTests"].as_u64().unwrap_or_default());
}
