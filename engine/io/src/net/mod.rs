//! Byte streams: TCP, Unix sockets, TLS, WebSocket; accepting and dialling.

mod backlog;
pub mod certificate;
pub mod dial;
pub mod listener;
pub mod proxy;
pub mod record;
pub mod stream;
pub mod tls;
pub mod upgrade;
pub mod websocket;
