//! What is usual with well-known providers, so that few settings need be written. A preset is nothing but defaults:
//! whatever the file says stands instead, except that `required_claims` are added to the preset's. What must be done at
//! the provider is in `docs/identity.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A provider whose habits are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    Okta,
    Entra,
    Google,
    Keycloak,
    Auth0,
    GithubActions,
    Kubernetes,
    Spiffe,
}

impl Preset {
    /// All of them, for tests and documentation.
    pub const ALL: [Self; 8] = [
        Self::Okta,
        Self::Entra,
        Self::Google,
        Self::Keycloak,
        Self::Auth0,
        Self::GithubActions,
        Self::Kubernetes,
        Self::Spiffe,
    ];

    /// The settings, as they would be written.
    fn settings(self) -> Value {
        match self {
            Self::Okta => okta(),
            Self::Entra => entra(),
            Self::Google => google(),
            Self::Keycloak => keycloak(),
            Self::Auth0 => auth0(),
            Self::GithubActions => github_actions(),
            Self::Kubernetes => kubernetes(),
            Self::Spiffe => spiffe(),
        }
    }
}

/// What is written, with a preset's word where nothing is.
pub(super) fn complete(written: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let Some(preset) = written.get("preset").filter(|preset| !preset.is_null()) else { return Ok(written) };
    let preset: Preset = serde_json::from_value(preset.clone()).map_err(|error| format!("`preset`: {error}"))?;
    let Value::Object(mut complete) = preset.settings() else { return Ok(written) };
    for (key, value) in written {
        match (key.as_str(), complete.get_mut(&key), value) {
            (_, _, Value::Null) => {}
            ("required_claims", Some(Value::Array(all)), Value::Array(more)) => {
                let new: Vec<Value> = more.into_iter().filter(|one| !all.contains(one)).collect();
                all.extend(new);
            }
            (_, _, value) => drop(complete.insert(key, value)),
        }
    }
    Ok(complete)
}

/// A custom authorization server. The subject is the login, which changes when a person's name does; `uid` stays.
fn okta() -> Value {
    json!({
        "profile": "oidc",
        "algorithms": ["RS256"],
        "client_claims": ["/cid"],
        "principals": [
            {"kind": "agent", "entity_type": "Agent", "id": "{cid}", "when": [
                {"claim": "/cid", "same_as": "/sub"}, {"claim": "/uid", "present": false},
            ]},
            {"kind": "user", "entity_type": "User", "id": "{uid}", "when": [
                {"claim": "/cid", "differs_from": "/sub"}, {"claim": "/uid", "present": true},
            ]},
        ],
    })
}

/// Version 2 access tokens. The subject is another one in every application; tenant and object id are not. ID tokens
/// look alike and have no `scp`.
fn entra() -> Value {
    let user = |idtyp: Value| json!({"kind": "user", "entity_type": "User", "id": "{tid}/{oid}", "when": [{"claim": "/scp", "present": true}, idtyp]});
    json!({
        "profile": "oidc",
        "algorithms": ["RS256"],
        "client_claims": ["/azp"],
        "required_claims": [{"claim": "/ver", "equals": "2.0"}],
        "actor": {"source": "none", "id": "{tid}/{azp}"},
        "principals": [
            {"kind": "agent", "entity_type": "Agent", "id": "{tid}/{azp}", "when": [{"claim": "/idtyp", "equals": "app"}]},
            user(json!({"claim": "/idtyp", "present": false})),
            user(json!({"claim": "/idtyp", "equals": "user"})),
        ],
    })
}

/// ID tokens: Google's access tokens are no JWTs. People of a Workspace domain (`hd`), and service accounts, which are
/// their own clients.
fn google() -> Value {
    json!({
        "issuer": "https://accounts.google.com",
        "aliases": ["accounts.google.com"],
        "profile": "oidc",
        "algorithms": ["RS256"],
        "client_claims": ["/azp"],
        "groups": [],
        "actor": {"source": "none"},
        "principals": [
            {"kind": "workload", "entity_type": "Workload", "when": [{"claim": "/azp", "same_as": "/sub"}]},
            {"kind": "user", "entity_type": "User", "when": [
                {"claim": "/azp", "differs_from": "/sub"}, {"claim": "/hd", "present": true},
            ]},
        ],
    })
}

/// Access, ID and refresh tokens differ in the claim `typ` only. A service account is a user like others, but for the
/// claims that its client scope adds.
fn keycloak() -> Value {
    let agent = |mark: &str| json!({"kind": "agent", "entity_type": "Agent", "id": "{azp}", "when": [{"claim": mark, "present": true}]});
    json!({
        "profile": "oidc",
        "algorithms": ["RS256", "ES256", "EdDSA"],
        "client_claims": ["/azp"],
        "required_claims": [{"claim": "/typ", "equals": "Bearer"}],
        "groups": [{"claim": "/groups", "strip_prefix": "/"}],
        "principals": [
            agent("/clientHost"),
            agent("/clientAddress"),
            agent("/client_id"),
            {"kind": "user", "entity_type": "User", "when": [{"claim": "/azp", "differs_from": "/sub"}]},
        ],
    })
}

/// The API's token profile must be RFC 9068. Machines are `<client>@clients`. Groups have no usual place.
fn auth0() -> Value {
    json!({
        "profile": "rfc9068",
        "algorithms": ["RS256", "PS256"],
        "groups": [],
        "principals": [
            {"kind": "agent", "entity_type": "Agent", "id": "{client_id}", "when": [
                {"claim": "/sub", "ends_with": "@clients"},
            ]},
            {"kind": "user", "entity_type": "User", "when": [
                {"claim": "/client_id", "differs_from": "/sub"}, {"claim": "/gty", "present": false},
            ]},
        ],
    })
}

/// A job is the repository whose it is, by the number that a new owner of the name does not get. Where and what it runs
/// are groups.
fn github_actions() -> Value {
    json!({
        "issuer": "https://token.actions.githubusercontent.com",
        "profile": "github-actions",
        "algorithms": ["RS256"],
        "groups": [
            {"claim": "/environment", "prefix": "environment:"},
            {"claim": "/job_workflow_ref", "prefix": "workflow:"},
            {"claim": "/ref", "prefix": "ref:"},
            {"claim": "/event_name", "prefix": "event:"},
        ],
        "actor": {"source": "none"},
        "principals": [{"kind": "workload", "entity_type": "Workload", "id": "{repository_id}"}],
    })
}

/// Bound service account tokens. The kubelet renews them after a day at the latest.
fn kubernetes() -> Value {
    json!({
        "profile": "kubernetes",
        "algorithms": ["RS256", "ES256"],
        "groups": [{"claim": "/kubernetes.io/namespace", "prefix": "namespace:"}],
        "actor": {"source": "none"},
        "max_age": "25h",
        "principals": [{
            "kind": "workload", "entity_type": "Workload",
            "id": "{/kubernetes.io/namespace}/{/kubernetes.io/serviceaccount/name}",
        }],
    })
}

/// JWT-SVIDs of one trust domain.
fn spiffe() -> Value {
    json!({
        "profile": "spiffe-jwt",
        "algorithms": ["ES256", "ES384", "RS256"],
        "groups": [],
        "actor": {"source": "none"},
        "principals": [{"kind": "workload", "entity_type": "Workload", "id": "{sub}"}],
    })
}
