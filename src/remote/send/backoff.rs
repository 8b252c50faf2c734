//! Pauses between two tries of a request: doubling, up to a limit, or what the endpoint asks for.

use std::time::Duration;

/// A pause of nothing would be a busy loop.
const LEAST: Duration = Duration::from_millis(1);

/// Longest pause that an endpoint may ask for: it may be wrong by a unit or lie.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// Pauses between tries.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// From `min` to `max`, each pause twice the one before.
    pub fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(LEAST);
        Self { min, max: max.max(min), next: min }
    }

    /// The next pause; `asked` by the endpoint counts instead (`Retry-After`).
    pub fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.max);
        asked.map_or(pause, |asked| asked.clamp(LEAST, LONGEST_ASKED))
    }

    /// It worked: the next failure starts from the shortest pause.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(30), ms(200));
        let pauses: Vec<Duration> = (0..5).map(|_| backoff.pause(None)).collect();
        assert_eq!(pauses, [ms(30), ms(60), ms(120), ms(200), ms(200)]);
        assert_eq!(backoff.pause(Some(ms(7))), ms(7));
        assert_eq!(backoff.pause(Some(ms(u64::MAX / 2))), ms(3_600_000));
        backoff.reset();
        assert_eq!(backoff.pause(None), ms(30));
        assert_eq!(Backoff::new(ms(0), ms(0)).pause(None), ms(1));
    }
}
