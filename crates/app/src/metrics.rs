//! What is counted, and how Prometheus reads it. [`NAMES`] is the one list of metrics.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mnemosyne_domain::ports::{CacheCounters, Throughput};

const REQUESTS: &str = "mnemosyne_http_requests_total";
const DURATION: &str = "mnemosyne_http_request_duration_seconds";
const IN_FLIGHT: &str = "mnemosyne_http_requests_in_flight";
const JOBS: &str = "mnemosyne_jobs";
const JOB_FAILURES: &str = "mnemosyne_jobs_failed";
const CACHE: &str = "mnemosyne_cache_calls_total";
const UPTIME: &str = "mnemosyne_uptime_seconds";
const BUILD: &str = "mnemosyne_build_info";

/// Every metric: name, kind, what it means.
pub(crate) const NAMES: [(&str, &str, &str); 8] = [
    (BUILD, "gauge", "Always 1; the label says which version runs."),
    (UPTIME, "gauge", "Seconds since this process began to serve."),
    (
        REQUESTS,
        "counter",
        "Requests answered, by method, route and status.",
    ),
    (
        DURATION,
        "histogram",
        "Seconds until an answer began, by method and route.",
    ),
    (IN_FLIGHT, "gauge", "Requests whose answer has not begun."),
    (JOBS, "gauge", "Jobs by status."),
    (JOB_FAILURES, "gauge", "Failed jobs by the code of their failure."),
    (
        CACHE,
        "counter",
        "Calls of the shared cache by what came of them: a hit, a miss, a failure, or skipped after failures.",
    ),
];

/// Upper ends of the buckets of [`DURATION`], in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Default)]
struct Histogram {
    /// Not cumulative; the last one counts what is above every bucket.
    counts: [u64; BUCKETS.len() + 1],
    sum: f64,
}

#[derive(Default)]
struct Requests {
    by_status: BTreeMap<(&'static str, String, u16), u64>,
    durations: BTreeMap<(&'static str, String), Histogram>,
}

/// The numbers of this process.
pub(crate) struct Metrics {
    began: Instant,
    in_flight: Arc<AtomicI64>,
    requests: Mutex<Requests>,
}

/// A request whose answer has not begun.
pub(crate) struct InFlight(Arc<AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            in_flight: Arc::default(),
            requests: Mutex::default(),
        }
    }

    /// Counts a request as open until the guard goes.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.in_flight))
    }

    /// Notes an answer. Methods and routes come from lists of ours, so that their number is bounded.
    pub(crate) fn record(&self, method: &'static str, route: &str, status: u16, elapsed: Duration) {
        // A panic while the lock was held leaves whole numbers behind.
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests
            .by_status
            .entry((method, route.to_owned(), status))
            .or_default() += 1;
        let seconds = elapsed.as_secs_f64();
        let histogram = requests.durations.entry((method, route.to_owned())).or_default();
        let bucket = BUCKETS
            .iter()
            .position(|end| seconds <= *end)
            .unwrap_or(BUCKETS.len());
        histogram.counts[bucket] += 1;
        histogram.sum += seconds;
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(
        &self,
        version: &str,
        jobs: Option<&Throughput>,
        cache: Option<&CacheCounters>,
    ) -> String {
        let mut text = String::with_capacity(4096);
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, kind, help) in NAMES {
            // A String takes everything that is written to it.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            match name {
                BUILD => sample(&mut text, name, &[("version", version)], "1"),
                UPTIME => sample(
                    &mut text,
                    name,
                    &[],
                    &format!("{:.3}", self.began.elapsed().as_secs_f64()),
                ),
                IN_FLIGHT => sample(
                    &mut text,
                    name,
                    &[],
                    &self.in_flight.load(Ordering::Relaxed).to_string(),
                ),
                REQUESTS => {
                    for ((method, route, status), count) in &requests.by_status {
                        let labels = [
                            ("method", *method),
                            ("route", route.as_str()),
                            ("status", &status.to_string()),
                        ];
                        sample(&mut text, name, &labels, &count.to_string());
                    }
                }
                DURATION => {
                    for ((method, route), histogram) in &requests.durations {
                        write_histogram(
                            &mut text,
                            name,
                            &[("method", method), ("route", route)],
                            histogram,
                        );
                    }
                }
                JOBS => {
                    for (status, count) in jobs.iter().flat_map(|jobs| &jobs.by_status) {
                        sample(&mut text, name, &[("status", status)], &count.to_string());
                    }
                }
                JOB_FAILURES => {
                    for (code, count) in jobs.iter().flat_map(|jobs| &jobs.failures) {
                        sample(&mut text, name, &[("code", code)], &count.to_string());
                    }
                }
                CACHE => {
                    if let Some(cache) = cache {
                        for (outcome, count) in [
                            ("hit", cache.hits),
                            ("miss", cache.misses),
                            ("failure", cache.failures),
                            ("skipped", cache.skipped),
                        ] {
                            sample(&mut text, name, &[("outcome", outcome)], &count.to_string());
                        }
                    }
                }
                _ => {}
            }
        }
        text
    }
}

fn write_histogram(text: &mut String, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
    let mut total = 0;
    for (count, end) in histogram
        .counts
        .iter()
        .zip(BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]))
    {
        total += count;
        let mut labels = labels.to_vec();
        labels.push(("le", &end));
        sample(text, &format!("{name}_bucket"), &labels, &total.to_string());
    }
    sample(
        text,
        &format!("{name}_sum"),
        labels,
        &format!("{:.6}", histogram.sum),
    );
    sample(text, &format!("{name}_count"), labels, &total.to_string());
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: &str) {
    text.push_str(name);
    for (at, (label, value)) in labels.iter().enumerate() {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(text, "{}{label}=\"{value}\"", if at == 0 { "{" } else { "," });
    }
    if !labels.is_empty() {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::new();
        let open = metrics.begin();
        metrics.record("GET", "/a/", 200, Duration::from_millis(7));
        metrics.record("GET", "/a/", 200, Duration::from_secs(60));
        let jobs = Throughput {
            by_status: BTreeMap::from([("pending".to_owned(), 3)]),
            failures: vec![("damaged".to_owned(), 1)],
            ..Throughput::default()
        };
        let text = metrics.render(
            "1\"2",
            Some(&jobs),
            Some(&CacheCounters {
                failures: 4,
                ..CacheCounters::default()
            }),
        );
        for line in [
            "mnemosyne_build_info{version=\"1\\\"2\"} 1",
            "mnemosyne_http_requests_total{method=\"GET\",route=\"/a/\",status=\"200\"} 2",
            "mnemosyne_http_request_duration_seconds_bucket{method=\"GET\",route=\"/a/\",le=\"0.005\"} 0",
            "mnemosyne_http_request_duration_seconds_bucket{method=\"GET\",route=\"/a/\",le=\"0.01\"} 1",
            "mnemosyne_http_request_duration_seconds_bucket{method=\"GET\",route=\"/a/\",le=\"+Inf\"} 2",
            "mnemosyne_http_request_duration_seconds_sum{method=\"GET\",route=\"/a/\"} 60.007000",
            "mnemosyne_http_requests_in_flight 1",
            "mnemosyne_jobs{status=\"pending\"} 3",
            "mnemosyne_jobs_failed{code=\"damaged\"} 1",
            "mnemosyne_cache_calls_total{outcome=\"failure\"} 4",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        drop(open);
        assert!(
            metrics
                .render("1", None, None)
                .contains("mnemosyne_http_requests_in_flight 0\n")
        );
    }

    #[test]
    fn the_names_are_a_promise() {
        let names: Vec<String> = NAMES
            .iter()
            .map(|(name, kind, _)| format!("{name} {kind}"))
            .collect();
        assert_eq!(
            names,
            [
                "mnemosyne_build_info gauge",
                "mnemosyne_uptime_seconds gauge",
                "mnemosyne_http_requests_total counter",
                "mnemosyne_http_request_duration_seconds histogram",
                "mnemosyne_http_requests_in_flight gauge",
                "mnemosyne_jobs gauge",
                "mnemosyne_jobs_failed gauge",
                "mnemosyne_cache_calls_total counter",
            ]
        );
    }
}
