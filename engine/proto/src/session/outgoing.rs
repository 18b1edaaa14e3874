//! One message on its way out: encoded once per wire form, copied into every receiver's output.
//!
//! A form is the PUBLISH for one version family and QoS. The packet as it came in serves as its own form
//! where it can: the bytes received are the bytes sent. Retain and DUP flags live in the first byte and the
//! packet id in two known bytes, so they are set in the copy.

use super::connection::{Alias, Connection};
use crate::output::{Output, SHARE_FROM_BYTES};
use crate::route::message::{Content, Message, NEVER};
use crate::wire::codec::{put_remaining_length, remaining_length_size};
use crate::wire::packet::QoS;
use crate::{SECOND, Time};
use bytes::Bytes;
use std::sync::Arc;

/// The packet a message came in, where it can be passed on byte by byte.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// The whole packet.
    pub packet: &'a [u8],
    /// Whether it is in 5.0 form.
    pub is_v5: bool,
    /// Its QoS.
    pub qos: QoS,
    /// Where its packet id is; 0 for QoS 0.
    pub id_at: usize,
}

/// Buffers for the forms of one message, kept from message to message.
#[derive(Debug, Default)]
pub struct Forms {
    scratch: Vec<u8>,
    /// By version family and QoS.
    forms: [Form; 6],
    /// Bit set of the forms that are built.
    built: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Form {
    start: u32,
    end: u32,
    /// Where the packet id is, from the start.
    id_at: u32,
}

/// One message and its encoded forms.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The message.
    pub content: Content<'a>,
    inbound: Option<Inbound<'a>>,
    message: Option<Arc<Message>>,
    /// Large payload for several receivers: sent as a shared segment behind each header.
    shared: Option<Bytes>,
    /// Seconds left until it expires, as sent.
    expiry_s: Option<u32>,
    forms: Forms,
}

/// How one copy is sent.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// QoS granted.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Sent before, perhaps.
    pub dup: bool,
    /// Packet id; 0 for QoS 0.
    pub packet_id: u16,
    /// Subscription identifiers.
    pub ids: &'a [u32],
}

impl<'a> Outgoing<'a> {
    /// A message that just arrived in `inbound`, or was made here.
    #[inline]
    pub fn new(
        now: Time,
        content: Content<'a>,
        inbound: Option<Inbound<'a>>,
        mut forms: Forms,
    ) -> Self {
        forms.built = 0;
        forms.scratch.clear();
        let expiry_s = remaining_s(now, content.expires_at);
        Self {
            content,
            inbound,
            message: None,
            shared: None,
            expiry_s,
            forms,
        }
    }

    /// A message that waited.
    pub fn waited(now: Time, message: &'a Arc<Message>, forms: Forms) -> Self {
        let mut outgoing = Self::new(now, message.content(), None, forms);
        outgoing.message = Some(Arc::clone(message));
        outgoing
    }

    /// Tells how many receivers there are: a large payload is shared by two or more.
    #[inline]
    pub fn expect_receivers(&mut self, count: usize) {
        if self.content.payload.len() >= SHARE_FROM_BYTES && (count > 1 || self.message.is_some()) {
            self.shared = Some(self.message().payload());
            self.inbound = None;
        }
    }

    /// The message in a form that can wait; copied at the first call.
    pub fn message(&mut self) -> &Arc<Message> {
        let content = &self.content;
        self.message.get_or_insert_with(|| content.to_message())
    }

    /// Gives the buffers back.
    #[inline]
    pub fn into_forms(self) -> Forms {
        self.forms
    }

    /// Writes one copy to the connection, or nothing if it exceeds the client's Maximum Packet Size.
    #[inline]
    pub fn write(&mut self, connection: &mut Connection, copy: Copy<'_>) -> bool {
        let is_v5 = connection.is_v5();
        if is_v5 && (!copy.ids.is_empty() || connection.aliases_out.is_some()) {
            return self.write_single(connection, copy);
        }
        let (form, from_inbound) = self.form(is_v5, copy.qos);
        let payload_len = self.shared.as_ref().map_or(0, Bytes::len);
        if (form.end - form.start) as usize + payload_len > connection.max_packet_bytes {
            return false;
        }
        let source = match (&self.inbound, from_inbound) {
            (Some(inbound), true) => inbound.packet,
            _ => self.forms.scratch.as_slice(),
        };
        let bytes = &source[form.start as usize..form.end as usize];
        connection.out.append(|buf| {
            let at = buf.len();
            buf.extend_from_slice(bytes);
            buf[at] = first_byte(&copy);
            if copy.packet_id != 0 {
                let id_at = at + form.id_at as usize;
                buf[id_at..id_at + 2].copy_from_slice(&copy.packet_id.to_be_bytes());
            }
        });
        self.append_shared(&mut connection.out);
        true
    }

    /// A copy that no other receiver gets in the same form: subscription identifiers or topic aliases.
    fn write_single(&mut self, connection: &mut Connection, copy: Copy<'_>) -> bool {
        let alias = match &mut connection.aliases_out {
            Some(aliases) => aliases.alias(self.content.topic),
            None => Alias::None,
        };
        let start = self.forms.scratch.len();
        self.encode(true, copy.qos, copy.ids, alias);
        let scratch = &mut self.forms.scratch;
        let payload_len = self.shared.as_ref().map_or(0, Bytes::len);
        let fits = scratch.len() - start + payload_len <= connection.max_packet_bytes;
        if fits {
            let topic_len = if matches!(alias, Alias::Known(_)) {
                0
            } else {
                self.content.topic.len()
            };
            if let Some(packet) = scratch.get_mut(start..) {
                packet[0] = first_byte(&copy);
                if copy.packet_id != 0 {
                    let id_at = packet_id_at(packet, topic_len);
                    packet[id_at..id_at + 2].copy_from_slice(&copy.packet_id.to_be_bytes());
                }
                connection.out.extend(packet);
            }
            self.append_shared(&mut connection.out);
        } else if let (Alias::New(_), Some(aliases)) = (alias, &mut connection.aliases_out) {
            aliases.forget(self.content.topic);
        }
        self.forms.scratch.truncate(start);
        fits
    }

    #[inline]
    fn append_shared(&self, out: &mut Output) {
        if let Some(payload) = &self.shared {
            out.extend_shared(payload.clone());
        }
    }

    /// The form for a version family and QoS, and whether it is the inbound packet.
    #[inline]
    fn form(&mut self, is_v5: bool, qos: QoS) -> (Form, bool) {
        if let Some(inbound) = &self.inbound {
            if inbound.is_v5 == is_v5 && inbound.qos == qos {
                let form = Form {
                    start: 0,
                    end: inbound.packet.len() as u32,
                    id_at: inbound.id_at as u32,
                };
                return (form, true);
            }
        }
        let number = usize::from(is_v5) * 3 + qos as usize;
        if self.forms.built & (1 << number) == 0 {
            self.build(number, is_v5, qos);
        }
        (self.forms.forms[number], false)
    }

    #[cold]
    fn build(&mut self, number: usize, is_v5: bool, qos: QoS) {
        let start = self.forms.scratch.len();
        self.encode(is_v5, qos, &[], Alias::None);
        let end = self.forms.scratch.len();
        let id_at = packet_id_at(&self.forms.scratch[start..], self.content.topic.len());
        self.forms.forms[number] = Form {
            start: start as u32,
            end: end as u32,
            id_at: id_at as u32,
        };
        self.forms.built |= 1 << number;
    }

    /// Appends the packet to the scratch buffer, flags and packet id still zero. Order of the properties we
    /// add: alias, expiry, then the publisher's own unchanged, then subscription identifiers.
    fn encode(&mut self, is_v5: bool, qos: QoS, ids: &[u32], alias: Alias) {
        let content = &self.content;
        let buf = &mut self.forms.scratch;
        let (topic, alias) = match alias {
            Alias::None => (content.topic, None),
            Alias::New(alias) => (content.topic, Some(alias)),
            Alias::Known(alias) => (&[][..], Some(alias)),
        };
        let id_len = if qos == QoS::AtMostOnce { 0 } else { 2 };
        let mut properties_len = 0;
        if is_v5 {
            properties_len = content.properties.len()
                + alias.map_or(0, |_| 3)
                + self.expiry_s.map_or(0, |_| 5)
                + ids
                    .iter()
                    .map(|&id| 1 + remaining_length_size(id as usize))
                    .sum::<usize>();
        }
        let prefix_len = if is_v5 {
            remaining_length_size(properties_len)
        } else {
            0
        };
        let payload_len = content.payload.len();
        buf.push(0);
        put_remaining_length(
            buf,
            2 + topic.len() + id_len + prefix_len + properties_len + payload_len,
        );
        buf.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        buf.extend_from_slice(topic);
        buf.extend_from_slice(&[0, 0][..id_len]);
        if is_v5 {
            put_remaining_length(buf, properties_len);
            if let Some(alias) = alias {
                buf.push(0x23);
                buf.extend_from_slice(&alias.to_be_bytes());
            }
            if let Some(seconds) = self.expiry_s {
                buf.push(0x02);
                buf.extend_from_slice(&seconds.to_be_bytes());
            }
            buf.extend_from_slice(content.properties);
            for &id in ids {
                buf.push(0x0B);
                put_remaining_length(buf, id as usize);
            }
        }
        if self.shared.is_none() {
            buf.extend_from_slice(content.payload);
        }
    }
}

/// Seconds until `expires_at`, rounded up so that a message is never sent with more than it had.
fn remaining_s(now: Time, expires_at: Time) -> Option<u32> {
    if expires_at == NEVER {
        return None;
    }
    Some(
        expires_at
            .saturating_sub(now)
            .div_ceil(SECOND)
            .min(u64::from(u32::MAX)) as u32,
    )
}

#[inline]
const fn first_byte(copy: &Copy<'_>) -> u8 {
    0x30 | (copy.dup as u8) << 3 | (copy.qos as u8) << 1 | copy.retain as u8
}

/// Where the packet id of an encoded PUBLISH is (for QoS 0: where it would be).
fn packet_id_at(packet: &[u8], topic_len: usize) -> usize {
    let header = 1
        + packet
            .iter()
            .skip(1)
            .take_while(|&&byte| byte & 0x80 != 0)
            .count()
        + 1;
    header + 2 + topic_len
}
