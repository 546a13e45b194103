//! Opening what was sealed: a query like any other, so that policies say who may, gates make people countersign it, and who
//! opened what is on record before it is open. What the tokens hold is never recorded; their digest and kinds are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::authorize::{Answer, Ask, AskedPrincipal};
use super::mask::{refusal, tenant};
use super::{Caller, Refusal, Service};
use crate::domain::{ApprovalId, Attributes, DataKind, EntityUid, GuardAction, MaskSupport, Outcome, Value};
use crate::masking::MaskError;
use crate::masking::token::{Payload, token_at};

/// Tokens of one call.
const TOKENS_MAX: usize = 100;

/// Which tokens, and all else that a query may bring.
pub struct Opening {
    pub tokens: Vec<String>,
    pub justification: Option<Arc<str>>,
    pub approval: Option<ApprovalId>,
    pub wait: Duration,
    pub idempotency_key: Option<Arc<str>>,
}

impl Service {
    /// Asks whether the caller may open these tokens, and opens them with an ALLOW.
    ///
    /// # Errors
    /// As for [`Service::authorize`], and for what is no token of ours. Tokens are opened before the question is asked, so that
    /// nothing is countersigned for tokens that do not open.
    pub async fn unmask(&self, caller: &Caller, opening: Opening) -> Result<(Answer, Vec<String>), Refusal> {
        if opening.tokens.is_empty() || opening.tokens.len() > TOKENS_MAX {
            return Err(Refusal::invalid("tokens", format!("expected 1 to {TOKENS_MAX} tokens")));
        }
        // Whoever may not even ask learns nothing about tokens.
        self.guard_asking(&*self.in_force()?, caller)?;
        let opened =
            opening.tokens.iter().map(|token| self.open(token)).collect::<Result<Vec<_>, _>>().map_err(refusal)?;
        let kinds: BTreeSet<DataKind> = opened.iter().map(|(kind, _)| *kind).collect();
        let ask = ask(opening, &kinds);
        let answer = self.authorize(caller, ask).await?;
        let values = match answer.outcome() {
            Outcome::Allow => opened.into_iter().map(|(_, value)| value).collect(),
            Outcome::Deny | Outcome::Pending => Vec::new(),
        };
        Ok((answer, values))
    }

    fn open(&self, text: &str) -> Result<(DataKind, String), MaskError> {
        let token = token_at(text, 0).filter(|token| token.span.end == text.len());
        let token = token.filter(|token| matches!(token.payload, Payload::Sealed { .. })).ok_or(MaskError::Unopened)?;
        let kind = token.kind.ok_or(MaskError::Unopened)?;
        Ok((kind, self.shared.masking.masker().open(tenant(), &token)?))
    }
}

/// The question. Its context names the tokens by digest, so that what is countersigned is to open exactly these.
fn ask(opening: Opening, kinds: &BTreeSet<DataKind>) -> Ask {
    let mut digest = Sha256::new();
    for token in &opening.tokens {
        digest.update((token.len() as u64).to_be_bytes());
        digest.update(token);
    }
    let tokens: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let kinds = kinds.iter().map(|kind| Value::string(kind.as_str())).collect();
    Ask {
        principal: AskedPrincipal::Caller,
        action: EntityUid::new("Countersign::Action", GuardAction::Unmask.name()),
        resource: EntityUid::new("Countersign::Service", "countersign"),
        context: Attributes::from([("kinds".into(), Value::Set(kinds)), ("tokens".into(), Value::string(&tokens))]),
        environment: Attributes::new(),
        entities: Vec::new(),
        justification: opening.justification,
        approval: opening.approval,
        wait: opening.wait,
        idempotency_key: opening.idempotency_key,
        at_least_revision: 0,
        explain: false,
        masking: MaskSupport::Declared,
    }
}
