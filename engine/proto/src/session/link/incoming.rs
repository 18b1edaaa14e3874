//! Received QoS 1 and 2 messages: exactly once, and no more at a time than we allowed.

use crate::wire::codec::DecodeError;
use crate::wire::packet::QoS;
use crate::wire::tables::ReasonCode;
use std::collections::HashMap;

/// What to do with a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Hand it on and acknowledge.
    DeliverAndAnswer,
    /// Hand it on; the caller acknowledges later, or never for QoS 0.
    Deliver,
    /// A repetition: only acknowledge.
    Answer,
    /// A repetition that the caller has not acknowledged yet.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// QoS 1, the caller acknowledges.
    AtLeastOnce,
    /// QoS 2, the caller acknowledges.
    ExactlyOnce,
    /// QoS 2, PUBREC is sent or due; PUBREL ends it.
    Received,
}

#[derive(Debug)]
pub(super) struct Incoming {
    receive_maximum: u16,
    manual: bool,
    held: HashMap<u16, Held>,
    /// Answers that are due and wait until the caller has room, in the order of the messages.
    due: Vec<(QoS, u16)>,
}

impl Incoming {
    pub(super) fn new(receive_maximum: u16, manual: bool) -> Self {
        Self {
            receive_maximum,
            manual,
            held: HashMap::new(),
            due: Vec::new(),
        }
    }

    /// The connection is gone: QoS 1 comes again with whatever id, QoS 2 with its own.
    pub(super) fn disconnected(&mut self) {
        self.due.clear();
        self.held.retain(|_, held| *held != Held::AtLeastOnce);
    }

    /// An answer that waits. More than the receive maximum cannot be due.
    pub(super) fn delay(&mut self, qos: QoS, packet_id: u16) -> Result<(), DecodeError> {
        if self.due.len() >= usize::from(self.receive_maximum) {
            return Err(TOO_MANY);
        }
        self.due.push((qos, packet_id));
        Ok(())
    }

    /// The answers that waited.
    pub(super) fn take_due(&mut self) -> Vec<(QoS, u16)> {
        std::mem::take(&mut self.due)
    }

    /// The server has no session: its ids mean something else from now on.
    pub(super) fn forget(&mut self) {
        self.held.clear();
    }

    pub(super) fn message(&mut self, qos: QoS, packet_id: u16) -> Result<Step, DecodeError> {
        let held = match (qos, self.manual) {
            (QoS::AtMostOnce, _) => return Ok(Step::Deliver),
            (QoS::AtLeastOnce, false) => return Ok(Step::DeliverAndAnswer),
            (QoS::AtLeastOnce, true) => Held::AtLeastOnce,
            (QoS::ExactlyOnce, true) => Held::ExactlyOnce,
            (QoS::ExactlyOnce, false) => Held::Received,
        };
        match self.held.get(&packet_id) {
            Some(Held::Received) if qos == QoS::ExactlyOnce => return Ok(Step::Answer),
            Some(Held::ExactlyOnce) if qos == QoS::ExactlyOnce => return Ok(Step::Nothing),
            Some(_) => {}
            None if self.held.len() >= usize::from(self.receive_maximum) => {
                return Err(TOO_MANY);
            }
            None => {}
        }
        self.held.insert(packet_id, held);
        Ok(if self.manual {
            Step::Deliver
        } else {
            Step::DeliverAndAnswer
        })
    }

    /// The caller acknowledges; tells the QoS if an answer is due.
    pub(super) fn acknowledge(&mut self, packet_id: u16, is_error: bool) -> Option<QoS> {
        match self.held.get_mut(&packet_id)? {
            Held::Received => None,
            Held::AtLeastOnce => {
                self.held.remove(&packet_id);
                Some(QoS::AtLeastOnce)
            }
            Held::ExactlyOnce if is_error => {
                self.held.remove(&packet_id);
                Some(QoS::ExactlyOnce)
            }
            held @ Held::ExactlyOnce => {
                *held = Held::Received;
                Some(QoS::ExactlyOnce)
            }
        }
    }

    /// PUBREL arrived; whether its id was known.
    pub(super) fn released(&mut self, packet_id: u16) -> bool {
        match self.held.get(&packet_id) {
            Some(Held::Received) => self.held.remove(&packet_id).is_some(),
            _ => false,
        }
    }
}

/// [MQTT-3.3.4-9]
const TOO_MANY: DecodeError = DecodeError {
    reason: ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
    what: "more QoS 1 and 2 messages than the receive maximum",
};
