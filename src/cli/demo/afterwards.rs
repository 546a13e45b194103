//! What to try while the demo's server stays up.

use super::house::House;
use crate::cli::failure::Failure;
use crate::cli::screen::Screen;

/// A command line for each thing worth trying, with the addresses of this server.
pub fn tell(house: &House, screen: &mut Screen) -> Result<(), Failure> {
    let journal = house.journal_dir().display().to_string();
    screen.line(&text(house.server_url(), house.issuer_url(), house.inbox_url(), &journal))
}

fn text(server: &str, issuer: &str, inbox: &str, journal: &str) -> String {
    let address = server.trim_start_matches("http://");
    format!(
        r#"
The server stays up on {server} until you press Ctrl-C.

People countersign at  {inbox}  (log in as whom you like). In another terminal, try:

  export COUNTERSIGN_SERVER={server} COUNTERSIGN_DEV_ISSUER={issuer}
  export BOT=$(countersign token report-bot)

  # the agent asks (https://github.com/fullstorydev/grpcurl)
  grpcurl -plaintext -H "authorization: Bearer $BOT" -d '{{
      "action": {{"type": "Action", "id": "export"}}, "resource": {{"type": "Dataset", "id": "customers"}},
      "context": {{"destination": {{"string": "s3://elsewhere"}}}}, "justification": "I was asked to"
    }}' {address} countersign.v1.DecisionPoint/Authorize

  # people decide: alice, carol (privacy), bob (dpo), dave (sre), erin (auditors), frank (nobody)
  COUNTERSIGN_TOKEN=$(countersign token alice) countersign approvals list
  COUNTERSIGN_TOKEN=$(countersign token alice) countersign approvals approve apr_...
  COUNTERSIGN_TOKEN=$(countersign token bob) countersign approvals watch --reviewable

  # auditors read
  COUNTERSIGN_TOKEN=$(countersign token erin) countersign audit query --newest
  countersign audit verify {journal}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_to_try_names_this_server() {
        let text = text("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", "/tmp/j");
        assert!(text.contains("COUNTERSIGN_SERVER=http://127.0.0.1:1 COUNTERSIGN_DEV_ISSUER=http://127.0.0.1:2"));
        assert!(text.contains("at  http://127.0.0.1:3  ("));
        assert!(text.contains("}' 127.0.0.1:1 countersign.v1.DecisionPoint/Authorize"));
    }
}
