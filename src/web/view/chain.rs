//! Who is behind an action: the human it is for, who acts, who asked, each with how that was proved.

use super::moment::{Moment, span};
use super::text::Text;
use crate::domain::{Identity, Opening, PrincipalKind, ProofMethod, Timestamp};

/// One link of the chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// `Acts for`, `Wants to act`, `Asked here`.
    pub role: &'static str,
    pub kind: &'static str,
    pub id: Text,
    /// As the issuer calls them; decides nothing.
    pub name: Option<Text>,
    pub groups: Vec<Text>,
    /// How it was proved, in a sentence.
    pub proof: Text,
    /// Nothing proves it but the word of whoever asked.
    pub is_asserted: bool,
}

/// Human, then agent, then caller; a caller that is the principal itself stands once.
#[must_use]
pub fn links(opening: &Opening, now: Timestamp) -> Vec<Link> {
    let principal = &*opening.principal;
    let behind: Vec<&Identity> = principal.chain().skip(1).collect();
    let mut links: Vec<Link> = behind.into_iter().rev().map(|human| link("Acts for", human, now)).collect();
    let asked_itself = opening.caller.uid == principal.uid;
    links.push(link(if asked_itself { "Wants to act, and asked" } else { "Wants to act" }, principal, now));
    if !asked_itself {
        links.push(link("Asked", &opening.caller, now));
    }
    links
}

/// What a kind of principal is called.
#[must_use]
pub const fn kind(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "person",
        PrincipalKind::Agent => "agent",
        PrincipalKind::Workload => "workload",
    }
}

fn link(role: &'static str, identity: &Identity, now: Timestamp) -> Link {
    Link {
        role,
        kind: kind(identity.kind),
        id: Text::line(&identity.uid.id),
        name: identity.display_name.as_deref().filter(|name| *name != &*identity.uid.id).map(Text::line),
        groups: identity.groups.iter().map(|group| Text::line(&group.id)).collect(),
        proof: Text::line(&proof(identity, now)),
        is_asserted: identity.proof.method == ProofMethod::Asserted,
    }
}

fn proof(identity: &Identity, now: Timestamp) -> String {
    let proof = &identity.proof;
    match proof.method {
        ProofMethod::Asserted => "Named by whoever asked; nothing proves it".to_owned(),
        ProofMethod::Service => "The service itself".to_owned(),
        ProofMethod::Chat => {
            let credential = proof.credential.as_deref();
            let account = credential.and_then(|one| one.client.as_deref()).unwrap_or("an unknown account");
            let linked = credential.and_then(|one| one.token_id.as_deref()).unwrap_or("linked at an unknown time");
            format!("A click in chat by {account}, {linked}")
        }
        ProofMethod::Certificate(fingerprint) => format!("Client certificate {fingerprint}"),
        ProofMethod::Token => {
            let credential = proof.credential.as_deref();
            let by = credential.map_or("an issuer", |credential| &*credential.issuer_name);
            let methods = credential.map(|credential| credential.amr.join(", ")).filter(|methods| !methods.is_empty());
            let methods = methods.map(|methods| format!(" with {methods}")).unwrap_or_default();
            let login =
                proof.authenticated_at.map(|at| format!("; logged in {}{methods}", Moment::at(at, now).relative));
            format!("Signed token of {by}{}", login.unwrap_or_default())
        }
    }
}

/// How long ago the person logged in; the words for a page that wants a fresher login.
#[must_use]
pub fn login_age(identity: &Identity, now: Timestamp) -> String {
    match identity.proof.authenticated_at {
        Some(at) => format!("{} ago", span(at.until(now))),
        None => "at a time that the issuer does not state".to_owned(),
    }
}
