//! From an ask to a query that may be asked: identities, guards, limits, binding.

use std::sync::{Arc, Weak};

use super::{Ask, AskedPrincipal};
use crate::domain::guard::beside_asking;
use crate::domain::{
    ApprovalId, Binding, Evaluation, Explanation, GuardAction, Guarded, Identity, MaskSupport, PrincipalKind,
    ProofMethod, Query, Timestamp,
};
use crate::engine::PolicySnapshot;
use crate::service::{Caller, EXPLAINS_MAX, Refusal, Service};

/// A query that the caller may ask.
#[derive(Debug, Clone)]
pub(super) struct Admitted {
    pub caller: Caller,
    /// The policies that let the caller ask; not kept alive for it, a call may wait for long.
    pub guarded_under: Weak<PolicySnapshot>,
    pub at_least_revision: u64,
    pub principal: Arc<Identity>,
    pub query: Arc<Query>,
    pub binding: Binding,
    pub justification: Option<Arc<str>>,
    pub approval: Option<ApprovalId>,
    pub idempotency_key: Option<Arc<str>>,
    pub explain: bool,
    pub masking: MaskSupport,
}

impl Service {
    pub(super) async fn admit(&self, caller: &Caller, ask: Ask) -> Result<Admitted, Refusal> {
        let snapshot = self.in_force()?;
        self.guard_asking(&snapshot, caller)?;
        self.check_limits(&ask)?;
        let asserted = match &ask.principal {
            AskedPrincipal::Named(uid) if *uid != caller.identity.uid => Some(uid),
            AskedPrincipal::Named(_) | AskedPrincipal::Caller | AskedPrincipal::Token(_) => None,
        };
        self.guard_all(&snapshot, caller, beside_asking(&ask.entities, ask.explain, asserted))?;
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
            guarded_under: Arc::downgrade(&snapshot),
            at_least_revision: ask.at_least_revision,
            principal,
            binding: Binding::of(&query),
            query: Arc::new(query),
            justification: ask.justification,
            approval: ask.approval,
            idempotency_key: ask.idempotency_key,
            explain: ask.explain,
            masking: ask.masking,
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

    /// The policies to answer by: the newest, under which the caller may ask this as well. Guards and evaluation of one
    /// answer go by one snapshot; who was let in under an older one is asked for again.
    ///
    /// # Errors
    /// The caller may not ask this any more, or demands newer policies.
    pub(super) fn judged_by(&self, asked: &Admitted) -> Result<Arc<PolicySnapshot>, Refusal> {
        let snapshot = self.in_force()?;
        if snapshot.revision() < asked.at_least_revision {
            return Err(Refusal::PoliciesStale { revision: snapshot.revision() });
        }
        if !asked.guarded_under.ptr_eq(&Arc::downgrade(&snapshot)) {
            self.guard_asking(&snapshot, &asked.caller)?;
            let asserted = asked.principal.proof.method == ProofMethod::Asserted;
            let asserted = asserted.then_some(&asked.principal.uid);
            let guards = beside_asking(&asked.query.entities, asked.explain, asserted);
            self.guard_all(&snapshot, &asked.caller, guards)?;
        }
        Ok(snapshot)
    }

    fn guard_all<'q>(
        &self,
        snapshot: &PolicySnapshot,
        caller: &Caller,
        mut guards: impl Iterator<Item = (GuardAction, Guarded<'q>)>,
    ) -> Result<(), Refusal> {
        guards.try_for_each(|(action, on)| self.guard_under(snapshot, caller, action, on))
    }

    /// Why the policies answer as they do, if the caller asked. It reads policies again, for people: off the workers, and
    /// few at a time.
    pub(super) async fn explained(
        &self,
        asked: &Admitted,
        snapshot: &Arc<PolicySnapshot>,
        evaluation: &Evaluation,
        now: Timestamp,
    ) -> Result<Option<Box<Explanation>>, Refusal> {
        if !asked.explain {
            return Ok(None);
        }
        let full = |_| Refusal::Exhausted { limit: "explains_max", most: EXPLAINS_MAX };
        let _place = self.shared.explains.try_acquire().map_err(full)?;
        let (snapshot, evaluation) = (snapshot.clone(), evaluation.clone());
        let (query, principal, caller) = (asked.query.clone(), asked.principal.clone(), asked.caller.identity.clone());
        let explain = move || snapshot.explain(&evaluation, &query, &principal, &caller, now);
        let explained = tokio::task::spawn_blocking(explain).await;
        let explained = explained.map_err(Refusal::panicked)?;
        Ok(Some(Box::new(explained?)))
    }

    /// Who would act. INVARIANT: whom the caller only names, it was let name before.
    async fn principal(&self, caller: &Caller, asked: AskedPrincipal) -> Result<Arc<Identity>, Refusal> {
        match asked {
            AskedPrincipal::Caller => Ok(caller.identity.clone()),
            AskedPrincipal::Named(uid) if uid == caller.identity.uid => Ok(caller.identity.clone()),
            AskedPrincipal::Named(uid) => {
                let kind = PrincipalKind::said_by(&uid);
                Ok(Arc::new(Identity::asserted(uid, kind, &caller.identity)))
            }
            AskedPrincipal::Token(token) => {
                let subject = self.authenticate(&token, caller.request_id.clone()).await?;
                Ok(subject.identity)
            }
        }
    }
}
