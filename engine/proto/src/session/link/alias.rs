//! Topic aliases of one connection, section 3.3.2.3.4.

use crate::wire::codec::DecodeError;
use crate::wire::tables::ReasonCode;
use std::collections::HashMap;

/// Aliases that the server gives.
#[derive(Debug)]
pub(super) struct InboundAliases {
    maximum: u16,
    topics: Vec<Option<Box<str>>>,
}

impl InboundAliases {
    pub(super) const fn new(maximum: u16) -> Self {
        Self {
            maximum,
            topics: Vec::new(),
        }
    }

    /// Aliases end with the connection [MQTT-3.3.2-7].
    pub(super) fn clear(&mut self) {
        self.topics.clear();
    }

    /// The topic that is meant.
    pub(super) fn resolve<'a>(
        &'a mut self,
        topic: &'a str,
        alias: Option<u16>,
    ) -> Result<&'a str, DecodeError> {
        let Some(alias) = alias else {
            return if topic.is_empty() {
                Err(DecodeError {
                    reason: ReasonCode::PROTOCOL_ERROR,
                    what: "neither topic nor topic alias",
                })
            } else {
                Ok(topic)
            };
        };
        if alias == 0 || alias > self.maximum {
            // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
            return Err(DecodeError {
                reason: ReasonCode::TOPIC_ALIAS_INVALID,
                what: "topic alias out of range",
            });
        }
        let at = usize::from(alias) - 1;
        if topic.is_empty() {
            let known = self.topics.get(at).and_then(Option::as_deref);
            return known.ok_or(DecodeError {
                reason: ReasonCode::PROTOCOL_ERROR,
                what: "topic alias that names nothing",
            });
        }
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        self.topics[at] = Some(topic.into());
        Ok(topic)
    }
}

/// Aliases that we give, either chosen by the caller or automatically, first come first served.
#[derive(Debug, Default)]
pub(super) struct OutboundAliases {
    /// The server's maximum.
    pub(super) maximum: u16,
    /// How many are given automatically.
    pub(super) automatic: u16,
    /// What the server knows.
    sent: HashMap<u16, Box<str>>,
    by_topic: HashMap<Box<str>, u16>,
}

impl OutboundAliases {
    pub(super) fn clear(&mut self) {
        self.maximum = 0;
        self.sent.clear();
        self.by_topic.clear();
    }

    /// The alias to write for a topic, and whether the server knows it. `wanted` is the caller's choice, 0 = none.
    pub(super) fn choose(&mut self, topic: &str, wanted: u16) -> Option<(u16, bool)> {
        if self.maximum == 0 || wanted > self.maximum || (wanted == 0 && self.automatic == 0) {
            return None;
        }
        if wanted == 0 {
            if let Some(&alias) = self.by_topic.get(topic) {
                return Some((alias, true));
            }
            let limit = self.maximum.min(self.automatic);
            // Counts down, because callers number from 1.
            let free = (1..=limit)
                .rev()
                .find(|alias| !self.sent.contains_key(alias))?;
            self.learn(free, topic);
            return Some((free, false));
        }
        if self
            .sent
            .get(&wanted)
            .is_some_and(|known| known.as_ref() == topic)
        {
            return Some((wanted, true));
        }
        self.learn(wanted, topic);
        Some((wanted, false))
    }

    fn learn(&mut self, alias: u16, topic: &str) {
        if let Some(old) = self.sent.insert(alias, topic.into()) {
            self.by_topic.remove(&old);
        }
        self.by_topic.insert(topic.into(), alias);
    }
}
