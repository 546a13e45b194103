//! What people, models and other systems are shown of a query: the same, with personal data and secrets masked (invariant 9).
//! Context, environment, entities that came along, justification and comments are searched; who, what and on what are names,
//! and stay. The binding stays that of the true query: what is approved is the action, not the picture of it.
//!
//! Whoever may, by policy, is shown an approval as it is: [`Service::reveal`], which is on record before anything is seen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::mask::timed;
use super::stopwatch::Stopwatch;
use super::{Caller, Refusal, Service};
use crate::domain::{
    Approval, ApprovalId, Attributes, Breach, Change, Decided, EntitiesChanged, Entity, EntityUid, Fact, Glass,
    GuardAction, Guarded, Moved, Opening, Query, Record, Refused, Revealed, Review, Transition, Value,
};
use crate::masking::{Masker, Profile};
use crate::store::Seen;

/// Stands for a text that could not be searched: unknown is masked.
const WITHHELD: &str = "<REDACTED>";

/// Masks what is shown, or lets it through.
#[derive(Clone)]
pub struct Veil(Option<Over>);

#[derive(Clone)]
struct Over {
    masker: Arc<Masker>,
    profile: Arc<Profile>,
    /// The longest that one view takes; what was not searched by then is withheld.
    timeout: Duration,
}

impl fmt::Debug for Veil {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_lifted() { "Veil(lifted)" } else { "Veil" })
    }
}

/// A text as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veiled {
    pub text: Arc<str>,
    pub is_masked: bool,
}

/// An approval as it may be shown.
#[derive(Debug, Clone)]
pub struct Shown {
    approval: Arc<Approval>,
    /// How many of its texts and numbers are masked.
    pub masked: usize,
}

impl Shown {
    /// With masked values: for showing, not for deciding.
    #[must_use]
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    pub(super) fn into_approval(self) -> Arc<Approval> {
        self.approval
    }
}

impl Service {
    /// An approval with its personal data, for whom policy lets see it: [`GuardAction::Reveal`] beside
    /// [`GuardAction::ReadApproval`]. On record first.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] to whoever may not read it, a denial to whoever may only read it masked, and
    /// [`Refusal::Unavailable`] while nothing can be put on record.
    pub async fn reveal(&self, caller: &Caller, id: ApprovalId) -> Result<Arc<Approval>, Refusal> {
        let approval = self.guarded_approval(caller, GuardAction::ReadApproval, id).await?;
        let facts = approval.facts(None, self.shared.store.now());
        self.guard(caller, GuardAction::Reveal, Guarded::Approval(&facts))?;
        let (to, request_id) = (caller.identity.clone(), caller.request_id.0.clone());
        let fact = Fact::Revealed(Revealed { approval: id, to, request_id });
        self.shared.store.commit(fact, Seen::Nothing).await?;
        self.as_of_now(approval).await
    }

    /// What everybody sees queries through, for one view.
    #[must_use]
    pub fn veil(&self) -> Veil {
        self.shared.veil.begun()
    }

    pub(super) fn veiled(&self, approval: &Arc<Approval>) -> Shown {
        self.shared.veil.approval(approval)
    }

    /// Many of them: beside the workers, and no more at once than texts are masked at once.
    pub(super) async fn all_veiled(&self, approvals: Vec<Arc<Approval>>) -> Result<Vec<Shown>, Refusal> {
        let _place = self.shared.masking.place().await?;
        let veil = self.shared.veil.clone();
        let veiled = move || approvals.iter().map(|approval| veil.approval(approval)).collect();
        tokio::task::spawn_blocking(veiled).await.map_err(Refusal::panicked)
    }
}

impl Veil {
    #[must_use]
    pub const fn new(masker: Arc<Masker>, profile: Arc<Profile>, timeout: Duration) -> Self {
        Self(Some(Over { masker, profile, timeout }))
    }

    /// For one view: its time begins.
    fn begun(&self) -> Self {
        let begun = |over: &Over| Over {
            profile: Arc::new(timed(&over.profile, &Stopwatch::start(over.timeout))),
            ..over.clone()
        };
        Self(self.0.as_ref().map(begun))
    }

    /// For whoever may see what is there.
    #[must_use]
    pub const fn lifted() -> Self {
        Self(None)
    }

    #[must_use]
    pub const fn is_lifted(&self) -> bool {
        self.0.is_none()
    }

    /// A value of this name within a record of that name: either may tell what is in it.
    #[must_use]
    pub fn within(&self, outer: &str, name: &str, text: &str) -> Veiled {
        let veiled = self.text(name, text);
        if veiled.is_masked || outer.is_empty() { veiled } else { self.text(outer, text) }
    }

    /// A value of this name; the name tells what is in it.
    #[must_use]
    pub fn text(&self, name: &str, text: &str) -> Veiled {
        let Some(over) = &self.0 else { return Veiled { text: text.into(), is_masked: false } };
        match over.masker.field(&over.profile, name, text) {
            // INVARIANT: by what comes out, never by what was counted: what is withheld unsearched counts as nothing.
            Ok((seen, _)) if seen == text => Veiled { text: text.into(), is_masked: false },
            Ok((masked, _)) => Veiled { text: masked.into(), is_masked: true },
            Err(_) => Veiled { text: WITHHELD.into(), is_masked: true },
        }
    }

    #[must_use]
    pub fn approval(&self, approval: &Arc<Approval>) -> Shown {
        if self.is_lifted() {
            return Shown { approval: approval.clone(), masked: 0 };
        }
        let mut drawn = Drawn { veil: &self.begun(), masked: 0 };
        let opening = Arc::new(drawn.opening(&approval.opening));
        let reviews = approval.reviews.iter().map(|review| drawn.review(review)).collect();
        let glass = approval.glass.as_deref().map(|glass| Arc::new(drawn.glass(glass)));
        let shown = Approval { opening, reviews, glass, ..Approval::clone(approval) };
        let masked = drawn.masked;
        // Where nothing is masked nothing need be kept twice.
        Shown { approval: if masked == 0 { approval.clone() } else { Arc::new(shown) }, masked }
    }

    /// A record as `Audit` and `Subscribe` tell it.
    #[must_use]
    pub fn record(&self, record: Record) -> Record {
        if self.is_lifted() {
            return record;
        }
        let mut drawn = Drawn { veil: &self.begun(), masked: 0 };
        let fact = match record.fact {
            Fact::Decided(decided) => Fact::Decided(Arc::new(drawn.decided(&decided))),
            Fact::Moved(moved) => {
                let transition = drawn.transition(&moved.transition);
                Fact::Moved(Moved { transition, request_id: drawn.text("", &moved.request_id), ..moved })
            }
            Fact::EntitiesChanged(changed) => {
                let put = changed.put.iter().map(|entity| Arc::new(drawn.entity(entity))).collect();
                Fact::EntitiesChanged(EntitiesChanged { put, ..changed })
            }
            Fact::Refused(refused) => {
                Fact::Refused(Refused { request_id: drawn.text("", &refused.request_id), ..refused })
            }
            Fact::Revealed(revealed) => {
                Fact::Revealed(Revealed { request_id: drawn.text("", &revealed.request_id), ..revealed })
            }
            fact @ (Fact::Started(_) | Fact::PoliciesReloaded(_)) => fact,
        };
        Record { fact, ..record }
    }
}

/// The name that a record within another goes by: its own, or the one around where that says more.
fn telling<'n>(outer: &'n str, name: &'n str) -> &'n str {
    if name.is_empty() { outer } else { name }
}

/// A veil at work, with what it has masked so far.
struct Drawn<'v> {
    veil: &'v Veil,
    masked: usize,
}

impl Drawn<'_> {
    fn text(&mut self, name: &str, text: &Arc<str>) -> Arc<str> {
        self.within("", name, text)
    }

    fn within(&mut self, outer: &str, name: &str, text: &Arc<str>) -> Arc<str> {
        let veiled = self.veil.within(outer, name, text);
        self.masked += usize::from(veiled.is_masked);
        if veiled.is_masked { veiled.text } else { text.clone() }
    }

    fn prose(&mut self, text: Option<&Arc<str>>) -> Option<Arc<str>> {
        text.map(|text| self.text("", text))
    }

    fn value(&mut self, outer: &str, name: &str, value: &Value) -> Value {
        match value {
            Value::Bool(truth) => Value::Bool(*truth),
            Value::Long(number) => {
                let digits: Arc<str> = number.to_string().into();
                let shown = self.within(outer, name, &digits);
                if shown == digits { Value::Long(*number) } else { Value::String(shown) }
            }
            Value::String(text) => Value::String(self.within(outer, name, text)),
            Value::Entity(uid) => Value::Entity(self.uid(outer, name, uid)),
            Value::Set(members) => Value::Set(members.iter().map(|member| self.value(outer, name, member)).collect()),
            Value::Record(fields) => Value::Record(self.fields(telling(outer, name), fields)),
            Value::Extension { function, argument } => {
                let shown = self.within(outer, name, argument);
                // What is masked is no address or moment any more.
                if shown == *argument {
                    Value::Extension { function: *function, argument: shown }
                } else {
                    Value::String(shown)
                }
            }
        }
    }

    /// The names of fields are texts as well, where no schema says what they are. None takes another's place.
    fn fields(&mut self, outer: &str, fields: &Attributes) -> Attributes {
        let mut shown = Attributes::new();
        for (name, value) in fields {
            let value = self.value(outer, name, value);
            let mut name = self.text("", name);
            while shown.contains_key(&name) {
                name = format!("{name}'").into();
            }
            shown.insert(name, value);
        }
        shown
    }

    fn uid(&mut self, outer: &str, name: &str, uid: &EntityUid) -> EntityUid {
        EntityUid { type_name: uid.type_name.clone(), id: self.within(outer, name, &uid.id) }
    }

    fn entity(&mut self, entity: &Entity) -> Entity {
        Entity {
            uid: entity.uid.clone(),
            attributes: self.fields("", &entity.attributes),
            parents: entity.parents.clone(),
            tags: self.fields("", &entity.tags),
        }
    }

    /// One that came along: its name is data, unless the query is about it.
    fn supplied(&mut self, entity: &Entity, query: &Query) -> Entity {
        let is_named = |uid: &EntityUid| {
            [Some(&query.principal), query.on_behalf_of.as_ref(), Some(&query.resource)].contains(&Some(uid))
        };
        let mut name = |uid: &EntityUid| if is_named(uid) { uid.clone() } else { self.uid("", "", uid) };
        let (uid, parents) = (name(&entity.uid), entity.parents.iter().map(name).collect());
        Entity { uid, parents, ..self.entity(entity) }
    }

    fn query(&mut self, query: &Query) -> Query {
        Query {
            context: self.fields("", &query.context),
            environment: self.fields("", &query.environment),
            entities: query.entities.iter().map(|entity| self.supplied(entity, query)).collect(),
            principal: query.principal.clone(),
            on_behalf_of: query.on_behalf_of.clone(),
            action: query.action.clone(),
            resource: query.resource.clone(),
        }
    }

    fn opening(&mut self, opening: &Opening) -> Opening {
        let query = Arc::new(self.query(&opening.query));
        let justification = self.prose(opening.justification.as_ref());
        Opening { query, justification, ..opening.clone() }
    }

    fn decided(&mut self, decided: &Decided) -> Decided {
        let query = Arc::new(self.query(&decided.query));
        let justification = self.prose(decided.justification.as_ref());
        let change = match &decided.change {
            Change::None => Change::None,
            Change::Opened(opening) => Change::Opened(Arc::new(Opening {
                query: query.clone(),
                justification: justification.clone(),
                ..Opening::clone(opening)
            })),
            Change::Redeemed(transition) => Change::Redeemed(self.transition(transition)),
        };
        let idempotency_key = self.prose(decided.idempotency_key.as_ref());
        let request_id = self.text("", &decided.request_id);
        Decided { query, justification, change, idempotency_key, request_id, ..decided.clone() }
    }

    fn glass(&mut self, glass: &Glass) -> Glass {
        let examinations = glass.examinations.iter().map(|review| self.review(review)).collect();
        Glass { broken: self.breach(&glass.broken), examinations }
    }

    fn breach(&mut self, broken: &Breach) -> Breach {
        Breach { reason: self.text("", &broken.reason), ..broken.clone() }
    }

    fn review(&mut self, review: &Review) -> Review {
        Review { comment: self.prose(review.comment.as_ref()), ..review.clone() }
    }

    fn transition(&mut self, transition: &Transition) -> Transition {
        match transition.clone() {
            Transition::Reviewed(review) => Transition::Reviewed(self.review(&review)),
            Transition::Approved(review, grant) => Transition::Approved(self.review(&review), grant),
            Transition::Rejected(review) => Transition::Rejected(self.review(&review)),
            Transition::Examined(review) => Transition::Examined(self.review(&review)),
            Transition::BrokenGlass(broken, grant) => Transition::BrokenGlass(self.breach(&broken), grant),
            Transition::Cancelled { by, comment, at } => {
                Transition::Cancelled { by, comment: self.prose(comment.as_ref()), at }
            }
            Transition::Revoked { by, comment, at } => {
                Transition::Revoked { by, comment: self.prose(comment.as_ref()), at }
            }
            untold @ (Transition::Expired { .. }
            | Transition::Escalated { .. }
            | Transition::Reminded { .. }
            | Transition::Lapsed { .. }
            | Transition::Consumed { .. }
            | Transition::Used { .. }
            | Transition::Reported(_)) => untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mask::{Masking, Settings};
    use super::*;

    fn text(text: &str) -> Value {
        Value::string(text)
    }

    fn endless() -> Veil {
        Masking::new(Settings::default()).unwrap().veil()
    }

    #[test]
    fn what_was_not_searched_in_time_is_withheld() {
        let veil = Masking::new(Settings { timeout: Duration::ZERO, ..Settings::default() }).unwrap().veil().begun();
        for (name, value) in [("", "as plain as can be"), ("ssn", "219-09-9999"), ("", "to jane@example.com")] {
            assert_eq!(veil.text(name, value), Veiled { text: WITHHELD.into(), is_masked: true }, "{value}");
        }
    }

    #[test]
    fn what_is_too_long_to_be_searched_is_withheld_and_not_shown_as_if_it_were_clean() {
        let value = format!("AKIAIOSFODNN7EXAMPLE{}", "x".repeat(200_000));
        for text in [format!("password={value}"), format!("-----BEGIN PRIVATE KEY-----\n{value}")] {
            let seen = endless().text("", &text);
            assert!(seen.is_masked && !seen.text.contains("IOSFODNN7"), "{}", &seen.text[..40.min(seen.text.len())]);
        }
    }

    #[test]
    fn what_a_name_tells_holds_for_the_record_within_and_for_every_sort_of_value() {
        let veil = endless();
        let (resource, other) =
            (EntityUid::new("Customer", "jane@example.com"), EntityUid::new("Customer", "joe@example.com"));
        let inner = |name: &str, value| Value::Record([(name.into(), value)].into());
        let context = Attributes::from([
            ("password".into(), inner("value", text("hunter2-hunter2"))),
            ("ssn".into(), inner("number", Value::Long(219_099_999))),
            ("cards".into(), Value::Set(vec![Value::Long(4_242_424_242_424_242)])),
            ("owner".into(), Value::Entity(other.clone())),
            ("rows".into(), Value::Long(48_211)),
        ]);
        let entities =
            vec![Entity::bare(resource.clone(), vec![other.clone()]), Entity::bare(other.clone(), Vec::new())];
        let query = Query {
            principal: EntityUid::new("Agent", "bot"),
            on_behalf_of: None,
            action: EntityUid::new("Action", "export"),
            resource: resource.clone(),
            context,
            environment: Attributes::new(),
            entities,
        };
        let through = |veil: &Veil| Drawn { veil, masked: 0 }.query(&query);
        let seen = through(&veil);
        let masked = EntityUid::new("Customer", "***@example.com");
        assert_eq!(seen.context["password"], inner("value", text("<REDACTED>")));
        assert_eq!(seen.context["ssn"], inner("number", text("**** 9999")));
        assert_eq!(seen.context["cards"], Value::Set(vec![text("**** 4242")]));
        assert_eq!(
            (&seen.context["owner"], &seen.context["rows"]),
            (&Value::Entity(masked.clone()), &Value::Long(48_211))
        );
        assert_eq!((&seen.entities[0].uid, &seen.entities[0].parents), (&resource, &vec![masked.clone()]));
        assert_eq!((&seen.entities[1].uid, &seen.resource), (&masked, &resource));
        assert_eq!(through(&Veil::lifted()), query);
    }
}
