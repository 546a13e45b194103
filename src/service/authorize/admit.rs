//! From an ask to a query that may be asked: identities, guards, limits, binding.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Ask, AskedPrincipal};
use crate::domain::{ApprovalId, Binding, EntityUid, GuardAction, Guarded, Identity, PrincipalKind, Query};
use crate::service::{Caller, Refusal, Service};

/// A query that the caller may ask.
#[derive(Debug, Clone)]
pub(super) struct Admitted {
    pub caller: Caller,
    pub principal: Arc<Identity>,
    pub query: Arc<Query>,
    pub binding: Binding,
    pub justification: Option<Arc<str>>,
    pub approval: Option<ApprovalId>,
    pub idempotency_key: Option<Arc<str>>,
}

impl Service {
    pub(super) async fn admit(&self, caller: &Caller, ask: Ask) -> Result<Admitted, Refusal> {
        self.guard_asking(caller)?;
        self.check_limits(&ask)?;
        self.check_supplied(caller, &ask)?;
        let principal = self.principal(caller, ask.principal).await?;
        let query = Query {
            principal: principal.uid.clone(),
            on_behalf_of: principal.on_behalf_of.as_ref().map(|human| human.uid.clone()),
            action: ask.action,
            resource: ask.resource,
            context: ask.context,
            environment: ask.environment,
            entities: ask.entities,
        };
        // Who asks and who would act must both still be proven when the answer comes.
        let expires_at = caller.expires_at.min(principal.proof.expires_at);
        Ok(Admitted {
            caller: Caller { expires_at, ..caller.clone() },
            principal,
            binding: Binding::of(&query),
            query: Arc::new(query),
            justification: ask.justification,
            approval: ask.approval,
            idempotency_key: ask.idempotency_key,
        })
    }

    fn check_limits(&self, ask: &Ask) -> Result<(), Refusal> {
        let limits = &self.shared.limits;
        self.check_length("justification", ask.justification.as_deref(), limits.justification_chars_max)?;
        self.check_length("idempotency_key", ask.idempotency_key.as_deref(), limits.idempotency_key_chars_max)?;
        if ask.entities.len() > limits.entities_max {
            return Err(Refusal::invalid("entities", format!("more than {} entities", limits.entities_max)));
        }
        Ok(())
    }

    /// Who may say what about entities is policy, type by type.
    fn check_supplied(&self, caller: &Caller, ask: &Ask) -> Result<(), Refusal> {
        let types: BTreeSet<&str> = ask.entities.iter().map(|entity| &*entity.uid.type_name).collect();
        types
            .into_iter()
            .try_for_each(|name| self.guard(caller, GuardAction::SupplyEntities, Guarded::EntityType(name)))
    }

    async fn principal(&self, caller: &Caller, asked: AskedPrincipal) -> Result<Arc<Identity>, Refusal> {
        match asked {
            AskedPrincipal::Caller => Ok(caller.identity.clone()),
            AskedPrincipal::Named(uid) if uid == caller.identity.uid => Ok(caller.identity.clone()),
            AskedPrincipal::Named(uid) => {
                self.guard(caller, GuardAction::AuthorizeAs, Guarded::Principal(&uid))?;
                let kind = kind_of(&uid);
                Ok(Arc::new(Identity::asserted(uid, kind, &caller.identity)))
            }
            AskedPrincipal::Token(token) => {
                let subject = self.authenticate(&token, caller.request_id.clone()).await?;
                Ok(subject.identity)
            }
        }
    }
}

/// What an asserted principal is said to be; recorded, and never enough to review.
fn kind_of(uid: &EntityUid) -> PrincipalKind {
    match uid.type_name.rsplit("::").next() {
        Some("User") => PrincipalKind::User,
        Some("Agent") => PrincipalKind::Agent,
        Some(_) | None => PrincipalKind::Workload,
    }
}
