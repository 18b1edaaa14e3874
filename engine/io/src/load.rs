//! Loads on a broker: many clients on a few threads that send, receive, count and measure.
//!
//! It must cost less than any broker it measures, so nothing is allocated per message: packets are encoded once and
//! patched, whole batches are written and read, received packets are cut where they lie. Of a message's time it knows
//! when the batch was written that carried it, and when the read came that brought it.

mod connection;
mod histogram;
mod options;
mod phase;
mod publisher;
pub mod relay;
mod shared;
mod tally;
mod timer;
mod worker;

pub use options::{LoadOptions, LoadTls, Mode};
pub use tally::Snapshot;

use options::Plan;
use shared::Shared;
use std::sync::Arc;
use std::time::Duration;

/// A load that runs. Dropping it ends it.
pub struct Load(Arc<Shared>);

impl Load {
    /// Starts the threads and returns at once.
    ///
    /// # Errors
    /// The options contradict themselves, certificates cannot be read, or the system has no threads left.
    pub fn start(options: LoadOptions) -> Result<Self, String> {
        let shared = Arc::new(Shared::new(Plan::new(options)?));
        let load = Self(Arc::clone(&shared));
        for index in 0..shared.tallies.len() {
            let shared = Arc::clone(&shared);
            let work = move || {
                if let Err(error) = worker::run(&shared, index) {
                    shared.note(&error);
                }
                shared.leave();
            };
            std::thread::Builder::new()
                .name(format!("nanomq-load-{index}"))
                .spawn(work)
                .map_err(|error| error.to_string())?;
        }
        Ok(load)
    }

    /// The counts until now.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// Lets the publishers stop; the load ends when the last messages have come.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Waits for the end. Returns whether it has come.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.0.wait(timeout)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}
