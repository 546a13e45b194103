//! One page of metrics, written by `prometheus-client`: each metric by its name, what it means, and its rows.

use std::fmt;
use std::sync::LazyLock;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelValue, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::measure::Durations;

static SECONDS: Unit = Unit::Seconds;
static BYTES: Unit = Unit::Bytes;
static RATIO: LazyLock<Unit> = LazyLock::new(|| Unit::Other("ratio".to_owned()));

/// What a number is of. The unit is the end of the metric's name.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    Things,
    Bytes,
    Seconds,
}

impl Of {
    fn unit(self) -> Option<&'static Unit> {
        match self {
            Self::Things => None,
            Self::Bytes => Some(&BYTES),
            Self::Seconds => Some(&SECONDS),
        }
    }
}

type NoLabels = [(&'static str, &'static str); 0];

pub struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> Page<'a> {
    pub fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Something that only grows.
    pub fn counter(&mut self, name: &'static str, of: Of, help: &str, value: u64) -> fmt::Result {
        count(&mut self.0.encode_descriptor(name, help, of.unit(), MetricType::Counter)?, value)
    }

    /// The same by labels.
    pub fn counters<const LABELS: usize, V: EncodeLabelValue>(
        &mut self,
        name: &'static str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, V); LABELS], u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            count(&mut metric.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    /// What is so at the moment.
    pub fn gauge(&mut self, name: &'static str, of: Of, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, of.unit(), MetricType::Gauge)?.encode_gauge(&(value as f64))
    }

    /// Which part of all, at the moment: from 0 to 1.
    pub fn ratio(&mut self, name: &'static str, help: &str, value: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, Some(&RATIO), MetricType::Gauge)?.encode_gauge(&value)
    }

    /// The same by one label.
    pub fn gauges<V: EncodeLabelValue>(
        &mut self,
        name: &'static str,
        of: Of,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, V); 1], f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, of.unit(), MetricType::Gauge)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    pub fn durations(&mut self, name: &'static str, help: &str, durations: &Durations) -> fmt::Result {
        let read = durations.read();
        let mut metric = self.0.encode_descriptor(name, help, Some(&SECONDS), MetricType::Histogram)?;
        metric.encode_histogram::<NoLabels>(read.sum_seconds, read.count(), &read.buckets, None)
    }

    /// A name for what is so: the value is in the label.
    pub fn info(&mut self, name: &'static str, help: &str, label: (&'static str, &str)) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&[label])
    }
}

fn count(metric: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    metric.encode_counter::<NoLabels, u64, u64>(&value, None)
}
