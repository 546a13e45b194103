//! Why a token was refused: a stable code for machines and a sentence that is safe to show. Neither ever quotes the
//! token. Whether to try again is part of the answer: keys out of reach are our trouble, everything else the caller's.

use std::fmt;
use std::sync::Arc;

/// A refusal of a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .reason.message())]
pub struct Refusal {
    pub reason: Reason,
    /// Our short name of the issuer, once it is known; for logs and records.
    pub issuer: Option<Arc<str>>,
}

impl Refusal {
    /// Whether the same token may be accepted later without any change on the caller's side (UNAVAILABLE, not
    /// UNAUTHENTICATED).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.reason == Reason::JwksUnavailable
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, issuer: None }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $message:literal;)+) => {
        /// Stable codes; they appear as `ErrorInfo.reason` and in the journal, so they never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)+ }

        impl Reason {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code for machines.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The sentence for the client.
            #[must_use]
            pub fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }
        }
    };
}

reasons! {
    MissingToken = "missing_token", "no bearer token was sent";
    Malformed = "malformed", "the token is not a well-formed signed JWT in compact form";
    TooLarge = "too_large", "the token is larger or more deeply nested than is accepted";
    AlgNotAllowed = "alg_not_allowed", "the token's signature algorithm is not accepted from this issuer";
    AlgKeyMismatch = "alg_key_mismatch", "the token's algorithm is not the one its key is for";
    BadSignature = "bad_signature", "the token's signature does not verify";
    CritNotUnderstood = "crit_not_understood", "the token demands an extension that is not understood";
    EncryptedNotSupported = "encrypted_not_supported", "encrypted or compressed tokens are not accepted";
    NestedNotSupported = "nested_not_supported", "nested tokens are not accepted";
    UntrustedKey = "untrusted_key", "the token's issuer does not publish the key that it names";
    AmbiguousKey = "ambiguous_key", "several keys fit the token: it must name one with `kid`";
    JwksUnavailable = "jwks_unavailable", "the issuer's keys are out of reach at the moment";
    NotEndorsed = "not_endorsed", "the token's key does not sign for the channel that the request names";
    WrongServiceUrl = "wrong_service_url", "the token is of another service than the request says";
    WrongIssuer = "wrong_issuer", "the token's issuer is not trusted here";
    WrongAudience = "wrong_audience", "the token is not meant for this service";
    ClientNotAllowed = "client_not_allowed", "the token was issued to a client that is not accepted here";
    WrongTyp = "wrong_typ", "the token is of another type than is accepted from this issuer";
    WrongNonce = "wrong_nonce", "the token is not of the login that was begun here";
    Expired = "expired", "the token has expired";
    MissingExp = "missing_exp", "the token has no expiry";
    NotYetValid = "not_yet_valid", "the token is not valid yet";
    BadIat = "bad_iat", "the token's time of issue is missing, in the future or too long ago";
    BadSub = "bad_sub", "the token's subject is missing, empty, too long or not text";
    MissingIdClaim = "missing_id_claim", "the token lacks a claim that its principal's id is made of, or it is no text";
    ForeignNamespace = "foreign_namespace", "the token names a subject or group as another issuer's are named here";
    ClaimType = "claim_type", "a claim of the token has a type or size that is not accepted";
    GroupsOverage = "groups_overage", "the token leaves out its groups because there are too many of them";
    InvalidDpopProof = "invalid_dpop_proof", "the token is bound to a key (`cnf`), and nothing here proves possession of one";
    BadAct = "bad_act", "the token's actor is malformed, not accepted from this issuer, or its chain is too long";
    MissingRequiredClaim = "missing_required_claim", "the token lacks a claim that this issuer's tokens must have here";
    CertificateExpired = "certificate_expired", "the certificate of the connection has expired";
    CertificateNotYetValid = "certificate_not_yet_valid", "the certificate of the connection is not valid yet";
    CertificateMalformed = "certificate_malformed", "the certificate of the connection is not one for clients, or malformed";
    CertificateAmbiguous = "certificate_ambiguous", "the certificate of the connection has several names that could be the caller";
    UnknownCertificate = "unknown_certificate", "no rule says who the certificate of the connection stands for";
    UnknownPrincipal = "unknown_principal", "no rule says whether this token is a user's, an agent's or a workload's";
}

impl Reason {
    /// Whether it is a token that was refused: another one may be taken. Certificates are for whoever made the connection.
    #[must_use]
    pub fn is_of_token(self) -> bool {
        !matches!(
            self,
            Self::CertificateExpired
                | Self::CertificateNotYetValid
                | Self::CertificateMalformed
                | Self::CertificateAmbiguous
                | Self::UnknownCertificate
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
