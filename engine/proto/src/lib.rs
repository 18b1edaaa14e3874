//! nanomq-proto: the MQTT broker without input or output.
//!
//! does:             packets, sessions, routing: bytes, commands and time in; bytes, actions and deadlines out
//! owns:             every protocol decision; connections and sessions of one shard; the topic index
//! may use:          bytes foldhash hashbrown hmac sha2 base64 std(collections, fmt, sync)
//! never:            sockets, clock, threads, files, randomness (handed in), Python, payloads in logs
//! change here when: the standard says so, or a message takes another way
#![forbid(unsafe_code)]

pub mod blocks;
pub mod output;
pub mod route;
pub mod session;
pub mod wire;

pub use output::Output;

/// Microseconds since the engine started; always handed in, never read from a clock here.
pub type Time = u64;

/// One second of [`Time`].
pub const SECOND: Time = 1_000_000;
