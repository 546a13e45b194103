//! Logins: the ID tokens of each provider come to the same person as its access tokens, and nothing else is a login.

use serde_json::{Value, json};

use super::login::{IdTokenRules, LoginSettings};
use super::refusal::Reason;
use super::settings::IssuerSettings;
use super::testing::{NOW_SECONDS, Signer, jwks, now, verifier_with_keys};

const NONCE: &str = "n-0S6_WzA2Mj";

fn issuer(preset: Value) -> IssuerSettings {
    let mut all = json!({"name": "company", "audiences": ["countersign"], "user_clients": ["inbox"]});
    all.as_object_mut().unwrap().extend(preset.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

/// What becomes of an ID token with these claims; `typ` is `JWT`.
async fn login(issuer: IssuerSettings, id_token: IdTokenRules, claims: Value) -> Result<String, Reason> {
    let iss = issuer.issuer.clone();
    let signer = Signer::rsa("k", "RS256");
    let (verifier, _file) = verifier_with_keys(issuer, &jwks(&[&signer]));
    let settings = LoginSettings { issuer: "company".into(), client_id: "inbox".into(), id_token };
    let logins = verifier.for_login(&settings).unwrap();
    let mut all = json!({
        "iss": iss, "aud": "inbox", "iat": NOW_SECONDS - 5, "exp": NOW_SECONDS + 300, "nonce": NONCE, "sub": "alice",
    });
    for (name, value) in claims.as_object().unwrap() {
        match value {
            Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
            value => all[name] = value.clone(),
        }
    }
    let typ = all.as_object_mut().unwrap().remove("header_typ").unwrap_or(json!("JWT"));
    let token = signer.sign(json!({"alg": "RS256", "kid": "k", "typ": typ}).to_string(), all.to_string());
    let verified = logins.verify(&token, NONCE, now()).await;
    verified.map(|token| token.identity().uid.to_string()).map_err(|refusal| refusal.reason)
}

fn plain() -> IssuerSettings {
    issuer(json!({"issuer": "https://login.example"}))
}

#[tokio::test]
async fn a_login_is_of_this_client_this_browser_and_a_person() {
    let check = async |claims| login(plain(), IdTokenRules::default(), claims).await;
    assert_eq!(check(json!({})).await, Ok(r#"User::"alice""#.to_owned()));
    assert_eq!(check(json!({"aud": ["inbox", "other"], "azp": "inbox"})).await, Ok(r#"User::"alice""#.to_owned()));
    for (claims, reason) in [
        (json!({"nonce": "another"}), Reason::WrongNonce),
        (json!({"nonce": null}), Reason::UnknownPrincipal),
        (json!({"aud": "countersign"}), Reason::WrongAudience),
        (json!({"aud": ["inbox", "other"]}), Reason::ClientNotAllowed),
        (json!({"azp": "other"}), Reason::ClientNotAllowed),
        (json!({"header_typ": "at+jwt"}), Reason::WrongTyp),
        (json!({"act": {"sub": "bot"}}), Reason::BadAct),
        (json!({"gty": "client-credentials"}), Reason::UnknownPrincipal),
        (json!({"exp": NOW_SECONDS - 100}), Reason::Expired),
        (json!({"iat": null}), Reason::MissingRequiredClaim),
    ] {
        assert_eq!(check(claims.clone()).await, Err(reason), "{claims}");
    }
}

#[tokio::test]
async fn the_id_tokens_of_each_provider_come_to_the_same_person() {
    let user = |id: &str| Ok(format!("User::\"{id}\""));
    let usual = IdTokenRules::default;
    let okta = json!({"preset": "okta", "issuer": "https://company.okta.example/oauth2/default"});
    assert_eq!(login(issuer(okta), usual(), json!({"sub": "00u1"})).await, user("00u1"));
    let entra = json!({"preset": "entra", "issuer": "https://login.microsoftonline.com/t1/v2.0"});
    let claims = json!({"sub": "pairwise", "tid": "t1", "oid": "o1", "ver": "2.0"});
    assert_eq!(login(issuer(entra), usual(), claims).await, user("t1/o1"));
    let keycloak = json!({"preset": "keycloak", "issuer": "https://sso.example/realms/company"});
    assert_eq!(login(issuer(keycloak.clone()), usual(), json!({"typ": "ID", "azp": "inbox"})).await, user("alice"));
    let refresh = login(issuer(keycloak), usual(), json!({"typ": "Refresh", "azp": "inbox"})).await;
    assert_eq!(refresh, Err(Reason::MissingRequiredClaim));
    let google = json!({"preset": "google", "required_claims": [{"claim": "/hd", "equals": "company.example"}]});
    let of_company = json!({"azp": "inbox", "hd": "company.example"});
    assert_eq!(login(issuer(google.clone()), usual(), of_company).await, user("alice"));
    let anybody = login(issuer(google), usual(), json!({"azp": "inbox"})).await;
    assert_eq!(anybody, Err(Reason::MissingRequiredClaim));
}

#[tokio::test]
async fn where_id_tokens_differ_one_says_where() {
    let rules = IdTokenRules { id: Some("{employee}".into()), ..IdTokenRules::default() };
    assert_eq!(login(plain(), rules, json!({"employee": "e7"})).await, Ok(r#"User::"e7""#.to_owned()));
    let (verifier, _file) = verifier_with_keys(plain(), &jwks(&[]));
    let unknown = LoginSettings { issuer: "x".into(), client_id: "inbox".into(), id_token: IdTokenRules::default() };
    assert!(verifier.for_login(&unknown).is_err());
}
