//! Settings that are refused, and the least that is not.

use std::time::Duration;

use serde_json::json;

use super::check::*;
use super::delegation::ActorSource;
use super::groups::GroupSource;
use super::settings::{IssuerSettings, Kind, PrincipalRule};

fn issuer(name: &str, namespace: Option<&str>) -> IssuerSettings {
    let namespace = namespace.map(str::to_owned);
    let user_clients = vec!["portal".to_owned()];
    let new = IssuerSettings::new(name, &format!("https://{name}.example"), "countersign");
    IssuerSettings { namespace, user_clients, ..new }
}

#[test]
fn the_least_that_must_be_written_has_safe_defaults() {
    let raw = r#"{"name":"a","issuer":"https://a.example","audiences":["countersign"]}"#;
    let read: IssuerSettings = serde_json::from_str(raw).unwrap();
    assert_eq!(read, IssuerSettings::new("a", "https://a.example", "countersign"));
    assert!(read.check().unwrap_err().to_string().contains("user_clients"));
}

#[test]
fn durations_are_text_and_survive_a_round_trip() {
    let raw = r#"{"name":"a","issuer":"i","audiences":["c"],"leeway":"1m 30s","max_age":"2h","keys":{"jwks_url":"u"}}"#;
    let read: IssuerSettings = serde_json::from_str(raw).unwrap();
    assert_eq!((read.leeway.as_secs(), read.max_age), (90, Some(Duration::from_secs(2 * 60 * 60))));
    let again: IssuerSettings = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
    assert_eq!(again, read);
    let negative = r#"{"name":"a","issuer":"i","audiences":["c"],"leeway":"-1s"}"#;
    assert!(serde_json::from_str::<IssuerSettings>(negative).is_err());
}

#[test]
fn unknown_settings_and_symmetric_algorithms_are_refused() {
    for extra in [r#""audience":"c""#, r#""algorithms":["HS256"]"#, r#""algorithms":["none"]"#] {
        let raw = format!(r#"{{"name":"a","issuer":"i","audiences":["c"],{extra}}}"#);
        assert!(serde_json::from_str::<IssuerSettings>(&raw).is_err(), "{extra}");
    }
}

#[test]
fn unsafe_settings_are_refused() {
    let good = || issuer("a", None);
    let github = IssuerSettings { issuer: "https://token.actions.githubusercontent.com".to_owned(), ..good() };
    let everybody_human = PrincipalRule::new(Kind::User, "User", Vec::new());
    for bad in [
        IssuerSettings { audiences: Vec::new(), ..good() },
        IssuerSettings { audiences: vec![String::new()], ..good() },
        IssuerSettings { leeway: Duration::from_secs(301), ..good() },
        IssuerSettings { namespace: Some("a/b".to_owned()), ..good() },
        IssuerSettings { principals: vec![everybody_human], ..good() },
        IssuerSettings { groups: vec![GroupSource::at("groups")], ..good() },
        github,
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    assert_eq!(good().check(), Ok(()));
}

#[test]
fn one_agent_has_one_name_whoever_names_it() {
    let rules = |id: &str| {
        json!([
            {"kind": "agent", "entity_type": "Agent", "id": id, "when": [{"claim": "/idtyp", "equals": "app"}]},
            {"kind": "user", "entity_type": "User", "id": "{tid}/{oid}", "when": [{"claim": "/scp", "present": true}]},
        ])
    };
    let with = |id: &str, actor: serde_json::Value| read(json!({"principals": rules(id), "actor": actor}));
    let two_names = "issuer `a`: one agent would have two names: rules for `Agent` make the id `{tid}/{azp}`, and actors \
                     have another; set `actor.id` to the same, or `actor.source = \"none\"`";
    assert_eq!(with("{tid}/{azp}", json!({})), Err(two_names.to_owned()));
    for (id, actor, good) in [
        ("{tid}/{azp}", json!({"source": "client_id"}), false),
        ("{tid}/{azp}", json!({"source": "client_id", "id": "{azp}"}), false),
        ("app:{azp}", json!({}), false),
        ("{azp}", json!({"id": "{tid}/{azp}"}), false),
        ("{azp}", json!({"id": "{"}), false),
        ("{azp}", json!({}), true),
        ("{tid}/{azp}", json!({"id": "{tid}/{azp}"}), true),
        ("{tid}/{azp}", json!({"source": "none"}), true),
        ("{tid}/{azp}", json!({"entity_type": "Delegate"}), true),
    ] {
        assert_eq!(with(id, actor.clone()).is_ok(), good, "{id} {actor}");
    }
    // One whose agents another issuer names, though its own tokens have no actors.
    let mut peer = issuer("peer", Some("peer"));
    peer.principals = serde_json::from_value(rules("{tid}/{azp}")).unwrap();
    peer.actor.source = ActorSource::None;
    assert_eq!(check_all(std::slice::from_ref(&peer)), Ok(()));
    let mut naming = issuer("naming", Some("naming"));
    naming.actor.trusted_issuers = vec!["peer".to_owned()];
    let refused = check_all(&[naming, peer]).unwrap_err().to_string();
    assert!(refused.starts_with("issuer `peer`: one agent would have two names"), "{refused}");
}

fn read(changes: serde_json::Value) -> Result<(), String> {
    let mut all = serde_json::json!({
        "name": "a", "issuer": "https://a.example", "audiences": ["countersign"], "user_clients": ["portal"],
    });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let settings: IssuerSettings = serde_json::from_value(all).map_err(|error| error.to_string())?;
    settings.check().map_err(|error| error.to_string())
}

#[test]
fn p05_an_issuer_that_serves_everybody_needs_to_be_told_whose_tokens_count() {
    for issuer in OPEN_TO_EVERYBODY {
        let bad = [
            json!([]),
            json!([{"claim": "/repository", "present": true}]),
            json!([{"claim": "/repository", "differs_from": "/sub"}]),
            json!([{"claim": "/sub", "starts_with": "repo:company"}]),
            json!([{"claim": "/sub", "starts_with": "/"}]),
            json!([{"claim": "/aud", "equals": "countersign"}]),
            json!([{"claim": "/owner", "equals": ""}]),
            json!([{"claim": "/owner", "one_of": []}]),
        ];
        for required in bad {
            let refused = read(json!({"issuer": issuer, "required_claims": required})).unwrap_err();
            assert!(refused.contains("anybody can get a token"), "{issuer} {required}: {refused}");
        }
        for required in [
            json!([{"claim": "/repository_owner_id", "equals": "42"}]),
            json!([{"claim": "/hd", "one_of": ["company.example"]}, {"claim": "/x", "present": true}]),
            json!([{"claim": "/sub", "starts_with": "repo:company/"}]),
        ] {
            assert_eq!(read(json!({"issuer": issuer, "required_claims": required})), Ok(()), "{issuer} {required}");
        }
    }
    let under = json!({"issuer": "https://token.actions.githubusercontent.com/company"});
    assert!(read(under).is_err());
    assert_eq!(read(json!({"issuer": "https://accounts.google.com.company.example"})), Ok(()));
}

#[test]
fn p05_keys_of_every_tenant_need_a_rule_and_no_tenant_is_any_tenant() {
    for tenant in ["common", "organizations", "consumers"] {
        let keys = json!({"jwks_url": format!("https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys")});
        let required = json!([{"claim": "/tid", "equals": "t"}]);
        assert!(read(json!({"keys": keys})).unwrap_err().contains("anybody can get a token"));
        assert_eq!(read(json!({"keys": keys, "required_claims": required})), Ok(()));
        let any = format!("https://login.microsoftonline.com/{tenant}/v2.0");
        for literals in [json!({"issuer": any}), json!({"aliases": [any]})] {
            let mut all = literals;
            all["required_claims"] = required.clone();
            assert!(read(all).unwrap_err().contains("no token is of any tenant"));
        }
    }
}

#[test]
fn a_rule_for_people_says_through_which_clients_they_come() {
    assert!(read(json!({"user_clients": []})).unwrap_err().contains("user_clients"));
    let people = |when: serde_json::Value| {
        let rule = json!({"kind": "user", "entity_type": "User", "when": when});
        read(json!({"user_clients": [], "principals": [rule]}))
    };
    assert!(people(json!([{"claim": "/kind", "equals": "user"}])).is_err());
    assert!(people(json!([{"claim": "/client_id", "present": true}])).is_err());
    assert_eq!(people(json!([{"claim": "/client_id", "one_of": ["inbox"]}])), Ok(()));
}

#[test]
fn ids_groups_actors_and_trust_domains_that_could_be_mistaken_are_refused() {
    let rule = |id: &str| json!({"kind": "agent", "entity_type": "Agent", "id": id});
    for bad in [
        json!({"principals": [rule("bot")]}),
        json!({"principals": [rule("{a}{b}")]}),
        json!({"principals": [rule("{a}"), rule("{b}")]}),
        json!({"groups": [{"claim": "/groups"}, {"claim": "/roles"}]}),
        json!({"groups": [{"claim": "/groups", "prefix": "g"}, {"claim": "/roles", "prefix": "groups:"}]}),
        json!({"actor": {"depth_max": 0}}),
        json!({"actor": {"depth_max": 9}}),
        json!({"actor": {"source": "client_id"}, "user_clients": ["*"]}),
        json!({"actor": {"source": "none", "trusted_issuers": ["b"]}}),
        json!({"client_claims": []}),
        json!({"client_claims": ["azp"]}),
        json!({"aliases": [""]}),
        json!({"profile": "spiffe-jwt"}),
        json!({"profile": "spiffe-jwt", "aliases": ["spiffe://company.example/x"]}),
        json!({"aliases": ["spiffe://company.example"]}),
        json!({"profile": "jwt"}),
        json!({"required_claims": [{"claim": "/a", "starts_with": ""}], "issuer": "x"}),
    ] {
        let refused = read(bad.clone());
        let made = || {
            let mut all =
                json!({"name": "a", "issuer": "https://a.example", "audiences": ["c"], "user_clients": ["p"]});
            all.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
            let settings: IssuerSettings = serde_json::from_value(all).unwrap();
            settings.conditions(&settings.required_claims).is_err()
        };
        assert!(refused.is_err() || made(), "{bad}");
    }
    for good in [
        json!({"principals": [rule("{tid}/{oid}"), rule("{tid}/{oid}")], "actor": {"source": "none"}}),
        json!({"groups": [{"claim": "/groups"}, {"claim": "/roles", "entity_type": "Role"}]}),
        json!({"groups": [{"claim": "/groups", "prefix": "group:"}, {"claim": "/roles", "prefix": "role:"}]}),
        json!({"actor": {"source": "client_id"}}),
        json!({"profile": "spiffe-jwt", "aliases": ["spiffe://company.example"]}),
    ] {
        assert_eq!(read(good.clone()), Ok(()), "{good}");
    }
}

#[test]
fn two_issuers_can_never_yield_the_same_id() {
    assert_eq!(check_all(&[issuer("a", None)]), Ok(()));
    assert_eq!(check_all(&[issuer("a", Some("x")), issuer("b", Some("y"))]), Ok(()));
    assert_eq!(check_all(&[issuer("a", None), issuer("b", Some("y"))]), Ok(()));
    assert!(check_all(&[issuer("a", None), issuer("b", None)]).is_err());
    let alias = IssuerSettings { aliases: vec!["https://a.example".to_owned()], ..issuer("b", Some("y")) };
    assert!(check_all(&[issuer("a", None), alias]).is_err());
    let trusting = |name: &str| {
        let mut trusting = issuer("a", None);
        trusting.actor.trusted_issuers = vec![name.to_owned()];
        check_all(&[trusting, issuer("b", Some("y"))])
    };
    assert_eq!(trusting("b"), Ok(()));
    assert!(trusting("a").is_err() && trusting("c").is_err());
    assert!(check_all(&[issuer("a", Some("x")), issuer("b", Some("x"))]).is_err());
    assert!(check_all(&[issuer("a", Some("x")), issuer("a", Some("y"))]).is_err());
}
