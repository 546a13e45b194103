//! What a token must look like, by the kind of issuer: its `typ`, the claims that it cannot do without, and for which
//! keys. A profile is what a standard or a platform promises of all its tokens; what *you* demand beside that is
//! `required_claims`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Pointer;
use super::json::{Json, Members};
use super::refusal::Reason;

/// SPIFFE IDs and the literals that stand for a trust domain begin with it.
pub const SPIFFE: &str = "spiffe://";

/// The rules that all tokens of an issuer are held against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenProfile {
    /// JWT access tokens (RFC 9068): `at+jwt`, with `client_id`, `jti` and `iat`.
    #[default]
    Rfc9068,
    /// ID tokens, and the access tokens of issuers that have not heard of RFC 9068: `JWT` or no `typ`, with `iat`.
    Oidc,
    /// Bound service account tokens: no `typ`, with the account's name, which is also the subject.
    Kubernetes,
    /// Jobs of GitHub Actions: with the ids of the repository and its owner.
    GithubActions,
    /// JWT-SVIDs: a subject in the trust domain; the issuer need not be named in the token.
    SpiffeJwt,
}

impl TokenProfile {
    /// As the configuration and the journal write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc9068 => "rfc9068",
            Self::Oidc => "oidc",
            Self::Kubernetes => "kubernetes",
            Self::GithubActions => "github-actions",
            Self::SpiffeJwt => "spiffe-jwt",
        }
    }

    /// Accepted `typ`, where none are configured; an empty text stands for a token without one.
    pub(super) const fn token_types(self) -> &'static [&'static str] {
        match self {
            Self::Rfc9068 => &["at+jwt"],
            Self::Oidc | Self::Kubernetes => &["jwt", ""],
            Self::GithubActions => &["jwt"],
            // JWT-SVID section 2: `typ` is optional, and either of these.
            Self::SpiffeJwt => &["jwt", "jose", ""],
        }
    }

    /// What a published key may be for (`use`), where it says so.
    pub(super) const fn key_uses(self) -> &'static [&'static str] {
        match self {
            Self::Rfc9068 | Self::Oidc | Self::Kubernetes | Self::GithubActions => &["sig"],
            // A SPIFFE bundle holds the keys of X.509 certificates as well (`x509-svid`), which sign no tokens.
            Self::SpiffeJwt => &["sig", "jwt-svid"],
        }
    }

    /// Checks what every token of this profile holds. `trust_domain` is that of the issuer, for SPIFFE.
    pub(super) fn check(self, claims: &Members, trust_domain: Option<&str>) -> Result<(), Reason> {
        match self {
            Self::Rfc9068 => {
                texts(claims, &["/client_id", "/jti"])?;
                issued(claims)
            }
            Self::Oidc => issued(claims),
            Self::Kubernetes => service_account(claims),
            Self::GithubActions => {
                texts(claims, &["/repository_id", "/repository_owner_id", "/jti"])?;
                issued(claims)
            }
            Self::SpiffeJwt => spiffe_id(claims, trust_domain),
        }
    }
}

fn texts(claims: &Members, pointers: &[&str]) -> Result<(), Reason> {
    pointers.iter().try_for_each(|pointer| text(claims, pointer).map(|_| ()))
}

fn text<'a>(claims: &'a Members, pointer: &str) -> Result<&'a str, Reason> {
    let claim = Pointer::parse(pointer).ok_or(Reason::MissingRequiredClaim)?.find(claims);
    match claim.ok_or(Reason::MissingRequiredClaim)? {
        Json::Text(text) if !text.is_empty() => Ok(text),
        _ => Err(Reason::ClaimType),
    }
}

/// That it is a time was checked with the other times.
fn issued(claims: &Members) -> Result<(), Reason> {
    if claims.contains_key("iat") { Ok(()) } else { Err(Reason::MissingRequiredClaim) }
}

/// The subject and the claims about the account must say the same.
fn service_account(claims: &Members) -> Result<(), Reason> {
    let namespace = text(claims, "/kubernetes.io/namespace")?;
    let account = text(claims, "/kubernetes.io/serviceaccount/name")?;
    let subject = claims.get("sub").and_then(Json::as_text).ok_or(Reason::BadSub)?;
    // Names of Kubernetes objects hold neither `:` nor `/`.
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let is_account = is_name(namespace)
        && is_name(account)
        && subject.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
            == Some((namespace, account));
    if is_account { issued(claims) } else { Err(Reason::BadSub) }
}

/// A SPIFFE ID with a path (SPIFFE-ID section 2), in the issuer's own trust domain.
fn spiffe_id(claims: &Members, trust_domain: Option<&str>) -> Result<(), Reason> {
    let subject = claims.get("sub").and_then(Json::as_text).ok_or(Reason::BadSub)?;
    let path = trust_domain.and_then(|domain| subject.strip_prefix(domain)).and_then(|rest| rest.strip_prefix('/'));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_segment = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain);
    let is_spiffe_id = path.is_some_and(|path| path.split('/').all(is_segment));
    if is_spiffe_id { Ok(()) } else { Err(Reason::BadSub) }
}

/// The trust domain that a SPIFFE ID names, as the literal that stands for it: `spiffe://company.example`.
pub(super) fn trust_domain_of(subject: &str) -> Option<&str> {
    let name = subject.strip_prefix(SPIFFE)?.split('/').next()?;
    subject.get(..SPIFFE.len() + name.len()).filter(|_| !name.is_empty())
}
