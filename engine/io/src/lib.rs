//! nanomq-engine: sockets, clock and threads around nanomq-proto.
//!
//! does:             listeners, TLS, WebSocket, the shards' loops, the clock, clients, metrics
//! owns:             every socket, thread and timer of the broker
//! may use:          nanomq-proto bytes tokio rustls rustls-pki-types rustls-native-certs tungstenite socket2 libc pkcs8 x509-parser serde serde_json
//! never:            protocol decisions (no packet is built here), Python
//! change here when: bytes arrive or leave in another way
//!
//! Threads: `nanomq-shard-N` owns its connections and sessions and never waits for another thread;
//! `nanomq-accept` accepts and hands connections to the shards in turn; `nanomq-client` drives the clients
//! of this process, `nanomq-load-N` those of a load. Locks, in the order they may be taken, each held for a
//! few instructions: a mailbox, then nothing; the router's index, then nothing; the router's retained
//! messages, then nothing; the tap, then nothing; a load's marks, error and running threads, then nothing.

pub mod acceptor;
pub mod client;
pub mod clock;
pub mod engine;
pub mod eventfd;
pub mod load;
pub mod mailbox;
pub mod net;
pub mod settings;
pub mod shard;
pub mod tap;
