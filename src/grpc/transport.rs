//! Every limit of HTTP/2, in one place, and the services behind it.

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
use super::serve::{self, Calls, Life, Protocol};
use super::services::Services;
use crate::service::Service;
use crate::wire::DESCRIPTORS;

pub use tonic_reflection::server::Error as ReflectionError;

/// Calls of one connection at the same time.
pub const STREAMS_MAX: u32 = 256;
/// One message, either way.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
const HEADER_BYTES_MAX: u32 = 16 << 10;
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Then a client makes a new connection, and finds the replicas and certificates there are by then. A wait ends within the
/// grace; a stream that does not is resumed by its cursor.
const LIFE: Life = Life { age: Duration::from_secs(30 * 60), grace: Duration::from_secs(5 * 60) };
/// A client that cancels many waits at once must not lose the others: the default of 20 ends the connection after some
/// hundred cancelled calls.
const PENDING_RESETS_MAX: usize = 1_024;

/// A server that is ready to take connections.
pub struct Port {
    services: Guarded<Services>,
}

impl Port {
    /// The server with every service: decisions, administration, masking, health, reflection (v1 and v1alpha).
    ///
    /// Reflection also knows `google.rpc`'s error details, so that generic clients show them rather than their bytes.
    pub async fn new(service: Service) -> Result<(Self, HealthReporter), ReflectionError> {
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
        Ok((Self { services: Guarded::new(service, Services::new(decisions, others)) }, reporter))
    }

    /// Serves until `stopped`, then lets the calls under way finish.
    pub async fn serve(
        self,
        connections: impl Stream<Item = io::Result<Connection>>,
        stopped: impl Future<Output = ()>,
    ) {
        serve(self.services, connections, stopped).await;
    }
}

/// Serves these calls as every server of ours does, within the limits above, until `stopped`.
pub async fn serve(
    calls: impl Calls,
    connections: impl Stream<Item = io::Result<Connection>>,
    stopped: impl Future<Output = ()>,
) {
    serve::serve(protocol(), LIFE, calls, connections, stopped).await;
}

fn protocol() -> Protocol {
    let mut protocol = Protocol::new(TokioExecutor::new());
    protocol
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX);
    protocol
}
