//! Byte streams: TCP, Unix sockets, TLS, WebSocket; accepting and dialling.

pub mod stream;
