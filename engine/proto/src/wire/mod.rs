//! Bytes to packets and back.
//!
//! does:             decodes and encodes control packets, properties, topic names and filters
//! owns:             the property table, the reason codes, every length check
//! may use:          wire
//! never:            session, route
//! change here when: a packet, property or reason code is wrong or new

pub mod codec;
pub mod packet;
pub mod tables;
pub mod topic;
