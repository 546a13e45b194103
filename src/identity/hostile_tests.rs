//! The hostile and borderline tokens of the case list (after RFC 8725bis, 9068 and 8693), each minted here and named by
//! its id. Every one is signed by a trusted key unless the signature is the point, so that it is refused for its
//! reason and for no other.

use serde_json::{Value, json};

use super::profile::TokenProfile;
use super::refusal::Reason;
use super::settings::IssuerSettings;
use super::testing::{ISSUER, Signer, claims, encode, jwks, now, seconds_from_now, settings, verifier_with_keys};
use super::verifier::Verifier;
use crate::domain::identity::{Identity, PrincipalKind};

/// A verifier that trusts three keys, and their signers.
pub struct Case {
    pub verifier: Verifier,
    pub es: Signer,
    rs: Signer,
    ps: Signer,
    _file: tempfile::NamedTempFile,
}

impl Case {
    pub fn new() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: IssuerSettings) -> Self {
        let (es, rs, ps) = (Signer::es256("es"), Signer::rsa("rs", "RS256"), Signer::rsa("ps", "PS256"));
        let (verifier, _file) = verifier_with_keys(settings, &jwks(&[&es, &rs, &ps]));
        Self { verifier, es, rs, ps, _file }
    }

    pub async fn verdict(&self, token: &str) -> Result<Identity, Reason> {
        let verified = self.verifier.verify(token, now()).await;
        verified.map(|token| (**token.identity()).clone()).map_err(|refusal| refusal.reason)
    }

    pub async fn refuses(&self, token: &str, reason: Reason) {
        assert_eq!(self.verdict(token).await.map(|identity| identity.uid), Err(reason), "{token:.80}");
    }

    /// Sound but for the claims that are replaced (`null` removes; see [`Case::with_null`] for the value).
    pub fn claims(&self, changes: &Value) -> String {
        let mut all = claims(ISSUER);
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
                value => all[name] = value.clone(),
            }
        }
        self.es.token(&all)
    }

    pub fn with_null(&self, name: &str) -> String {
        let mut all = claims(ISSUER);
        all[name] = Value::Null;
        self.es.token(&all)
    }

    pub fn header(&self, changes: &Value) -> String {
        let mut header = self.es.header();
        for (name, value) in changes.as_object().unwrap() {
            header[name] = value.clone();
        }
        self.es.sign(header.to_string(), claims(ISSUER).to_string())
    }

    pub async fn refuses_claims(&self, changes: Value, reason: Reason) {
        self.refuses(&self.claims(&changes), reason).await;
    }

    pub async fn refuses_header(&self, changes: Value, reason: Reason) {
        self.refuses(&self.header(&changes), reason).await;
    }

    pub async fn accepts_claims(&self, changes: Value) -> Identity {
        self.verdict(&self.claims(&changes)).await.unwrap()
    }
}

#[tokio::test]
async fn the_sound_token_that_all_others_vary_is_accepted() {
    let alice = Case::new().accepts_claims(json!({})).await;
    assert_eq!((alice.uid.to_string().as_str(), alice.kind), (r#"User::"alice""#, PrincipalKind::User));
    assert_eq!(format!("{:?}", alice.groups), r#"[Group::"privacy"]"#);
    assert_eq!(alice.proof.expires_at, seconds_from_now(360));
}

#[tokio::test]
async fn f01_nothing_is_a_missing_token() {
    let case = Case::new();
    for token in ["", " ", "\t\n", "Bearer", "bearer "] {
        case.refuses(token, Reason::MissingToken).await;
    }
}

#[tokio::test]
async fn f02_a_token_has_three_segments() {
    let case = Case::new();
    let token = case.claims(&json!({}));
    case.refuses(token.rsplit_once('.').unwrap().0, Reason::Malformed).await;
    case.refuses(&format!("{token}.AAAA"), Reason::Malformed).await;
    case.refuses(&format!("{token}.A.A.A.A.A"), Reason::Malformed).await;
}

#[tokio::test]
async fn f04_json_serialization_is_malformed() {
    let case = Case::new();
    let token = case.claims(&json!({}));
    let parts: Vec<&str> = token.split('.').collect();
    let both = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2], "Payload": "e30"});
    case.refuses(&both.to_string(), Reason::Malformed).await;
}

#[tokio::test]
async fn f06_one_token_has_one_spelling() {
    let case = Case::new();
    let token = case.claims(&json!({}));
    assert!(case.verdict(&token).await.is_ok());
    // A 64-byte signature ends in two significant bits: fifteen other last letters decode to the same bytes leniently.
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = ALPHABET.iter().position(|letter| *letter == token.as_bytes()[token.len() - 1]).unwrap();
    let other = char::from(ALPHABET[last + 1]);
    case.refuses(&format!("{}{other}", &token[..token.len() - 1]), Reason::Malformed).await;
    for odd in [format!("{token}="), format!("{token}\n"), format!(" {token}"), token.replacen('.', "=.", 1)] {
        case.refuses(&odd, Reason::Malformed).await;
    }
}

#[tokio::test]
async fn f07_header_and_payload_are_json_objects_without_duplicates() {
    let case = Case::new();
    let (header, payload) = (case.es.header().to_string(), claims(ISSUER).to_string());
    let mut with_mark = vec![0xef, 0xbb, 0xbf];
    with_mark.extend_from_slice(payload.as_bytes());
    let wide: Vec<u8> = payload.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for odd in [b"[]".to_vec(), b"null".to_vec(), b"\"a\"".to_vec(), b"{\"a\":\"\xff\"}".to_vec(), with_mark, wide] {
        case.refuses(&case.es.sign(&header, &odd), Reason::Malformed).await;
        case.refuses(&case.es.sign(&odd, &payload), Reason::Malformed).await;
    }
    let twice = payload.replacen('{', r#"{"sub":"mallory","#, 1);
    case.refuses(&case.es.sign(&header, twice), Reason::Malformed).await;
    let twice = header.replacen('{', r#"{"alg":"none","#, 1);
    case.refuses(&case.es.sign(twice, &payload), Reason::Malformed).await;
}

#[tokio::test]
async fn f09_size_and_depth_have_limits() {
    let case = Case::new();
    case.refuses_claims(json!({"x": "a".repeat(16 * 1024)}), Reason::TooLarge).await;
    let deep =
        claims(ISSUER).to_string().replacen('{', &format!(r#"{{"x":{}{},"#, "[".repeat(100), "]".repeat(100)), 1);
    case.refuses(&case.es.sign(case.es.header().to_string(), deep), Reason::TooLarge).await;
    let very_deep = "[".repeat(8_000);
    case.refuses(&case.es.sign(case.es.header().to_string(), format!(r#"{{"x":{very_deep}"#)), Reason::TooLarge).await;
}

#[tokio::test]
async fn a01_none_is_no_algorithm() {
    let case = Case::new();
    for alg in ["none", "None", "nOnE", ""] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": "es"}).to_string();
        case.refuses(&format!("{}.{}.", encode(header), encode(claims(ISSUER).to_string())), Reason::AlgNotAllowed)
            .await;
    }
}

#[tokio::test]
async fn a02_a_public_key_is_no_shared_secret() {
    let case = Case::new();
    let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": "rs"}).to_string();
    let signed = format!("{}.{}", encode(header), encode(claims(ISSUER).to_string()));
    for secret in [case.rs.jwk().to_string(), case.rs.jwk()["n"].as_str().unwrap().to_owned()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        case.refuses(&format!("{signed}.{}", encode(tag)), Reason::AlgNotAllowed).await;
    }
}

#[tokio::test]
async fn a04_a_key_serves_one_algorithm() {
    let case = Case::new();
    let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": "ps"}).to_string();
    case.refuses(&case.rs.sign(header, claims(ISSUER).to_string()), Reason::AlgKeyMismatch).await;
    case.refuses(&case.ps.token(&claims(ISSUER)), Reason::AlgNotAllowed).await;
    assert!(case.verdict(&case.rs.token(&claims(ISSUER))).await.is_ok());
}

#[tokio::test]
async fn a09_a_signature_must_verify() {
    let case = Case::new();
    let other = Signer::es256("es").token(&claims(ISSUER));
    case.refuses(&other, Reason::BadSignature).await;
    let token = case.claims(&json!({}));
    let (signed, _) = token.rsplit_once('.').unwrap();
    for signature in [String::new(), encode([0; 64]), encode([0xff; 64]), encode([1; 63])] {
        case.refuses(&format!("{signed}.{signature}"), Reason::BadSignature).await;
    }
    let payload = encode(claims(ISSUER).to_string().replace("alice", "bob"));
    let parts: Vec<&str> = token.split('.').collect();
    case.refuses(&format!("{}.{payload}.{}", parts[0], parts[2]), Reason::BadSignature).await;
}

#[tokio::test]
async fn a11_critical_extensions_are_not_understood() {
    let case = Case::new();
    case.refuses_header(json!({"b64": false, "crit": ["b64"]}), Reason::CritNotUnderstood).await;
    case.refuses_header(json!({"b64": false}), Reason::CritNotUnderstood).await;
    case.refuses_header(json!({"crit": ["exp"]}), Reason::CritNotUnderstood).await;
    case.refuses_header(json!({"crit": []}), Reason::CritNotUnderstood).await;
}

#[tokio::test]
async fn a12_nothing_is_decrypted_or_inflated() {
    let case = Case::new();
    case.refuses_header(json!({"zip": "DEF"}), Reason::EncryptedNotSupported).await;
    case.refuses_header(json!({"alg": "PBES2-HS256+A128KW", "p2c": 10_000_000}), Reason::EncryptedNotSupported).await;
    case.refuses("AAAA.AAAA.AAAA.AAAA.AAAA", Reason::EncryptedNotSupported).await;
}

#[tokio::test]
async fn k02_keys_and_addresses_in_a_header_are_ignored() {
    let case = Case::new();
    let mallory = Signer::es256("mallory");
    for (name, value) in
        [("jku", json!("http://127.0.0.1:9/jwks")), ("x5u", json!("http://127.0.0.1:9/x")), ("jwk", mallory.jwk())]
    {
        let mut header = mallory.header();
        header[name] = value;
        case.refuses(&mallory.sign(header.to_string(), claims(ISSUER).to_string()), Reason::UntrustedKey).await;
    }
}

#[tokio::test]
async fn k04_k05_a_token_without_kid_needs_a_single_fitting_key() {
    let without_kid = |signer: &Signer| {
        let header = json!({"alg": signer.alg, "typ": "at+jwt"}).to_string();
        signer.sign(header, claims(ISSUER).to_string())
    };
    let case = Case::new();
    assert!(case.verdict(&without_kid(&case.es)).await.is_ok());
    let (one, two) = (Signer::es256("one"), Signer::es256("two"));
    let (verifier, _file) = verifier_with_keys(settings(), &jwks(&[&one, &two]));
    let refusal = verifier.verify(&without_kid(&one), now()).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::AmbiguousKey);
}

#[tokio::test]
async fn i02_i03_i05_the_issuer_is_compared_byte_by_byte() {
    let case = Case::new();
    for issuer in [
        "https://ISSUER.example",
        "https://issuer.example/",
        "https://issuer.example:443",
        "http://issuer.example",
        "https://issuer%2eexample",
        "https://sts.windows.net/tenant/",
    ] {
        case.refuses_claims(json!({"iss": issuer}), Reason::WrongIssuer).await;
    }
    for issuer in [json!([ISSUER]), json!(1), Value::Null] {
        case.refuses_claims(json!({"iss": issuer}), Reason::WrongIssuer).await;
    }
    case.refuses(&case.with_null("iss"), Reason::WrongIssuer).await;
}

#[tokio::test]
async fn i08_i10_the_audience_must_name_us_and_only_names_count() {
    let case = Case::new();
    case.accepts_claims(json!({"aud": ["other", "countersign"]})).await;
    case.accepts_claims(json!({"aud": ["countersign", "countersign"]})).await;
    for audience in [json!("other"), json!([]), json!("Countersign"), json!("countersign "), Value::Null] {
        case.refuses_claims(json!({"aud": audience}), Reason::WrongAudience).await;
    }
    for audience in [json!(["countersign", 1]), json!(["countersign", null]), json!({"countersign": 1}), json!(1)] {
        case.refuses_claims(json!({"aud": audience}), Reason::Malformed).await;
    }
    case.refuses(&case.with_null("aud"), Reason::Malformed).await;
}

#[tokio::test]
async fn i12_only_listed_clients_where_clients_are_listed() {
    let case = Case::with(IssuerSettings { allowed_clients: vec!["portal".to_owned()], ..settings() });
    case.accepts_claims(json!({"aud": ["countersign", "other"]})).await;
    case.refuses_claims(json!({"client_id": "other"}), Reason::ClientNotAllowed).await;
    case.refuses_claims(json!({"client_id": 7}), Reason::ClaimType).await;
    let (allowed_clients, token_types) = (vec!["portal".to_owned()], vec!["at+jwt".to_owned()]);
    let case = Case::with(IssuerSettings { allowed_clients, token_types, profile: TokenProfile::Oidc, ..settings() });
    case.refuses_claims(json!({"client_id": null}), Reason::ClientNotAllowed).await;
    case.accepts_claims(json!({"client_id": null, "azp": "portal"})).await;
}

#[tokio::test]
async fn y01_y03_only_access_tokens_are_access_tokens() {
    let case = Case::new();
    for good in ["AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert!(case.verdict(&case.header(&json!({"typ": good}))).await.is_ok(), "{good}");
    }
    for bad in [
        "JWT",
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "oauth-id-jag+jwt",
        "txntoken+jwt",
        "client-authentication+jwt",
        "text/at+jwt",
    ] {
        case.refuses_header(json!({"typ": bad}), Reason::WrongTyp).await;
    }
    let without = case.es.sign(r#"{"alg":"ES256","kid":"es"}"#, claims(ISSUER).to_string());
    case.refuses(&without, Reason::WrongTyp).await;
    let lenient = Case::with(IssuerSettings { token_types: vec!["JWT".to_owned()], ..settings() });
    assert!(lenient.verdict(&lenient.header(&json!({"typ": "jwt"}))).await.is_ok());
}

#[tokio::test]
async fn y05_nested_tokens_are_not_unwrapped() {
    let case = Case::new();
    for cty in ["JWT", "jwt", "application/jwt"] {
        let header = json!({"alg": "ES256", "kid": "es", "typ": "at+jwt", "cty": cty}).to_string();
        case.refuses(&case.es.sign(header, case.claims(&json!({}))), Reason::NestedNotSupported).await;
    }
}
