//! From a client certificate to an [`Identity`]. The TLS edge has verified its chain, its times and that its holder has the
//! key; here its one name becomes a principal, by rules that the operator wrote. Nothing else in a certificate decides:
//! no common name, no organisation, no serial number.
//!
//! A certificate never stands for a user, so that none can countersign.

use std::collections::HashSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::mapping::is_entity_type;
use super::refusal::{Reason, Refusal};
use super::san::{CertificateRule, Name, Pattern, Template, X509_ISSUER};
use super::settings::IssuerSettings;
use crate::domain::identity::{Fingerprint, Identity, PrincipalKind, Proof, ProofMethod};
use crate::domain::{EntityUid, Timestamp};

/// Names of one certificate that are looked at.
const NAMES_MAX: usize = 100;

/// Why rules are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("the rule for `{san}`: {problem}")]
    Rule { san: String, problem: String },
    #[error("`{namespace}` is a `namespace` of tokens as well: a certificate and a token could be one principal")]
    SharedWithIssuer { namespace: String },
    #[error("two rules share the `namespace` `{namespace}`: then both need the id `{{san}}`")]
    Shared { namespace: String },
    #[error("issuer `{name}` needs a `namespace` where certificates name principals too")]
    IssuerWithoutNamespace { name: String },
    #[error("issuer `{name}`: no issuer of tokens can be called `x509:..`")]
    IssuerLikeCertificates { name: String },
}

/// The rules, ready to be applied.
#[derive(Debug, Default)]
pub struct Certificates {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    template: Template,
    namespace: String,
    kind: PrincipalKind,
    entity_type: Arc<str>,
    groups: Vec<EntityUid>,
}

/// From when until when a certificate in a file is good, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// As the certificate has it; for people.
    pub subject: String,
    pub from: Timestamp,
    pub until: Timestamp,
}

/// The certificates of a PEM file, in its order.
///
/// # Errors
/// What is wrong with the file, for people.
pub fn validities(pem: &[u8]) -> Result<Vec<Validity>, String> {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(pem).collect::<Result<Vec<_>, _>>();
    let blocks = blocks.map_err(|error| format!("it is no PEM: {error}"))?;
    let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
    let found = certificates.map(|block| validity(&block.contents)).collect::<Result<Vec<_>, String>>()?;
    if found.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(found) }
}

/// The same of one certificate in DER.
///
/// # Errors
/// What is wrong with it, for people.
pub fn validity(der: &[u8]) -> Result<Validity, String> {
    let (_, read) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let moment = |at: x509_parser::time::ASN1Time| Timestamp::from_micros(at.timestamp().saturating_mul(1_000_000));
    let (from, until) = (moment(read.validity().not_before), moment(read.validity().not_after));
    Ok(Validity { subject: read.subject().to_string(), from, until })
}

/// The certificate that a connection was made with. INVARIANT: made only where its chain has been verified.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    identity: Result<Arc<Identity>, Reason>,
    valid_from: Timestamp,
    expires_at: Timestamp,
}

impl Certificates {
    /// Rules that keep every name, and every subject of a token, a principal of its own.
    ///
    /// # Errors
    /// The first [`RuleError`].
    pub fn new(rules: &[CertificateRule], issuers: &[IssuerSettings]) -> Result<Self, RuleError> {
        let rules: Vec<Rule> = rules.iter().map(Rule::read).collect::<Result<_, _>>()?;
        if rules.is_empty() {
            return Ok(Self { rules });
        }
        for issuer in issuers {
            let name = issuer.name.clone();
            if std::iter::once(&issuer.issuer).chain(&issuer.aliases).any(|name| name.starts_with(X509_ISSUER)) {
                return Err(RuleError::IssuerLikeCertificates { name });
            }
            let namespace = issuer.namespace.as_ref().ok_or(RuleError::IssuerWithoutNamespace { name })?;
            if rules.iter().any(|rule| rule.namespace == *namespace) {
                return Err(RuleError::SharedWithIssuer { namespace: namespace.clone() });
            }
        }
        let (mut all, mut own) = (HashSet::new(), HashSet::new());
        for rule in &rules {
            let is_own = !rule.template.is_whole_name();
            let is_first = all.insert(&rule.namespace);
            if own.contains(&rule.namespace) || (is_own && !is_first) {
                return Err(RuleError::Shared { namespace: rule.namespace.clone() });
            }
            own.extend(is_own.then_some(&rule.namespace));
        }
        Ok(Self { rules })
    }

    /// Whether any certificate can name a principal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Reads a certificate (DER) whose chain has been verified. Who it names, if anybody, is told when it is needed: it may
    /// be there only to let the connection in.
    ///
    /// # Errors
    /// [`Reason::CertificateMalformed`] if it is none, or not one for clients.
    pub fn read(&self, leaf: &[u8]) -> Result<ClientCertificate, Reason> {
        let certificate = parse_for_clients(leaf)?;
        let validity = certificate.validity();
        let moment = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
        let expires_at = moment(validity.not_after.timestamp());
        let method = ProofMethod::Certificate(Fingerprint(Sha256::digest(leaf).into()));
        let proof = Proof { method, expires_at, authenticated_at: None, credential: None };
        let identity = names(&certificate).and_then(|names| self.identity(&names, proof)).map(Arc::new);
        Ok(ClientCertificate { identity, valid_from: moment(validity.not_before.timestamp()), expires_at })
    }

    /// The principal that exactly one of the names stands for.
    fn identity(&self, names: &[Name], proof: Proof) -> Result<Identity, Reason> {
        let mut found = names
            .iter()
            .filter_map(|name| self.rules.iter().find_map(|rule| Some((rule, name, rule.pattern.stars(name)?))));
        let (rule, name, stars) = found.next().ok_or(Reason::UnknownCertificate)?;
        if found.next().is_some() {
            return Err(Reason::CertificateAmbiguous);
        }
        // INVARIANT: a namespace has no `/` and is no issuer's, so no token's subject meets this id.
        let id = format!("{}/{}", rule.namespace, rule.template.apply(name, &stars));
        Ok(Identity {
            uid: EntityUid { type_name: rule.entity_type.clone(), id: id.into() },
            kind: rule.kind,
            groups: rule.groups.clone(),
            issuer: name.issuer().into(),
            subject: name.as_str().into(),
            display_name: None,
            on_behalf_of: None,
            earlier_actors: Vec::new(),
            proof,
        })
    }
}

/// Whether this is a certificate that a client may show: the purpose is demanded, not only respected where it is stated.
///
/// # Errors
/// [`Reason::CertificateMalformed`].
pub fn check_purpose(leaf: &[u8]) -> Result<(), Reason> {
    parse_for_clients(leaf).map(drop)
}

fn parse_for_clients(leaf: &[u8]) -> Result<X509Certificate<'_>, Reason> {
    let (rest, certificate) = X509Certificate::from_der(leaf).map_err(|_| Reason::CertificateMalformed)?;
    let purposes = certificate.extended_key_usage().map_err(|_| Reason::CertificateMalformed)?;
    let is_for_clients = purposes.is_some_and(|purposes| purposes.value.client_auth);
    if rest.is_empty() && is_for_clients && !certificate.is_ca() {
        Ok(certificate)
    } else {
        Err(Reason::CertificateMalformed)
    }
}

/// Its SPIFFE ID, which is then its only URI (X.509-SVID section 2); otherwise its hosts.
fn names(certificate: &X509Certificate<'_>) -> Result<Vec<Name>, Reason> {
    let stated = certificate.subject_alternative_name().map_err(|_| Reason::CertificateMalformed)?;
    let stated = stated.map_or(&[][..], |extension| &extension.value.general_names);
    if stated.len() > NAMES_MAX || stated.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(Reason::CertificateMalformed);
    }
    let uris: Vec<&str> = stated.iter().filter_map(|name| uri(name)).collect();
    let is_spiffe = |uri: &&str| uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"));
    match (&*uris, uris.iter().any(is_spiffe)) {
        ([uri], true) => Ok(vec![Name::spiffe(uri).ok_or(Reason::UnknownCertificate)?]),
        (_, true) => Err(Reason::CertificateAmbiguous),
        (_, false) => {
            let hosts: HashSet<String> = stated.iter().filter_map(dns).map(str::to_ascii_lowercase).collect();
            Ok(hosts.iter().filter_map(|host| Name::dns(host)).collect())
        }
    }
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(uri) = name { Some(uri) } else { None }
}

fn dns<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::DNSName(host) = name { Some(host) } else { None }
}

impl ClientCertificate {
    /// Who is proven by it at this moment.
    ///
    /// # Errors
    /// It has expired, or names nobody, or more than one.
    pub fn identity(&self, now: Timestamp) -> Result<&Arc<Identity>, Refusal> {
        self.check_time(now)?;
        self.identity.as_ref().map_err(|reason| (*reason).into())
    }

    /// Whether it is worth anything at this moment. The handshake has asked that too; a connection may be older.
    ///
    /// # Errors
    /// [`Reason::CertificateExpired`] or [`Reason::CertificateNotYetValid`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), Refusal> {
        match () {
            () if self.expires_at.is_due(now) => Err(Reason::CertificateExpired.into()),
            () if now < self.valid_from => Err(Reason::CertificateNotYetValid.into()),
            () => Ok(()),
        }
    }

    /// When it stops being worth anything. Calls, waits and streams of its connection end then.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl Rule {
    fn read(rule: &CertificateRule) -> Result<Self, RuleError> {
        let problem = |problem: &str| RuleError::Rule { san: rule.san.clone(), problem: problem.to_owned() };
        if rule.namespace.is_empty() || rule.namespace.contains('/') {
            return Err(problem("`namespace` must not be empty or contain `/`"));
        }
        if rule.groups.iter().any(String::is_empty) {
            return Err(problem("a group must not be empty"));
        }
        let entity_type = |name: &str| {
            let expected = format!("`{name}` is not an entity type such as `Workload` or `Acme::Workload`");
            if is_entity_type(name) { Ok(Arc::from(name)) } else { Err(problem(&expected)) }
        };
        let pattern = Pattern::parse(&rule.san).map_err(problem)?;
        let group_type: Arc<str> = entity_type(&rule.group_entity_type)?;
        let group = |id: &String| EntityUid { type_name: group_type.clone(), id: id.as_str().into() };
        Ok(Self {
            template: Template::parse(&rule.id, &pattern).map_err(problem)?,
            pattern,
            namespace: rule.namespace.clone(),
            kind: rule.kind.into(),
            entity_type: entity_type(&rule.entity_type)?,
            groups: rule.groups.iter().map(group).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(san: &str, namespace: &str, id: &str) -> CertificateRule {
        let rule = serde_json::json!({
            "san": san, "namespace": namespace, "id": id, "kind": "workload", "entity_type": "Workload",
        });
        serde_json::from_value(rule).unwrap()
    }

    fn issuer(namespace: Option<&str>) -> IssuerSettings {
        let namespace = namespace.map(str::to_owned);
        IssuerSettings { namespace, ..IssuerSettings::new("a", "https://a.example", "countersign") }
    }

    #[test]
    fn no_certificate_and_no_token_can_be_one_principal() {
        let one = [rule("spiffe://prod/**", "prod", "{san}")];
        assert!(Certificates::new(&one, &[issuer(Some("company"))]).is_ok());
        let shared = Certificates::new(&one, &[issuer(Some("prod"))]).unwrap_err();
        assert!(matches!(shared, RuleError::SharedWithIssuer { .. }), "{shared}");
        let none = Certificates::new(&one, &[issuer(None)]).unwrap_err();
        assert!(matches!(none, RuleError::IssuerWithoutNamespace { .. }), "{none}");
        let alike = IssuerSettings { issuer: "x509:prod".into(), ..issuer(Some("company")) };
        let alike = Certificates::new(&one, &[alike]).unwrap_err();
        assert!(matches!(alike, RuleError::IssuerLikeCertificates { .. }), "{alike}");
        assert!(Certificates::new(&[], &[issuer(None)]).is_ok(), "without rules nothing changes for issuers");
    }

    #[test]
    fn two_rules_share_a_namespace_only_where_the_id_is_the_whole_name() {
        let rules = |first: &str, second: &str| {
            let rules = [rule("spiffe://prod/a/*", "prod", first), rule("spiffe://prod/b/*", "prod", second)];
            Certificates::new(&rules, &[])
        };
        assert!(rules("{san}", "{san}").is_ok());
        for (first, second) in [("{1}", "{1}"), ("{san}", "{1}"), ("{1}", "{san}")] {
            assert!(matches!(rules(first, second), Err(RuleError::Shared { .. })), "{first} {second}");
        }
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        for bad in [
            rule("spiffe://prod", "prod", "{san}"),
            rule("spiffe://prod/**", "", "{san}"),
            rule("spiffe://prod/**", "a/b", "{san}"),
            rule("spiffe://prod/**", "prod", "everybody"),
            CertificateRule { entity_type: "Countersign::Service".into(), ..rule("spiffe://prod/**", "prod", "{san}") },
            CertificateRule { groups: vec![String::new()], ..rule("spiffe://prod/**", "prod", "{san}") },
        ] {
            assert!(
                matches!(Certificates::new(std::slice::from_ref(&bad), &[]), Err(RuleError::Rule { .. })),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bytes in [&b""[..], b"x", &[0x30, 0x82, 0xff, 0xff], &[0x30; 4_096]] {
            assert_eq!(Certificates::default().read(bytes).unwrap_err(), Reason::CertificateMalformed);
        }
    }
}
