//! Which approval a request is about, so that a refusal of it is on record with the approval.

use tonic::Streaming;

use crate::domain::ApprovalId;
use crate::wire::pb;

/// A request that may name an approval.
pub trait About {
    /// `None` also where what is named is not an id.
    fn approval(&self) -> Option<ApprovalId>;
}

macro_rules! about_an_approval {
    ($($request:ident),* $(,)?) => {
        $(impl About for pb::$request {
            fn approval(&self) -> Option<ApprovalId> {
                // Not an id: the handler refuses it by its field.
                self.approval_id.parse().ok()
            }
        })*
    };
}

macro_rules! about_none {
    ($($request:ty),* $(,)?) => {
        $(impl About for $request {
            fn approval(&self) -> Option<ApprovalId> {
                None
            }
        })*
    };
}

impl<T: About> About for Box<T> {
    fn approval(&self) -> Option<ApprovalId> {
        (**self).approval()
    }
}

about_an_approval!(
    AuthorizeRequest,
    UnmaskRequest,
    DecideRequest,
    BreakGlassRequest,
    ExamineBreakGlassRequest,
    GetApprovalRequest,
    CancelApprovalRequest,
    RevokeApprovalRequest,
    ReportOutcomeRequest,
);

about_none!(
    pb::StartAbsenceRequest,
    pb::EndAbsenceRequest,
    pb::ListAbsencesRequest,
    pb::AuthorizeBatchRequest,
    Streaming<pb::AuthorizeStreamRequest>,
    pb::ListApprovalsRequest,
    pb::SubscribeRequest,
    pb::AuditRequest,
    pb::ReloadPoliciesRequest,
    pb::PutEntitiesRequest,
    pb::DeleteEntitiesRequest,
    pb::ListEntitiesRequest,
    pb::EndSessionsRequest,
    pb::MaskRequest,
    Streaming<pb::MaskStreamRequest>,
);
