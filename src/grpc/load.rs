//! Calls on their way in, before anything of them is read: those that would be turned away anyway are told at once, and how long
//! the others wait for a processor is measured ([`crate::service::load`]). Health and reflection are let through: a server that has
//! too much to do is not dead.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use http::Request;
use tokio::time::sleep;
use tonic::body::Body;
use tower::Service;

use super::deadline::Deadline;
use super::generated::{administration_server, decision_point_server, masking_server};
use super::status::status;
use super::trace::Method;
use super::uniform::Answer;
use super::weigh::Weighed;
use crate::service;
use crate::service::load::{Arrived, Kind, Place};
use crate::service::{Caller, Refusal};

/// A pause that is shorter is none: the timer counts milliseconds.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// What a call of a method is there for; `None` where it is neither limited nor counted.
fn kind_of(service: &str, method: &str) -> Option<Kind> {
    match (service, method) {
        (decision_point_server::SERVICE_NAME, "Authorize" | "AuthorizeBatch" | "AuthorizeStream") => {
            Some(Kind::Decisions)
        }
        (decision_point_server::SERVICE_NAME, "Subscribe" | "Audit") => Some(Kind::Audit),
        (decision_point_server::SERVICE_NAME, _) => Some(Kind::Reviews),
        (masking_server::SERVICE_NAME, _) => Some(Kind::Masking),
        (administration_server::SERVICE_NAME, _) => Some(Kind::Administration),
        _ => None,
    }
}

/// The kind and the method of a path.
fn named(path: &str) -> Option<(Kind, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    Some((kind_of(service, method)?, method))
}

/// Whether clients send many messages in one call, each of which is read before the next.
fn streams(method: &str) -> bool {
    matches!(method, "AuthorizeStream" | "MaskStream")
}

/// Whether something stays open of it for as long as its client likes.
fn stays(method: &str) -> bool {
    matches!(method, "AuthorizeStream" | "Subscribe" | "Audit" | "MaskStream")
}

/// Lets a caller in who is known: by its quota, by what there is room for, and to a place among calls of the same kind until its call is
/// answered. Queries take their own, which they give back while they wait for people.
///
/// # Errors
/// [`Refusal::OverQuota`], [`Refusal::LowMemory`], [`Refusal::Busy`].
pub fn let_in<'s>(
    service: &'s service::Service,
    method: Method,
    caller: &Caller,
) -> Result<Option<Place<'s>>, Refusal> {
    let Some(kind) = kind_of(method.service, method.name) else { return Ok(None) };
    let load = service.load();
    load.charge(kind, caller, 1)?;
    if stays(method.name) {
        load.room(kind)?;
    }
    if kind == Kind::Decisions { Ok(None) } else { load.enter(kind).map(Some) }
}

/// Services, and what is turned away before them. Cheap to clone.
#[derive(Clone)]
pub struct Guarded<S> {
    service: service::Service,
    calls: S,
}

impl<S> Guarded<S> {
    pub fn new(service: service::Service, calls: S) -> Self {
        Self { service, calls }
    }

    /// The call with its message counted, where it has one and not many.
    fn weighed(&self, call: Request<Body>) -> Request<Body> {
        match named(call.uri().path()) {
            Some((kind, method)) if !streams(method) => {
                let load = self.service.load().clone();
                call.map(|body| Body::new(Weighed::new(body, kind, load)))
            }
            Some(_) | None => call,
        }
    }
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Answer, Error = Infallible, Future: Unpin>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Begun<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Nobody is kept waiting here: what there is no room for is told so.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Request<Body>) -> Self::Future {
        let deadline = call.extensions().get::<Deadline>().copied();
        let kind = named(call.uri().path()).map(|(kind, _)| kind);
        let arrived = kind.map(|kind| self.service.load().arrive(kind, deadline.map(Deadline::at))).transpose();
        match arrived {
            Ok(arrived) => {
                let late = arrived.as_ref().and(deadline).map(|deadline| (self.service.clone(), deadline));
                Begun { arrived, late, answering: Either::Right(self.calls.call(self.weighed(call))) }
            }
            Err(refusal) => {
                let pause = self.service.load().pause();
                Begun { arrived: None, late: None, answering: Either::Left(told(&self.service, refusal, pause)) }
            }
        }
    }
}

/// What a call is told that was turned away, after a pause.
type Told = Either<Ready<Result<Answer, Infallible>>, BoxFuture<'static, Result<Answer, Infallible>>>;

fn told(service: &service::Service, refusal: Refusal, pause: Duration) -> Told {
    service.count_turned_away(&refusal);
    if pause < PAUSE_MIN {
        return Either::Left(ready(Ok(status(&refusal).into_http())));
    }
    // Made when it leaves: until then it takes no room.
    Either::Right(Box::pin(sleep(pause).map(move |()| Ok(status(&refusal).into_http()))))
}

/// An answer that is begun when it is first asked for.
pub struct Begun<F> {
    arrived: Option<Arrived>,
    /// For what came in time and was not begun in time.
    late: Option<(service::Service, Deadline)>,
    answering: Either<Told, F>,
}

impl<F: Future<Output = Result<Answer, Infallible>> + Unpin> Future for Begun<F> {
    type Output = Result<Answer, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(arrived) = self.arrived.take() {
            arrived.begin();
            if let Some((service, deadline)) = self.late.take()
                && deadline.is_over()
            {
                // Nobody waits for it: it costs no more than this.
                self.answering = Either::Left(told(&service, Refusal::DeadlinePassed, Duration::ZERO));
            }
        }
        Pin::new(&mut self.answering).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_of_a_kind_and_health_of_none() {
        for (service, method, expected) in [
            ("countersign.v1.DecisionPoint", "Authorize", Some(Kind::Decisions)),
            ("countersign.v1.DecisionPoint", "AuthorizeBatch", Some(Kind::Decisions)),
            ("countersign.v1.DecisionPoint", "AuthorizeStream", Some(Kind::Decisions)),
            ("countersign.v1.DecisionPoint", "Decide", Some(Kind::Reviews)),
            ("countersign.v1.DecisionPoint", "GetApproval", Some(Kind::Reviews)),
            ("countersign.v1.DecisionPoint", "Audit", Some(Kind::Audit)),
            ("countersign.v1.DecisionPoint", "Subscribe", Some(Kind::Audit)),
            ("countersign.v1.Masking", "Mask", Some(Kind::Masking)),
            ("countersign.v1.Administration", "ReloadPolicies", Some(Kind::Administration)),
            ("grpc.health.v1.Health", "Check", None),
            ("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", None),
        ] {
            assert_eq!(kind_of(service, method), expected, "{service}/{method}");
        }
    }
}
