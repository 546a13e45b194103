//! Where the spans of calls go: to a collector, over OTLP/gRPC, in batches and from a thread of its own. Nothing ever waits for
//! it: the queue is bounded, and what does not fit or cannot be delivered is dropped and counted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::measure::{Counter, Level};

/// The target of the spans that make up a trace. Others stay in this process.
pub const CALLS: &str = "countersign::calls";

/// Spans that wait to be exported.
const QUEUE_SPANS_MAX: usize = 4_096;
const BATCH_SPANS_MAX: usize = 512;
const BATCH_INTERVAL: Duration = Duration::from_secs(1);
/// For one batch; meanwhile the queue fills.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// What is left is sent for so long when the server stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// Where to, and how many.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// Such as `http://collector:4317`.
    pub endpoint: String,
    /// Of the calls about which the caller did not decide: 0 none, 1 all.
    pub sample_ratio: f64,
}

/// What became of the spans of sampled calls.
#[derive(Debug, Default)]
pub struct Meters {
    /// Taken by the collector.
    pub exported: Counter,
    /// In batches that it did not take.
    pub failed: Counter,
    /// For which there was no room.
    pub dropped: Counter,
    /// That wait.
    pub waiting: Level,
}

/// The way to the collector, for the life of the process.
pub struct Traces {
    provider: SdkTracerProvider,
    meters: Arc<Meters>,
}

impl Traces {
    /// Begins to deliver, whether or not the collector can be reached. Needs a tokio runtime.
    ///
    /// # Errors
    /// An endpoint that is no address.
    pub fn start(settings: &TraceSettings) -> Result<Self, ExporterBuildError> {
        let meters = Arc::<Meters>::default();
        let endpoint = SpanExporter::builder().with_tonic().with_endpoint(&settings.endpoint);
        let exporter = Counted { exporter: endpoint.with_timeout(EXPORT_TIMEOUT).build()?, meters: meters.clone() };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS_MAX)
            .with_max_export_batch_size(BATCH_SPANS_MAX)
            .with_scheduled_delay(BATCH_INTERVAL);
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build())
            .with_sampler(sampler)
            .with_span_processor(Bounded { batches, meters: meters.clone() })
            .build();
        Ok(Self { provider, meters })
    }

    /// What takes the spans of calls, and of nothing else, beside the log.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.provider.tracer(env!("CARGO_PKG_NAME"));
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(CALLS, LevelFilter::TRACE))
    }

    #[must_use]
    pub fn meters(&self) -> Arc<Meters> {
        self.meters.clone()
    }

    /// Sends what is left, for some seconds at most.
    pub async fn finish(self) {
        let sent = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FAREWELL)).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!(%error, "spans that were left could not be delivered");
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("meters", &self.meters).finish_non_exhaustive()
    }
}

/// Keeps count of what waits, so that what is turned away is known: the library's own queue does not tell. INVARIANT: it never
/// lets in more than that queue holds.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    meters: Arc<Meters>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &opentelemetry::Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        self.meters.waiting.rise();
        if self.meters.waiting.get() > QUEUE_SPANS_MAX as u64 {
            self.meters.waiting.fall();
            self.meters.dropped.count();
            return;
        }
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

#[derive(Debug)]
struct Counted {
    exporter: SpanExporter,
    meters: Arc<Meters>,
}

impl opentelemetry_sdk::trace::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.exporter.export(batch).await;
        (0..spans).for_each(|_| self.meters.waiting.fall());
        let counter = if outcome.is_ok() { &self.meters.exported } else { &self.meters.failed };
        counter.add(spans as u64);
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
