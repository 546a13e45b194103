//! Whether each thing that answers rest on is well.

use super::Service;
use super::outbox::{Condition, TargetState};
use crate::service::Refusal;

/// One dependency, by the name under which its health is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// `journal`, `store` (of approvals), `notify` (a target does not take what it is told; `notify.<name>` for each),
    /// `policies` (not serving: the set in the directory is broken, the last good one answers), or `issuer.<name>`.
    pub name: String,
    pub serving: bool,
    /// Whether answers stop without it.
    pub needed: bool,
}

/// A place that no record has; asked for to see whether the journal still answers.
const PROBE_RECORDS: usize = 1;

impl Service {
    /// The state of every dependency. Cheap; called every second.
    pub async fn health(&self) -> Vec<Dependency> {
        let issuers = self.shared.verifier.health().into_iter();
        let mut all: Vec<Dependency> = issuers
            .map(|issuer| Dependency { name: format!("issuer.{}", issuer.name), serving: issuer.ready, needed: false })
            .collect();
        let journal = self.journal_answers().await.is_ok();
        all.push(Dependency { name: "journal".into(), serving: journal, needed: true });
        // Without it what needs no approval is answered as ever.
        let store = self.shared.store.trouble().is_none();
        all.push(Dependency { name: "store".into(), serving: store, needed: false });
        // Without knowing which entities were put nothing is answered.
        let entities = self.shared.standing.is_open();
        all.push(Dependency { name: "entities".into(), serving: entities, needed: true });
        // A snapshot is in force whenever a server runs: a broken set never replaces a good one, and only shows.
        let policies = self.refused_policies().is_none();
        all.push(Dependency { name: "policies".into(), serving: policies, needed: false });
        let targets = self.notifications();
        let well = |target: &TargetState| target.condition == Condition::Working;
        if !targets.is_empty() {
            all.push(Dependency { name: "notify".into(), serving: targets.iter().all(well), needed: false });
        }
        let one = |target: &TargetState| Dependency {
            name: format!("notify.{}", target.name),
            serving: well(target),
            needed: false,
        };
        all.extend(targets.iter().map(one));
        all
    }

    async fn journal_answers(&self) -> Result<(), Refusal> {
        let last = self.shared.log.durable_through().max(1);
        self.on_disk(move |log| log.read_raw(last.max(log.first_sequence()), PROBE_RECORDS, 1)).await.map(drop)
    }
}
