//! The development issuer: an OpenID-Connect-like issuer with demo people, agents and a pipeline, so that `--dev` and
//! `demo` run the same verification as production. It plays another party, so it has its own clock and a key that
//! lives as long as it does. Anybody who reaches it can be anybody: it therefore serves loopback addresses only, and
//! answers neither browsers of other origins nor foreign host names (DNS rebinding). It is never part of a deployment.

mod login;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use axum::extract::{Form, FromRef, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use login::Logins;

use crate::domain::time::Timestamp;
use crate::identity::check::ANY_CLIENT;
use crate::identity::condition::ClaimCondition;
use crate::identity::settings::{Algorithm, IssuerSettings, Kind, PrincipalRule};

/// Its name among the issuers.
pub const NAME: &str = "dev";

/// What its tokens are for (`aud`).
pub const AUDIENCE: &str = "countersign";

/// The grant by which a demo person logs in, with nothing but a `username`.
pub const LOGIN_GRANT: &str = "urn:countersign:dev";

/// RFC 8693: an agent, authenticated as client, exchanges a person's token for one to act on their behalf.
pub const EXCHANGE_GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Somebody the issuer knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevPrincipal {
    pub subject: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    pub groups: &'static [&'static str],
}

impl DevPrincipal {
    /// The client secret of an agent or workload. It protects nothing: it is here so that clients are written as
    /// they must be for a real issuer.
    #[must_use]
    pub fn client_secret(&self) -> String {
        format!("{}-dev-secret", self.subject)
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::User => "user",
            Kind::Agent => "agent",
            Kind::Workload => "workload",
        }
    }
}

const fn demo(subject: &'static str, name: &'static str, kind: Kind, groups: &'static [&'static str]) -> DevPrincipal {
    DevPrincipal { subject, name, kind, groups }
}

/// All demo principals.
pub const DEMO: [DevPrincipal; 8] = [
    demo("alice", "Alice (privacy)", Kind::User, &["privacy"]),
    demo("bob", "Bob (data protection officer)", Kind::User, &["dpo"]),
    demo("carol", "Carol (privacy lead)", Kind::User, &["privacy", "privacy-leads"]),
    demo("dave", "Dave (site reliability)", Kind::User, &["sre"]),
    demo("erin", "Erin (auditor)", Kind::User, &["auditors"]),
    demo("frank", "Frank", Kind::User, &[]),
    demo("report-bot", "Report bot", Kind::Agent, &["agents"]),
    demo("ci-pipeline", "CI pipeline", Kind::Workload, &["pipelines"]),
];

/// The demo principal with this subject.
#[must_use]
pub fn find(subject: &str) -> Option<&'static DevPrincipal> {
    const ALL: &[DevPrincipal] = &DEMO;
    ALL.iter().find(|principal| principal.subject == subject)
}

/// Why there is no development issuer.
#[derive(Debug, thiserror::Error)]
pub enum DevIssuerError {
    #[error("the development issuer serves loopback addresses only, not {0}")]
    NotLoopback(SocketAddr),
    #[error("cannot generate a signing key")]
    Key,
    #[error("cannot serve the development issuer: {0}")]
    Io(#[from] std::io::Error),
}

/// A development issuer, bound and not yet serving.
pub struct DevIssuer {
    listener: TcpListener,
    minter: DevMinter,
    callback: Option<String>,
}

impl DevIssuer {
    /// Takes a bound listener and makes a fresh Ed25519 key.
    ///
    /// # Errors
    ///
    /// [`DevIssuerError::NotLoopback`] for any other address.
    pub fn bind(listener: TcpListener) -> Result<Self, DevIssuerError> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(DevIssuerError::NotLoopback(address));
        }
        let key = Ed25519KeyPair::generate().map_err(|_| DevIssuerError::Key)?;
        let (url, kid) = (format!("http://{address}"), format!("dev-{}", uuid::Uuid::now_v7()));
        Ok(Self { listener, minter: DevMinter(Arc::new(Minting { url, kid, key })), callback: None })
    }

    /// Its `iss` and the start of all its addresses, such as `http://127.0.0.1:7443`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.minter.0.url
    }

    /// The settings under which a verifier trusts it.
    #[must_use]
    pub fn settings(&self) -> IssuerSettings {
        let rule = |kind, name: &str, entity_type: &str| {
            let (claim, equals) = ("/kind".to_owned(), Some(name.into()));
            PrincipalRule::new(kind, entity_type, vec![ClaimCondition { claim, equals, ..ClaimCondition::default() }])
        };
        IssuerSettings {
            algorithms: vec![Algorithm::EdDSA],
            principals: vec![
                rule(Kind::User, "user", "User"),
                rule(Kind::Agent, "agent", "Agent"),
                rule(Kind::Workload, "workload", "Workload"),
            ],
            // It says of everybody what kind they are, and everybody can have its tokens anyway.
            user_clients: vec![ANY_CLIENT.to_owned()],
            allow_insecure_http_loopback: true,
            ..IssuerSettings::new(NAME, self.url(), AUDIENCE)
        }
    }

    /// People may log in at its page, and are then sent back here: to the inbox, and nowhere else.
    #[must_use]
    pub fn with_login(self, callback: String) -> Self {
        Self { callback: Some(callback), ..self }
    }

    /// What makes its tokens without HTTP; stays usable while it serves.
    #[must_use]
    pub fn minter(&self) -> DevMinter {
        self.minter.clone()
    }

    /// Serves until `shutdown` resolves.
    ///
    /// # Errors
    ///
    /// [`DevIssuerError::Io`] if the listener fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), DevIssuerError> {
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/jwks", get(keys))
            .route("/token", post(token))
            .route("/authorize", get(login::choose).post(login::chosen))
            .layer(middleware::from_fn_with_state(self.minter.clone(), refuse_foreign_origins))
            .with_state(Desk { minter: self.minter, logins: Arc::new(Logins::new(self.callback)) });
        Ok(axum::serve(self.listener, router).with_graceful_shutdown(shutdown).await?)
    }
}

/// What its pages share.
#[derive(Clone)]
struct Desk {
    minter: DevMinter,
    logins: Arc<Logins>,
}

impl FromRef<Desk> for DevMinter {
    fn from_ref(desk: &Desk) -> Self {
        desk.minter.clone()
    }
}

/// Makes tokens as the issuer does.
#[derive(Clone)]
pub struct DevMinter(Arc<Minting>);

struct Minting {
    url: String,
    kid: String,
    key: Ed25519KeyPair,
}

impl DevMinter {
    /// A token for `who`, issued at `now`. `overrides` replace claims; `null` removes one.
    #[must_use]
    pub fn mint(&self, who: &DevPrincipal, now: Timestamp, overrides: &Map<String, Value>) -> String {
        let mut claims = self.claims(who, now);
        for (name, value) in overrides {
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
        self.sign(&Value::Object(claims))
    }

    /// A token for `agent` acting on behalf of `person` (RFC 8693 section 4.1).
    #[must_use]
    pub fn mint_delegated(&self, agent: &DevPrincipal, person: &DevPrincipal, now: Timestamp) -> String {
        let mut overrides = Map::new();
        overrides.insert("client_id".to_owned(), json!(agent.subject));
        overrides.insert("act".to_owned(), json!({"sub": agent.subject, "iss": self.0.url}));
        self.mint(person, now, &overrides)
    }

    fn claims(&self, who: &DevPrincipal, now: Timestamp) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("iss", json!(self.0.url));
        set("aud", json!(AUDIENCE));
        set("sub", json!(who.subject));
        set("name", json!(who.name));
        set("kind", json!(who.kind_name()));
        set("groups", json!(who.groups));
        set("iat", json!(now.as_seconds()));
        set("exp", json!(now.after(TOKEN_LIFETIME).as_seconds()));
        set("jti", json!(uuid::Uuid::now_v7().to_string()));
        match who.kind {
            Kind::User => {
                set("client_id", json!("dev-login"));
                set("auth_time", json!(now.as_seconds()));
            }
            Kind::Agent | Kind::Workload => {
                set("client_id", json!(who.subject));
            }
        }
        claims
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as("at+jwt", claims)
    }

    fn sign_as(&self, token_type: &str, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.0.kid, "typ": token_type});
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        format!("{signed}.{}", encode(self.0.key.sign(signed.as_bytes()).as_ref()))
    }

    /// Whose token this is, if it is one of ours, of a person, not delegated, and still good.
    fn person_of(&self, token: &str, now: Timestamp) -> Option<&'static DevPrincipal> {
        let (signed, signature) = token.rsplit_once('.')?;
        let public = UnparsedPublicKey::new(&ED25519, self.0.key.public_key());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let is_good = claims.get("exp")?.as_i64()? > now.as_seconds() && claims.get("act").is_none();
        find(claims.get("sub")?.as_str()?).filter(|who| is_good && who.kind == Kind::User)
    }
}

#[derive(Deserialize)]
struct TokenForm {
    grant_type: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    username: Option<String>,
    subject_token: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
}

impl TokenForm {
    fn client(&self) -> Result<&'static DevPrincipal, &'static str> {
        let client = self.client_id.as_deref().and_then(find).filter(|client| client.kind != Kind::User);
        let client = client.ok_or("invalid_client")?;
        let is_proven = self.client_secret.as_deref() == Some(client.client_secret().as_str());
        if is_proven { Ok(client) } else { Err("invalid_client") }
    }

    fn grant(&self, minter: &DevMinter, now: Timestamp) -> Result<String, &'static str> {
        match self.grant_type.as_str() {
            "client_credentials" => Ok(minter.mint(self.client()?, now, &Map::new())),
            LOGIN_GRANT => {
                let person = self.username.as_deref().and_then(find).filter(|person| person.kind == Kind::User);
                Ok(minter.mint(person.ok_or("invalid_grant")?, now, &Map::new()))
            }
            EXCHANGE_GRANT => {
                let agent = self.client()?;
                let person = self.subject_token.as_deref().and_then(|token| minter.person_of(token, now));
                Ok(minter.mint_delegated(agent, person.ok_or("invalid_grant")?, now))
            }
            _ => Err("unsupported_grant_type"),
        }
    }
}

async fn configuration(State(minter): State<DevMinter>) -> Json<Value> {
    let url = &minter.0.url;
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"),
        "response_types_supported": ["code", "token"],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "grant_types_supported": ["authorization_code", "client_credentials", LOGIN_GRANT, EXCHANGE_GRANT],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    }))
}

async fn keys(State(minter): State<DevMinter>) -> Json<Value> {
    let x = URL_SAFE_NO_PAD.encode(minter.0.key.public_key());
    let kid = &minter.0.kid;
    Json(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x}]}))
}

async fn token(State(desk): State<Desk>, Form(form): Form<TokenForm>) -> Response {
    let now = its_own_clock();
    let granted = match form.grant_type.as_str() {
        "authorization_code" => desk.logins.redeem(&desk.minter, &form, now),
        _ => form.grant(&desk.minter, now).map(|token| (token, None)),
    };
    let body = match granted {
        Ok((token, id_token)) => json!({
            "access_token": token, "id_token": id_token, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME.as_secs(),
        }),
        Err(error) => return (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response(),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Web pages other than its own must not be able to fetch tokens: they send an `Origin`, or reach us under a name of their
/// own.
async fn refuse_foreign_origins(State(minter): State<DevMinter>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let port = minter.0.url.rsplit(':').next();
    let is_ours = host.is_some_and(|host| {
        minter.0.url.strip_prefix("http://") == Some(host) || host.strip_prefix("localhost:") == port
    });
    let origin = request.headers().get(header::ORIGIN);
    if is_ours && origin.is_none_or(|origin| origin == minter.0.url.as_str()) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "the development issuer answers local programs only\n").into_response()
}

fn its_own_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::default().after(since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::PrincipalKind;
    use crate::identity::Verifier;

    async fn start() -> (String, Verifier, DevMinter, tokio::task::JoinHandle<()>) {
        let issuer = DevIssuer::bind(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
        let (url, minter) = (issuer.url().to_owned(), issuer.minter());
        let verifier = Verifier::new(vec![issuer.settings()]).unwrap();
        let task = tokio::spawn(async { issuer.serve(std::future::pending()).await.unwrap() });
        (url, verifier, minter, task)
    }

    async fn ask(url: &str, body: &str) -> Value {
        let request = reqwest::Client::new().post(format!("{url}/token")).body(body.to_owned());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    }

    async fn token_for(url: &str, body: &str) -> String {
        ask(url, body).await["access_token"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn people_agents_and_workloads_get_tokens_that_verify_as_what_they_are() {
        let (url, verifier, _, _task) = start().await;
        for (body, uid, kind) in [
            ("grant_type=urn:countersign:dev&username=alice", r#"User::"alice""#, PrincipalKind::User),
            (
                "grant_type=client_credentials&client_id=report-bot&client_secret=report-bot-dev-secret",
                r#"Agent::"report-bot""#,
                PrincipalKind::Agent,
            ),
            (
                "grant_type=client_credentials&client_id=ci-pipeline&client_secret=ci-pipeline-dev-secret",
                r#"Workload::"ci-pipeline""#,
                PrincipalKind::Workload,
            ),
        ] {
            let token = verifier.verify(&token_for(&url, body).await, its_own_clock()).await.unwrap();
            assert_eq!((token.identity().uid.to_string().as_str(), token.identity().kind), (uid, kind));
            assert_eq!(token.identity().proof.authenticated_at.is_some(), kind == PrincipalKind::User);
        }
    }

    #[tokio::test]
    async fn an_agent_exchanges_a_persons_token_for_one_to_act_on_their_behalf() {
        let (url, verifier, _, _task) = start().await;
        let alice = token_for(&url, "grant_type=urn:countersign:dev&username=alice").await;
        let client = "client_id=report-bot&client_secret=report-bot-dev-secret";
        let body = format!("grant_type={EXCHANGE_GRANT}&{client}&subject_token={alice}");
        let token = token_for(&url, &body).await;
        let verified = verifier.verify(&token, its_own_clock()).await.unwrap();
        let identity = verified.identity();
        assert_eq!(
            (identity.uid.to_string().as_str(), identity.kind),
            (r#"Agent::"report-bot""#, PrincipalKind::Agent)
        );
        let person = identity.on_behalf_of.as_ref().unwrap();
        assert_eq!((person.uid.to_string().as_str(), person.groups.len()), (r#"User::"alice""#, 1));
        let again = format!("grant_type={EXCHANGE_GRANT}&{client}&subject_token={token}");
        assert_eq!(ask(&url, &again).await["error"], "invalid_grant", "a delegated token is nobody's own");
    }

    #[tokio::test]
    async fn wrong_secrets_people_as_clients_and_unknown_grants_get_nothing() {
        let (url, _, _, _task) = start().await;
        for (body, error) in [
            ("grant_type=client_credentials&client_id=report-bot&client_secret=x", "invalid_client"),
            ("grant_type=client_credentials&client_id=alice&client_secret=alice-dev-secret", "invalid_client"),
            ("grant_type=urn:countersign:dev&username=report-bot", "invalid_grant"),
            ("grant_type=password&username=alice", "unsupported_grant_type"),
        ] {
            assert_eq!(ask(&url, body).await["error"], error, "{body}");
        }
    }

    #[tokio::test]
    async fn web_pages_cannot_fetch_tokens() {
        let (url, _, _, _task) = start().await;
        let request = |name: &str, value: &str| reqwest::Client::new().get(format!("{url}/jwks")).header(name, value);
        for (name, value) in [("host", "evil.example"), ("origin", "http://evil.example"), ("host", "localhost:1")] {
            let status = request(name, value).send().await.unwrap().status();
            assert_eq!(status, StatusCode::FORBIDDEN, "{name}: {value}");
        }
    }

    #[tokio::test]
    async fn it_refuses_an_address_that_others_can_reach() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        assert!(matches!(DevIssuer::bind(listener), Err(DevIssuerError::NotLoopback(_))));
    }

    #[tokio::test]
    async fn overrides_replace_and_remove_claims() {
        let (_, verifier, minter, _task) = start().await;
        let Value::Object(overrides) = json!({"groups": ["dpo"], "name": null}) else { unreachable!() };
        let token = minter.mint(find("frank").unwrap(), its_own_clock(), &overrides);
        let verified = verifier.verify(&token, its_own_clock()).await.unwrap();
        assert_eq!(format!("{:?}", verified.identity().groups), r#"[Group::"dpo"]"#);
        assert_eq!(verified.identity().display_name, None);
    }
}
