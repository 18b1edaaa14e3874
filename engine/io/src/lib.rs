//! nanomq-engine: sockets, clock and threads around nanomq-proto.
//!
//! does:             listeners, TLS, WebSocket, the shards' loops, the clock, clients, metrics
//! owns:             every socket, thread and timer of the broker
//! may use:          nanomq-proto bytes tokio rustls rustls-pki-types rustls-native-certs tungstenite socket2 libc serde serde_json
//! never:            protocol decisions (no packet is built here), Python
//! change here when: bytes arrive or leave in another way

pub mod net;
