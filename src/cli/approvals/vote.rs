//! `approvals approve` and `reject`. A vote carries the binding of what the voter saw: one that was passed, or that of the
//! approval shown just before the question. There is no way to vote on an id alone.

use clap::Args;

use super::show;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;
use crate::cli::words;
use crate::grpc::client::Client;
use crate::wire::pb;

#[derive(Debug, Args)]
pub struct Vote {
    /// Such as apr_0198...
    id: String,
    /// Why; a rejection's comment is told to the requester
    #[arg(long, default_value = "")]
    comment: String,
    /// Only for this gate; may be repeated
    #[arg(long)]
    gate: Vec<String>,
    /// The binding of what you saw, as `approvals show` prints it; without it you are shown the approval and asked
    #[arg(long, value_name = "HEX")]
    binding: Option<String>,
    /// Be shown personal data and secrets as they are; that you looked goes on record
    #[arg(long, conflicts_with = "binding")]
    reveal: bool,
}

impl Vote {
    pub async fn run(self, verdict: pb::Verdict, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
        let binding = match &self.binding {
            Some(binding) => binding.clone(),
            None => self.ask(verdict, client, screen).await?,
        };
        let request = pb::DecideRequest {
            approval_id: self.id,
            verdict: verdict.into(),
            comment: self.comment,
            binding,
            gates: self.gate,
        };
        let approval = client.decide(request).await?;
        screen.message(&approval, |approval, style| outcome(approval, style.bold(words::state(approval.state))))
    }

    /// Shows the approval and returns its binding if the voter says yes to it.
    async fn ask(&self, verdict: pb::Verdict, client: &Client, screen: &mut Screen) -> Result<String, Failure> {
        if !screen.can_ask() {
            return Err(Failure::Usage(format!(
                "nobody is here to be asked: look at it with `countersign approvals show {id}`, then pass the binding \
                 that you saw with --binding",
                id = words::escaped(&self.id)
            )));
        }
        let request = pb::GetApprovalRequest { approval_id: self.id.clone(), reveal: self.reveal };
        let approval = client.get_approval(request).await?;
        screen.message(&approval, |approval, style| show::approval(approval, jiff::Timestamp::now(), style))?;
        let question = match verdict {
            pb::Verdict::Approve => "\nCountersign exactly this?",
            pb::Verdict::Reject | pb::Verdict::Unspecified => "\nReject this?",
        };
        if screen.confirm(question)? {
            Ok(approval.binding)
        } else {
            Err(Failure::Failed("nothing was decided".into()))
        }
    }
}

fn outcome(approval: &pb::Approval, state: String) -> String {
    let id = words::escaped(&approval.id);
    if approval.state == i32::from(pb::ApprovalState::Pending) {
        format!("{id} is still {state}: {}", words::escaped(&approval.status))
    } else {
        format!("{id} is {state}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::approvals::show::tests::export;

    #[test]
    fn a_vote_that_leaves_it_pending_says_what_is_missing() {
        assert_eq!(
            outcome(&export(), "PENDING".into()),
            "apr_01 is still PENDING: waiting on 1 of Group::dpo, 14 min, until 22:28 UTC"
        );
        let approved = pb::Approval { state: pb::ApprovalState::Approved.into(), ..export() };
        assert_eq!(outcome(&approved, "APPROVED".into()), "apr_01 is APPROVED");
    }
}
