//! The same service with nothing in it: what tonic costs by itself.

use std::sync::Arc;

use countersign::grpc::connection::{self, Protection};
use countersign::grpc::door::{self, Door};
use countersign::grpc::generated::decision_point_server::{DecisionPoint, DecisionPointServer};
use countersign::grpc::{meters, transport};
use countersign::wire::pb;
use futures_util::stream::BoxStream;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming};

pub async fn serve(listener: TcpListener) {
    let door = Door::new(door::Limits::default());
    let connections = connection::incoming(listener, Protection::Loopback, door, Arc::<meters::Meters>::default());
    transport::serve(DecisionPointServer::new(Noop), connections, std::future::pending()).await;
}

struct Noop;

#[tonic::async_trait]
impl DecisionPoint for Noop {
    type AuthorizeStreamStream = BoxStream<'static, Result<pb::AuthorizeStreamResponse, Status>>;
    type SubscribeStream = BoxStream<'static, Result<pb::Event, Status>>;
    type AuditStream = BoxStream<'static, Result<pb::AuditResponse, Status>>;

    async fn authorize(&self, _: Request<pb::AuthorizeRequest>) -> Result<Response<pb::AuthorizeResponse>, Status> {
        let outcome = pb::Outcome::Allow.into();
        Ok(Response::new(pb::AuthorizeResponse { outcome, ..pb::AuthorizeResponse::default() }))
    }

    async fn authorize_batch(
        &self,
        _: Request<pb::AuthorizeBatchRequest>,
    ) -> Result<Response<pb::AuthorizeBatchResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn authorize_stream(
        &self,
        _: Request<Streaming<pb::AuthorizeStreamRequest>>,
    ) -> Result<Response<Self::AuthorizeStreamStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn decide(&self, _: Request<pb::DecideRequest>) -> Result<Response<pb::Approval>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn break_glass(&self, _: Request<pb::BreakGlassRequest>) -> Result<Response<pb::Approval>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn examine_break_glass(
        &self,
        _: Request<pb::ExamineBreakGlassRequest>,
    ) -> Result<Response<pb::Approval>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn start_absence(&self, _: Request<pb::StartAbsenceRequest>) -> Result<Response<pb::Absence>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn end_absence(&self, _: Request<pb::EndAbsenceRequest>) -> Result<Response<pb::EndAbsenceResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_absences(
        &self,
        _: Request<pb::ListAbsencesRequest>,
    ) -> Result<Response<pb::ListAbsencesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_approval(&self, _: Request<pb::GetApprovalRequest>) -> Result<Response<pb::Approval>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_approvals(
        &self,
        _: Request<pb::ListApprovalsRequest>,
    ) -> Result<Response<pb::ListApprovalsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn cancel_approval(&self, _: Request<pb::CancelApprovalRequest>) -> Result<Response<pb::Approval>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn revoke_approval(&self, _: Request<pb::RevokeApprovalRequest>) -> Result<Response<pb::Approval>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn report_outcome(&self, _: Request<pb::ReportOutcomeRequest>) -> Result<Response<pb::Approval>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn subscribe(&self, _: Request<pb::SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn audit(&self, _: Request<pb::AuditRequest>) -> Result<Response<Self::AuditStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
