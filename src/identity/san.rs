//! Which names in client certificates are principals, as the operator says it. These structs are the
//! `[[identity.certificates]]` tables of the config file: a pattern for the name, and what whoever holds it is.
//!
//! A name is a SPIFFE ID (`spiffe://trust-domain/path`) or a host (`dns:host`). The trust domain of a pattern is literal; `*`
//! stands for exactly one segment or label, `**` at the end of a path for one or more.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::PrincipalKind;

/// The longest name that is looked at. SPIFFE allows 2,048 bytes; ours go into every record.
const NAME_BYTES_MAX: usize = 512;
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
const SPIFFE: &str = "spiffe://";
const DNS: &str = "dns:";

/// What holders of certificates with certain names are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateRule {
    /// `spiffe://prod.example/ns/*/sa/*`, `spiffe://prod.example/**` or `dns:*.gateways.example`.
    pub san: String,
    /// Prefix of all its ids (`<namespace>/<id>`); no issuer's, so that no token's subject can be the same principal.
    pub namespace: String,
    pub kind: MachineKind,
    /// Its Cedar type, such as `Workload`.
    pub entity_type: String,
    /// The id: `{san}` is the whole name, `{path}` the SPIFFE path, `{1}`, `{2}`, .. what each `*` stood for.
    #[serde(default = "default_id")]
    pub id: String,
    /// Its groups, as they are called in policies; no namespace goes before them.
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default = "default_group_entity_type")]
    pub group_entity_type: String,
}

/// What a certificate can stand for. People do not log in with one: there is no way to say that here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MachineKind {
    Agent,
    Workload,
}

impl From<MachineKind> for PrincipalKind {
    fn from(kind: MachineKind) -> Self {
        match kind {
            MachineKind::Agent => Self::Agent,
            MachineKind::Workload => Self::Workload,
        }
    }
}

fn default_id() -> String {
    "{san}".to_owned()
}

fn default_group_entity_type() -> String {
    "Group".to_owned()
}

/// A name that is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    text: String,
    /// What it is a name within; `None` for hosts.
    trust_domain: Option<String>,
    /// Of the path, or labels of the host.
    segments: Vec<String>,
}

impl Name {
    /// A SPIFFE ID, by the letter of the SPIFFE-ID standard (sections 2.1 to 2.4): anything else is none.
    #[must_use]
    pub fn spiffe(uri: &str) -> Option<Self> {
        let (trust_domain, path) = uri.strip_prefix(SPIFFE)?.split_once('/')?;
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        let is_good = uri.len() <= NAME_BYTES_MAX
            && is_trust_domain(trust_domain)
            && segments.iter().all(|segment| is_segment(segment));
        is_good.then(|| Self { text: uri.to_owned(), trust_domain: Some(trust_domain.to_owned()), segments })
    }

    /// A host; never a wildcard, which names nobody in particular.
    #[must_use]
    pub fn dns(host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        let segments: Vec<String> = host.split('.').map(str::to_owned).collect();
        let is_good = host.len() <= NAME_BYTES_MAX && segments.iter().all(|label| is_label(label));
        is_good.then(|| Self { text: format!("{DNS}{host}"), trust_domain: None, segments })
    }

    /// With its scheme: `spiffe://..` or `dns:..`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who vouches for names like this, as an issuer is called in records.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("{X509_ISSUER}{}", self.trust_domain.as_deref().unwrap_or("dns"))
    }
}

/// How the issuers of all certificates' identities begin; no issuer of tokens may.
pub const X509_ISSUER: &str = "x509:";

fn is_trust_domain(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    (1..=TRUST_DOMAIN_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn is_segment(segment: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(is_allowed)
}

fn is_label(label: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    !label.is_empty() && label.bytes().all(is_allowed)
}

/// Which names a rule is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    trust_domain: Option<String>,
    segments: Vec<Segment>,
    /// `**` at the end: one or more segments of any kind.
    open: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Is(String),
    Any,
}

impl Pattern {
    /// # Errors
    /// What was expected.
    pub fn parse(san: &str) -> Result<Self, &'static str> {
        let expected = "`san` must be `spiffe://trust-domain/path` or `dns:host`, where `*` stands for one whole segment \
                        and `/**` at the end of a path for the rest; the trust domain is literal";
        let (trust_domain, path, separator) = match (san.strip_prefix(SPIFFE), san.strip_prefix(DNS)) {
            (Some(rest), _) => {
                let (trust_domain, path) = rest.split_once('/').ok_or(expected)?;
                (Some(trust_domain.to_owned()), path, '/')
            }
            (None, Some(host)) => (None, host, '.'),
            (None, None) => return Err(expected),
        };
        let is_good: fn(&str) -> bool = if trust_domain.is_some() { is_segment } else { is_label };
        let (path, open) = match path.strip_suffix("/**") {
            Some(path) if trust_domain.is_some() => (Some(path), true),
            None if trust_domain.is_some() && path == "**" => (None, true),
            Some(_) | None => (Some(path), false),
        };
        let segment = |text: &str| match text {
            "*" => Some(Segment::Any),
            text => is_good(text).then(|| Segment::Is(text.to_owned())),
        };
        let parts = path.into_iter().flat_map(|path| path.split(separator));
        let segments: Vec<Segment> = parts.map(segment).collect::<Option<_>>().ok_or(expected)?;
        let names_somebody = trust_domain.is_some() || segments.iter().any(|segment| *segment != Segment::Any);
        if trust_domain.as_deref().is_some_and(|domain| !is_trust_domain(domain)) || !names_somebody {
            return Err(expected);
        }
        Ok(Self { trust_domain, segments, open })
    }

    /// What each `*` stands for in this name; `None` if the pattern is not for it.
    #[must_use]
    pub fn stars<'a>(&self, name: &'a Name) -> Option<Vec<&'a str>> {
        let (wanted, there) = (self.segments.len(), name.segments.len());
        let fits = if self.open { there > wanted } else { there == wanted };
        if self.trust_domain != name.trust_domain || !fits {
            return None;
        }
        let mut stars = Vec::new();
        for (segment, text) in self.segments.iter().zip(&name.segments) {
            match segment {
                Segment::Any => stars.push(text.as_str()),
                Segment::Is(literal) if literal == text => {}
                Segment::Is(_) => return None,
            }
        }
        Some(stars)
    }

    fn star_count(&self) -> usize {
        self.segments.iter().filter(|segment| **segment == Segment::Any).count()
    }
}

/// How an id is made of a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    San,
    Path,
    Star(usize),
}

impl Template {
    /// A template that makes different ids of different names.
    ///
    /// # Errors
    /// Why it would not, or what is wrong with it.
    pub fn parse(text: &str, pattern: &Pattern) -> Result<Self, &'static str> {
        let expected = "`id` may hold `{san}`, `{path}` (of a SPIFFE ID) and `{1}` to the number of stars in `san`";
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(expected)?;
            parts.push(Part::Literal(before.to_owned()));
            parts.push(match name {
                "san" => Part::San,
                "path" if pattern.trust_domain.is_some() => Part::Path,
                number => {
                    let star = number.parse().ok().filter(|star| (1..=pattern.star_count()).contains(star));
                    Part::Star(star.ok_or(expected)?)
                }
            });
            rest = after;
        }
        if rest.contains('}') {
            return Err(expected);
        }
        parts.push(Part::Literal(rest.to_owned()));
        let template = Self(parts);
        template.check(pattern)?;
        Ok(template)
    }

    /// INVARIANT: no two names become one principal.
    fn check(&self, pattern: &Pattern) -> Result<(), &'static str> {
        if self.0.iter().any(|part| matches!(part, Part::San | Part::Path)) {
            return Ok(());
        }
        if pattern.open || !(1..=pattern.star_count()).all(|star| self.0.contains(&Part::Star(star))) {
            return Err("`id` must hold `{san}`, `{path}` or every star: otherwise two names would be one principal");
        }
        // Parts and literals take turns; what a star stands for never has a `/`.
        let between = self.0.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(text),
            Part::San | Part::Path | Part::Star(_) => None,
        });
        let inner = self.0.len().div_euclid(2).saturating_sub(1);
        if between.skip(1).take(inner).all(|text| text.contains('/')) {
            return Ok(());
        }
        Err("`id` needs a `/` between two stars: otherwise two names could be one principal")
    }

    /// Whether the id is the name itself.
    #[must_use]
    pub fn is_whole_name(&self) -> bool {
        let literal = |text: &str| Part::Literal(text.to_owned());
        self.0 == [literal(""), Part::San, literal("")]
    }

    /// The id of a name that its pattern is for.
    #[must_use]
    pub fn apply(&self, name: &Name, stars: &[&str]) -> String {
        let mut id = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => id.push_str(text),
                Part::San => id.push_str(&name.text),
                Part::Path => id.push_str(&name.segments.join("/")),
                // Writing to a text does not fail; a star that is not there was refused with the template.
                Part::Star(number) => {
                    let _ = write!(id, "{}", stars.get(number - 1).copied().unwrap_or_default());
                }
            }
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_is_one_by_the_letter() {
        for good in ["spiffe://prod.example/ns/a/sa/b", "spiffe://a/B.c-d_e"] {
            assert_eq!(Name::spiffe(good).unwrap().as_str(), good);
        }
        for bad in [
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe://Prod.example/a",
            "SPIFFE://prod.example/a",
            "spiffe:///a",
            "spiffe://prod.example/a/",
            "spiffe://prod.example/a//b",
            "spiffe://prod.example/a/../b",
            "spiffe://prod.example/./b",
            "spiffe://prod.example:1/a",
            "spiffe://user@prod.example/a",
            "spiffe://prod.example/a?b",
            "spiffe://prod.example/a#b",
            "spiffe://prod.example/%61",
            "spiffe://prod.example/ä",
            "https://prod.example/a",
        ] {
            assert_eq!(Name::spiffe(bad), None, "{bad}");
        }
        assert_eq!(Name::spiffe(&format!("spiffe://a/{}", "b".repeat(600))), None);
    }

    #[test]
    fn a_host_is_a_host_and_no_wildcard() {
        assert_eq!(Name::dns("Gate.Example").unwrap().as_str(), "dns:gate.example");
        for bad in ["", "*.example", "a..b", "a.", "a/b", "ä.example", "a b"] {
            assert_eq!(Name::dns(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_pattern_is_for_whole_segments_of_its_own_trust_domain() {
        let stars = |pattern: &str, uri: &str| {
            let name = Name::spiffe(uri).or_else(|| Name::dns(uri)).unwrap();
            let stars = Pattern::parse(pattern).unwrap().stars(&name)?.join(",");
            Some(stars)
        };
        let sa = "spiffe://prod/ns/*/sa/*";
        assert_eq!(stars(sa, "spiffe://prod/ns/pay/sa/api").as_deref(), Some("pay,api"));
        for other in ["spiffe://dev/ns/pay/sa/api", "spiffe://prod/ns/pay/sa/api/x", "spiffe://prod/ns/pay/sb/api"] {
            assert_eq!(stars(sa, other), None, "{other}");
        }
        assert_eq!(stars("spiffe://prod/**", "spiffe://prod/a/b").as_deref(), Some(""));
        assert_eq!(stars("spiffe://prod/ns/**", "spiffe://prod/ns"), None);
        assert_eq!(stars("spiffe://prod/ns/**", "spiffe://prod/nsx/a"), None);
        assert_eq!(stars("dns:*.gates.example", "a.gates.example").as_deref(), Some("a"));
        assert_eq!(stars("dns:*.gates.example", "a.b.gates.example"), None);
        assert_eq!(stars("dns:*.gates.example", "gates.example"), None);
    }

    #[test]
    fn a_pattern_that_would_let_in_strangers_is_refused() {
        for bad in [
            "",
            "prod",
            "https://prod/a",
            "spiffe://*/a",
            "spiffe://prod",
            "spiffe://prod/",
            "spiffe://prod/a*",
            "spiffe://prod/**/a",
            "spiffe://prod/***",
            "spiffe://prod//**",
            "dns:*",
            "dns:*.*",
            "dns:**",
            "dns:**.example",
            "dns:",
            "dns:A",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn different_names_have_different_ids() {
        let template = |san: &str, id: &str| Template::parse(id, &Pattern::parse(san).unwrap());
        for (san, id) in [
            ("spiffe://prod/ns/*/sa/*", "{1}/{2}"),
            ("spiffe://prod/ns/*/sa/*", "{2}/of/{1}"),
            ("spiffe://prod/ns/*/sa/*", "x{path}"),
            ("spiffe://prod/**", "{path}"),
            ("dns:*.gates.example", "{1}"),
            ("dns:gate.example", "gate"),
        ] {
            assert!(template(san, id).is_ok(), "{san} {id}");
        }
        for (san, id) in [
            ("spiffe://prod/ns/*/sa/*", "{1}"),
            ("spiffe://prod/ns/*/sa/*", "{1}{2}"),
            ("spiffe://prod/ns/*/sa/*", "{1}-{2}"),
            ("spiffe://prod/ns/*/sa/*", "{1}/{3}"),
            ("spiffe://prod/ns/*/**", "{1}"),
            ("spiffe://prod/**", "all"),
            ("dns:*.gates.example", "{path}"),
            ("dns:*.gates.example", "{1"),
            ("dns:*.gates.example", "{1}}"),
            ("dns:*.gates.example", "{0}"),
        ] {
            assert!(template(san, id).is_err(), "{san} {id}");
        }
        let pattern = Pattern::parse("spiffe://prod/ns/*/sa/*").unwrap();
        let name = Name::spiffe("spiffe://prod/ns/pay/sa/api").unwrap();
        let id = Template::parse("{2}/of/{1}", &pattern).unwrap().apply(&name, &pattern.stars(&name).unwrap());
        assert_eq!(id, "api/of/pay");
    }
}
