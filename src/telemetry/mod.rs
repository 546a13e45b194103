//! What the server tells of itself. Traces of calls go to a collector ([`traces`]). What the parts have counted is read by Prometheus
//! (OpenMetrics). The parts count with [`crate::measure`] and know of no names;
//! here every number gets its name, unit and labels, once ([`figures`]), at the moment that somebody scrapes.
//!
//! Labels are words of ours (outcomes, reasons, steps) or of the configuration (issuers, targets). A principal, a resource or
//! anything else that a caller chooses is never one: whoever asks could make as many as he likes.

mod figures;
mod older;
mod page;
mod traces;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use self::page::Page;
pub use self::traces::{Meters as TraceMeters, TraceSettings, Traces};
use crate::grpc::meters::Meters as Connections;
use crate::identity::Verifier;
use crate::journal::Log;
use crate::service::Service;
use crate::store::Store;
use crate::web::metrics::Form;

/// Every metric's name begins with it.
const PREFIX: &str = "countersign";

/// Everything that is read at a scrape.
pub struct Sources {
    pub service: Service,
    pub store: Arc<dyn Store>,
    pub log: Log,
    pub verifier: Arc<Verifier>,
    pub connections: Arc<Connections>,
    pub traces: Arc<TraceMeters>,
}

/// The page of metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

impl Metrics {
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(sources));
        Self(Arc::new(registry))
    }

    /// The page as it is now.
    ///
    /// # Errors
    /// None that a string could bring about.
    pub fn text(&self, form: Form) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0)?;
        Ok(match form {
            Form::OpenMetrics => text,
            Form::Text => older::from_open_metrics(&text),
        })
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page::new(encoder);
        figures::about(&mut page, &self.service)?;
        figures::decisions(&mut page, self.service.meters())?;
        figures::approvals(&mut page, self.service.meters(), &*self.store)?;
        figures::calls(&mut page, &self.service)?;
        figures::load(&mut page, self.service.load())?;
        figures::tokens(&mut page, &self.verifier)?;
        figures::policies(&mut page, &self.service)?;
        figures::journal(&mut page, &self.log)?;
        figures::store(&mut page, &*self.store)?;
        figures::notifications(&mut page, &self.service.notifications())?;
        figures::connections(&mut page, &self.connections)?;
        figures::spans(&mut page, &self.traces)?;
        figures::invariants(&mut page, self.service.meters(), &*self.store)
    }
}
