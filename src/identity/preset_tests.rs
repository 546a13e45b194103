//! Each preset, with a token as the provider makes it (claims after the provider's documentation), and with those that
//! look alike and are something else.

use serde_json::{Value, json};

use super::preset::Preset;
use super::refusal::Reason;
use super::settings::IssuerSettings;
use super::testing::{NOW_SECONDS, Signer, jwks, now, verifier_with_keys};
use super::verifier::Verifier;
use crate::domain::identity::{Identity, PrincipalKind};

/// An issuer of a preset, and a key of it.
struct Provider {
    verifier: Verifier,
    signer: Signer,
    typ: Option<&'static str>,
    claims: Value,
    _file: tempfile::NamedTempFile,
}

impl Provider {
    /// `written` beside the preset's name; `claims` of a token that is good.
    fn new(preset: &str, written: Value, typ: Option<&'static str>, claims: Value) -> Self {
        let mut all = json!({"name": preset, "preset": preset, "audiences": ["countersign"]});
        all.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
        let settings: IssuerSettings = serde_json::from_value(all).unwrap();
        let signer = Signer::rsa("k", "RS256");
        let (verifier, _file) = verifier_with_keys(settings, &jwks(&[&signer]));
        let mut times = json!({"aud": "countersign", "iat": NOW_SECONDS - 5, "exp": NOW_SECONDS + 300});
        times.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        Self { verifier, signer, typ, claims: times, _file }
    }

    async fn verdict(&self, changes: Value) -> Result<Identity, Reason> {
        let mut claims = self.claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        let mut header = json!({"alg": "RS256", "kid": "k"});
        if let Some(typ) = self.typ {
            header["typ"] = json!(typ);
        }
        let token = self.signer.sign(header.to_string(), claims.to_string());
        let verified = self.verifier.verify(&token, now()).await;
        verified.map(|token| (**token.identity()).clone()).map_err(|refusal| refusal.reason)
    }

    /// The principal, as policies name it, and its groups.
    async fn who(&self, changes: Value) -> (String, Vec<String>) {
        let identity = self.verdict(changes).await.unwrap();
        (identity.uid.to_string(), identity.groups.iter().map(|group| group.id.to_string()).collect())
    }

    async fn refuses(&self, changes: Value, reason: Reason) {
        assert_eq!(self.verdict(changes.clone()).await.map(|who| who.uid), Err(reason), "{changes}");
    }
}

fn named(uid: &str, groups: &[&str]) -> (String, Vec<String>) {
    (uid.to_owned(), groups.iter().map(|group| (*group).to_owned()).collect())
}

#[tokio::test]
async fn okta() {
    let claims = json!({
        "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
        "iss": "https://company.okta.com/oauth2/aus1", "cid": "0oa-inbox", "uid": "00ujmkLgagxeRrAg20g3",
        "scp": ["openid", "approvals"], "auth_time": NOW_SECONDS - 60, "sub": "alice@company.example",
        "groups": ["privacy"],
    });
    let written = json!({"issuer": "https://company.okta.com/oauth2/aus1", "user_clients": ["0oa-inbox"]});
    let okta = Provider::new("okta", written, None, claims);
    assert_eq!(okta.who(json!({})).await, named(r#"User::"00ujmkLgagxeRrAg20g3""#, &["privacy"]));
    // A new login name is the same person.
    assert_eq!(okta.who(json!({"sub": "alice.b@company.example"})).await.0, r#"User::"00ujmkLgagxeRrAg20g3""#);
    let machine = json!({"sub": "0oa-bot", "cid": "0oa-bot", "uid": null, "auth_time": null});
    assert_eq!(okta.who(machine).await.0, r#"Agent::"0oa-bot""#);
    okta.refuses(json!({"cid": "0oa-bot"}), Reason::UnknownPrincipal).await;
    okta.refuses(json!({"uid": null}), Reason::UnknownPrincipal).await;
    okta.refuses(json!({"cid": "alice@company.example"}), Reason::UnknownPrincipal).await;
}

#[tokio::test]
async fn entra() {
    let (tenant, other) = ("8f1b5f0e-0001", "8f1b5f0e-0002");
    let issuer = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let claims = json!({
        "iss": issuer(tenant), "nbf": NOW_SECONDS - 5, "aio": "AXQAi/8IAAAA", "azp": "inbox-app", "azpacr": "1",
        "name": "Alice", "oid": "alice-oid", "preferred_username": "alice@company.example", "rh": "0.AXwA",
        "scp": "approvals", "sub": "pairwise-alice", "tid": tenant, "uti": "u", "ver": "2.0", "groups": ["g-1"],
    });
    let written = json!({"issuer": issuer(tenant), "aliases": [issuer(other)], "user_clients": ["inbox-app"]});
    let entra = Provider::new("entra", written, Some("JWT"), claims);
    assert_eq!(entra.who(json!({})).await, named(r#"User::"8f1b5f0e-0001/alice-oid""#, &["g-1"]));
    assert_eq!(entra.who(json!({"idtyp": "user"})).await.0, r#"User::"8f1b5f0e-0001/alice-oid""#);
    let elsewhere = json!({"iss": issuer(other), "tid": other, "sub": "another"});
    assert_eq!(entra.who(elsewhere).await.0, r#"User::"8f1b5f0e-0002/alice-oid""#, "the same object in another tenant");
    let app = json!({"idtyp": "app", "scp": null, "azp": "bot-app", "oid": "bot-oid", "sub": "bot-oid", "name": null});
    assert_eq!(entra.who(app).await.0, r#"Agent::"8f1b5f0e-0001/bot-app""#);
    // An application whose tokens do not say so, an ID token, version 1, a stranger's app, groups left out.
    entra.refuses(json!({"scp": null, "azp": "bot-app", "sub": "bot-oid"}), Reason::UnknownPrincipal).await;
    entra.refuses(json!({"scp": null}), Reason::UnknownPrincipal).await;
    entra.refuses(json!({"ver": "1.0"}), Reason::MissingRequiredClaim).await;
    entra.refuses(json!({"azp": "bot-app"}), Reason::UnknownPrincipal).await;
    entra.refuses(json!({"oid": null}), Reason::MissingIdClaim).await;
    entra.refuses(json!({"groups": null, "_claim_names": {"groups": "src1"}}), Reason::GroupsOverage).await;
    entra.refuses(json!({"groups": null, "_claim_names": "src1"}), Reason::GroupsOverage).await;
    entra.refuses(json!({"groups": null, "hasgroups": true}), Reason::GroupsOverage).await;
    entra.refuses(json!({"iss": issuer("8f1b5f0e-0003")}), Reason::WrongIssuer).await;
}

#[tokio::test]
async fn google() {
    let claims = json!({
        "iss": "https://accounts.google.com", "azp": "inbox.apps.googleusercontent.com",
        "aud": "inbox.apps.googleusercontent.com", "sub": "110169484474386276334", "hd": "company.example",
        "email": "alice@company.example", "email_verified": true, "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q", "name": "Alice",
    });
    let client = "inbox.apps.googleusercontent.com";
    let required = json!([{"claim": "/hd", "equals": "company.example"}]);
    let written = json!({"audiences": [client], "user_clients": [client], "required_claims": required});
    let google = Provider::new("google", written, Some("JWT"), claims);
    for issuer in ["https://accounts.google.com", "accounts.google.com"] {
        let alice = google.verdict(json!({"iss": issuer})).await.unwrap();
        assert_eq!((&*alice.uid.id, &*alice.issuer), ("110169484474386276334", "https://accounts.google.com"));
        assert_eq!(&*alice.proof.credential.unwrap().issuer_spelt, issuer);
    }
    google.refuses(json!({"hd": "other.example"}), Reason::MissingRequiredClaim).await;
    google.refuses(json!({"hd": null}), Reason::MissingRequiredClaim).await;
    google.refuses(json!({"azp": "other.apps.googleusercontent.com"}), Reason::UnknownPrincipal).await;
    google.refuses(json!({"act": {"sub": "x"}}), Reason::BadAct).await;
}

#[tokio::test]
async fn keycloak() {
    let claims = json!({
        "auth_time": NOW_SECONDS - 60, "jti": "onrtac:1", "iss": "https://sso.company.example/realms/main",
        "aud": ["countersign", "account"], "sub": "8c3f-alice", "typ": "Bearer", "azp": "inbox", "sid": "s",
        "acr": "1", "allowed-origins": ["https://inbox.company.example"], "realm_access": {"roles": ["user"]},
        "resource_access": {"account": {"roles": ["view-profile"]}}, "scope": "openid email profile",
        "email_verified": true, "name": "Alice", "preferred_username": "alice", "groups": ["/privacy", "/eu/dpo"],
    });
    let written = json!({"issuer": "https://sso.company.example/realms/main", "user_clients": ["inbox"]});
    let keycloak = Provider::new("keycloak", written, Some("JWT"), claims);
    assert_eq!(keycloak.who(json!({})).await, named(r#"User::"8c3f-alice""#, &["eu/dpo", "privacy"]));
    let service = json!({
        "azp": "report-bot", "sub": "77aa-service", "preferred_username": "service-account-report-bot",
        "clientHost": "10.0.0.1", "clientAddress": "10.0.0.1", "client_id": "report-bot", "auth_time": null,
    });
    assert_eq!(keycloak.who(service).await.0, r#"Agent::"report-bot""#);
    // Without its client scope a service account looks like a user: the client tells.
    keycloak.refuses(json!({"azp": "report-bot", "sub": "77aa-service"}), Reason::UnknownPrincipal).await;
    for kind in ["ID", "Refresh", "Offline", "Logout"] {
        keycloak.refuses(json!({"typ": kind}), Reason::MissingRequiredClaim).await;
    }
    keycloak.refuses(json!({"groups": ["privacy"]}), Reason::ClaimType).await;
}

#[tokio::test]
async fn auth0() {
    let claims = json!({
        "iss": "https://company.eu.auth0.com/", "sub": "auth0|5f7c", "scope": "openid approvals", "jti": "j",
        "aud": ["countersign", "https://company.eu.auth0.com/userinfo"], "client_id": "inbox-client",
        "https://company.example/groups": ["privacy"],
    });
    let groups = json!([{"claim": "/https:~1~1company.example~1groups"}]);
    let written =
        json!({"issuer": "https://company.eu.auth0.com/", "user_clients": ["inbox-client"], "groups": groups});
    let auth0 = Provider::new("auth0", written, Some("at+jwt"), claims);
    assert_eq!(auth0.who(json!({})).await, named(r#"User::"auth0|5f7c""#, &["privacy"]));
    let machine = json!({"sub": "bot-client@clients", "client_id": "bot-client", "gty": "client-credentials"});
    assert_eq!(auth0.who(machine).await.0, r#"Agent::"bot-client""#);
    auth0.refuses(json!({"client_id": "bot-client"}), Reason::UnknownPrincipal).await;
    auth0.refuses(json!({"iss": "https://company.eu.auth0.com"}), Reason::WrongIssuer).await;
    let old_profile = Provider { typ: Some("JWT"), ..auth0 };
    old_profile.refuses(json!({}), Reason::WrongTyp).await;
}

#[tokio::test]
async fn github_actions() {
    let claims = json!({
        "jti": "example-id", "sub": "repo:company/warehouse:environment:prod", "environment": "prod",
        "ref": "refs/heads/main", "sha": "example-sha", "repository": "company/warehouse", "event_name": "push",
        "repository_owner": "company", "actor_id": "12", "repository_visibility": "private", "repository_id": "74",
        "repository_owner_id": "65", "run_id": "1", "run_number": "10", "run_attempt": "2", "actor": "octocat",
        "runner_environment": "github-hosted", "workflow": "export", "head_ref": "", "base_ref": "",
        "ref_type": "branch", "iss": "https://token.actions.githubusercontent.com", "nbf": NOW_SECONDS - 600,
        "job_workflow_ref": "company/warehouse/.github/workflows/export.yml@refs/heads/main",
    });
    let required = json!([{"claim": "/repository_owner_id", "equals": "65"}]);
    let github = Provider::new(
        "github-actions",
        json!({"namespace": "github", "required_claims": required}),
        Some("JWT"),
        claims,
    );
    let groups = [
        "github/environment:prod",
        "github/event:push",
        "github/ref:refs/heads/main",
        "github/workflow:company/warehouse/.github/workflows/export.yml@refs/heads/main",
    ];
    assert_eq!(github.who(json!({})).await, named(r#"Workload::"github/74""#, &groups));
    assert_eq!(github.who(json!({"environment": null})).await.1.len(), 3);
    // Anybody's repository can ask for our audience.
    github.refuses(json!({"repository_owner_id": "66"}), Reason::MissingRequiredClaim).await;
    github.refuses(json!({"repository_owner_id": 65}), Reason::ClaimType).await;
    github.refuses(json!({"repository_id": null}), Reason::MissingRequiredClaim).await;
    let bare = json!({"name": "g", "preset": "github-actions", "audiences": ["countersign"]});
    let bare: IssuerSettings = serde_json::from_value(bare).unwrap();
    assert!(bare.check().unwrap_err().to_string().contains("anybody can get a token"));
}

#[tokio::test]
async fn kubernetes() {
    let claims = json!({
        "aud": ["countersign"], "iss": "https://kubernetes.default.svc.cluster.local", "jti": "ea28ed49",
        "kubernetes.io": {
            "namespace": "prod", "node": {"name": "n", "uid": "u"}, "pod": {"name": "report-bot-0", "uid": "u"},
            "serviceaccount": {"name": "report-bot", "uid": "14ee"},
        },
        "nbf": NOW_SECONDS - 5, "sub": "system:serviceaccount:prod:report-bot",
    });
    let written = json!({"issuer": "https://kubernetes.default.svc.cluster.local"});
    let kubernetes = Provider::new("kubernetes", written, None, claims);
    assert_eq!(kubernetes.who(json!({})).await, named(r#"Workload::"prod/report-bot""#, &["namespace:prod"]));
    for other in ["system:serviceaccount:prod:other", "system:node:n", "system:serviceaccount:prod:report-bot:x"] {
        kubernetes.refuses(json!({"sub": other}), Reason::BadSub).await;
    }
    kubernetes.refuses(json!({"kubernetes.io": null}), Reason::MissingRequiredClaim).await;
    kubernetes.refuses(json!({"iat": NOW_SECONDS - 26 * 3_600}), Reason::BadIat).await;
    kubernetes.refuses(json!({"exp": null}), Reason::MissingExp).await;
}

#[tokio::test]
async fn spiffe() {
    let claims = json!({"aud": ["countersign"], "sub": "spiffe://company.example/ns/prod/sa/report-bot"});
    let written = json!({"issuer": "https://oidc.company.example", "aliases": ["spiffe://company.example"]});
    let spiffe = Provider::new("spiffe", written, Some("JWT"), claims);
    let bot = r#"Workload::"spiffe://company.example/ns/prod/sa/report-bot""#;
    // With and without the issuer that SPIRE may put into its tokens.
    assert_eq!(spiffe.who(json!({})).await, named(bot, &[]));
    assert_eq!(spiffe.who(json!({"iss": "https://oidc.company.example"})).await, named(bot, &[]));
    for subject in [
        "spiffe://company.example.evil/ns/prod/sa/report-bot",
        "spiffe://other.example/ns/prod/sa/report-bot",
        "spiffe://Company.example/x",
        "spiffe:///x",
        "company.example/x",
    ] {
        spiffe.refuses(json!({"sub": subject}), Reason::WrongIssuer).await;
        spiffe.refuses(json!({"iss": "https://oidc.company.example", "sub": subject}), Reason::BadSub).await;
    }
    for path in ["", "/", "/a/", "//a", "/a/../b", "/a b", "/a%2fb", "/a?b", "/./a"] {
        let subject = format!("spiffe://company.example{path}");
        spiffe.refuses(json!({"sub": subject}), Reason::BadSub).await;
    }
}

#[test]
fn only_keys_for_tokens_are_taken_from_a_bundle() {
    let (token, certificate) = (Signer::es256("jwt"), Signer::es256("x509"));
    let (mut jwt, mut x509) = (token.jwk(), certificate.jwk());
    (jwt["use"], x509["use"]) = (json!("jwt-svid"), json!("x509-svid"));
    let bundle = json!({"keys": [jwt, x509], "spiffe_sequence": 1, "spiffe_refresh_hint": 600}).to_string();
    let parse = |uses: &[&str]| super::keys::KeySet::parse(bundle.as_bytes(), &[], uses).unwrap();
    assert_eq!(parse(super::profile::TokenProfile::SpiffeJwt.key_uses()).len(), 1);
    assert_eq!(parse(super::profile::TokenProfile::Oidc.key_uses()).len(), 0);
}

#[test]
fn a_token_without_an_issuer_is_for_trust_domains_only() {
    let mut claims = super::testing::claims("x");
    claims.as_object_mut().unwrap().remove("iss");
    claims["sub"] = json!("https://issuer.example");
    let signer = Signer::es256("k");
    let (verifier, _file) = verifier_with_keys(super::testing::settings(), &jwks(&[&signer]));
    let refused = verifier.verify_now(&signer.token(&claims), now()).unwrap().unwrap_err();
    assert_eq!(refused.reason, Reason::WrongIssuer);
}

#[test]
fn what_is_written_stands_and_what_must_hold_is_added() {
    for preset in Preset::ALL {
        let all = json!({
            "name": "p", "preset": preset, "issuer": "https://p.example", "audiences": ["a"], "user_clients": ["c"],
            "aliases": ["spiffe://p.example"], "algorithms": ["PS256"], "leeway": "10s",
            "required_claims": [{"claim": "/tenant", "equals": "t"}],
        });
        let settings: IssuerSettings = serde_json::from_value(all).unwrap();
        assert_eq!((settings.issuer.as_str(), settings.leeway.as_secs()), ("https://p.example", 10));
        assert_eq!(settings.algorithms, [super::settings::Algorithm::PS256]);
        assert_eq!(settings.required_claims.last().unwrap().claim, "/tenant");
        // As `config print` shows it, it is the same again.
        let again: IssuerSettings = serde_json::from_value(serde_json::to_value(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
    }
    let keycloak = json!({"name": "k", "preset": "keycloak", "issuer": "i", "audiences": ["a"],
        "required_claims": [{"claim": "/tenant", "equals": "t"}]});
    assert_eq!(serde_json::from_value::<IssuerSettings>(keycloak).unwrap().required_claims.len(), 2);
    let unknown = json!({"name": "k", "preset": "octa", "issuer": "i", "audiences": ["a"]});
    let error = serde_json::from_value::<IssuerSettings>(unknown).unwrap_err().to_string();
    assert!(error.contains("`preset`") && error.contains("okta"), "{error}");
}

#[tokio::test]
async fn machines_of_every_preset_are_no_people() {
    let kinds = [PrincipalKind::Agent, PrincipalKind::Workload];
    for preset in [Preset::GithubActions, Preset::Kubernetes, Preset::Spiffe] {
        let all = json!({"name": "p", "preset": preset, "issuer": "i", "audiences": ["a"]});
        let settings: IssuerSettings = serde_json::from_value(all).unwrap();
        assert!(settings.principals.iter().all(|rule| kinds.contains(&rule.kind.into())), "{preset:?}");
    }
}
