//! A decision, written out: the record it leaves, what it rests on, and the approval as it will be.

use std::sync::Arc;

use uuid::Uuid;

use super::admit::Admitted;
use super::parts;
use crate::domain::{
    Approval, ApprovalId, Change, Circumstances, Decided, Decision, DecisionId, Effect, Evaluation, Fact, Opening,
    Outcome, Reason, Requirement, Standing, Timestamp, Transition,
};
use crate::service::Service;
use crate::store::Seen;

/// A commit that is ready to be made.
pub(super) struct Planned {
    pub fact: Fact,
    pub seen: Seen,
    pub decided: Arc<Decided>,
    pub approval: Option<Arc<Approval>>,
}

impl Service {
    pub(super) fn plan(
        &self,
        asked: &Admitted,
        evaluation: Evaluation,
        decision: &Decision,
        around: &Circumstances,
    ) -> Planned {
        let now = around.now;
        let mut decided = record(asked, evaluation, decision);
        decided.follows = around.earlier.as_ref().map(|earlier| earlier.id);
        let standing = match &around.standing {
            Standing::None => None,
            Standing::ByBinding(approval) | Standing::ById(approval) => Some(approval),
        };
        let (seen, approval) = match decision.effect() {
            Effect::None => {
                let named = standing.filter(|_| bears_on(decision.reason()));
                decided.approval = named.map(|approval| approval.id());
                // What was named and is for something else is on record, and not shown to whoever named it.
                (Seen::Nothing, named.filter(|approval| approval.opening.binding == asked.binding).cloned())
            }
            Effect::Open(requirement) => {
                let opening = Arc::new(opening(asked, &decided, requirement.clone(), now));
                decided.approval = Some(opening.id);
                decided.determining = requirement.gates().iter().map(|gate| gate.id.clone()).collect();
                decided.change = Change::Opened(opening.clone());
                let slot = standing.map(|approval| (approval.id(), approval.version));
                (Seen::Slot(slot), Some(Arc::new(Approval::opened(opening))))
            }
            Effect::Join(approval) => {
                decided.approval = Some(approval.id());
                let gates = approval.opening.requirement.gates();
                decided.determining = gates.iter().map(|gate| gate.id.clone()).collect();
                (Seen::Nothing, Some(approval.clone()))
            }
            Effect::Consume(approval) => {
                let report_by = now.after(self.shared.limits.outcome_lease);
                let by = Some(asked.caller.identity.uid.clone());
                let consumed = |decision| Transition::Consumed { by, decision, at: now, report_by };
                self.redeem(&mut decided, approval, consumed)
            }
            Effect::Use(approval) => {
                self.redeem(&mut decided, approval, |decision| Transition::Used { decision, at: now })
            }
            Effect::Repeat(earlier) => {
                decided.repeats = Some(earlier.id);
                decided.approval = earlier.approval;
                let about = standing.filter(|approval| Some(approval.id()) == earlier.approval).cloned();
                (about.as_ref().map_or(Seen::Nothing, |approval| Seen::Version(approval.version)), about)
            }
        };
        let decided = Arc::new(decided);
        Planned { fact: Fact::Decided(decided.clone()), seen, decided, approval }
    }

    fn redeem(
        &self,
        decided: &mut Decided,
        approval: &Arc<Approval>,
        transition: impl FnOnce(DecisionId) -> Transition,
    ) -> (Seen, Option<Arc<Approval>>) {
        let transition = transition(decided.id);
        // An approval that cannot be redeemed makes the commit a conflict: the store applies the same transition.
        let after = approval.apply(&transition).ok().map(Arc::new);
        decided.approval = Some(approval.id());
        decided.change = Change::Redeemed(transition);
        (Seen::Version(approval.version), after)
    }
}

/// Whether an answer without effect is about the standing approval.
fn bears_on(reason: Reason) -> bool {
    match reason {
        Reason::BindingMismatch
        | Reason::ApprovalRejected
        | Reason::ApprovalExpired
        | Reason::ApprovalCancelled
        | Reason::ApprovalRevoked
        | Reason::GrantConsumed
        | Reason::GrantLapsed => true,
        Reason::Permitted
        | Reason::Granted
        | Reason::ApprovalRequired
        | Reason::JustificationRequired
        | Reason::Forbidden
        | Reason::NotPermitted
        | Reason::EvaluationError
        | Reason::UnsupportedObligation => false,
    }
}

fn record(asked: &Admitted, evaluation: Evaluation, decision: &Decision) -> Decided {
    let (outcome, reason) = parts(decision);
    Decided {
        id: DecisionId::from_uuid(Uuid::now_v7()),
        query: asked.query.clone(),
        binding: asked.binding,
        principal: asked.principal.clone(),
        caller: asked.caller.identity.clone(),
        outcome,
        reason,
        determining: evaluation.determining,
        errors: evaluation.errors,
        obligations: if outcome == Outcome::Allow { evaluation.obligations } else { Vec::new() },
        digest: evaluation.digest,
        revision: evaluation.revision,
        justification: asked.justification.clone(),
        request_id: asked.caller.request_id.0.clone(),
        approval: None,
        change: Change::None,
        idempotency_key: asked.idempotency_key.clone(),
        repeats: None,
        follows: None,
    }
}

fn opening(asked: &Admitted, decided: &Decided, requirement: Requirement, now: Timestamp) -> Opening {
    Opening {
        id: ApprovalId::opened(Uuid::now_v7(), &asked.binding),
        binding: asked.binding,
        query: asked.query.clone(),
        principal: asked.principal.clone(),
        caller: asked.caller.identity.clone(),
        deadline: now.after(requirement.timeout()),
        requirement,
        justification: asked.justification.clone(),
        opened_at: now,
        digest: decided.digest,
        trace_parent: asked.caller.trace_parent.clone(),
    }
}
