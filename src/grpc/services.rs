//! Which service a call is for. Decisions come first, past the router of all others: they are most calls, and each layer
//! between is room that a call keeps for as long as it waits for people.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::decision_point::Edge;
use super::generated::decision_point_server::{DecisionPointServer, SERVICE_NAME};

/// All services of a port. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    decisions: DecisionPointServer<Edge>,
    others: Routes,
}

impl Services {
    pub fn new(decisions: DecisionPointServer<Edge>, others: Routes) -> Self {
        Self { decisions, others: others.prepare() }
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Neither holds calls back: HTTP/2 keeps the limit of each connection, and [`super::load`] turns away what is too much.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Request<Body>) -> Self::Future {
        if is_decision(call.uri().path()) { self.decisions.call(call) } else { Box::pin(self.others.call(call)) }
    }
}

fn is_decision(path: &str) -> bool {
    let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME));
    method.is_some_and(|method| method.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_known_by_the_whole_name_of_their_service() {
        for (path, expected) in [
            ("/countersign.v1.DecisionPoint/Authorize", true),
            ("/countersign.v1.DecisionPoint/", true),
            ("/countersign.v1.DecisionPoint", false),
            ("/countersign.v1.DecisionPointless/Authorize", false),
            ("countersign.v1.DecisionPoint/Authorize", false),
            ("/countersign.v1.Administration/ReloadPolicies", false),
            ("/", false),
            ("", false),
        ] {
            assert_eq!(is_decision(path), expected, "{path}");
        }
    }
}
