//! One short handler for each rpc of masking.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Edge;
use super::generated::masking_server::{Masking, SERVICE_NAME};
use super::status::status;
use super::stream::until_error;
use super::trace::Method;
use super::{answer, request, uniform};
use crate::service::mask::{By, Counts, Data, Format, Piece};
use crate::service::{Caller, Refusal, Service};
use crate::wire::pb;

type Answers = BoxStream<'static, Result<pb::MaskStreamResponse, Status>>;

const fn method(name: &'static str) -> Method {
    Method { service: SERVICE_NAME, name }
}

#[tonic::async_trait]
impl Masking for Edge {
    type MaskStreamStream = Answers;

    async fn mask(&self, request: Request<pb::MaskRequest>) -> Result<Response<pb::MaskResponse>, Status> {
        self.handle(method("Mask"), request, async |service, caller, asked| {
            let by = match asked.by {
                Some(pb::mask_request::By::DecisionId(id)) => decision(&id)?,
                Some(pb::mask_request::By::Profile(name)) => By::Profile(name),
                None => return Err(unsaid()),
            };
            let data = data(asked.data.ok_or_else(|| Refusal::invalid("data", "expected a text, JSON or rows"))?);
            let (data, counts) = service.mask(&caller, by, data).await?;
            Ok(pb::MaskResponse { data: Some(masked(data)), masked: numbers(counts) })
        })
        .await
    }

    async fn mask_stream(
        &self,
        request: Request<Streaming<pb::MaskStreamRequest>>,
    ) -> Result<Response<Self::MaskStreamStream>, Status> {
        self.handle(method("MaskStream"), request, async |service, caller, pieces| {
            answers(&service, &caller, pieces).await
        })
        .await
    }

    async fn unmask(&self, request: Request<pb::UnmaskRequest>) -> Result<Response<pb::UnmaskResponse>, Status> {
        self.handle(method("Unmask"), request, async |service, caller, wanted| {
            let (decided, values) = Box::pin(service.unmask(&caller, request::unmask(wanted)?)).await?;
            Ok(pb::UnmaskResponse { decision: Some(answer::response(&decided, service.now())), values })
        })
        .await
    }
}

/// Feeds the pieces in and passes on what comes out, until either side ends.
async fn answers(
    service: &Service,
    caller: &Caller,
    mut pieces: Streaming<pb::MaskStreamRequest>,
) -> Result<Answers, Refusal> {
    let first = pieces.next().await.and_then(Result::ok).ok_or_else(unsaid)?;
    let by = match first.by {
        Some(pb::mask_stream_request::By::DecisionId(id)) => decision(&id)?,
        Some(pb::mask_stream_request::By::Profile(name)) => By::Profile(name),
        None => return Err(unsaid()),
    };
    let format = match pb::MaskFormat::try_from(first.format) {
        Ok(pb::MaskFormat::Text) => Format::Text,
        Ok(pb::MaskFormat::Json) => Format::Json,
        Ok(pb::MaskFormat::Unspecified) | Err(_) => return Err(Refusal::invalid("format", "expected TEXT or JSON")),
    };
    let (send, masked) = service.mask_stream(caller, by, format).await?;
    let over = {
        let (service, caller) = (service.clone(), caller.clone());
        async move { service.until_over(&caller).await }
    };
    let (service, caller) = (service.clone(), caller.clone());
    // What was held back when a client breaks off, or its token ends, stays here: the error is the last it gets.
    let feeding = stream::once(async move {
        let mut pieces = Box::pin(pieces.take_until(over));
        let mut next = Some(first.chunk);
        while let Some(piece) = next {
            if send.send(piece).await.is_err() {
                return Ok(());
            }
            next = match pieces.next().await {
                Some(piece) => Some(piece.map_err(|broken| uniform::explained(&broken))?.chunk),
                None => None,
            };
        }
        service.over(&caller).map_or(Ok(()), |why| Err(status(&why)))
    });
    let failed = feeding.filter_map(async |fed| fed.err().map(Err));
    let parts = ReceiverStream::new(masked).map(|piece| piece.map(part).map_err(|refusal| status(&refusal)));
    Ok(until_error(stream::select(failed, parts)).boxed())
}

fn part(piece: Piece) -> pb::MaskStreamResponse {
    match piece {
        Piece::Part(chunk) => pb::MaskStreamResponse { chunk, ..pb::MaskStreamResponse::default() },
        Piece::End(counts) => pb::MaskStreamResponse { chunk: String::new(), masked: numbers(counts) },
    }
}

fn unsaid() -> Refusal {
    Refusal::invalid("by", "expected a decision's id or a profile")
}

fn decision(id: &str) -> Result<By, Refusal> {
    request::decision_id("decision_id", id).map(By::Decision)
}

fn data(data: pb::mask_request::Data) -> Data {
    match data {
        pb::mask_request::Data::Text(text) => Data::Text(text),
        pb::mask_request::Data::Json(json) => Data::Json(json),
        pb::mask_request::Data::Rows(rows) => {
            Data::Rows { columns: rows.columns, rows: rows.rows.into_iter().map(|row| row.cells).collect() }
        }
    }
}

fn masked(data: Data) -> pb::mask_response::Data {
    match data {
        Data::Text(text) => pb::mask_response::Data::Text(text),
        Data::Json(json) => pb::mask_response::Data::Json(json),
        Data::Rows { columns, rows } => {
            let rows = rows.into_iter().map(|cells| pb::Row { cells }).collect();
            pb::mask_response::Data::Rows(pb::Rows { columns, rows })
        }
    }
}

fn numbers(counts: Counts) -> std::collections::BTreeMap<String, u64> {
    counts.into_iter().map(|(kind, count)| (kind.to_string(), count)).collect()
}
