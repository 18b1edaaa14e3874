//! Bytes to packets and back.
//!
//! does:             decodes and encodes control packets, properties, topic names and filters
//! owns:             the property table, the reason codes, every length check
//! may use:          wire
//! never:            session, route
//! change here when: a packet, property or reason code is wrong or new

pub mod codec;
mod decode;
mod encode;
mod filter_list;
pub mod packet;
mod property;
mod reader;
pub mod tables;
pub mod topic;
