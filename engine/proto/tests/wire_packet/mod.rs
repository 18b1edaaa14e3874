//! Random packets of every kind and version that keep the rules of the standard.

use nanomq_proto::wire::codec::{encode, push_subscribe_filter, push_unsubscribe_filter};
use nanomq_proto::wire::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, QoS, SubAck, Subscribe,
    SubscribeFilters, SubscribeOptions, Unsubscribe, UnsubscribeFilters, Version, Will,
};
use nanomq_proto::wire::tables::{
    PROPERTIES, Properties, Property, PropertyInfo, PropertyPlace, REASON_CODES, ReasonCode,
};
use proptest::prelude::*;

/// A packet that owns its parts. What a kind has no use for is left empty.
#[derive(Clone, Debug)]
pub struct Draft {
    pub version: Version,
    kind: PropertyPlace,
    is_ping_response: Option<bool>,
    flags: [bool; 3],
    qos: QoS,
    number: u16,
    pub reason: ReasonCode,
    name: String,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    will: Option<(String, Vec<u8>, Vec<u8>)>,
    properties: Vec<u8>,
    /// Payload of a PUBLISH, filter list or reason codes.
    payload: Vec<u8>,
}

impl Draft {
    /// The packet, borrowed from its parts.
    pub fn packet(&self) -> Packet<'_> {
        use PropertyPlace as P;
        let properties = Properties::from_validated(&self.properties);
        let packet_id = self.number;
        let reason = self.reason;
        let ack = Ack {
            packet_id,
            reason,
            properties,
        };
        let suback = SubAck {
            packet_id,
            properties,
            reasons: &self.payload,
        };
        match self.is_ping_response {
            Some(false) => return Packet::PingReq,
            Some(true) => return Packet::PingResp,
            None => {}
        }
        match self.kind {
            P::Connect | P::Will => Packet::Connect(Connect {
                version: self.version,
                is_bridge: self.flags[0] && self.version < Version::V5,
                clean_start: self.flags[1],
                keepalive_s: self.number,
                client_id: &self.name,
                username: self.username.as_deref(),
                password: self.password.as_deref(),
                will: self.will.as_ref().map(|(topic, payload, properties)| Will {
                    topic,
                    payload,
                    qos: self.qos,
                    retain: self.flags[2],
                    properties: Properties::from_validated(properties),
                }),
                properties,
            }),
            P::ConnAck => Packet::ConnAck(ConnAck {
                session_present: self.flags[0] && !reason.is_error() && self.version > Version::V31,
                reason,
                properties,
            }),
            P::Publish => Packet::Publish(Publish {
                dup: self.flags[0] && self.qos != QoS::AtMostOnce,
                qos: self.qos,
                retain: self.flags[1],
                topic: &self.name,
                packet_id: if self.qos == QoS::AtMostOnce {
                    0
                } else {
                    packet_id
                },
                properties,
                payload: &self.payload,
            }),
            P::PubAck => Packet::PubAck(ack),
            P::PubRec => Packet::PubRec(ack),
            P::PubRel => Packet::PubRel(ack),
            P::PubComp => Packet::PubComp(ack),
            P::Subscribe => Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters: SubscribeFilters::from_validated(&self.payload),
            }),
            P::SubAck => Packet::SubAck(suback),
            P::Unsubscribe => Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties,
                filters: UnsubscribeFilters::from_validated(&self.payload),
            }),
            P::UnsubAck => Packet::UnsubAck(suback),
            P::Disconnect => Packet::Disconnect(Disconnect { reason, properties }),
            P::Auth => Packet::Auth(Auth { reason, properties }),
        }
    }

    /// The packet as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&self.packet(), self.version, &mut out);
        out
    }
}

/// Any packet of one version.
pub fn packet_of(version: Version) -> BoxedStrategy<Draft> {
    use PropertyPlace as P;
    let mut kinds = vec![
        P::Connect,
        P::ConnAck,
        P::Publish,
        P::PubAck,
        P::PubRec,
        P::PubRel,
        P::PubComp,
        P::Subscribe,
        P::SubAck,
        P::Unsubscribe,
        P::UnsubAck,
        P::Disconnect,
    ];
    kinds.extend((version == Version::V5).then_some(P::Auth));
    let kinds = prop_oneof![
        14 => prop::sample::select(kinds).prop_map(|kind| (kind, None)),
        1 => any::<bool>().prop_map(|is_response| (P::Connect, Some(is_response))),
    ];
    kinds
        .prop_flat_map(move |(kind, is_ping_response)| {
            let head = (
                any::<[bool; 3]>(),
                qos(),
                1..=u16::MAX,
                reason(version, kind),
                name(),
            );
            let login = (prop::option::of(text()), prop::option::of(bytes()));
            let will = prop::option::of((name(), bytes(), properties(version, P::Will)));
            let tail = (will, properties(version, kind), payload(version, kind));
            (head, login, tail).prop_map(move |(head, (username, password), tail)| {
                let (flags, qos, number, reason, name) = head;
                let (will, properties, payload) = tail;
                let keeps_password = version == Version::V5 || username.is_some();
                Draft {
                    version,
                    kind,
                    is_ping_response,
                    flags,
                    qos,
                    number,
                    reason,
                    name,
                    username,
                    password: password.filter(|_| keeps_password),
                    will,
                    properties,
                    payload,
                }
            })
        })
        .boxed()
}

fn reason(version: Version, place: PropertyPlace) -> BoxedStrategy<ReasonCode> {
    let listed = |code: &ReasonCode| match (version, place) {
        (Version::V5, _) => code.is_allowed_in(place),
        (_, PropertyPlace::ConnAck) => {
            ReasonCode::from_connect_return_code(code.connect_return_code()) == Some(*code)
        }
        _ => *code == ReasonCode::SUCCESS,
    };
    let mut codes: Vec<_> = REASON_CODES
        .iter()
        .map(|info| info.code)
        .filter(listed)
        .collect();
    codes.extend(codes.is_empty().then_some(ReasonCode::SUCCESS));
    prop::sample::select(codes).boxed()
}

fn payload(version: Version, place: PropertyPlace) -> BoxedStrategy<Vec<u8>> {
    use PropertyPlace as P;
    let is_v5 = version == Version::V5;
    match place {
        P::Subscribe => prop::collection::vec((text(), qos(), any::<[bool; 2]>(), 0..3u8), 1..5)
            .prop_map(move |filters| {
                let mut out = Vec::new();
                for (filter, qos, [no_local, retain_as_published], retain_handling) in filters {
                    let full = SubscribeOptions {
                        qos,
                        no_local,
                        retain_as_published,
                        retain_handling,
                    };
                    let options = if is_v5 {
                        full
                    } else {
                        SubscribeOptions::with_qos(qos)
                    };
                    push_subscribe_filter(&mut out, &filter, options);
                }
                out
            })
            .boxed(),
        P::Unsubscribe => prop::collection::vec(text(), 1..5)
            .prop_map(|filters| {
                let mut out = Vec::new();
                for filter in filters {
                    push_unsubscribe_filter(&mut out, &filter);
                }
                out
            })
            .boxed(),
        P::UnsubAck if !is_v5 => Just(Vec::new()).boxed(),
        P::SubAck if !is_v5 => {
            prop::collection::vec(prop::sample::select(vec![0, 1, 2, 0x80]), 1..5).boxed()
        }
        P::SubAck | P::UnsubAck => {
            prop::collection::vec(reason(version, place).prop_map(|code| code.0), 1..5).boxed()
        }
        P::Publish => prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(any::<u8>(), 16_300..16_500),
        ]
        .boxed(),
        _ => Just(Vec::new()).boxed(),
    }
}

/// Properties that may stand in a place, in random order.
fn properties(version: Version, place: PropertyPlace) -> BoxedStrategy<Vec<u8>> {
    if version < Version::V5 {
        return Just(Vec::new()).boxed();
    }
    let rows: Vec<_> = PROPERTIES
        .iter()
        .filter(|info| info.is_allowed_in(place))
        .collect();
    let most = rows.len().min(6);
    prop::sample::subsequence(rows, 0..=most)
        .prop_shuffle()
        .prop_flat_map(move |rows| {
            rows.into_iter()
                .map(|info| repeated(info, place))
                .collect::<Vec<_>>()
        })
        .prop_map(move |list| {
            let list = list.concat();
            let ids: Vec<_> = Properties::from_validated(&list)
                .iter()
                .map(|p| p.id())
                .collect();
            let lacks_method =
                !ids.contains(&0x15) && (ids.contains(&0x16) || place == PropertyPlace::Auth);
            let mut out = Vec::new();
            if lacks_method {
                Property::AuthenticationMethod("SCRAM-SHA-256").encode(&mut out);
            }
            [out, list].concat()
        })
        .boxed()
}

fn repeated(info: &'static PropertyInfo, place: PropertyPlace) -> BoxedStrategy<Vec<u8>> {
    let most = if info.is_repeatable_in(place) { 3 } else { 1 };
    prop::collection::vec(property(info.id), 1..=most)
        .prop_map(|list| list.concat())
        .boxed()
}

fn property(id: u8) -> BoxedStrategy<Vec<u8>> {
    let numbers = (
        any::<bool>(),
        1..=u16::MAX,
        1..=u32::MAX,
        1..=268_435_455u32,
    );
    (numbers, text(), name(), bytes())
        .prop_map(move |((flag, short, long, variable), text, name, bytes)| {
            let flag = u8::from(flag);
            let property = match id {
                0x01 => Property::PayloadFormatIndicator(flag),
                0x02 => Property::MessageExpiryInterval(long),
                0x03 => Property::ContentType(&text),
                0x08 => Property::ResponseTopic(&name),
                0x09 => Property::CorrelationData(&bytes),
                0x0B => Property::SubscriptionIdentifier(variable),
                0x11 => Property::SessionExpiryInterval(long),
                0x12 => Property::AssignedClientIdentifier(&text),
                0x13 => Property::ServerKeepAlive(short),
                0x15 => Property::AuthenticationMethod(&text),
                0x16 => Property::AuthenticationData(&bytes),
                0x17 => Property::RequestProblemInformation(flag),
                0x18 => Property::WillDelayInterval(long),
                0x19 => Property::RequestResponseInformation(flag),
                0x1A => Property::ResponseInformation(&text),
                0x1C => Property::ServerReference(&text),
                0x1F => Property::ReasonString(&text),
                0x21 => Property::ReceiveMaximum(short),
                0x22 => Property::TopicAliasMaximum(short),
                0x23 => Property::TopicAlias(short),
                0x24 => Property::MaximumQoS(flag),
                0x25 => Property::RetainAvailable(flag),
                0x26 => Property::UserProperty(&name, &text),
                0x27 => Property::MaximumPacketSize(long),
                0x28 => Property::WildcardSubscriptionAvailable(flag),
                0x29 => Property::SubscriptionIdentifierAvailable(flag),
                _ => Property::SharedSubscriptionAvailable(flag),
            };
            let mut out = Vec::new();
            property.encode(&mut out);
            assert_eq!(out[0], id);
            out
        })
        .boxed()
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn name() -> impl Strategy<Value = String> {
    "[a-zäß€/$ ]{1,20}"
}

fn text() -> impl Strategy<Value = String> {
    "[a-zäß€/$ 0-9]{1,12}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..20)
}
