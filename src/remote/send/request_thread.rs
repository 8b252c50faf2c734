//! A thread beside an endpoint's shards that sends requests of its own, over a connection of its own.

use crate::http::Canceller;
use crate::remote::send::client::Client;
use scraped_engine::threads::Thread;

/// The running thread. It ends when its stop token comes.
#[derive(Debug)]
pub struct RequestThread {
    canceller: Canceller,
    thread: Thread,
}

impl RequestThread {
    /// One that is started with this client.
    ///
    /// # Errors
    /// As those of `spawn`.
    pub fn start<E>(client: Client, spawn: impl FnOnce(Client) -> Result<Thread, E>) -> Result<Self, E> {
        let canceller = client.canceller();
        Ok(Self { canceller, thread: spawn(client)? })
    }

    /// Ends it, after its stop token. A request in flight is cancelled: nothing that must arrive is in it.
    pub fn join(self) {
        self.canceller.cancel();
        self.thread.join();
    }
}
