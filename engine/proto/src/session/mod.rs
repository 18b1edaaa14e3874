//! What one client is.
//!
//! does:             connections, sessions, queues, wills, deadlines; the client side as a link
//! owns:             packet ids, inflight windows, QoS states, keepalive, expiry
//! may use:          wire route output blocks
//! never:            the topic trie itself (asks the router), I/O
//! change here when: the life of a connection or session changes

pub mod connection;
pub mod credential;
pub mod inflight;
pub mod link;
pub mod parcel;
pub mod queue;
pub mod registry;
pub mod replay;
pub mod scram;
#[expect(
    clippy::module_inception,
    reason = "one noun, one file: what the room is named after"
)]
pub mod session;
pub mod settings;

mod acks;
mod deadline;
mod delivery;
mod ending;
mod handshake;
mod outgoing;
pub mod publishing;
mod rate;
mod run;
mod slab;
mod subscribing;
mod will;
