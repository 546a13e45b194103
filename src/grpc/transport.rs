//! Every limit of HTTP, in one place, and the services behind it.

use std::io;
use std::time::Duration;

use futures_util::Stream;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use super::connection::Connection;
use super::decision_point::Edge;
use super::generated::administration_server::AdministrationServer;
use super::generated::decision_point_server::DecisionPointServer;
use super::generated::masking_server::MaskingServer;
use super::load::Guarded;
use super::serve::{self, Calls, Protocol};
use super::services::Services;
use super::web::Spoken;
use crate::service::Service;
use crate::wire::DESCRIPTORS;

pub use super::serve::Life;
pub use tonic_reflection::server::Error as ReflectionError;

/// Calls of one connection at the same time.
pub const STREAMS_MAX: u32 = 256;
/// One message, either way.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
const HEADER_BYTES_MAX: u16 = 16 << 10;
/// HTTP/1.1, which has no keepalive of its own: until the headers of the next call are whole.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// A client that cancels many waits at once must not lose the others: the default of 20 ends the connection after some
/// hundred cancelled calls.
const PENDING_RESETS_MAX: usize = 1_024;

/// How long a connection is kept, with somebody at its other end and with nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// So often a client is asked whether it is still there (PING).
    pub keepalive_interval: Duration,
    /// Who has not answered by then is gone, and so is all that was kept for it.
    pub keepalive_timeout: Duration,
    /// Then a client makes a new connection, and finds the replicas and certificates there are by then. A wait ends within the
    /// grace; a stream that does not is resumed by its cursor.
    pub life: Life,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            life: Life { age: Duration::from_secs(30 * 60), grace: Duration::from_secs(5 * 60) },
        }
    }
}

/// A server that is ready to take connections.
pub struct Port {
    services: Guarded<Services>,
    pace: Pace,
    spoken: Spoken,
}

impl Port {
    /// The server with every service: decisions, administration, masking, health, reflection (v1 and v1alpha).
    ///
    /// Reflection also knows `google.rpc`'s error details, so that generic clients show them rather than their bytes.
    pub async fn new(service: Service, pace: Pace, spoken: Spoken) -> Result<(Self, HealthReporter), ReflectionError> {
        let (reporter, health) = super::health::service().await;
        let reflected = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let administration = AdministrationServer::new(Edge::new(service.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let masking = MaskingServer::new(Edge::new(service.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let decisions = DecisionPointServer::new(Edge::new(service.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let others = Routes::new(administration)
            .add_service(masking)
            .add_service(health)
            .add_service(reflected().build_v1()?)
            .add_service(reflected().build_v1alpha()?);
        Ok((Self { services: Guarded::new(service, Services::new(decisions, others)), pace, spoken }, reporter))
    }

    /// Serves until `stopped`, then lets the calls under way finish.
    pub async fn serve(
        self,
        connections: impl Stream<Item = io::Result<Connection>>,
        stopped: impl Future<Output = ()>,
    ) {
        serve_in(self.spoken, self.services, self.pace, connections, stopped).await;
    }
}

/// Serves these calls of gRPC as every server of ours does, within the limits above, until `stopped`.
pub async fn serve(
    calls: impl Calls,
    pace: Pace,
    connections: impl Stream<Item = io::Result<Connection>>,
    stopped: impl Future<Output = ()>,
) {
    serve_in(Spoken::Grpc, calls, pace, connections, stopped).await;
}

async fn serve_in(
    spoken: Spoken,
    calls: impl Calls,
    pace: Pace,
    connections: impl Stream<Item = io::Result<Connection>>,
    stopped: impl Future<Output = ()>,
) {
    serve::serve(protocol(&spoken, pace), pace.life, spoken, calls, connections, stopped).await;
}

fn protocol(spoken: &Spoken, pace: Pace) -> Protocol {
    let mut protocol = Protocol::new(TokioExecutor::new());
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX.into())
        .keep_alive_interval(pace.keepalive_interval)
        .keep_alive_timeout(pace.keepalive_timeout)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX);
    match spoken {
        Spoken::Grpc => protocol.http2_only(),
        Spoken::Web(_) => {
            protocol
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(HEADER_BYTES_MAX.into());
            protocol
        }
    }
}
