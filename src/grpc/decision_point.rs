//! One short handler for each rpc.

use std::pin::Pin;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use super::about::About;
use super::call::Call;
use super::deadline::{Alarm, Deadline};
use super::generated::decision_point_server::{DecisionPoint, SERVICE_NAME};
use super::trace::{self, Method};
use super::unbroken::unbroken;
use super::{answer, filter, load, request, stream as authorize_stream};
use crate::service::load::Kind;
use crate::service::read::Look;
use crate::service::{Caller, Refusal, Service};
use crate::wire::pb;

/// `countersign.v1.DecisionPoint` and `countersign.v1.Administration`, over the use cases.
#[derive(Clone)]
pub struct Edge {
    service: Service,
}

impl Edge {
    #[must_use]
    pub fn new(service: Service) -> Self {
        Self { service }
    }

    /// Authenticates, runs, and puts a refusal on record.
    ///
    /// What waits for people is kept small: each step is on the heap for as long as it lasts, and no layer keeps room for
    /// what the one below it has taken over.
    pub(super) fn handle<T: About, A, F>(
        &self,
        method: Method,
        request: Request<T>,
        run: impl FnOnce(Service, Caller, T) -> F,
    ) -> Pin<Box<impl Future<Output = Result<Response<A>, Status>>>>
    where
        F: Future<Output = Result<A, Refusal>>,
    {
        let (mut call, message) = (Call::new(method, &request), request.into_inner());
        let service = self.service.clone();
        Box::pin(async move {
            let mut alarm = call.deadline().map(Deadline::alarm);
            let caller = match unbroken(Alarm::in_time(&mut alarm, Box::pin(call.caller(&service)))).await {
                Ok(caller) => caller,
                Err(refusal) => return Err(call.refuse(&service, None, &refusal)),
            };
            let _place = match load::let_in(&service, method, &caller) {
                Ok(place) => place,
                Err(refusal) => {
                    tokio::time::sleep(service.load().pause()).await;
                    return Err(call.refuse(&service, Some(&caller), &refusal));
                }
            };
            let running = Box::pin(run(service.clone(), caller.clone(), message).instrument(call.span()));
            match unbroken(Alarm::in_time(&mut alarm, running)).await {
                Ok(answer) => Ok(call.respond(answer)),
                Err(refusal) => Err(call.refuse(&service, Some(&caller), &refusal)),
            }
        })
    }
}

const fn method(name: &'static str) -> Method {
    Method { service: SERVICE_NAME, name }
}

#[tonic::async_trait]
impl DecisionPoint for Edge {
    type AuthorizeStreamStream = BoxStream<'static, Result<pb::AuthorizeStreamResponse, Status>>;
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<pb::Event, Status>> + Send>>;
    type AuditStream = BoxStream<'static, Result<pb::AuditResponse, Status>>;

    /// As the macro writes it, but for two rooms that the message would take in what waits: it is on the heap until it is read.
    fn authorize<'s, 'c>(
        &'s self,
        request: Request<pb::AuthorizeRequest>,
    ) -> BoxFuture<'c, Result<Response<pb::AuthorizeResponse>, Status>>
    where
        's: 'c,
        Self: 'c,
    {
        self.handle(method("Authorize"), request.map(Box::new), async |service, caller, asked| {
            let asking = Box::pin(service.authorize(&caller, request::ask(*asked, service.limits())?));
            let response = answer::response(&asking.await?, service.now());
            trace::decided(&response.decision_id);
            Ok(response)
        })
    }

    async fn authorize_batch(
        &self,
        request: Request<pb::AuthorizeBatchRequest>,
    ) -> Result<Response<pb::AuthorizeBatchResponse>, Status> {
        self.handle(method("AuthorizeBatch"), request, async |service, caller, batch| {
            request::check_batch(&batch, service.limits())?;
            // The call itself is one of them.
            service.load().charge(Kind::Decisions, &caller, batch.queries.len().saturating_sub(1))?;
            let (service, caller) = (&service, &caller);
            let results = batch
                .queries
                .into_iter()
                .map(|query| authorize_stream::item(service, caller, query, request::ask_at_once));
            Ok(pb::AuthorizeBatchResponse { results: futures_util::future::join_all(results).await })
        })
        .await
    }

    async fn authorize_stream(
        &self,
        request: Request<Streaming<pb::AuthorizeStreamRequest>>,
    ) -> Result<Response<Self::AuthorizeStreamStream>, Status> {
        self.handle(method("AuthorizeStream"), request, async |service, caller, queries| {
            Ok(authorize_stream::answers(service, caller, queries).boxed())
        })
        .await
    }

    async fn decide(&self, request: Request<pb::DecideRequest>) -> Result<Response<pb::Approval>, Status> {
        self.handle(method("Decide"), request, async |service, caller, vote| {
            let approval = service.review(&caller, request::vote(vote)?).await?;
            Ok(answer::approval(&approval, service.now()))
        })
        .await
    }

    async fn break_glass(&self, request: Request<pb::BreakGlassRequest>) -> Result<Response<pb::Approval>, Status> {
        self.handle(method("BreakGlass"), request, async |service, caller, blow| {
            let id = request::approval_id("approval_id", &blow.approval_id)?;
            let binding = request::binding(&blow.binding)?;
            let approval = service.break_glass(&caller, id, binding, &blow.reason).await?;
            Ok(answer::approval(&approval, service.now()))
        })
        .await
    }

    async fn examine_break_glass(
        &self,
        request: Request<pb::ExamineBreakGlassRequest>,
    ) -> Result<Response<pb::Approval>, Status> {
        self.handle(method("ExamineBreakGlass"), request, async |service, caller, look| {
            let approval = service.examine(&caller, request::examination(look)?).await?;
            Ok(answer::approval(&approval, service.now()))
        })
        .await
    }

    async fn start_absence(&self, request: Request<pb::StartAbsenceRequest>) -> Result<Response<pb::Absence>, Status> {
        self.handle(method("StartAbsence"), request, async |service, caller, wanted| {
            let absence = service.start_absence(&caller, request::leave(wanted)?).await?;
            Ok(answer::absence(&absence))
        })
        .await
    }

    async fn end_absence(
        &self,
        request: Request<pb::EndAbsenceRequest>,
    ) -> Result<Response<pb::EndAbsenceResponse>, Status> {
        self.handle(method("EndAbsence"), request, async |service, caller, wanted| {
            let ended = service.end_absence(&caller, request::person(wanted.person)?).await?;
            Ok(pb::EndAbsenceResponse { ended })
        })
        .await
    }

    async fn list_absences(
        &self,
        request: Request<pb::ListAbsencesRequest>,
    ) -> Result<Response<pb::ListAbsencesResponse>, Status> {
        self.handle(method("ListAbsences"), request, async |service, caller, _| {
            let absences = service.absences(&caller)?.iter().map(answer::absence).collect();
            Ok(pb::ListAbsencesResponse { absences })
        })
        .await
    }

    async fn get_approval(&self, request: Request<pb::GetApprovalRequest>) -> Result<Response<pb::Approval>, Status> {
        self.handle(method("GetApproval"), request, async |service, caller, wanted| {
            let id = request::approval_id("approval_id", &wanted.approval_id)?;
            let look = if wanted.reveal { Look::Revealed } else { Look::Masked };
            Ok(answer::seen(&service.approval(&caller, id, look).await?, service.now()))
        })
        .await
    }

    async fn list_approvals(
        &self,
        request: Request<pb::ListApprovalsRequest>,
    ) -> Result<Response<pb::ListApprovalsResponse>, Status> {
        self.handle(method("ListApprovals"), request, async |service, caller, wanted| {
            let listed = service.approvals(&caller, request::list(wanted, service.limits())?).await?;
            Ok(answer::page(&listed, service.now()))
        })
        .await
    }

    async fn cancel_approval(
        &self,
        request: Request<pb::CancelApprovalRequest>,
    ) -> Result<Response<pb::Approval>, Status> {
        self.handle(method("CancelApproval"), request, async |service, caller, wanted| {
            let id = request::approval_id("approval_id", &wanted.approval_id)?;
            let approval = service.cancel(&caller, id, request::text(wanted.comment.trim())).await?;
            Ok(answer::approval(&approval, service.now()))
        })
        .await
    }

    async fn revoke_approval(
        &self,
        request: Request<pb::RevokeApprovalRequest>,
    ) -> Result<Response<pb::Approval>, Status> {
        self.handle(method("RevokeApproval"), request, async |service, caller, wanted| {
            let id = request::approval_id("approval_id", &wanted.approval_id)?;
            let approval = service.revoke(&caller, id, request::text(wanted.comment.trim())).await?;
            Ok(answer::approval(&approval, service.now()))
        })
        .await
    }

    async fn report_outcome(
        &self,
        request: Request<pb::ReportOutcomeRequest>,
    ) -> Result<Response<pb::Approval>, Status> {
        self.handle(method("ReportOutcome"), request, async |service, caller, wanted| {
            let (id, decision, report) = request::report(&wanted)?;
            let approval = service.report(&caller, id, decision, report).await?;
            Ok(answer::approval(&approval, service.now()))
        })
        .await
    }

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.handle(method("Subscribe"), request, async |service, caller, wanted| {
            let start = filter::start(&wanted)?;
            let follower = service.subscribe(&caller, filter::filter(wanted.filter)?, start).await?;
            Ok(authorize_stream::events(follower).boxed() as Self::SubscribeStream)
        })
        .await
    }

    async fn audit(&self, request: Request<pb::AuditRequest>) -> Result<Response<Self::AuditStream>, Status> {
        self.handle(method("Audit"), request, async |service, caller, wanted| {
            let after = filter::cursor(&wanted.cursor)?;
            let search = filter::search(wanted, service.limits())?;
            let audit = service.audit(&caller, search, after).await?;
            Ok(authorize_stream::records(audit).boxed())
        })
        .await
    }
}
