//! Which clock is believed.

use scraped_engine::metrics::Gauge;
use scraped_engine::metrics_table;

/// Where the time of samples comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The system's clock.
    System,
    /// A server's `Date`; the system's clock is not believable.
    Server,
    /// The system's clock, though it is not believable: no better one came within `--clock.wait`.
    Unproven,
    /// No clock is believed: samples wait.
    None,
}

metrics_table! {
    /// One of them is 1.
    pub struct ClockMetrics {
        system: Gauge => "scraped_clock_believed" ["source" = "system"],
            "1 for where the time of samples comes from; unproven: the system's clock though it may be wrong; none: samples \
             wait for their time.";
        server: Gauge => "scraped_clock_believed" ["source" = "server"];
        unproven: Gauge => "scraped_clock_believed" ["source" = "unproven"];
        none: Gauge => "scraped_clock_believed" ["source" = "none"];
    }
}

impl ClockMetrics {
    /// From now on the time comes from there.
    pub fn set(&self, source: Source) {
        for (gauge, its_source) in self.all() {
            gauge.set(f64::from(u8::from(source == its_source)));
        }
    }

    /// Where it comes from, for people.
    pub fn sentence(&self) -> &'static str {
        let is_it = |(gauge, source): (&Gauge, Source)| (gauge.get() > 0.0).then_some(source);
        match self.all().into_iter().find_map(is_it) {
            None | Some(Source::System) => "the system's",
            Some(Source::Server) => "by the Date of a server; the system's is not believable",
            Some(Source::Unproven) => {
                "the system's, which may be wrong: it is older than what was here before"
            }
            Some(Source::None) => "none is believed: samples wait for their time",
        }
    }

    fn all(&self) -> [(&Gauge, Source); 4] {
        [
            (&self.system, Source::System),
            (&self.server, Source::Server),
            (&self.unproven, Source::Unproven),
            (&self.none, Source::None),
        ]
    }
}
