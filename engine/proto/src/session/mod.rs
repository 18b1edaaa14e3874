//! What one client is.
//!
//! does:             connections, sessions, queues, wills, deadlines; the client side as a link
//! owns:             packet ids, inflight windows, QoS states, keepalive, expiry
//! may use:          wire, route
//! never:            the topic trie itself (asks the router), I/O
//! change here when: the life of a connection or session changes

pub mod link;
