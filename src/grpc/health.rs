//! `grpc.health.v1`: one name for each dependency, `""` and `countersign.v1.DecisionPoint` for the whole.

use std::time::Duration;

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};

use super::connection::WaysIn;
use crate::service::Service;

const INTERVAL: Duration = Duration::from_secs(1);
/// While something is not well, its recovery is told sooner.
const UNWELL_INTERVAL: Duration = Duration::from_millis(50);
const WHOLE: [&str; 2] = ["", "countersign.v1.DecisionPoint"];

/// The service, and the way to tell it. Nothing is well before it is known to be.
pub async fn service() -> (HealthReporter, HealthServer<impl Health>) {
    let reporter = HealthReporter::new();
    // It takes the whole for well from the start, and the first report comes only when calls are taken already.
    for name in WHOLE {
        reporter.set_service_status(name, ServingStatus::NotServing).await;
    }
    (reporter.clone(), HealthServer::new(HealthService::from_health_reporter(reporter)))
}

/// Keeps the reported health true until the server stops; then everything is NOT_SERVING at once.
pub async fn report(
    mut reporter: HealthReporter,
    service: Service,
    ways_in: WaysIn,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let dependencies = service.health().await;
        // Tokens of one issuer are verified without the others, and certificates without any: one way in is enough. A broken set of
        // policies in the directory shows under its own name; the last good one serves.
        let mut issuers = dependencies.iter().filter(|dependency| dependency.name.starts_with("issuer."));
        let mut needed = dependencies.iter().filter(|dependency| dependency.needed);
        let can_enter = ways_in == WaysIn::TokensAndCertificates || issuers.any(|issuer| issuer.serving);
        let whole = can_enter && needed.all(|needed| needed.serving);
        for dependency in &dependencies {
            reporter.set_service_status(&dependency.name, status(dependency.serving)).await;
        }
        for name in WHOLE {
            reporter.set_service_status(name, status(whole)).await;
        }
        tokio::select! {
            () = tokio::time::sleep(if whole { INTERVAL } else { UNWELL_INTERVAL }) => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    for name in WHOLE {
        reporter.set_service_status(name, ServingStatus::NotServing).await;
    }
    // Who watches hears that, and then that there is no more: a stream that never ends would hold up the server's end.
    let dependencies = service.health().await;
    for name in WHOLE.into_iter().chain(dependencies.iter().map(|dependency| &*dependency.name)) {
        reporter.clear_service_status(name).await;
    }
}

pub(super) fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[cfg(test)]
mod tests {
    use tonic::Request;
    use tonic_health::pb::HealthCheckRequest;

    use super::*;

    #[tokio::test]
    async fn nothing_is_well_before_it_is_known_to_be() {
        let (reporter, _) = service().await;
        let service = HealthService::from_health_reporter(reporter);
        for name in WHOLE {
            let asked = Request::new(HealthCheckRequest { service: name.to_owned() });
            let answer = service.check(asked).await.unwrap().into_inner();
            assert_eq!(answer.status, ServingStatus::NotServing as i32, "`{name}`");
        }
    }
}
