//! The hostile and borderline tokens of the case list (after RFC 8725bis, 9068 and 8693), each minted here and named by
//! its id. Every one is signed by a trusted key unless the signature is the point, so that it is refused for its
//! reason and for no other.

use serde_json::{Value, json};

use super::profile::TokenProfile;
use super::refusal::Reason;
use super::settings::IssuerSettings;
use super::testing::{
    ISSUER, NOW_SECONDS, Signer, claims, encode, jwks, now, seconds_from_now, settings, verifier_with_keys,
};
use super::verifier::Verifier;
use crate::domain::identity::{Identity, PrincipalKind};

/// A verifier that trusts three keys, and their signers.
struct Case {
    verifier: Verifier,
    es: Signer,
    rs: Signer,
    ps: Signer,
    _file: tempfile::NamedTempFile,
}

impl Case {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: IssuerSettings) -> Self {
        let (es, rs, ps) = (Signer::es256("es"), Signer::rsa("rs", "RS256"), Signer::rsa("ps", "PS256"));
        let (verifier, _file) = verifier_with_keys(settings, &jwks(&[&es, &rs, &ps]));
        Self { verifier, es, rs, ps, _file }
    }

    async fn verdict(&self, token: &str) -> Result<Identity, Reason> {
        let verified = self.verifier.verify(token, now()).await;
        verified.map(|token| (**token.identity()).clone()).map_err(|refusal| refusal.reason)
    }

    async fn refuses(&self, token: &str, reason: Reason) {
        assert_eq!(self.verdict(token).await.map(|identity| identity.uid), Err(reason), "{token:.80}");
    }

    /// Sound but for the claims that are replaced (`null` removes; see [`Case::with_null`] for the value).
    fn claims(&self, changes: &Value) -> String {
        let mut all = claims(ISSUER);
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
                value => all[name] = value.clone(),
            }
        }
        self.es.token(&all)
    }

    fn with_null(&self, name: &str) -> String {
        let mut all = claims(ISSUER);
        all[name] = Value::Null;
        self.es.token(&all)
    }

    fn header(&self, changes: &Value) -> String {
        let mut header = self.es.header();
        for (name, value) in changes.as_object().unwrap() {
            header[name] = value.clone();
        }
        self.es.sign(header.to_string(), claims(ISSUER).to_string())
    }

    async fn refuses_claims(&self, changes: Value, reason: Reason) {
        self.refuses(&self.claims(&changes), reason).await;
    }

    async fn refuses_header(&self, changes: Value, reason: Reason) {
        self.refuses(&self.header(&changes), reason).await;
    }

    async fn accepts_claims(&self, changes: Value) -> Identity {
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

#[tokio::test]
async fn c01_the_moment_of_expiry_is_too_late() {
    let strict = Case::with(IssuerSettings { leeway: std::time::Duration::ZERO, ..settings() });
    strict.refuses_claims(json!({"exp": NOW_SECONDS}), Reason::Expired).await;
    strict.accepts_claims(json!({"exp": NOW_SECONDS + 1})).await;
    let case = Case::new();
    case.refuses_claims(json!({"exp": NOW_SECONDS - 60}), Reason::Expired).await;
    case.accepts_claims(json!({"exp": NOW_SECONDS - 59})).await;
}

#[tokio::test]
async fn c03_a_token_expires_and_times_are_whole_seconds() {
    let case = Case::new();
    case.refuses_claims(json!({"exp": null}), Reason::MissingExp).await;
    for name in ["exp", "nbf", "iat", "auth_time"] {
        for odd in [json!(1_800_000_100.5), json!("1800000100"), json!(-1), json!(u64::MAX), json!(true), json!([1])] {
            case.refuses_claims(json!({name: odd}), Reason::ClaimType).await;
        }
    }
}

#[tokio::test]
async fn c05_c06_a_token_from_the_future_or_the_past_is_refused() {
    let case = Case::with(IssuerSettings { max_age: Some(std::time::Duration::from_secs(60 * 60)), ..settings() });
    case.refuses_claims(json!({"nbf": NOW_SECONDS + 61}), Reason::NotYetValid).await;
    case.accepts_claims(json!({"nbf": NOW_SECONDS + 60})).await;
    case.refuses_claims(json!({"iat": NOW_SECONDS + 61}), Reason::BadIat).await;
    case.refuses_claims(json!({"iat": NOW_SECONDS - 3_660}), Reason::BadIat).await;
    case.refuses_claims(json!({"iat": null}), Reason::BadIat).await;
    case.refuses_claims(json!({"auth_time": NOW_SECONDS + 61}), Reason::ClaimType).await;
    let old = case.accepts_claims(json!({"iat": NOW_SECONDS - 3_600, "auth_time": NOW_SECONDS - 5})).await;
    assert_eq!(old.proof.expires_at, seconds_from_now(60));
    assert_eq!(old.proof.authenticated_at, Some(seconds_from_now(-5)));
}

#[tokio::test]
async fn c08_a_remembered_token_ends_with_its_validity_in_both_directions() {
    let case = Case::new();
    let token = case.claims(&json!({"nbf": NOW_SECONDS}));
    assert_eq!(case.verifier.verify(&token, now()).await.unwrap().expires_at(), seconds_from_now(360));
    let at = |seconds| case.verifier.verify_now(&token, seconds_from_now(seconds)).unwrap().map_err(|no| no.reason);
    assert!(at(359).is_ok());
    assert_eq!(at(360).unwrap_err(), Reason::Expired);
    assert_eq!(at(-61).unwrap_err(), Reason::NotYetValid);
}

#[tokio::test]
async fn s02_a_subject_is_non_empty_text_of_bounded_length() {
    let case = Case::new();
    for subject in [Value::Null, json!(""), json!(7), json!(["alice"]), json!("a".repeat(256))] {
        case.refuses_claims(json!({"sub": subject}), Reason::BadSub).await;
    }
    case.accepts_claims(json!({"sub": "a".repeat(255)})).await;
}

#[tokio::test]
async fn s03_a_subject_is_kept_to_the_byte_and_shown_escaped() {
    let case = Case::new();
    let odd = "a\"::\u{0}\u{202e}\né e\u{301}";
    let identity = case.accepts_claims(json!({"sub": odd})).await;
    assert_eq!((&*identity.uid.id, &*identity.subject), (odd, odd));
    assert!(!identity.uid.to_string().contains(['\u{0}', '\u{202e}', '\n']));
    assert_ne!(identity.uid, case.accepts_claims(json!({"sub": odd.replace("e\u{301}", "é")})).await.uid);
}

#[tokio::test]
async fn s05_names_and_addresses_decide_nothing() {
    let case = Case::new();
    let plain = case.accepts_claims(json!({"name": null})).await;
    let display =
        json!({"name": "bob", "email": "bob@x", "email_verified": false, "preferred_username": "bob", "upn": "b"});
    let named = case.accepts_claims(display).await;
    assert_eq!((named.uid, named.kind, named.groups), (plain.uid, plain.kind, plain.groups));
    let long = case.accepts_claims(json!({"name": "é".repeat(500)})).await;
    assert_eq!(long.display_name.unwrap().chars().count(), 200);
}

#[tokio::test]
async fn s07_groups_left_out_are_unknown_not_empty() {
    let case = Case::new();
    case.refuses_claims(json!({"groups": null, "_claim_names": {"groups": "src1"}}), Reason::GroupsOverage).await;
    case.refuses_claims(json!({"groups": null, "hasgroups": true}), Reason::GroupsOverage).await;
    case.refuses_claims(json!({"groups": null, "hasgroups": "true"}), Reason::GroupsOverage).await;
    assert!(case.accepts_claims(json!({"groups": null})).await.groups.is_empty());
}

#[tokio::test]
async fn s08_equal_subjects_and_groups_of_two_issuers_are_two() {
    let (a, b) = (Signer::es256("k"), Signer::es256("k"));
    let files = [jwks(&[&a]), jwks(&[&b])].map(|keys| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), keys).unwrap();
        file
    });
    let issuers = ["one", "two"].map(|name| format!("https://{name}.example"));
    let all = std::iter::zip(&issuers, &files).zip(["one", "two"]).map(|((issuer, file), name)| IssuerSettings {
        namespace: Some(name.to_owned()),
        keys: super::settings::KeyLocation::JwksFile(file.path().to_owned()),
        name: name.to_owned(),
        issuer: issuer.clone(),
        ..settings()
    });
    let verifier = Verifier::new(all.collect()).unwrap();
    let verifier = &verifier;
    let alice = |token: String| async move { (**verifier.verify(&token, now()).await.unwrap().identity()).clone() };
    let (one, two) = (a.token(&claims(&issuers[0])), b.token(&claims(&issuers[1])));
    let (one, two) = (alice(one).await, alice(two).await);
    assert_eq!((&*one.uid.id, &*two.uid.id), ("one/alice", "two/alice"));
    assert_eq!((&*one.groups[0].id, &*two.groups[0].id), ("one/privacy", "two/privacy"));
    assert!(!one.is_same_as(&two));
    // K12: the same key id at both issuers, and a token of one signed by the other's key.
    let crossed = a.token(&claims(&issuers[1]));
    assert_eq!(verifier.verify(&crossed, now()).await.unwrap_err().reason, Reason::BadSignature);
}

#[tokio::test]
async fn s10_groups_are_a_bounded_list_of_texts() {
    let case = Case::new();
    let many: Vec<String> = (0..201).map(|number| number.to_string()).collect();
    for groups in [json!(1), json!({"a": 1}), json!(["a", 1]), json!([""]), json!(1.0), json!(true), json!(many)] {
        case.refuses_claims(json!({"groups": groups}), Reason::ClaimType).await;
    }
    case.refuses(&case.with_null("groups"), Reason::ClaimType).await;
    assert_eq!(case.accepts_claims(json!({"groups": many[..200]})).await.groups.len(), 200);
    assert_eq!(case.accepts_claims(json!({"groups": "solo"})).await.groups.len(), 1);
    assert_eq!(case.accepts_claims(json!({"groups": ["a", "a"]})).await.groups.len(), 1);
}

#[tokio::test]
async fn d01_d04_the_actor_is_the_principal_on_behalf_of_the_subject() {
    let case = Case::new();
    let act = json!({"sub": "bot", "iss": ISSUER, "exp": 1, "nbf": 9_000_000_000_i64, "aud": "other"});
    let agent = case.accepts_claims(json!({"act": act})).await;
    assert_eq!((agent.uid.to_string().as_str(), agent.kind), (r#"Agent::"bot""#, PrincipalKind::Agent));
    assert!(agent.groups.is_empty(), "the groups are the subject's");
    let alice = agent.on_behalf_of.unwrap();
    assert_eq!((alice.uid.to_string().as_str(), alice.kind), (r#"User::"alice""#, PrincipalKind::User));
    assert_eq!(alice.groups.len(), 1);
}

#[tokio::test]
async fn d02_earlier_actors_are_recorded_and_the_chain_is_bounded() {
    let case = Case::new();
    let chain = |length: usize| {
        (0..length).rev().fold(Value::Null, |inner, number| match inner {
            Value::Null => json!({"sub": format!("bot{number}")}),
            inner => json!({"sub": format!("bot{number}"), "act": inner}),
        })
    };
    let agent = case.accepts_claims(json!({"act": chain(4)})).await;
    assert_eq!(&*agent.uid.id, "bot0");
    assert_eq!(agent.earlier_actors.iter().map(|actor| &**actor).collect::<Vec<_>>(), ["bot1", "bot2", "bot3"]);
    case.refuses_claims(json!({"act": chain(5)}), Reason::BadAct).await;
}

#[tokio::test]
async fn an_actor_that_is_malformed_or_of_another_issuer_is_refused() {
    let case = Case::new();
    let other = json!({"sub": "bot", "iss": "https://other.example"});
    for act in [json!("bot"), json!({}), json!({"sub": 1}), json!({"sub": ""}), json!([]), other] {
        case.refuses_claims(json!({"act": act}), Reason::BadAct).await;
    }
    case.refuses_claims(json!({"act": {"sub": "bot", "act": "x"}}), Reason::BadAct).await;
    case.refuses(&case.with_null("act"), Reason::BadAct).await;
}

#[tokio::test]
async fn d06_acting_for_oneself_is_no_delegation_and_still_no_human() {
    let case = Case::new();
    let own = case.accepts_claims(json!({"act": {"sub": "alice", "iss": ISSUER}})).await;
    assert!(own.on_behalf_of.is_none());
    assert_eq!(own.kind, PrincipalKind::Agent);
    let alice = case.accepts_claims(json!({})).await;
    assert!(own.is_same_as(&alice), "it cannot be used to countersign one's own action");
}

#[tokio::test]
async fn clients_that_act_for_themselves_are_agents_and_the_unclear_is_nobody() {
    let case = Case::new();
    let agent = case.accepts_claims(json!({"sub": "bot", "client_id": "bot"})).await;
    assert_eq!((agent.uid.to_string().as_str(), agent.kind), (r#"Agent::"bot""#, PrincipalKind::Agent));
    case.refuses_claims(json!({"client_id": null}), Reason::MissingRequiredClaim).await;
    case.refuses_claims(json!({"client_id": 1}), Reason::ClaimType).await;
    // Client credentials as Auth0, Keycloak and Entra issue them must not pass for humans.
    for mark in ["gty", "clientHost", "idtyp"] {
        case.refuses_claims(json!({mark: "app"}), Reason::UnknownPrincipal).await;
    }
}

#[tokio::test]
async fn p05_an_issuer_open_to_everybody_needs_a_required_claim_that_holds() {
    let required = serde_json::from_value(json!({"claim": "/repository_owner_id", "equals": "42"})).unwrap();
    let case = Case::with(IssuerSettings { required_claims: vec![required], ..settings() });
    case.accepts_claims(json!({"repository_owner_id": "42"})).await;
    case.refuses_claims(json!({"repository_owner_id": "43"}), Reason::MissingRequiredClaim).await;
    case.refuses_claims(json!({}), Reason::MissingRequiredClaim).await;
}

#[tokio::test]
async fn p07_an_access_token_may_be_used_again() {
    let case = Case::new();
    let token = case.claims(&json!({}));
    for _ in 0..2 {
        assert!(case.verdict(&token).await.is_ok());
    }
}

#[tokio::test]
async fn no_debug_print_shows_a_claim() {
    let case = Case::new();
    let verified = case.verifier.verify(&case.claims(&json!({"jti": "s3cret"})), now()).await.unwrap();
    let shown = format!("{verified:?}");
    assert!(shown.contains("alice") && !shown.contains("s3cret") && !shown.contains("Alice"), "{shown}");
}
