//! Out of office: a reviewer who is away lends the right to review to one other person, for a time.
//!
//! What no policy can lift: the right is lent by whoever has it himself, so that nobody lends on what he was lent; never for an
//! action that either of the two is a party to, self-review allowed or not; and a vote by a lent right is the vote of both, so
//! that neither of them is counted beside it. It is asked anew whenever a quorum could close: a right that ended, or that the
//! lender has not himself any more, counts for nothing.

use std::sync::Arc;

use super::approval::Approval;
use super::entity::{Entity, EntityUid};
use super::evaluation::PolicyId;
use super::identity::{Credential, Identity, PrincipalKind, Proof, ProofMethod};
use super::poll::Poll;
use super::requirement::Gate;
use super::time::Timestamp;
use super::value::{Attributes, Value};

/// The type of the entities that absences are kept as. Nobody but the service can put one.
pub const ABSENCE: &str = "Countersign::Absence";

/// Somebody is away, and who stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// As he was when he said so, groups included.
    pub of: Arc<Identity>,
    pub to: EntityUid,
    /// From this moment on.
    pub from: Timestamp,
    /// Up to this moment, which is too late.
    pub until: Timestamp,
}

/// By whose right somebody may review a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    Own,
    Lent(Arc<Identity>),
}

/// In a vote: for which gate the right was whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoodIn {
    pub gate: PolicyId,
    pub of: Arc<Identity>,
}

/// What is known of rights that were lent, beside a [`Poll`].
#[derive(Clone, Copy)]
pub struct Lending<'a> {
    pub absences: &'a [Absence],
    /// Policy's word today: may the first review this gate in the place of the second, if the second may?
    pub may: &'a dyn Fn(&Identity, &EntityUid, &Gate) -> bool,
}

impl Lending<'_> {
    /// Nothing is lent.
    pub const NONE: Self = Self { absences: &[], may: &|_, _, _| false };
}

impl Absence {
    /// The name it is kept under: one for each person.
    #[must_use]
    pub fn uid_of(person: &EntityUid) -> EntityUid {
        EntityUid::new(ABSENCE, &person.to_string())
    }

    #[must_use]
    pub fn stands_at(&self, now: Timestamp) -> bool {
        self.from.is_due(now) && !self.until.is_due(now)
    }

    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_due(now)
    }

    /// Whether there is a moment of both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.from < other.until && other.from < self.until
    }

    #[must_use]
    pub fn entity(&self) -> Entity {
        let (credential, uids) = (self.of.proof.credential.as_deref(), |uid: &EntityUid| Value::Entity(uid.clone()));
        let text = |text: &Arc<str>| Value::String(text.clone());
        let always = [
            ("of", uids(&self.of.uid)),
            ("to", uids(&self.to)),
            ("from_micros", Value::Long(self.from.as_micros())),
            ("until_micros", Value::Long(self.until.as_micros())),
            ("groups", Value::Set(self.of.groups.iter().map(uids).collect())),
            ("issuer", text(&self.of.issuer)),
            ("subject", text(&self.of.subject)),
        ];
        let stated_at = credential.and_then(|credential| credential.issued_at);
        let sometimes = [
            ("display_name", self.of.display_name.as_ref().map(text)),
            ("issuer_name", credential.map(|credential| text(&credential.issuer_name))),
            ("stated_at_micros", stated_at.map(|at| Value::Long(at.as_micros()))),
        ];
        let sometimes = sometimes.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let attributes: Attributes =
            always.into_iter().chain(sometimes).map(|(name, value)| (name.into(), value)).collect();
        Entity { attributes, ..Entity::bare(Self::uid_of(&self.of.uid), Vec::new()) }
    }

    /// The absence that an entity stands for. One that cannot be read lends nothing.
    #[must_use]
    pub fn parse(entity: &Entity) -> Option<Self> {
        let fields = Fields(&entity.attributes);
        let (of, until) = (fields.uid("of")?, fields.moment("until_micros")?);
        if entity.uid != Self::uid_of(&of) {
            return None;
        }
        let credential = Credential {
            // Whoever was named by another came with no token, and so by no issuer of a name.
            issuer_name: fields.text("issuer_name").unwrap_or_default(),
            issued_at: fields.moment("stated_at_micros"),
            ..Credential::default()
        };
        let proof = Proof {
            method: ProofMethod::Token,
            expires_at: until,
            authenticated_at: None,
            credential: Some(Arc::new(credential)),
        };
        let of = Identity {
            uid: of,
            kind: PrincipalKind::User,
            groups: fields.uids("groups")?,
            issuer: fields.text("issuer")?,
            subject: fields.text("subject")?,
            display_name: fields.text("display_name"),
            on_behalf_of: None,
            earlier_actors: Vec::new(),
            proof,
        };
        Some(Self { of: Arc::new(of), to: fields.uid("to")?, from: fields.moment("from_micros")?, until })
    }
}

struct Fields<'a>(&'a Attributes);

impl Fields<'_> {
    fn uid(&self, name: &str) -> Option<EntityUid> {
        entity(self.0.get(name)?)
    }

    fn uids(&self, name: &str) -> Option<Vec<EntityUid>> {
        match self.0.get(name)? {
            Value::Set(values) => values.iter().map(entity).collect(),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> Option<Arc<str>> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn moment(&self, name: &str) -> Option<Timestamp> {
        match self.0.get(name)? {
            Value::Long(micros) => Some(Timestamp::from_micros(*micros)),
            _ => None,
        }
    }
}

fn entity(value: &Value) -> Option<EntityUid> {
    match value {
        Value::Entity(uid) => Some(uid.clone()),
        _ => None,
    }
}

impl Poll<'_> {
    /// By whose right the person may review this gate, his own before one that he was lent.
    #[must_use]
    pub fn right(&self, approval: &Approval, person: &Identity, gate: &Gate) -> Option<Right> {
        if (self.may)(person, gate) {
            return Some(Right::Own);
        }
        let mut lenders = self.lent.absences.iter().filter(|absence| self.lends(absence, approval, person, gate));
        lenders.next().map(|absence| Right::Lent(absence.of.clone()))
    }

    /// Whether the right that somebody once lent this person is still lent.
    pub(super) fn still_lends(&self, of: &Identity, approval: &Approval, person: &Identity, gate: &Gate) -> bool {
        let mut absences = self.lent.absences.iter().filter(|absence| absence.of.uid == of.uid);
        absences.any(|absence| self.lends(absence, approval, person, gate))
    }

    /// INVARIANT: one hop. What is lent is asked of the lender as if he came himself, and that is never what he was lent.
    fn lends(&self, absence: &Absence, approval: &Approval, person: &Identity, gate: &Gate) -> bool {
        let (links, lender) = (&self.rules.links, &*absence.of);
        let is_party = |person| approval.is_own_action_of(person, links);
        absence.to == person.uid
            && absence.stands_at(self.now)
            && !links.are_one(lender, person)
            && !is_party(lender)
            && !is_party(person)
            // What his token said of groups when he left is believed until he is back: he is not here to say it again. How long
            // that may be is for policy to say (`delegate`); a group that is forbidden something still is.
            && (self.may)(lender, gate)
            && (self.lent.may)(person, &lender.uid, gate)
    }
}

impl StoodIn {
    pub(super) fn of(gate: &Gate, right: Right) -> Option<Self> {
        match right {
            Right::Own => None,
            Right::Lent(of) => Some(Self { gate: gate.id.clone(), of }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_read_as_it_was_written_and_under_no_other_name() {
        let mut of = Identity::imagined("User", "alice", &["privacy", "dpo"]);
        of.display_name = Some("Alice".into());
        let issued_at = Some(Timestamp::from_micros(7));
        let credential = Credential { issuer_name: "corp".into(), issued_at, ..Credential::default() };
        of.proof.credential = Some(Arc::new(credential));
        of.proof.expires_at = Timestamp::from_micros(90);
        let (from, until) = (Timestamp::from_micros(10), Timestamp::from_micros(90));
        let absence = Absence { of: Arc::new(of), to: EntityUid::new("User", "bob"), from, until };
        assert_eq!(Absence::parse(&absence.entity()), Some(absence.clone()));
        let moved = Entity { uid: Absence::uid_of(&EntityUid::new("User", "carol")), ..absence.entity() };
        assert_eq!(Absence::parse(&moved), None);
        for gone in ["of", "to", "from_micros", "until_micros", "groups", "issuer", "subject"] {
            let mut torn = absence.entity();
            torn.attributes.remove(gone);
            assert_eq!(Absence::parse(&torn), None, "without {gone}");
        }
        let at = |micros| absence.stands_at(Timestamp::from_micros(micros));
        assert_eq!([at(9), at(10), at(89), at(90)], [false, true, true, false]);
    }
}
