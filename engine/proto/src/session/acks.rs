//! Rows of PUBACK packets.
//!
//! A client that gets many messages at once acknowledges them at once: four bytes each, one behind the other.
//! They are taken together, and what waits is sent when all of them have opened the window.

use super::connection::Stage;
use super::inflight::{Acknowledged, Awaits};
use super::publishing::forget_resend;
use super::registry::Registry;
use crate::Time;

/// PUBACK without reason code and properties: length and packet id follow.
pub(super) const PLAIN_PUBACK: u8 = 0x40;

impl Registry {
    /// Takes the plain PUBACKs at the beginning of `input`; returns how many. The first that is not in order
    /// is left to the path of single packets, which knows the error.
    pub(super) fn on_pubacks(&mut self, now: Time, slot: u32, input: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(slot) else {
            return 0;
        };
        let Stage::Online(key) = connection.stage else {
            return 0;
        };
        let Some(session) = self.sessions.get_mut(key.slot) else {
            return 0;
        };
        let (mut taken, mut done) = (0, 0);
        let mut rest = input;
        while let &[first, len, high, low, ref next @ ..] = rest {
            rest = next;
            let id = u16::from_be_bytes([high, low]);
            if first != PLAIN_PUBACK || len != 2 || id == 0 {
                break;
            }
            match session.inflight.finish(id, Awaits::PubAck) {
                Acknowledged::Done(_) => {
                    forget_resend(&mut session.resend, id);
                    done += 1;
                }
                Acknowledged::Unknown => {}
                Acknowledged::Unexpected | Acknowledged::Release => break,
            }
            taken += 1;
        }
        if taken > 0 {
            connection.last_received = now;
        }
        if done > 0 {
            session.note_inflight();
            self.ledger.queued.sub(done);
            self.ledger.delivered.add(done);
            if session.has_backlog() {
                self.refill(now, key.slot);
            }
        }
        taken
    }
}
