//! Who is who among several issuers: ids that cannot meet, aliases that do, actors of one issuer in tokens of another, the
//! clients through which people come, and what of a token goes on record.

use std::sync::Arc;

use serde_json::{Value, json};

use super::refusal::Reason;
use super::settings::{IssuerSettings, KeyLocation};
use super::testing::{NOW_SECONDS, Signer, claims, jwks, now, seconds_from_now};
use super::verifier::Verifier;
use crate::domain::identity::{Identity, PrincipalKind};

/// Several issuers that share a key, so that only what they are told apart by is in question.
struct House {
    verifier: Verifier,
    signer: Signer,
    _file: tempfile::NamedTempFile,
}

impl House {
    fn new(issuers: &[Value]) -> Self {
        let signer = Signer::es256("k");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), jwks(&[&signer])).unwrap();
        let settings = issuers.iter().map(|written| {
            let mut all = json!({"audiences": ["countersign"], "user_clients": ["portal"]});
            all.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
            let read: IssuerSettings = serde_json::from_value(all).unwrap();
            IssuerSettings { keys: KeyLocation::JwksFile(file.path().to_owned()), ..read }
        });
        Self { verifier: Verifier::new(settings.collect()).unwrap(), signer, _file: file }
    }

    async fn verdict(&self, issuer: &str, changes: Value) -> Result<Identity, Reason> {
        let mut all = claims(issuer);
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let verified = self.verifier.verify(&self.signer.token(&all), now()).await;
        verified.map(|token| (**token.identity()).clone()).map_err(|refusal| refusal.reason)
    }

    async fn who(&self, issuer: &str, changes: Value) -> Result<String, Reason> {
        self.verdict(issuer, changes).await.map(|identity| identity.uid.to_string())
    }
}

const OURS: &str = "https://ours.example";
const CI: &str = "https://ci.example";

fn ours(more: Value) -> Value {
    let mut all = json!({"name": "ours", "issuer": OURS});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn ci() -> Value {
    json!({"name": "ci", "issuer": CI, "namespace": "ci"})
}

#[tokio::test]
async fn the_first_issuer_keeps_its_ids_and_can_never_take_one_of_the_second() {
    let house = House::new(&[ours(json!({})), ci()]);
    assert_eq!(house.who(OURS, json!({})).await.unwrap(), r#"User::"alice""#);
    assert_eq!(house.who(CI, json!({})).await.unwrap(), r#"User::"ci/alice""#);
    // By subject, by group, and as an actor.
    for taken in [
        json!({"sub": "ci/alice"}),
        json!({"groups": ["ci/privacy"]}),
        json!({"act": {"sub": "ci/bot"}}),
        json!({"sub": "ci/", "client_id": "ci/"}),
    ] {
        assert_eq!(house.who(OURS, taken.clone()).await, Err(Reason::ForeignNamespace), "{taken}");
    }
    for near in ["ci", "cix/alice", "CI/alice", "/ci/alice"] {
        assert!(house.who(OURS, json!({"sub": near})).await.is_ok(), "{near}");
    }
    assert_eq!(house.who(CI, json!({"sub": "ci/alice"})).await.unwrap(), r#"User::"ci/ci/alice""#);
}

#[tokio::test]
async fn case_33_a_subject_is_one_being_under_every_alias_of_its_issuer() {
    let house = House::new(&[ours(json!({"aliases": ["https://old.example", "ours.example"]}))]);
    let first = house.verdict(OURS, json!({})).await.unwrap();
    for alias in ["https://old.example", "ours.example"] {
        let again = house.verdict(alias, json!({})).await.unwrap();
        assert!(again.is_same_as(&first) && again.uid == first.uid && again.issuer == first.issuer);
        assert_eq!(&*again.proof.credential.unwrap().issuer_spelt, alias, "what the token said is on record");
    }
    assert_eq!(house.who("https://old.example/", json!({})).await, Err(Reason::WrongIssuer));
}

#[tokio::test]
async fn case_41_equal_subjects_and_group_names_of_two_issuers_are_two() {
    let house = House::new(&[ours(json!({})), ci()]);
    let (one, two) = (house.verdict(OURS, json!({})).await.unwrap(), house.verdict(CI, json!({})).await.unwrap());
    assert!(!one.is_same_as(&two) && one.groups != two.groups);
    let same_mail = json!({"email": "alice@company.example", "email_verified": true, "preferred_username": "alice"});
    let (one, two) = (house.verdict(OURS, same_mail.clone()).await, house.verdict(CI, same_mail).await);
    assert!(!one.unwrap().is_same_as(&two.unwrap()), "an address links nobody");
}

#[tokio::test]
async fn a_persons_token_in_other_hands_is_no_persons() {
    let house = House::new(&[ours(json!({}))]);
    for client in ["report-bot", "Portal", "portal "] {
        let refused = house.who(OURS, json!({"client_id": client})).await;
        assert_eq!(refused, Err(Reason::UnknownPrincipal), "{client}");
    }
    let any = House::new(&[ours(json!({"user_clients": ["*"]}))]);
    assert_eq!(any.verdict(OURS, json!({"client_id": "x"})).await.unwrap().kind, PrincipalKind::User);
}

#[tokio::test]
async fn where_the_client_is_the_actor_it_acts_for_the_person_whose_token_it_holds() {
    let house = House::new(&[ours(json!({"actor": {"source": "client_id"}}))]);
    let agent = house.verdict(OURS, json!({"client_id": "report-bot"})).await.unwrap();
    assert_eq!((agent.uid.to_string().as_str(), agent.kind), (r#"Agent::"report-bot""#, PrincipalKind::Agent));
    assert_eq!(agent.on_behalf_of.unwrap().uid.to_string(), r#"User::"alice""#);
    let person = house.verdict(OURS, json!({})).await.unwrap();
    assert_eq!((person.kind, person.on_behalf_of), (PrincipalKind::User, None));
    let alone = house.verdict(OURS, json!({"sub": "report-bot", "client_id": "report-bot"})).await.unwrap();
    assert_eq!((alone.kind, alone.on_behalf_of), (PrincipalKind::Agent, None));
    // A claim that nobody expects could mean anything.
    assert_eq!(house.who(OURS, json!({"act": {"sub": "bot"}})).await, Err(Reason::BadAct));
}

#[tokio::test]
async fn an_agent_of_a_composite_id_has_that_id_as_an_actor_too() {
    let rules = json!([
        {"kind": "agent", "entity_type": "Agent", "id": "{tid}/{azp}", "when": [{"claim": "/idtyp", "equals": "app"}]},
        {"kind": "user", "entity_type": "User", "id": "{tid}/{sub}", "when": [{"claim": "/idtyp", "present": false}]},
    ]);
    let of = |source: &str| {
        let actor = json!({"source": source, "id": "{tid}/{azp}"});
        House::new(&[ours(json!({"client_claims": ["/azp"], "principals": rules, "actor": actor}))])
    };
    let bot = json!({"tid": "t/1", "azp": "bot", "idtyp": "app"});
    let by_client = of("client_id");
    let own = by_client.who(OURS, bot.clone()).await.unwrap();
    assert_eq!(own, r#"Agent::"t%2F1/bot""#);
    assert_eq!(by_client.who(OURS, json!({"tid": "t/1", "azp": "bot"})).await, Ok(own.clone()));
    let by_act = of("act");
    let act = json!({"sub": "whatever", "tid": "t/1", "azp": "bot"});
    assert_eq!(by_act.who(OURS, json!({"tid": "t/2", "azp": "portal", "act": act})).await, Ok(own));
    let unnamed = json!({"tid": "t/1", "azp": "portal", "act": {"sub": "bot"}});
    assert_eq!(by_act.who(OURS, unnamed).await, Err(Reason::MissingIdClaim));
}

#[tokio::test]
async fn where_nobody_acts_for_anybody_a_delegated_token_is_refused() {
    let house = House::new(&[ours(json!({"actor": {"source": "none"}}))]);
    assert_eq!(house.who(OURS, json!({"act": {"sub": "bot"}})).await, Err(Reason::BadAct));
    assert!(house.who(OURS, json!({})).await.is_ok());
}

#[tokio::test]
async fn an_actor_of_another_issuer_is_that_issuers_and_only_where_it_is_trusted() {
    let act = json!({"act": {"sub": "bot", "iss": CI, "act": {"sub": "earlier", "iss": "https://anywhere.example"}}});
    let strict = House::new(&[ours(json!({})), ci()]);
    assert_eq!(strict.who(OURS, act.clone()).await, Err(Reason::BadAct));
    let trusting = House::new(&[ours(json!({"actor": {"trusted_issuers": ["ci"]}})), ci()]);
    let agent = trusting.verdict(OURS, act).await.unwrap();
    assert_eq!((agent.uid.to_string().as_str(), &*agent.issuer), (r#"Agent::"ci/bot""#, CI));
    assert_eq!(agent.earlier_actors, [Arc::from("https://anywhere.example#earlier")], "on record, and decides nothing");
    let own = json!({"act": {"sub": "bot", "iss": OURS}});
    assert_eq!(trusting.who(OURS, own).await.unwrap(), r#"Agent::"bot""#);
    let stranger = json!({"act": {"sub": "bot", "iss": "https://stranger.example"}});
    assert_eq!(trusting.who(OURS, stranger).await, Err(Reason::BadAct));
}

#[tokio::test]
async fn a_delegation_passes_through_as_many_actors_as_are_configured() {
    let chain = json!({"act": {"sub": "one", "act": {"sub": "two"}}});
    for (depth, accepted) in [(1, false), (2, true)] {
        let house = House::new(&[ours(json!({"actor": {"depth_max": depth}}))]);
        assert_eq!(house.who(OURS, chain.clone()).await.is_ok(), accepted, "{depth}");
    }
}

#[tokio::test]
async fn groups_come_from_several_places_and_stay_apart() {
    let sources = json!([
        {"claim": "/groups", "prefix": "group:", "strip_prefix": "cs-", "others": "ignore"},
        {"claim": "/realm_access/roles", "prefix": "role:"},
    ]);
    let house = House::new(&[ours(json!({"groups": sources}))]);
    let stated = json!({"groups": ["cs-privacy", "privacy", "cs-"], "realm_access": {"roles": ["privacy", "role:x"]}});
    let identity = house.verdict(OURS, stated).await.unwrap();
    let names: Vec<_> = identity.groups.iter().map(|group| &*group.id).collect();
    assert_eq!(names, ["group:privacy", "role:privacy", "role:role:x"]);
    let elsewhere = json!({"realm_access": null, "_claim_names": {"realm_access": "src"}});
    assert_eq!(house.who(OURS, elsewhere).await, Err(Reason::GroupsOverage));
    let without = House::new(&[ours(json!({"groups": []}))]);
    let overage = json!({"_claim_names": {"groups": "src"}});
    assert!(without.who(OURS, overage).await.is_ok(), "what nobody looks at may be left out");
}

#[tokio::test]
async fn what_goes_on_record_tells_the_token_and_is_not_it() {
    let house = House::new(&[ours(json!({}))]);
    let fresh = json!({"auth_time": NOW_SECONDS - 5, "acr": "phr", "amr": ["hwk", "pin"]});
    let proof = house.verdict(OURS, fresh).await.unwrap().proof;
    let credential = proof.credential.unwrap();
    assert_eq!((&*credential.issuer_name, &*credential.issuer_spelt, &*credential.profile), ("ours", OURS, "rfc9068"));
    assert_eq!((&*credential.algorithm, credential.key_id.as_deref()), ("ES256", Some("k")));
    assert_eq!((credential.token_id.as_deref(), credential.client.as_deref()), (Some("1"), Some("portal")));
    assert_eq!((credential.issued_at, credential.acr.as_deref()), (Some(seconds_from_now(-10)), Some("phr")));
    assert_eq!(credential.amr, [Arc::from("hwk"), Arc::from("pin")]);
    assert_eq!(proof.authenticated_at, Some(seconds_from_now(-5)));
    for odd in [
        json!({"acr": 1}),
        json!({"amr": "pwd"}),
        json!({"amr": [1]}),
        json!({"amr": vec!["x"; 21]}),
        json!({"jti": 1}),
    ] {
        assert_eq!(house.who(OURS, odd.clone()).await, Err(Reason::ClaimType), "{odd}");
    }
}
