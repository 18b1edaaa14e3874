//! Messages sent to one client and not yet acknowledged, in the order they were sent.
//!
//! Packet ids are handed out in sequence, so the id alone tells the place in the ring: an
//! acknowledgement costs a subtraction. A message that a client leaves open while it acknowledges later
//! ones moves to `stragglers` when the ring would come round to its id.

use crate::route::index::FilterId;
use crate::route::message::Message;
use crate::wire::packet::QoS;
use std::collections::VecDeque;
use std::sync::Arc;

/// One message for one session: what is needed to send it, now or again.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// Subscription identifiers, section 3.3.2.3.8.
    pub ids: Option<Box<[u32]>>,
    /// The shared subscription that chose this session.
    pub shared: Option<FilterId>,
    /// Granted QoS.
    pub qos: QoS,
    /// Retain flag as sent.
    pub retain: bool,
}

/// What is awaited from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// PUBACK of a QoS 1 message.
    PubAck,
    /// PUBREC of a QoS 2 message.
    PubRec,
    /// PUBCOMP: the client has the message.
    PubComp,
}

#[derive(Debug)]
struct Entry {
    /// Nothing: acknowledged, but older ones are not.
    awaits: Option<Awaits>,
    /// Kept only if it may have to be sent again.
    delivery: Option<Delivery>,
}

/// Answer to an acknowledgement.
#[derive(Debug)]
pub enum Acknowledged {
    /// The exchange is over; the delivery, if it was kept.
    Done(Option<Delivery>),
    /// Send PUBREL.
    Release,
    /// The message with this id awaits something else.
    Unexpected,
    /// No message with this id is open.
    Unknown,
}

/// The send window of one session.
#[derive(Debug, Default)]
pub struct Inflight {
    ring: VecDeque<Entry>,
    /// Packet id of the front of the ring.
    front_id: u16,
    /// Messages awaiting something, stragglers included.
    open: u32,
    stragglers: Vec<(u16, Entry)>,
}

/// Ids are 1..=65535.
const IDS: usize = 65_535;

/// A longer ring that is nearly all acknowledged is cut short.
const SPARSE: usize = 1024;

impl Inflight {
    /// Messages awaiting an acknowledgement.
    #[inline]
    pub const fn len(&self) -> usize {
        self.open as usize
    }

    /// Whether none awaits one.
    pub const fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Notes a message as sent and returns its packet id. The caller has checked the window, which is
    /// at most 65,535, so an id is free.
    #[inline]
    pub fn push(&mut self, qos: QoS, delivery: Option<Delivery>) -> u16 {
        if self.ring.is_empty() && self.front_id == 0 {
            self.front_id = 1;
        }
        if self.ring.len() >= IDS || !self.stragglers.is_empty() {
            self.make_room();
        }
        let id = self.id_at(self.ring.len());
        let awaits = if qos == QoS::ExactlyOnce {
            Awaits::PubRec
        } else {
            Awaits::PubAck
        };
        self.ring.push_back(Entry {
            awaits: Some(awaits),
            delivery,
        });
        self.open += 1;
        id
    }

    /// PUBACK arrived, or PUBREC with an error.
    pub fn finish(&mut self, id: u16, expected: Awaits) -> Acknowledged {
        match self.find(id) {
            Some(entry) if entry.awaits == Some(expected) => {
                entry.awaits = None;
                let delivery = entry.delivery.take();
                self.open -= 1;
                self.tidy(id);
                Acknowledged::Done(delivery)
            }
            Some(entry) if entry.awaits.is_some() => Acknowledged::Unexpected,
            _ => Acknowledged::Unknown,
        }
    }

    /// Ends an exchange that cannot go on.
    pub fn forget(&mut self, id: u16) {
        if let Some(entry) = self.find(id) {
            if entry.awaits.take().is_some() {
                entry.delivery = None;
                self.open -= 1;
                self.tidy(id);
            }
        }
    }

    /// PUBREC arrived: the client has the message, which is forgotten here, section 4.3.3.
    pub fn received(&mut self, id: u16) -> Acknowledged {
        match self.find(id) {
            Some(entry) if matches!(entry.awaits, Some(Awaits::PubRec | Awaits::PubComp)) => {
                entry.awaits = Some(Awaits::PubComp);
                entry.delivery = None;
                Acknowledged::Release
            }
            Some(entry) if entry.awaits.is_some() => Acknowledged::Unexpected,
            _ => Acknowledged::Unknown,
        }
    }

    /// An open message.
    pub fn get(&mut self, id: u16) -> Option<(Awaits, Option<&Delivery>)> {
        let entry = self.find(id)?;
        Some((entry.awaits?, entry.delivery.as_ref()))
    }

    /// All open messages in the order they were first sent.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Awaits, Option<&Delivery>)> {
        let stragglers = self.stragglers.iter().map(|(id, entry)| (*id, entry));
        let ring = self
            .ring
            .iter()
            .enumerate()
            .map(|(at, entry)| (self.id_at(at), entry));
        stragglers
            .chain(ring)
            .filter_map(|(id, entry)| Some((id, entry.awaits?, entry.delivery.as_ref())))
    }

    /// Takes what was not acknowledged out, oldest first, and starts anew.
    pub fn drain(&mut self) -> Vec<(Awaits, Option<Delivery>)> {
        let stragglers = std::mem::take(&mut self.stragglers);
        let all = stragglers
            .into_iter()
            .map(|(_, entry)| entry)
            .chain(std::mem::take(&mut self.ring))
            .filter_map(|entry| Some((entry.awaits?, entry.delivery)))
            .collect();
        *self = Self::default();
        all
    }

    /// The id of the entry `at` places behind the front; 65,535 is followed by 1.
    #[inline]
    const fn id_at(&self, at: usize) -> u16 {
        let id = self.front_id as usize + at;
        (if id > IDS { id - IDS } else { id }) as u16
    }

    fn find(&mut self, id: u16) -> Option<&mut Entry> {
        if id == 0 {
            return None;
        }
        let (id_number, front) = (usize::from(id), usize::from(self.front_id));
        let at = if id_number >= front {
            id_number - front
        } else {
            id_number + IDS - front
        };
        if at < self.ring.len() && front != 0 {
            return self.ring.get_mut(at);
        }
        self.stragglers
            .iter_mut()
            .find(|(other, _)| *other == id)
            .map(|(_, entry)| entry)
    }

    /// Drops finished entries from the front, so that the ring stays as short as the window.
    fn tidy(&mut self, id: u16) {
        if !self.stragglers.is_empty() {
            self.stragglers
                .retain(|(other, entry)| *other != id || entry.awaits.is_some());
        }
        while self
            .ring
            .front()
            .is_some_and(|entry| entry.awaits.is_none())
        {
            self.ring.pop_front();
            self.front_id = self.id_at(1);
        }
        if self.ring.len() > SPARSE && self.ring.len() > 8 * self.len() {
            self.cut_short();
        }
        if self.ring.is_empty() && self.ring.capacity() > 256 {
            self.ring = VecDeque::new();
        }
    }

    /// Moves what is open in the older half aside: a message that a client never acknowledges must not keep the
    /// places of all that follow.
    #[cold]
    fn cut_short(&mut self) {
        for _ in 0..self.ring.len() / 2 {
            let id = self.front_id;
            if let Some(entry) = self.ring.pop_front() {
                if entry.awaits.is_some() {
                    self.stragglers.push((id, entry));
                }
            }
            self.front_id = self.id_at(1);
        }
    }

    /// Makes the next id a free one: moves what blocks the ring aside, skips ids of stragglers.
    fn make_room(&mut self) {
        while self.ring.len() >= IDS {
            let id = self.front_id;
            if let Some(entry) = self.ring.pop_front() {
                if entry.awaits.is_some() {
                    self.stragglers.push((id, entry));
                }
            }
            self.front_id = self.id_at(1);
        }
        loop {
            let next = self.id_at(self.ring.len());
            if !self.stragglers.iter().any(|(id, _)| *id == next) {
                return;
            }
            if self.ring.is_empty() {
                self.front_id = self.id_at(1);
            } else {
                self.ring.push_back(Entry {
                    awaits: None,
                    delivery: None,
                });
                if self.ring.len() >= IDS {
                    return self.make_room();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_and_skip_zero() {
        let mut inflight = Inflight::default();
        for expected in (1..=IDS as u16).chain(1..=3) {
            assert_eq!(inflight.push(QoS::AtLeastOnce, None), expected);
            assert!(matches!(
                inflight.finish(expected, Awaits::PubAck),
                Acknowledged::Done(None)
            ));
        }
        assert!(inflight.is_empty());
    }

    #[test]
    fn acknowledgements_in_any_order_free_their_ids() {
        let mut inflight = Inflight::default();
        let ids: Vec<u16> = (0..4)
            .map(|_| inflight.push(QoS::AtLeastOnce, None))
            .collect();
        for &at in &[2, 0, 3, 1] {
            assert!(matches!(
                inflight.finish(ids[at], Awaits::PubAck),
                Acknowledged::Done(_)
            ));
            assert!(matches!(
                inflight.finish(ids[at], Awaits::PubAck),
                Acknowledged::Unknown
            ));
        }
        assert!(inflight.is_empty());
        assert_eq!(inflight.ring.len(), 0);
    }

    #[test]
    fn an_open_message_never_lends_its_id() {
        let mut inflight = Inflight::default();
        let stuck = inflight.push(QoS::ExactlyOnce, None);
        for _ in 0..3 * IDS {
            let id = inflight.push(QoS::AtLeastOnce, None);
            assert_ne!(id, stuck);
            assert!(matches!(
                inflight.finish(id, Awaits::PubAck),
                Acknowledged::Done(_)
            ));
        }
        assert_eq!(inflight.len(), 1);
        assert!(matches!(inflight.received(stuck), Acknowledged::Release));
        assert!(matches!(
            inflight.finish(stuck, Awaits::PubComp),
            Acknowledged::Done(_)
        ));
        assert!(inflight.is_empty());
    }

    #[test]
    fn an_open_message_does_not_keep_the_places_of_all_that_follow() {
        let mut inflight = Inflight::default();
        let stuck = inflight.push(QoS::AtLeastOnce, None);
        for _ in 0..10_000 {
            let id = inflight.push(QoS::AtLeastOnce, None);
            assert!(matches!(
                inflight.finish(id, Awaits::PubAck),
                Acknowledged::Done(_)
            ));
        }
        assert!(inflight.ring.len() <= 2 * SPARSE, "{}", inflight.ring.len());
        let last = inflight.push(QoS::AtLeastOnce, None);
        let open: Vec<u16> = inflight.iter().map(|(id, _, _)| id).collect();
        assert_eq!(open, [stuck, last], "the oldest is sent again first");
    }

    #[test]
    fn a_puback_does_not_end_a_qos_2_exchange() {
        let mut inflight = Inflight::default();
        let id = inflight.push(QoS::ExactlyOnce, None);
        assert!(matches!(
            inflight.finish(id, Awaits::PubAck),
            Acknowledged::Unexpected
        ));
        assert!(matches!(inflight.received(id), Acknowledged::Release));
        assert!(
            matches!(inflight.received(id), Acknowledged::Release),
            "a repeated PUBREC is answered again"
        );
    }
}
