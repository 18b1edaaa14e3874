//! Beginning of a connection: CONNACK with what the server allows, and enhanced authentication.

use super::outgoing::Limits;
use super::{Link, LinkError, LinkEvent, OWN_TOKEN, ScramClient, Sink, State, invalid, protocol};
use crate::wire::packet::{Auth, ConnAck, Packet, QoS, Version};
use crate::wire::tables::{Properties, Property, PropertyPlace, ReasonCode};
use crate::{SECOND, Time};

impl Link {
    pub(super) fn connack(
        &mut self,
        now: Time,
        connack: &ConnAck<'_>,
        sink: Sink<'_>,
    ) -> Result<(), LinkError> {
        let ConnAck {
            session_present,
            reason,
            properties,
        } = *connack;
        if reason.is_error() {
            self.state = State::Closed;
            sink(LinkEvent::Refused { reason, properties });
            return Ok(());
        }
        if session_present && self.asked_clean {
            return Err(protocol(
                "session present after a clean start [MQTT-3.2.2-2]",
            ));
        }
        let mut limits = Limits::default();
        let mut proof = None;
        for property in properties.iter() {
            match property {
                Property::ReceiveMaximum(value) => limits.receive_maximum = value,
                Property::MaximumPacketSize(value) => limits.max_packet_bytes = value as usize,
                Property::TopicAliasMaximum(value) => limits.topic_alias_maximum = value,
                Property::MaximumQoS(0) => limits.max_qos = QoS::AtMostOnce,
                Property::MaximumQoS(_) => limits.max_qos = QoS::AtLeastOnce,
                Property::RetainAvailable(value) => limits.retain_available = value != 0,
                // [MQTT-3.1.2-21]
                Property::ServerKeepAlive(value) => self.keepalive = Time::from(value) * SECOND,
                Property::SessionExpiryInterval(value) => self.session_expiry_s = value,
                Property::AssignedClientIdentifier(value) => {
                    value.clone_into(&mut self.options.client_id)
                }
                Property::AuthenticationData(value) => proof = Some(value),
                _ => {}
            }
        }
        if let Some(scram) = self.scram.take_if(|_| self.options.version == Version::V5)
            && !scram.is_server_proven(proof)
        {
            return Err(LinkError::ServerNotAuthentic);
        }
        self.state = State::Connected;
        self.outgoing.connected(limits);
        sink(LinkEvent::Connected {
            session_present,
            properties,
        });
        if !session_present {
            self.incoming.forget();
            if self.had_session {
                self.subscribe_again();
            }
        }
        self.had_session = true;
        self.outgoing
            .resume(session_present, &mut self.output, sink);
        self.outgoing.pump(&mut self.output, sink);
        self.last_sent = now;
        Ok(())
    }

    pub(super) fn auth_received(
        &mut self,
        now: Time,
        auth: &Auth<'_>,
        sink: Sink<'_>,
    ) -> Result<(), LinkError> {
        let mut data = None;
        for property in auth.properties.iter() {
            if let Property::AuthenticationData(value) = property {
                data = Some(value);
            }
        }
        let Some(scram) = &mut self.scram else {
            sink(LinkEvent::Auth {
                reason: auth.reason,
                properties: auth.properties,
            });
            return Ok(());
        };
        if auth.reason == ReasonCode::CONTINUE_AUTHENTICATION {
            let answer = data
                .and_then(|data| scram.answer(data))
                .ok_or(LinkError::ServerNotAuthentic)?;
            let mut properties = Vec::new();
            Property::AuthenticationMethod(ScramClient::METHOD).encode(&mut properties);
            Property::AuthenticationData(answer.as_bytes()).encode(&mut properties);
            return self.auth(now, ReasonCode::CONTINUE_AUTHENTICATION, &properties);
        }
        let is_proven = scram.is_server_proven(data);
        self.scram = None;
        if !is_proven {
            return Err(LinkError::ServerNotAuthentic);
        }
        sink(LinkEvent::Auth {
            reason: auth.reason,
            properties: auth.properties,
        });
        Ok(())
    }

    /// Before anything else is sent, so that nothing is missed.
    fn subscribe_again(&mut self) {
        self.outgoing.forget(OWN_TOKEN);
        for group in self.subscriptions.groups() {
            let Some(first) = group.first() else {
                continue;
            };
            let filters: Vec<_> = group
                .iter()
                .map(|known| (known.filter.as_ref(), known.options))
                .collect();
            let properties = Properties::from_validated(&first.properties);
            // They were legal before, and `resume` sends them.
            let _ =
                self.outgoing
                    .subscribe(&mut self.output, &filters, properties, OWN_TOKEN, false);
        }
    }

    /// Sends AUTH with these encoded properties, for methods that the link does not know.
    ///
    /// # Errors
    /// [`LinkError::NotConnected`]; [`LinkError::Invalid`] before 5.0 or for properties that AUTH does not have.
    pub fn auth(
        &mut self,
        now: Time,
        reason: ReasonCode,
        properties: &[u8],
    ) -> Result<(), LinkError> {
        if self.options.version != Version::V5 {
            return Err(invalid(
                ReasonCode::PROTOCOL_ERROR,
                "AUTH exists since MQTT 5.0",
            ));
        }
        if !matches!(self.state, State::Connecting | State::Connected) {
            return Err(LinkError::NotConnected);
        }
        let properties =
            Properties::parse(properties, PropertyPlace::Auth).map_err(LinkError::Invalid)?;
        self.last_sent = now;
        self.put(&Packet::Auth(Auth { reason, properties }));
        Ok(())
    }

    /// Authenticates again with SCRAM-SHA-256 on the open connection, section 4.12.1.
    ///
    /// # Errors
    /// As [`auth`](Self::auth).
    pub fn reauthenticate(&mut self, now: Time, client: ScramClient) -> Result<(), LinkError> {
        let mut properties = Vec::new();
        client.put_first(&mut properties);
        self.auth(now, ReasonCode::RE_AUTHENTICATE, &properties)?;
        self.authenticate_with(client);
        Ok(())
    }
}
