//! Requests of the Bot Connector: what proves one, and each way in which one does not.

use serde_json::{Value, json};

use super::bot::{BotSettings, BotVerifier, ISSUER, Origin};
use super::refusal::Reason;
use super::testing::{FakeIssuer, Mood, NOW_SECONDS, Signer, encode, now, seconds_from_now};

const APP: &str = "00000000-aaaa-4bbb-8ccc-000000000001";
const TEAMS: Origin<'static> = Origin { channel: "msteams", service_url: "https://smba.example/emea/" };

fn published(signer: &Signer, endorsements: &Value) -> String {
    let mut jwk = signer.jwk();
    jwk["endorsements"] = endorsements.clone();
    jwk.as_object_mut().unwrap().remove("alg");
    json!({"keys": [jwk]}).to_string()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": APP, "nbf": NOW_SECONDS - 10, "exp": NOW_SECONDS + 3_600,
        "serviceurl": TEAMS.service_url})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims.as_object_mut().unwrap().insert(name.to_owned(), value),
    };
    claims
}

fn token(signer: &Signer, claims: &Value) -> String {
    signer.sign(
        json!({"alg": signer.alg, "kid": signer.kid, "typ": "JWT", "x5t": signer.kid}).to_string(),
        claims.to_string(),
    )
}

fn verifier(issuer: &FakeIssuer) -> BotVerifier {
    let keys_url = format!("{}/jwks", issuer.url);
    BotVerifier::new(&BotSettings { app_id: APP.to_owned(), keys_url, allow_insecure_http_loopback: true }).unwrap()
}

#[tokio::test]
async fn case_55_only_the_connectors_own_token_for_this_bot_channel_and_service_is_believed() {
    let signer = Signer::rsa("bot", "RS256");
    let issuer = FakeIssuer::start(published(&signer, &json!(["msteams", "webchat"]))).await;
    let verifier = verifier(&issuer);
    assert_eq!(verifier.verify(&token(&signer, &claims()), TEAMS, now()).await, Ok(()));
    for (name, value, reason) in [
        ("iss", json!("https://sts.windows.net/tenant/"), Reason::WrongIssuer),
        ("iss", Value::Null, Reason::WrongIssuer),
        ("aud", json!("00000000-aaaa-4bbb-8ccc-000000000002"), Reason::WrongAudience),
        ("aud", Value::Null, Reason::WrongAudience),
        ("exp", json!(NOW_SECONDS - 301), Reason::Expired),
        ("exp", Value::Null, Reason::MissingExp),
        ("nbf", json!(NOW_SECONDS + 301), Reason::NotYetValid),
        ("serviceurl", json!("https://evil.example/"), Reason::WrongServiceUrl),
        ("serviceurl", Value::Null, Reason::WrongServiceUrl),
    ] {
        let forged = token(&signer, &with(name, value.clone()));
        assert_eq!(verifier.verify(&forged, TEAMS, now()).await, Err(reason), "{name} {value}");
    }
    let elsewhere = Origin { channel: "directline", ..TEAMS };
    assert_eq!(verifier.verify(&token(&signer, &claims()), elsewhere, now()).await, Err(Reason::NotEndorsed));
    let late = seconds_from_now(3_600 + 300);
    assert_eq!(verifier.verify(&token(&signer, &claims()), TEAMS, late).await, Err(Reason::Expired));
    let mut changed = token(&signer, &claims());
    let payload = encode(with("aud", json!([APP, "another"])).to_string());
    changed.replace_range(changed.find('.').unwrap() + 1..changed.rfind('.').unwrap(), &payload);
    assert_eq!(verifier.verify(&changed, TEAMS, now()).await, Err(Reason::BadSignature));
    let (other, none) = (Signer::es256("bot"), json!({"alg": "none", "typ": "JWT"}).to_string());
    assert_eq!(verifier.verify(&token(&other, &claims()), TEAMS, now()).await, Err(Reason::AlgNotAllowed));
    let unsigned = signer.sign(none, claims().to_string());
    assert_eq!(verifier.verify(&unsigned, TEAMS, now()).await, Err(Reason::AlgNotAllowed));
    let unknown = signer.sign(json!({"alg": "RS256", "kid": "other", "typ": "JWT"}).to_string(), claims().to_string());
    assert_eq!(verifier.verify(&unknown, TEAMS, now()).await, Err(Reason::UntrustedKey));
}

#[tokio::test]
async fn a_key_without_endorsements_signs_for_nothing_and_no_keys_are_no() {
    let signer = Signer::rsa("bot", "RS256");
    for endorsements in [Value::Null, json!([]), json!("msteams"), json!([1])] {
        let issuer = FakeIssuer::start(published(&signer, &endorsements)).await;
        let refused = verifier(&issuer).verify(&token(&signer, &claims()), TEAMS, now()).await;
        assert_eq!(refused, Err(Reason::NotEndorsed), "{endorsements}");
    }
    let issuer = FakeIssuer::start(String::new()).await;
    issuer.set_mood(Mood::Down);
    let refused = verifier(&issuer).verify(&token(&signer, &claims()), TEAMS, now()).await;
    assert_eq!(refused, Err(Reason::JwksUnavailable));
}

#[test]
fn keys_come_by_https() {
    let settings =
        |url: &str| BotSettings { app_id: APP.into(), keys_url: url.into(), allow_insecure_http_loopback: false };
    assert!(BotVerifier::new(&settings(super::bot::KEYS_URL)).is_ok());
    for url in ["http://127.0.0.1/keys", "http://login.botframework.com/keys", "keys"] {
        assert!(BotVerifier::new(&settings(url)).is_err(), "{url}");
    }
}
