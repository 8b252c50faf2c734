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

    /// What is to be said of the system's clock, for people; `None` while it is believed.
    pub fn doubt(&self) -> Option<&'static str> {
        let is_it = |(gauge, source): (&Gauge, Source)| (gauge.get() > 0.0).then_some(source);
        match self.all().into_iter().find_map(is_it)? {
            Source::System => None,
            Source::Server => Some("not believable, samples have their time by the Date of a server"),
            Source::Unproven => Some("perhaps wrong: it is behind what was here before"),
            Source::None => Some("not believed, samples wait for their time"),
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
