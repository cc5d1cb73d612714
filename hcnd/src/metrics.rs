//! The numbers of the service. Calls and plans are counted as they end; what lives elsewhere is read when asked.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use hcn_core::Registry;
use hcn_ipc::{Answered, HubCounts, Usage};
use hcn_schema::call::Kind;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, prometheus_text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry as Numbers, Unit};

use crate::status;

/// What every metric's name begins with.
const PREFIX: &str = "hcnd";

/// What happened so far.
#[derive(Debug)]
pub(crate) struct Metrics {
    kept: Numbers,
    calls: Family<CallLabels, Counter>,
    durations: Family<VerbLabels, Histogram, fn() -> Histogram>,
    applied: Counter,
    failed: Counter,
    repaired: Counter,
    /// Repairs that wait or are under way.
    repairs: AtomicUsize,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    kind: &'static str,
    verb: &'static str,
    code: Code,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerbLabels {
    kind: &'static str,
    verb: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// An HRESULT, as everywhere in hexadecimal.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Code(u32);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "0x{:08x}", self.0)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut kept = Numbers::with_prefix(PREFIX);
        let calls = Family::default();
        // A query takes some microseconds, an attach milliseconds, a call that waits for others up to 30 s.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(16e-6, 4.0, 12));
        let durations = Family::new_with_constructor(histogram);
        let (applied, failed, repaired) = (Counter::default(), Counter::default(), Counter::default());
        kept.register("calls", "Calls answered, by kind, verb and code", calls.clone());
        kept.register_with_unit("call_duration", "Time of calls", Unit::Seconds, durations.clone());
        kept.register("plans_applied", "Plans that the data plane carried out", applied.clone());
        kept.register("plans_failed", "Plans that failed and were undone", failed.clone());
        let help = "Entities, and rules, that were put right after others changed them in the kernel";
        kept.register("drift_repaired", help, repaired.clone());
        Self { kept, calls, durations, applied, failed, repaired, repairs: AtomicUsize::new(0) }
    }
}

impl Metrics {
    pub(crate) fn answered(&self, call: &Answered) {
        let Answered { kind, verb, .. } = *call;
        self.calls.get_or_create(&CallLabels { kind, verb, code: Code(call.code.0) }).inc();
        self.durations.get_or_create(&VerbLabels { kind, verb }).observe(call.duration.as_secs_f64());
    }

    /// A plan was carried out, or not.
    pub(crate) fn applied(&self, successfully: bool) {
        if successfully {
            self.applied.inc()
        } else {
            self.failed.inc()
        };
    }

    /// Something that others changed was put right.
    pub(crate) fn repaired(&self) {
        self.repaired.inc();
    }

    pub(crate) fn set_repairs(&self, count: usize) {
        self.repairs.store(count, Ordering::Relaxed);
    }

    /// Repairs that wait or are under way.
    pub(crate) fn repairs(&self) -> usize {
        self.repairs.load(Ordering::Relaxed)
    }

    /// Everything in the text format of Prometheus.
    pub(crate) fn text(&self, published: &Registry, hub: HubCounts, usage: Usage) -> String {
        let mut read = Numbers::with_prefix(PREFIX);
        let by_kind = |counts: Vec<(Kind, usize)>| {
            let family: Family<KindLabels, Gauge> = Family::default();
            for (kind, count) in counts {
                family.get_or_create(&KindLabels { kind: kind.name() }).set(number(count));
            }
            family
        };
        read.register("entities", "Entities, by kind", by_kind(status::count(published)));
        read.register("entities_degraded", "Degraded entities", by_kind(status::count_degraded(published)));
        let mut gauge = |name: &str, help: &str, value: usize| {
            read.register(name, help, ConstGauge::new(number(value)));
        };
        gauge("repairs", "Repairs that wait or are under way", self.repairs());
        gauge("connections", "Open connections", usage.connections);
        gauge("sessions", "Open sessions", usage.sessions);
        gauge("handles", "Open handles", usage.handles);
        gauge("subscribers", "Subscribers to events", hub.subscribers);
        let mut counter = |name: &str, help: &str, value: u64| {
            read.register(name, help, ConstCounter::new(value));
        };
        counter("events_published", "Events published", hub.events);
        counter("subscribers_cut_off", "Subscribers who did not keep up with events", hub.cut_off);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_text::encode(&mut text, &self.kept);
        let _ = prometheus_text::encode(&mut text, &read);
        text
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hcn_schema::HResult;

    use super::*;

    #[test]
    fn calls_are_counted_by_kind_verb_and_code_and_the_rest_is_read() {
        let metrics = Metrics::default();
        let mut call = Answered {
            kind: "Network",
            verb: "Create",
            code: HResult::OK,
            duration: Duration::from_micros(900),
        };
        metrics.answered(&call);
        metrics.answered(&call);
        call.code = HResult::ACCESS_DENIED;
        metrics.answered(&call);
        metrics.answered(&Answered { kind: "V1", verb: "GET", ..call });
        metrics.applied(true);
        metrics.set_repairs(2);
        let hub = HubCounts { events: 7, cut_off: 1, subscribers: 3 };
        let usage = Usage { connections: 4, sessions: 5, handles: 6 };
        let text = metrics.text(&Registry::new(), hub, usage);
        for line in [
            "# TYPE hcnd_calls_total counter",
            "hcnd_calls_total{kind=\"Network\",verb=\"Create\",code=\"0x00000000\"} 2",
            "hcnd_calls_total{kind=\"Network\",verb=\"Create\",code=\"0x80070005\"} 1",
            "hcnd_calls_total{kind=\"V1\",verb=\"GET\",code=\"0x80070005\"} 1",
            "# TYPE hcnd_call_duration_seconds histogram",
            "hcnd_call_duration_seconds_count{kind=\"Network\",verb=\"Create\"} 3",
            "hcnd_plans_applied_total 1",
            "hcnd_plans_failed_total 0",
            "hcnd_entities{kind=\"Endpoint\"} 0",
            "hcnd_entities{kind=\"PortReservation\"} 0",
            "hcnd_entities_degraded{kind=\"Namespace\"} 0",
            "hcnd_repairs 2",
            "hcnd_connections 4",
            "hcnd_sessions 5",
            "hcnd_handles 6",
            "hcnd_subscribers 3",
            "hcnd_events_published_total 7",
            "hcnd_subscribers_cut_off_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
