//! CONNECT to CONNACK: identity, authentication, take-over, what is granted.

use super::connection::{AliasesOut, Authentication, PendingConnect, Stage};
use super::ending::session_expiry;
use super::registry::{Action, ConnectionKey, Ending, Level, Next, Registry, protocol_error};
use super::scram;
use super::session::{KEEP_FOREVER, Session};
use super::settings::Settings;
use super::will::Will;
use crate::Time;
use crate::route::SessionKey;
use crate::wire::codec::{DecodeError, check_name, decode};
use crate::wire::packet::{Auth, ConnAck, Connect, Packet, QoS, Version};
use crate::wire::tables::{Properties, Property, ReasonCode};

impl Registry {
    /// The first packet of a connection.
    pub(super) fn on_connect(
        &mut self,
        now: Time,
        key: ConnectionKey,
        packet: &[u8],
        header_len: usize,
    ) -> Result<Next, DecodeError> {
        let Packet::Connect(connect) = decode(Version::V5, packet[0], &packet[header_len..])?
        else {
            return Err(protocol_error(
                "the first packet is not CONNECT [MQTT-3.1.0-1]",
            ));
        };
        check_names(&connect)?;
        if !connect.client_id.is_empty() {
            let home = self.home(connect.client_id);
            if home != self.shard {
                self.actions.push_back(Action::Move(key, home));
                return Ok(Next::Unread);
            }
        }
        let slot = key.slot;
        let takes_over = self.connection_of(connect.client_id).is_some();
        if let Some(connection) = self.connections.get_mut(slot) {
            if takes_over && !connection.has_yielded {
                // A client that says DISCONNECT and connects again at once: sockets are read in any
                // order, and what it said before comes first, or its will is published.
                connection.has_yielded = true;
                self.actions.push_back(Action::Yield(key));
                return Ok(Next::Unread);
            }
            connection.version = connect.version;
            connection.wants_problem_information = wants_problem_information(connect.properties);
        }
        if let Err(reason) = self.check_connect(&connect) {
            self.refuse(now, slot, reason);
            return Ok(Next::Pause);
        }
        match authentication(connect.properties) {
            (Some(method), data) => {
                self.begin_authentication(now, slot, packet, header_len, method, data);
                return Ok(if self.is_open(slot) {
                    Next::Read
                } else {
                    Next::Pause
                });
            }
            (None, _) => {
                if let Err(reason) = self.check_password(&connect) {
                    self.refuse(now, slot, reason);
                    return Ok(Next::Pause);
                }
            }
        }
        self.accept_connect(now, key, &connect, connect.username, None);
        Ok(Next::Read)
    }

    /// What can be refused before anybody is asked.
    fn check_connect(&self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        let id = connect.client_id;
        // [MQTT-3.1.3-8] of 3.1.1: without an id there is no state to keep; 3.1 wants an id always.
        let needs_id = connect.version == Version::V31
            || connect.version == Version::V311 && !connect.clean_start;
        let is_refused = id.is_empty() && needs_id
            || id.len() > self.settings.max_client_id_bytes
            || check_name(id).is_err();
        if is_refused {
            return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        }
        if let Some(will) = &connect.will {
            if will.qos > self.settings.max_qos {
                return Err(ReasonCode::QOS_NOT_SUPPORTED);
            }
            if will.retain && !self.settings.retain_available {
                return Err(ReasonCode::RETAIN_NOT_SUPPORTED);
            }
            if self.settings.payload_format_check
                && will
                    .properties
                    .iter()
                    .any(|property| property == Property::PayloadFormatIndicator(1))
                && std::str::from_utf8(will.payload).is_err()
            {
                return Err(ReasonCode::PAYLOAD_FORMAT_INVALID);
            }
        }
        Ok(())
    }

    /// Username and password against the users of the configuration.
    fn check_password(&self, connect: &Connect<'_>) -> Result<(), ReasonCode> {
        let users = &self.settings.credentials;
        match (connect.username, connect.password) {
            (None, None) if self.settings.allow_anonymous => Ok(()),
            (Some(username), Some(password)) if !username.is_empty() && !password.is_empty() => {
                // differs: NanoMQ lets a wrong password pass while anonymous access is on.
                let nobody_to_ask = users.is_empty() && self.settings.allow_anonymous;
                if nobody_to_ask || users.check(username, password) {
                    Ok(())
                } else if connect.version < Version::V5 {
                    Err(ReasonCode::NOT_AUTHORIZED)
                } else {
                    Err(ReasonCode::BAD_USER_NAME_OR_PASSWORD)
                }
            }
            _ if users.is_empty() && self.settings.allow_anonymous => Ok(()),
            _ => Err(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        }
    }

    /// Section 4.12: CONNECT with an authentication method. `[MQTT-4.12.0-2]`
    fn begin_authentication(
        &mut self,
        now: Time,
        slot: u32,
        packet: &[u8],
        header_len: usize,
        method: &str,
        data: &[u8],
    ) {
        if method != scram::METHOD {
            return self.refuse(now, slot, ReasonCode::BAD_AUTHENTICATION_METHOD);
        }
        let Some((exchange, answer)) = self.scram_begin(data) else {
            return self.refuse(now, slot, ReasonCode::NOT_AUTHORIZED);
        };
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.authentication = Some(Box::new(Authentication {
                username: None,
                exchange: Some(exchange),
            }));
            connection.stage = Stage::Authenticates(Box::new(PendingConnect {
                packet: packet.to_vec(),
                header_len,
            }));
        }
        self.send_auth(slot, ReasonCode::CONTINUE_AUTHENTICATION, answer.as_bytes());
    }

    /// A packet between CONNECT and CONNACK: the next step of the authentication, or the end.
    pub(super) fn on_pending(
        &mut self,
        now: Time,
        key: ConnectionKey,
        first: u8,
        body: &[u8],
    ) -> Result<Next, DecodeError> {
        let slot = key.slot;
        match decode(Version::V5, first, body)? {
            Packet::Auth(auth) if auth.reason == ReasonCode::CONTINUE_AUTHENTICATION => {
                let proven = self.scram_finish(slot, &auth)?;
                let Some(connection) = self.connections.get_mut(slot) else {
                    return Ok(Next::Pause);
                };
                let stage = std::mem::replace(&mut connection.stage, Stage::AwaitsConnect);
                let (Some((username, answer)), Stage::Authenticates(pending)) = (proven, stage)
                else {
                    self.refuse(now, slot, ReasonCode::NOT_AUTHORIZED);
                    return Ok(Next::Pause);
                };
                if let Some(authentication) = &mut connection.authentication {
                    authentication.username = Some(username.clone());
                }
                let body = pending.packet.get(pending.header_len..).unwrap_or_default();
                let first = pending.packet.first().copied().unwrap_or_default();
                if let Packet::Connect(connect) = decode(Version::V5, first, body)? {
                    self.accept_connect(
                        now,
                        key,
                        &connect,
                        Some(&username),
                        Some(answer.as_bytes()),
                    );
                }
                Ok(Next::Read)
            }
            Packet::Disconnect(disconnect) => {
                self.close(now, slot, None, Ending::Normal, disconnect.reason);
                Ok(Next::Pause)
            }
            _ => Err(protocol_error(
                "[MQTT-3.1.2-30] another packet than AUTH before CONNACK",
            )),
        }
    }

    /// AUTH on an established connection: a new proof for the same user, section 4.12.1.
    pub(super) fn on_reauthenticate(
        &mut self,
        slot: u32,
        session: u32,
        auth: &Auth<'_>,
    ) -> Result<Next, DecodeError> {
        let Some(connection) = self.connections.get_mut(slot) else {
            return Ok(Next::Pause);
        };
        let Some(state) = &mut connection.authentication else {
            return Err(protocol_error(
                "[MQTT-4.12.1-1] AUTH though CONNECT named no authentication method",
            ));
        };
        let (method, data) = authentication(auth.properties);
        if method != Some(scram::METHOD) {
            return Err(protocol_error(
                "[MQTT-4.12.1-1] another authentication method than in CONNECT",
            ));
        }
        let refused = DecodeError {
            reason: ReasonCode::NOT_AUTHORIZED,
            what: "re-authentication failed",
        };
        if auth.reason == ReasonCode::RE_AUTHENTICATE {
            state.exchange = None;
            let (exchange, answer) = self.scram_begin(data).ok_or(refused)?;
            if let Some(state) = self
                .connections
                .get_mut(slot)
                .and_then(|c| c.authentication.as_mut())
            {
                state.exchange = Some(exchange);
            }
            self.send_auth(slot, ReasonCode::CONTINUE_AUTHENTICATION, answer.as_bytes());
            return Ok(Next::Read);
        }
        if state.exchange.is_none() {
            return Err(protocol_error("AUTH outside an authentication exchange"));
        }
        let expected = state.username.clone();
        let (username, answer) = self.scram_finish(slot, auth)?.ok_or(refused)?;
        if expected.as_ref() != Some(&username) {
            return Err(refused);
        }
        let client_id = self
            .sessions
            .get(session)
            .map_or_else(String::new, |s| s.client_id.to_string());
        self.event(Level::Debug, "client_reauthenticated", || {
            vec![("client_id", client_id)]
        });
        self.send_auth(slot, ReasonCode::SUCCESS, answer.as_bytes());
        Ok(Next::Read)
    }

    fn scram_begin(&mut self, data: &[u8]) -> Option<(scram::Exchange, String)> {
        let nonce = u128::from(self.random()) << 64 | u128::from(self.random());
        let secret = self.router.hash(b"scram salt of unknown users");
        scram::begin(&self.settings.credentials, data, nonce, secret)
    }

    fn scram_finish(
        &mut self,
        slot: u32,
        auth: &Auth<'_>,
    ) -> Result<Option<(String, String)>, DecodeError> {
        let (method, data) = authentication(auth.properties);
        if method != Some(scram::METHOD) {
            return Err(protocol_error(
                "[MQTT-4.12.0-5] another authentication method than in CONNECT",
            ));
        }
        let exchange = self
            .connections
            .get_mut(slot)
            .and_then(|connection| connection.authentication.as_mut())
            .and_then(|authentication| authentication.exchange.take());
        Ok(exchange.and_then(|exchange| exchange.finish(data)))
    }

    fn send_auth(&mut self, slot: u32, reason: ReasonCode, data: &[u8]) {
        let mut properties = Vec::new();
        Property::AuthenticationMethod(scram::METHOD).encode(&mut properties);
        Property::AuthenticationData(data).encode(&mut properties);
        let auth = Auth {
            reason,
            properties: Properties::from_validated(&properties),
        };
        self.send(slot, &Packet::Auth(auth));
    }

    /// Everything is checked: take the session over or make one, and say what holds.
    fn accept_connect(
        &mut self,
        now: Time,
        key: ConnectionKey,
        connect: &Connect<'_>,
        username: Option<&str>,
        proof: Option<&[u8]>,
    ) {
        let assigned = connect
            .client_id
            .is_empty()
            .then(|| self.assign_client_id());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let (session, session_present) = self.take_session(now, client_id, connect);
        let asked_expiry = requested_expiry(connect);
        let granted_expiry = asked_expiry.min(self.settings.max_session_expiry_s);
        if let Some(state) = self.sessions.get_mut(session.slot) {
            state.connection = Some(key.slot);
            state.version = connect.version;
            state.is_resumed = session_present;
            state.username = username.map(Into::into);
            state.expiry_s = granted_expiry;
            state.ends_at = Time::MAX;
            state.will_at = Time::MAX;
            state.delayed_will = None;
            state.note_online(true);
        }
        self.establish(now, key, connect, session, asked_expiry);
        let mut properties = Vec::new();
        if connect.version == Version::V5 {
            self.grant(
                key.slot,
                connect,
                assigned.as_deref(),
                proof,
                &mut properties,
            );
        }
        let answer = ConnAck {
            session_present,
            reason: ReasonCode::SUCCESS,
            properties: Properties::from_validated(&properties),
        };
        if !self.send(key.slot, &Packet::ConnAck(answer)) {
            // [MQTT-3.1.2-24] the client does not even take the answer.
            let reason = ReasonCode::PACKET_TOO_LARGE;
            return self.close(now, key.slot, None, Ending::Normal, reason);
        }
        self.ledger.connects.add(1);
        let peer = self
            .connections
            .get(key.slot)
            .map_or_else(String::new, |c| c.origin.peer.clone());
        let (version, listener) = (connect.version as u8, self.listener_name(key.slot));
        let client_id = client_id.to_owned();
        self.event(Level::Info, "client_connected", || {
            vec![
                ("client_id", client_id),
                ("peer", peer),
                ("listener", listener),
                ("protocol", version.to_string()),
                ("session_present", session_present.to_string()),
            ]
        });
        if session_present {
            // [MQTT-4.4.0-1]
            self.resend_all(now, session.slot);
        }
    }

    /// Sets the connection up with what the client asked for.
    fn establish(
        &mut self,
        now: Time,
        key: ConnectionKey,
        connect: &Connect<'_>,
        session: SessionKey,
        asked_expiry: u32,
    ) {
        let settings = &self.settings;
        let seed = self.router.hash(connect.client_id.as_bytes());
        let Some(connection) = self.connections.get_mut(key.slot) else {
            return;
        };
        connection.stage = Stage::Online(session);
        connection.clean_start = connect.clean_start;
        connection.connect_expiry_s = asked_expiry;
        connection.will = connect.will.as_ref().map(|will| Box::new(Will::new(will)));
        connection.window = settings.max_inflight;
        for property in connect.properties.iter() {
            match property {
                Property::ReceiveMaximum(maximum) => {
                    connection.window = maximum.min(settings.max_inflight)
                }
                Property::MaximumPacketSize(bytes) => connection.max_packet_bytes = bytes as usize,
                Property::TopicAliasMaximum(maximum) if maximum > 0 => {
                    connection.aliases_out = Some(Box::new(AliasesOut::new(maximum, seed)));
                }
                _ => {}
            }
        }
        let keepalive_s = keepalive(settings, connect);
        connection.set_keepalive(keepalive_s, settings.keepalive_multiplier);
        if connect.version < Version::V5 && settings.retry_interval > 0 {
            connection.retry_interval = settings.retry_interval;
            connection.retry_at = now + settings.retry_interval;
        }
        let due = connection.keepalive_due().min(connection.retry_at);
        self.schedule_connection(key, due);
    }

    /// The properties of CONNACK, section 3.2.2.3: what differs from what the client may assume.
    fn grant(
        &self,
        slot: u32,
        connect: &Connect<'_>,
        assigned: Option<&str>,
        proof: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) {
        let settings = &self.settings;
        let Some(connection) = self.connections.get(slot) else {
            return;
        };
        let max_receive_bytes = connection.max_receive_bytes;
        if connection.connect_expiry_s > settings.max_session_expiry_s {
            Property::SessionExpiryInterval(settings.max_session_expiry_s).encode(out);
        }
        // The order has no meaning, section 2.2.2.2; it is that of Mosquitto, whose tests compare bytes.
        let keepalive_s = keepalive(settings, connect);
        if keepalive_s != connect.keepalive_s {
            Property::ServerKeepAlive(keepalive_s).encode(out);
        }
        if settings.max_topic_alias > 0 {
            Property::TopicAliasMaximum(settings.max_topic_alias).encode(out);
        }
        if let Some(id) = assigned {
            Property::AssignedClientIdentifier(id).encode(out);
        }
        if !settings.retain_available {
            Property::RetainAvailable(0).encode(out);
        }
        Property::MaximumPacketSize(u32::try_from(max_receive_bytes).unwrap_or(u32::MAX))
            .encode(out);
        Property::ReceiveMaximum(settings.receive_maximum).encode(out);
        if settings.max_qos < QoS::ExactlyOnce {
            Property::MaximumQoS(settings.max_qos as u8).encode(out);
        }
        if !settings.wildcard_available {
            Property::WildcardSubscriptionAvailable(0).encode(out);
        }
        if !settings.subscription_id_available {
            Property::SubscriptionIdentifierAvailable(0).encode(out);
        }
        if !settings.shared_available {
            Property::SharedSubscriptionAvailable(0).encode(out);
        }
        if !settings.response_information.is_empty()
            && wants_response_information(connect.properties)
        {
            Property::ResponseInformation(&settings.response_information).encode(out);
        }
        if let Some(proof) = proof {
            Property::AuthenticationMethod(scram::METHOD).encode(out);
            Property::AuthenticationData(proof).encode(out);
        }
    }

    /// The session of a client id: the one it had, or a new one. `[MQTT-3.1.4-3]` `[MQTT-3.1.2-5]`
    fn take_session(
        &mut self,
        now: Time,
        client_id: &str,
        connect: &Connect<'_>,
    ) -> (SessionKey, bool) {
        if let Some(slot) = self.session_of(client_id) {
            let old = self
                .sessions
                .get(slot)
                .and_then(|session| session.connection);
            let resumes =
                !connect.clean_start && self.sessions.get(slot).is_some_and(Session::keeps);
            if let Some(old) = old {
                let reason = ReasonCode::SESSION_TAKEN_OVER;
                let ending = if resumes {
                    Ending::TakenOver
                } else {
                    Ending::Lost
                };
                self.close(now, old, Some(reason), ending, reason);
            }
        }
        // Closing the old connection may have ended its session.
        if let Some(slot) = self.session_of(client_id) {
            let is_over = self
                .sessions
                .get(slot)
                .is_none_or(|session| session.ends_at <= now);
            if connect.clean_start || is_over {
                self.end_session(now, slot);
            } else if let Some(session) = self.sessions.get(slot) {
                return (session.key, true);
            }
        }
        let session = Session::new(client_id, connect.version, &self.queue_total);
        let (slot, generation) = self.sessions.insert(session);
        let key = SessionKey {
            shard: self.shard,
            generation,
            slot,
        };
        if let Some(session) = self.sessions.get_mut(slot) {
            session.key = key;
        }
        self.enter_client(slot);
        self.ledger.sessions.add(1);
        (key, false)
    }

    /// A client id for a client that has none, at home on this shard. `[MQTT-3.1.3-6]`
    fn assign_client_id(&mut self) -> String {
        loop {
            let id = format!("nanomq-{:016x}", self.random());
            if self.home(&id) == self.shard && self.session_of(&id).is_none() {
                return id;
            }
        }
    }

    fn is_open(&self, slot: u32) -> bool {
        self.connections
            .get(slot)
            .is_some_and(|connection| !matches!(connection.stage, Stage::Closing))
    }

    fn listener_name(&self, slot: u32) -> String {
        self.connections
            .get(slot)
            .map_or_else(String::new, |c| c.origin.listener.name.clone())
    }
}

/// Control characters in names. 5.0 has a reason code for a client id that is text and not accepted, 0x85:
/// there it is left to [`Registry::check_connect`].
fn check_names(connect: &Connect<'_>) -> Result<(), DecodeError> {
    if connect.version < Version::V5 {
        check_name(connect.client_id)?;
    }
    if let Some(username) = connect.username {
        check_name(username)?;
    }
    match &connect.will {
        Some(will) => check_name(will.topic),
        None => Ok(()),
    }
}

/// Session Expiry Interval as the version says it.
fn requested_expiry(connect: &Connect<'_>) -> u32 {
    match connect.version {
        Version::V5 => session_expiry(connect.properties).unwrap_or(0),
        _ if connect.clean_start => 0,
        _ => KEEP_FOREVER,
    }
}

/// The keepalive that holds: a limit of ours is told to 5.0 clients as Server Keep Alive, section
/// 3.2.2.3.14, and 0 asks for more than any limit. `[MQTT-3.2.2-22]`
fn keepalive(settings: &Settings, connect: &Connect<'_>) -> u16 {
    let (limit, asked) = (settings.server_keepalive_s, connect.keepalive_s);
    if limit > 0 && connect.version == Version::V5 && (asked == 0 || asked > limit) {
        limit
    } else {
        asked
    }
}

fn wants_problem_information(properties: Properties<'_>) -> bool {
    !properties
        .iter()
        .any(|property| property == Property::RequestProblemInformation(0))
}

fn wants_response_information(properties: Properties<'_>) -> bool {
    properties
        .iter()
        .any(|property| property == Property::RequestResponseInformation(1))
}

/// Authentication Method and Data of a packet.
fn authentication<'a>(properties: Properties<'a>) -> (Option<&'a str>, &'a [u8]) {
    let (mut method, mut data): (Option<&str>, &[u8]) = (None, &[]);
    for property in properties.iter() {
        match property {
            Property::AuthenticationMethod(name) => method = Some(name),
            Property::AuthenticationData(bytes) => data = bytes,
            _ => {}
        }
    }
    (method, data)
}
