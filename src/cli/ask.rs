//! `countersign ask`: the question that an enforcement point asks before it acts, from a shell. For trying things out, and for
//! scripts that guard a step: the exit code is 0 for ALLOW alone.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::remote::Remote;
use super::screen::{Screen, Style};
use super::words::{escaped, uids};
use super::{parse, words};
use crate::authoring::notation;
use crate::grpc::client::Client;
use crate::wire::{pb, value, well_known};

/// The server holds a call open for no longer.
const WAIT: Duration = Duration::from_secs(55);

#[derive(Debug, Args)]
pub struct Ask {
    /// What, such as export
    action: String,
    /// On what, such as Dataset::customers
    #[arg(value_parser = parse::uid)]
    resource: pb::EntityUid,
    /// The parameters of the action, as Cedar's JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = fields)]
    context: Fields,
    /// Why; shown to reviewers
    #[arg(long, default_value = "")]
    justification: String,
    /// Redeem this approval
    #[arg(long, value_name = "ID", default_value = "")]
    approval: String,
    /// While people have to agree, wait for them: for ever, if need be
    #[arg(long)]
    wait: bool,
}

type Fields = BTreeMap<String, Value>;

fn fields(text: &str) -> Result<Fields, String> {
    serde_json::from_str(text).map_err(|error| format!("expected fields as JSON: {error}"))
}

impl Ask {
    /// Exit code 3 for DENY, and for PENDING where nobody wanted to wait.
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        let client = remote.connect().await?;
        let answer = self.answer(&client, screen).await?;
        screen.message(&answer, as_text)?;
        match answer.outcome() {
            pb::Outcome::Allow => Ok(()),
            pb::Outcome::Pending => Err(Failure::Refused("people have to agree first: do not act".into())),
            pb::Outcome::Deny | pb::Outcome::Unspecified => Err(Failure::Refused("denied: do not act".into())),
        }
    }

    /// The loop of every enforcement point.
    async fn answer(&self, client: &Client, screen: &Screen) -> Result<pb::AuthorizeResponse, Failure> {
        let mut request = self.request()?;
        loop {
            let answer = client.authorize(request.clone()).await?;
            let approval = answer.approval.as_ref().filter(|_| self.wait && answer.outcome() == pb::Outcome::Pending);
            let Some(approval) = approval else { return Ok(answer) };
            if request.wait.is_none() {
                screen.note(&format!("waiting for people: {}", escaped(&approval.id)));
            }
            request.approval_id.clone_from(&approval.id);
            request.wait = Some(well_known::Duration { seconds: WAIT.as_secs().cast_signed(), nanos: 0 });
        }
    }

    fn request(&self) -> Result<pb::AuthorizeRequest, Failure> {
        let context = notation::attributes(&self.context).map_err(Failure::Usage)?;
        Ok(pb::AuthorizeRequest {
            action: Some(pb::EntityUid { r#type: "Action".to_owned(), id: self.action.clone() }),
            resource: Some(self.resource.clone()),
            context: value::attributes(&context),
            justification: self.justification.clone(),
            approval_id: self.approval.clone(),
            ..pb::AuthorizeRequest::default()
        })
    }
}

fn as_text(answer: &pb::AuthorizeResponse, style: Style) -> String {
    let outcome = match answer.outcome() {
        pb::Outcome::Allow => style.green("ALLOW"),
        pb::Outcome::Pending => style.yellow("PENDING"),
        pb::Outcome::Deny | pb::Outcome::Unspecified => style.red("DENY"),
    };
    let mut lines = vec![format!("{outcome}  {}: {}", escaped(&answer.reason), escaped(&answer.message))];
    lines.extend(answer.approval.iter().map(|approval| {
        let gates = approval.gates.iter().filter_map(|status| status.gate.as_ref());
        let reviewers = gates.map(|gate| format!("{} of {}", gate.quorum, uids(&gate.reviewers))).collect::<Vec<_>>();
        format!("approval {} {}, needs {}", escaped(&approval.id), words::state(approval.state), reviewers.join("; "))
    }));
    lines.join("\n")
}
