//! Asks an endpoint what time it is, where samples wait for somebody who knows (`--clock.from=endpoint`): nothing else is
//! sent to it then, and so it has no occasion to say.
//!
//! Runs on thread `remote-clock-<name>`, which ends when the time is known. A question is a request of remote write without
//! a series. Whatever the answer is, its `Date` counts; that goes to the clock on its way ([`Client::send`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::remote::endpoint_state::Shared;
use crate::remote::send::client::Client;
use crate::remote::send::request_thread::RequestThread;
use scraped_engine::encode::packer::Packer;
use scraped_engine::encode::{Message, RequestWriter};
use scraped_engine::threads::ThreadKind;
use scraped_engine::threads::stop::StopToken;

/// Each endpoint has at most one, `remote-clock-<remote>`.
const THREAD: ThreadKind = ThreadKind { name: "remote-clock", stack_bytes: 256 << 10 };

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(5);

/// Starts to ask; ends when the time is known or `stop` comes.
///
/// # Errors
/// The system refuses the thread.
pub fn spawn(shared: Arc<Shared>, stop: StopToken) -> io::Result<RequestThread> {
    let client = Client::new(&shared.config, &shared.turn, &shared.clock);
    let name = shared.metrics.name.clone();
    RequestThread::start(client, |mut client| {
        THREAD.spawn_restarting(&name, stop.clone(), move || ask(&shared, &mut client, &stop))
    })
}

fn ask(shared: &Shared, client: &mut Client, stop: &StopToken) {
    let mut packer = Packer::default();
    let Ok(question) = packer.pack(RequestWriter::new(Message::V1).bytes()) else { return };
    while shared.clock.asks_servers() {
        // Nor while the endpoint is left alone.
        if shared.pause.until().is_none() {
            let answer = client.send(Message::V1, question, 0);
            log::debug!("remote_write {}: asked for the time: {answer:?}", shared.metrics.name);
        }
        if shared.clock.asks_servers() && stop.wait(PAUSE) {
            return;
        }
    }
}
