//! SUBSCRIBE and UNSUBSCRIBE, and the retained messages that a subscription brings.

use super::registry::{Level, Registry};
use super::replay::Wanted;
use crate::Time;
use crate::route::index::{MemberState, Subscriber};
use crate::route::verdict::Drop;
use crate::wire::codec::{DecodeError, check_name};
use crate::wire::packet::{Packet, SubAck, Subscribe, SubscribeOptions, Unsubscribe, Version};
use crate::wire::tables::{Properties, Property, ReasonCode};
use crate::wire::topic::{Filter, check_topic_filter, level_count};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

impl Registry {
    /// Subscribes, answers, then sends retained messages: the SUBACK comes first.
    pub(super) fn on_subscribe(
        &mut self,
        now: Time,
        slot: u32,
        session: u32,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), DecodeError> {
        let id = subscription_id(subscribe.properties);
        if id != 0 && !self.settings.subscription_id_available {
            return Err(not_supported(
                ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
            ));
        }
        let version = self
            .connections
            .get(slot)
            .map_or(Version::V5, |connection| connection.version);
        // A broken filter is found before any is subscribed.
        let mut accepted = Vec::new();
        for (text, options) in subscribe.filters.iter() {
            accepted.push((self.check_filter(text, options, version)?, options));
        }
        let mut reasons = Vec::with_capacity(accepted.len());
        let mut replays = Vec::new();
        for (filter, options) in &accepted {
            let (reason, is_new) = self.subscribe(session, filter, *options, id);
            let sends_retained = filter.share_group.is_none()
                && !reason.is_error()
                && match options.retain_handling {
                    0 => true,
                    1 => is_new,
                    _ => false,
                };
            if sends_retained {
                let granted = SubscribeOptions {
                    qos: options.qos.min(self.settings.max_qos),
                    ..*options
                };
                replays.push((filter.filter, granted));
            }
            reasons.push(if reason.is_error() && version < Version::V5 {
                SUBACK_FAILURE
            } else {
                reason.0
            });
        }
        let answer = SubAck {
            packet_id: subscribe.packet_id,
            properties: Properties::EMPTY,
            reasons: &reasons,
        };
        self.answer(slot, &Packet::SubAck(answer))?;
        for (filter, options) in replays {
            self.replay(session, filter, options, id);
        }
        self.refill(now, session);
        Ok(())
    }

    /// Gives subscriptions up. `[MQTT-3.10.4-4]`
    pub(super) fn on_unsubscribe(
        &mut self,
        slot: u32,
        session: u32,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Result<(), DecodeError> {
        let mut filters = Vec::new();
        for text in unsubscribe.filters.iter() {
            check_name(text)?;
            filters.push(check_topic_filter(text)?);
        }
        let mut reasons = Vec::with_capacity(filters.len());
        for filter in &filters {
            let Some(state) = self.sessions.get_mut(session) else {
                return Ok(());
            };
            let removed = self.router.unsubscribe(filter, state.key);
            reasons.push(match removed {
                Some(id) => {
                    state.subscriptions.remove(&id);
                    self.ledger.subscriptions.sub(1);
                    ReasonCode::SUCCESS.0
                }
                None => ReasonCode::NO_SUBSCRIPTION_EXISTED.0,
            });
        }
        let answer = SubAck {
            packet_id: unsubscribe.packet_id,
            properties: Properties::EMPTY,
            reasons: &reasons,
        };
        self.answer(slot, &Packet::UnsubAck(answer))
    }

    /// Sends an answer with one code a filter, which may be more than the client takes. `[MQTT-3.1.2-24]`
    fn answer(&mut self, slot: u32, packet: &Packet<'_>) -> Result<(), DecodeError> {
        if self.send(slot, packet) {
            return Ok(());
        }
        Err(DecodeError {
            reason: ReasonCode::PACKET_TOO_LARGE,
            what: "the answer exceeds the client's Maximum Packet Size",
        })
    }

    fn check_filter<'a>(
        &self,
        text: &'a str,
        options: SubscribeOptions,
        version: Version,
    ) -> Result<Filter<'a>, DecodeError> {
        check_name(text)?;
        let filter = check_topic_filter(text)?;
        if filter.share_group.is_some() && options.no_local {
            return Err(DecodeError {
                reason: ReasonCode::PROTOCOL_ERROR,
                what: "[MQTT-3.8.3-4] No Local on a shared subscription",
            });
        }
        if version == Version::V5 {
            if filter.share_group.is_some() && !self.settings.shared_available {
                return Err(not_supported(
                    ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
                ));
            }
            if filter.has_wildcard && !self.settings.wildcard_available {
                return Err(not_supported(
                    ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
                ));
            }
        }
        Ok(filter)
    }

    /// One subscription; returns the granted QoS or an error, and whether it is new.
    fn subscribe(
        &mut self,
        session: u32,
        filter: &Filter<'_>,
        options: SubscribeOptions,
        id: u32,
    ) -> (ReasonCode, bool) {
        let settings = &self.settings;
        let Some(state) = self.sessions.get_mut(session) else {
            return (ReasonCode::UNSPECIFIED_ERROR, false);
        };
        let not_available = (filter.share_group.is_some() && !settings.shared_available)
            || (filter.has_wildcard && !settings.wildcard_available);
        if not_available || level_count(filter.filter) > settings.max_topic_levels {
            return (ReasonCode::TOPIC_FILTER_INVALID, false);
        }
        if settings.max_subscriptions > 0 && state.subscriptions.len() >= settings.max_subscriptions
        {
            let has_it = self
                .router
                .filter_id(filter)
                .is_some_and(|id| state.subscriptions.contains_key(&id));
            if !has_it {
                return (ReasonCode::QUOTA_EXCEEDED, false);
            }
        }
        let qos = options.qos.min(settings.max_qos);
        let subscriber = Subscriber {
            session: state.key,
            qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            subscription_id: id,
        };
        let member = filter.share_group.map(|_| {
            Arc::clone(state.member.get_or_insert_with(|| {
                Arc::new(MemberState {
                    online: AtomicBool::new(true),
                    inflight: AtomicU32::new(state.inflight.len() as u32),
                })
            }))
        });
        let subscribed = self.router.subscribe(filter, subscriber, member);
        let is_new = state.subscriptions.insert(subscribed.id, options).is_none();
        if is_new {
            self.ledger.subscriptions.add(1);
        }
        if Level::Debug >= self.level {
            let (client_id, topic_filter) = (state.client_id.to_string(), filter.full.to_owned());
            self.event(Level::Debug, "client_subscribed", || {
                vec![("client_id", client_id), ("topic_filter", topic_filter)]
            });
        }
        (ReasonCode(qos as u8), is_new)
    }

    /// Lines the retained messages of a new subscription up behind the SUBACK. `[MQTT-3.3.1-9]`
    fn replay(&mut self, session: u32, filter: &str, options: SubscribeOptions, id: u32) {
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        // Who subscribes again and again to the same does not get it as often.
        let most = self.settings.max_queue_count.max(state.subscriptions.len());
        let wanted = Wanted {
            filter: filter.into(),
            options,
            id,
        };
        if !state.replay.want(wanted, most) {
            self.ledger.accepted.add(1);
            self.ledger.count_drop(Drop::QueueFull, 1);
        }
    }
}

/// The identifier of a SUBSCRIBE; 0 = none.
fn subscription_id(properties: Properties<'_>) -> u32 {
    properties
        .iter()
        .find_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
        .unwrap_or(0)
}

/// CONNACK said that the broker does not have this.
const fn not_supported(reason: ReasonCode) -> DecodeError {
    DecodeError {
        reason,
        what: "the broker announced that it does not support this",
    }
}

/// The only failure code of a 3.x SUBACK.
const SUBACK_FAILURE: u8 = 0x80;
