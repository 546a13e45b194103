//! The issuer's login page: how one gets there and what one comes back with (OpenID Connect, authorization code with PKCE). The
//! protocol is openidconnect's. What its tokens prove is said by [`crate::identity`] alone, which verifies the ID token.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use openidconnect::core::{
    CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreErrorResponseType,
    CoreProviderMetadata,
};
use openidconnect::{
    AuthType, AuthenticationContextClass, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    TokenResponse,
};
use tokio::time::Instant;

use crate::domain::StepUp;
use crate::identity::IssuerSettings;
use crate::identity::source::{FetchError, Outbound};

/// How long the issuer's description of itself is believed.
const METADATA_LIFETIME: Duration = Duration::from_secs(3_600);

/// Why there is no login. The text is for the log; the person is told less.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("cannot read the issuer's description of itself: {0}")]
    Discovery(String),
    #[error("the issuer has no token endpoint")]
    NoTokenEndpoint,
    #[error("the issuer does not take the code: {0}")]
    Refused(String),
    #[error("the issuer cannot be asked for a token: {0}")]
    Exchange(String),
    #[error("the issuer sent no ID token")]
    NoIdToken,
}

/// What a login must bring beyond any login.
#[derive(Debug, Clone, Default)]
pub enum Wanted {
    #[default]
    AnyLogin,
    /// One that is made now, and meets this.
    Again(StepUp),
}

/// On the way to the issuer: where to, and what must come back or be shown there.
pub struct Departure {
    pub url: String,
    pub state: String,
    pub nonce: String,
    pub pkce_verifier: String,
}

pub struct Provider {
    http: Http,
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Option<ClientSecret>,
    scopes: Vec<Scope>,
    redirect: RedirectUrl,
    metadata: ArcSwapOption<(CoreProviderMetadata, Instant)>,
}

impl Provider {
    /// The login page of this issuer, for one client. The error is for the operator.
    pub fn new(
        issuer: &IssuerSettings,
        client_id: &str,
        client_secret: Option<String>,
        scopes: &[String],
        redirect: String,
    ) -> Result<Self, String> {
        Ok(Self {
            http: Http(Arc::new(Outbound::to(issuer)?)),
            issuer: IssuerUrl::new(issuer.issuer.clone()).map_err(|error| error.to_string())?,
            client_id: ClientId::new(client_id.to_owned()),
            client_secret: client_secret.map(ClientSecret::new),
            scopes: scopes.iter().cloned().map(Scope::new).collect(),
            redirect: RedirectUrl::new(redirect).map_err(|error| error.to_string())?,
            metadata: ArcSwapOption::empty(),
        })
    }

    /// Its `iss`.
    pub fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// Begins a login.
    pub async fn depart(&self, wanted: &Wanted) -> Result<Departure, ProviderError> {
        let metadata = self.metadata().await?;
        let client = CoreClient::from_provider_metadata(metadata.0.clone(), self.client_id.clone(), None);
        let (challenge, pkce_verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .set_redirect_uri(std::borrow::Cow::Borrowed(&self.redirect))
            .add_scopes(self.scopes.clone())
            .set_pkce_challenge(challenge);
        if let Wanted::Again(demand) = wanted {
            request = request.add_prompt(CoreAuthPrompt::Login);
            if let Some(age) = demand.max_authentication_age {
                request = request.set_max_age(age);
            }
            for acr in &demand.acr {
                request = request.add_auth_context_value(AuthenticationContextClass::new(acr.to_string()));
            }
        }
        let (url, state, nonce) = request.url();
        Ok(Departure {
            url: url.into(),
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            pkce_verifier: pkce_verifier.into_secret(),
        })
    }

    /// Ends a login: the ID token that the code stands for, not verified yet.
    pub async fn arrive(&self, code: String, pkce_verifier: String) -> Result<String, ProviderError> {
        let metadata = self.metadata().await?;
        let client =
            CoreClient::from_provider_metadata(metadata.0.clone(), self.client_id.clone(), self.client_secret.clone());
        let client = client.set_auth_type(auth_type(&metadata.0)).set_redirect_uri(self.redirect.clone());
        let request = client.exchange_code(AuthorizationCode::new(code)).map_err(|_| ProviderError::NoTokenEndpoint)?;
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(pkce_verifier));
        let answer = request.request_async(&self.http).await.map_err(exchange_error)?;
        answer.id_token().map(ToString::to_string).ok_or(ProviderError::NoIdToken)
    }

    async fn metadata(&self) -> Result<Arc<(CoreProviderMetadata, Instant)>, ProviderError> {
        if let Some(kept) = self.metadata.load_full().filter(|kept| kept.1.elapsed() < METADATA_LIFETIME) {
            return Ok(kept);
        }
        let fetched = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await;
        let fetched = fetched.map_err(|error| ProviderError::Discovery(causes(&error)))?;
        let fetched = Arc::new((fetched, Instant::now()));
        self.metadata.store(Some(fetched.clone()));
        Ok(fetched)
    }
}

/// How the client proves itself: as RFC 6749 prefers it, unless the issuer wants it otherwise.
fn auth_type(metadata: &CoreProviderMetadata) -> AuthType {
    let methods = metadata.token_endpoint_auth_methods_supported();
    let is_supported = |method| methods.is_none_or(|methods| methods.contains(&method));
    let in_body_only =
        !is_supported(CoreClientAuthMethod::ClientSecretBasic) && is_supported(CoreClientAuthMethod::ClientSecretPost);
    if in_body_only { AuthType::RequestBody } else { AuthType::BasicAuth }
}

type ExchangeError = RequestTokenError<FetchError, openidconnect::StandardErrorResponse<CoreErrorResponseType>>;

/// A body that could not be parsed may hold tokens: it is never quoted.
fn exchange_error(error: ExchangeError) -> ProviderError {
    match error {
        RequestTokenError::ServerResponse(response) => ProviderError::Refused(response.error().to_string()),
        RequestTokenError::Request(error) => ProviderError::Exchange(error.to_string()),
        RequestTokenError::Parse(..) => ProviderError::Exchange("its answer cannot be read".to_owned()),
        RequestTokenError::Other(what) => ProviderError::Exchange(what),
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[derive(Clone)]
struct Http(Arc<Outbound>);

impl<'c> openidconnect::AsyncHttpClient<'c> for Http {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.0.exchange(request))
    }
}
