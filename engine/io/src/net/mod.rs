//! Byte streams: TCP, Unix sockets, TLS, WebSocket; accepting and dialling.

mod backlog;
pub mod certificate;
pub mod dial;
pub mod listener;
pub mod proxy;
mod record;
mod socket;
mod stages;
pub mod stream;
pub mod tls;
pub mod upgrade;
pub mod websocket;
