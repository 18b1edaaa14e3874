//! Byte streams: TCP, Unix sockets, TLS, WebSocket; accepting and dialling.

pub mod listener;
pub mod proxy;
pub mod stream;
pub mod tls;
pub mod websocket;
