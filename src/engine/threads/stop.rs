//! How the owner of threads ends them: a channel that carries nothing, and that it is closed is the signal.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use std::convert::Infallible;
use std::time::Duration;

/// The owner's end; dropping it is the signal.
#[derive(Debug)]
pub struct Stopper {
    _signal: Sender<Infallible>,
}

/// A thread's end. Its clones see the same signal, and waiting for that is the only way to sleep.
#[derive(Clone, Debug)]
pub struct StopToken(Receiver<Infallible>);

/// Both ends of a new signal.
pub fn stop_pair() -> (Stopper, StopToken) {
    let (signal, stop) = bounded(0);
    (Stopper { _signal: signal }, StopToken(stop))
}

impl StopToken {
    /// Whether the thread is to end.
    pub fn is_stopped(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Sleeps for `timeout`, or until the signal; true if the thread is to end.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.0.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// For `select!`: it is ready when the thread is to end.
    pub fn receiver(&self) -> &Receiver<Infallible> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_is_that_the_stopper_is_gone() {
        let (stopper, stop) = stop_pair();
        let other = stop.clone();
        assert!(!stop.is_stopped() && !stop.wait(Duration::ZERO));
        drop(stopper);
        for stop in [stop, other] {
            assert!(stop.is_stopped() && stop.wait(Duration::MAX) && stop.receiver().recv().is_err());
        }
    }
}
