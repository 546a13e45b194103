//! The second half of [`super::hostile_tests`]: tokens of a good form and signature, hostile in what they claim. Times,
//! subjects, groups, actors, proofs of possession, and what must not widen anything.

use serde_json::{Value, json};

use super::hostile_tests::Case;
use super::refusal::Reason;
use super::settings::IssuerSettings;
use super::testing::{ISSUER, NOW_SECONDS, Signer, claims, jwks, now, seconds_from_now, settings};
use super::verifier::Verifier;
use crate::domain::identity::PrincipalKind;

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

/// No proof of possession is taken here, so whatever a proof could be wrong in, the token that needs one is refused.
#[tokio::test]
async fn d09_a_token_that_is_bound_to_a_key_is_no_bearer_token() {
    let case = Case::new();
    let thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    for cnf in [json!({"jkt": thumbprint}), json!({"x5t#S256": thumbprint}), json!({}), json!("x"), json!([])] {
        case.refuses_claims(json!({"cnf": cnf}), Reason::InvalidDpopProof).await;
    }
    case.refuses(&case.with_null("cnf"), Reason::InvalidDpopProof).await;
}

#[tokio::test]
async fn d11_authorization_details_never_widen_anything() {
    let case = Case::new();
    let plain = case.accepts_claims(json!({})).await;
    let wide = json!({"type": "countersign", "actions": ["administer"], "groups": ["admins"], "sub": "root"});
    let unknown = json!({"type": "unheard-of", "locations": ["*"]});
    for details in [json!([unknown]), json!({"type": "x"}), json!([{"actions": ["*"]}]), json!([wide]), json!("*")] {
        assert_eq!(case.accepts_claims(json!({"authorization_details": details})).await, plain, "{details}");
    }
}

#[tokio::test]
async fn d12_a_scope_is_one_set_in_every_spelling_and_counts_only_where_the_settings_say_so() {
    let plain = Case::new().accepts_claims(json!({})).await;
    let scopes = [
        json!({"scope": "read write"}),
        json!({"scope": "write  read "}),
        json!({"scp": ["write", "read"]}),
        json!({"scp": "read write read"}),
    ];
    for scope in &scopes {
        assert_eq!(Case::new().accepts_claims(scope.clone()).await, plain, "nobody asked for scopes");
    }
    for scope in scopes {
        let claim = if scope.get("scp").is_some() { "/scp" } else { "/scope" };
        let source = json!([{"claim": claim, "entity_type": "Scope", "separator": " "}]);
        let case = Case::with(IssuerSettings { groups: serde_json::from_value(source).unwrap(), ..settings() });
        let found = case.accepts_claims(scope.clone()).await.groups;
        let names: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(names, [r#"Scope::"read""#, r#"Scope::"write""#], "{scope}");
        let many = (0..201).map(|number| format!("s{number} ")).collect::<String>();
        case.refuses_claims(json!({claim[1..]: many}), Reason::ClaimType).await;
    }
}
