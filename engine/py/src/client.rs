//! The class `RawClient`: converts between Python values and `nanomq_engine::client`.

use nanomq_engine::client::{Backoff, Client, ClientOptions, Event, OwnedPublish, Scram};
use nanomq_engine::net::dial::Target;
use nanomq_engine::net::tls::{ClientTlsOptions, client_config};
use nanomq_proto::session::link::{LinkOptions, OwnedWill};
use nanomq_proto::wire::packet::{QoS, SubscribeOptions, Version};
use nanomq_proto::wire::tables::{
    PROPERTIES, Properties, Property, PropertyInfo, PropertyKind, ReasonCode,
};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use std::time::Duration;

/// Name in the property table, value.
type PropertyList<'py> = Vec<(PyBackedStr, Bound<'py, PyAny>)>;

/// Topic, payload, QoS, retain, properties.
type WillTuple<'py> = (String, PyBackedBytes, u8, bool, PropertyList<'py>);

/// Topic filter, QoS, no local, retain as published, retain handling.
type FilterTuple = (String, u8, bool, bool, u8);

/// A client without comfort; `nanomq.Client` is the one for users.
#[pyclass(module = "nanomq._core", frozen)]
pub struct RawClient(Client);

/// Where to connect, and with which certificates: CA file, certificate, key, key password, unverified.
#[derive(FromPyObject)]
struct TlsTuple(String, String, String, String, bool);

#[pymethods]
impl RawClient {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    #[pyo3(signature = (url, *, client_id, version, clean_start, keepalive_s, username, password, will, properties,
        is_bridge, manual_acks, automatic_aliases, send_window, max_packet_bytes, max_queue_bytes, scram, reconnect,
        retries_first, connect_timeout_s, tls))]
    fn new(
        url: &str,
        client_id: String,
        version: u8,
        clean_start: bool,
        keepalive_s: u16,
        username: Option<String>,
        password: Option<PyBackedBytes>,
        will: Option<WillTuple<'_>>,
        properties: PropertyList<'_>,
        is_bridge: bool,
        manual_acks: bool,
        automatic_aliases: u16,
        send_window: u16,
        max_packet_bytes: usize,
        max_queue_bytes: usize,
        scram: bool,
        reconnect: Option<(f64, f64)>,
        retries_first: bool,
        connect_timeout_s: f64,
        tls: Option<TlsTuple>,
    ) -> PyResult<Self> {
        let target: Target = url.parse().map_err(PyValueError::new_err)?;
        let version = match version {
            3 => Version::V31,
            4 => Version::V311,
            5 => Version::V5,
            other => {
                return Err(PyValueError::new_err(format!(
                    "version {other}: write 3, 4 or 5"
                )));
            }
        };
        let connect_timeout = seconds(connect_timeout_s)?;
        let will = will.map(|(topic, payload, qos_number, retain, properties)| {
            let (payload, properties) = (payload.to_vec(), encode(&properties)?);
            Ok::<_, PyErr>(OwnedWill {
                topic,
                payload,
                qos: qos(qos_number)?,
                retain,
                properties,
            })
        });
        let username = username.or_else(|| target.username.clone());
        let password = password.map(|bytes| bytes.to_vec());
        let password = password.or_else(|| target.password.clone().map(String::into_bytes));
        let (username, password, scram) = match (scram, username) {
            (true, Some(username)) => (
                None,
                None,
                Some(Scram {
                    username,
                    password: password.unwrap_or_default(),
                }),
            ),
            (true, None) => return Err(PyValueError::new_err("SCRAM-SHA-256 needs a username")),
            (false, username) => (username, password, None),
        };
        let link = LinkOptions {
            clean_start,
            keepalive_s,
            username,
            password,
            will: will.transpose()?,
            properties: encode(&properties)?,
            is_bridge,
            max_packet_bytes,
            send_window,
            max_queue_bytes,
            automatic_aliases,
            subscribes_again: reconnect.is_some(),
            manual_acks,
            connect_timeout: u64::try_from(connect_timeout.as_micros()).unwrap_or(u64::MAX),
            ..LinkOptions::new(version, client_id)
        };
        let reconnect = match reconnect {
            Some((first_s, most_s)) => Some(Backoff {
                first: seconds(first_s)?,
                most: seconds(most_s)?,
            }),
            None => None,
        };
        let tls = tls
            .filter(|_| target.is_secure())
            .map(
                |TlsTuple(cafile, certfile, keyfile, key_password, insecure)| {
                    client_config(&ClientTlsOptions {
                        cafile,
                        certfile,
                        keyfile,
                        key_password,
                        insecure,
                    })
                    .map_err(|error| PyOSError::new_err(error.to_string()))
                },
            )
            .transpose()?;
        let options = ClientOptions {
            target,
            tls,
            link,
            scram,
            reconnect,
            retries_first,
            connect_timeout,
        };
        Client::new(options)
            .map(Self)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidInput => PyValueError::new_err(error.to_string()),
                _ => PyOSError::new_err(error.to_string()),
            })
    }

    fn fd(&self) -> i32 {
        self.0.fd()
    }

    fn drain<'py>(&self, py: Python<'py>, with_messages: bool) -> PyResult<Bound<'py, PyList>> {
        let events = self.0.drain(with_messages);
        let list = PyList::empty(py);
        for event in events {
            list.append(tuple(py, event)?)?;
        }
        Ok(list)
    }

    fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    fn connect(&self) {
        self.0.connect();
    }

    fn publish(
        &self,
        topic: String,
        payload: PyBackedBytes,
        qos: u8,
        retain: bool,
        properties: PropertyList<'_>,
        token: u64,
    ) -> PyResult<()> {
        let qos = self::qos(qos)?;
        let (payload, properties) = (payload.to_vec(), encode(&properties)?);
        self.0.publish(
            OwnedPublish {
                topic,
                payload,
                qos,
                retain,
                properties,
            },
            token,
        );
        Ok(())
    }

    fn subscribe(
        &self,
        filters: Vec<FilterTuple>,
        properties: PropertyList<'_>,
        token: u64,
    ) -> PyResult<()> {
        let options =
            |(filter, qos, no_local, retain_as_published, retain_handling): FilterTuple| {
                if retain_handling > 2 {
                    return Err(PyValueError::new_err(format!(
                        "retain_handling {retain_handling}: write 0, 1 or 2"
                    )));
                }
                let qos = self::qos(qos)?;
                Ok((
                    filter,
                    SubscribeOptions {
                        qos,
                        no_local,
                        retain_as_published,
                        retain_handling,
                    },
                ))
            };
        let filters = filters.into_iter().map(options).collect::<PyResult<_>>()?;
        self.0.subscribe(filters, encode(&properties)?, token);
        Ok(())
    }

    fn unsubscribe(
        &self,
        filters: Vec<String>,
        properties: PropertyList<'_>,
        token: u64,
    ) -> PyResult<()> {
        self.0.unsubscribe(filters, encode(&properties)?, token);
        Ok(())
    }

    fn acknowledge(&self, packet_id: u16, reason: u8) {
        self.0.acknowledge(packet_id, ReasonCode(reason));
    }

    fn auth(&self, reason: u8, properties: PropertyList<'_>) -> PyResult<()> {
        self.0.auth(ReasonCode(reason), encode(&properties)?);
        Ok(())
    }

    fn reauthenticate(&self, username: String, password: PyBackedBytes) {
        self.0.reauthenticate(Scram {
            username,
            password: password.to_vec(),
        });
    }

    fn disconnect(&self, reason: u8, properties: PropertyList<'_>) -> PyResult<()> {
        self.0.disconnect(ReasonCode(reason), encode(&properties)?);
        Ok(())
    }

    fn close(&self) {
        self.0.close();
    }

    /// The name of a reason code in the standard.
    #[staticmethod]
    fn reason_name(reason: u8) -> &'static str {
        ReasonCode(reason).name()
    }

    /// The URL as logs show it: defaults filled in, without user and password.
    #[staticmethod]
    fn shown_url(url: &str) -> PyResult<String> {
        url.parse::<Target>()
            .map(|target| target.to_string())
            .map_err(PyValueError::new_err)
    }
}

fn qos(number: u8) -> PyResult<QoS> {
    QoS::from_bits(number)
        .ok_or_else(|| PyValueError::new_err(format!("qos {number}: write 0, 1 or 2")))
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|error| PyValueError::new_err(format!("{value} seconds: {error}")))
}

/// Properties in their wire form; places and repetitions are checked where they are used.
fn encode(list: &PropertyList<'_>) -> PyResult<Vec<u8>> {
    let mut out = Vec::new();
    for (name, value) in list {
        let name: &str = name;
        let info = PROPERTIES.iter().find(|info| info.name == name);
        let info =
            info.ok_or_else(|| PyValueError::new_err(format!("property {name} does not exist")))?;
        put(info, value, &mut out)
            .map_err(|error| PyValueError::new_err(format!("{name}: {error}")))?;
    }
    Ok(out)
}

fn put(info: &PropertyInfo, value: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    let text = |value: &Bound<'_, PyAny>| {
        let text: PyBackedStr = value.extract()?;
        if text.len() > usize::from(u16::MAX) {
            return Err(PyValueError::new_err("longer than 65535 bytes"));
        }
        Ok(text)
    };
    let number = || -> PyResult<u32> {
        let number: u32 = value.extract()?;
        let most = match info.kind {
            PropertyKind::Byte => u32::from(u8::MAX),
            PropertyKind::TwoByteInteger => u32::from(u16::MAX),
            PropertyKind::VariableByteInteger => 268_435_455,
            _ => u32::MAX,
        };
        if number > most {
            Err(PyValueError::new_err(format!("{number} is above {most}")))
        } else {
            Ok(number)
        }
    };
    match info.kind {
        PropertyKind::String => {
            let text = text(value)?;
            out.push(info.id);
            nanomq_proto::wire::codec::put_string(out, &text);
        }
        PropertyKind::StringPair => {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = value.extract()?;
            Property::UserProperty(&text(&name)?, &text(&value)?).encode(out);
        }
        PropertyKind::Binary => {
            let bytes: PyBackedBytes = value.extract()?;
            if bytes.len() > usize::from(u16::MAX) {
                return Err(PyValueError::new_err("longer than 65535 bytes"));
            }
            out.push(info.id);
            nanomq_proto::wire::codec::put_binary(out, &bytes);
        }
        PropertyKind::Byte => out.extend([info.id, number()? as u8]),
        PropertyKind::TwoByteInteger => {
            out.push(info.id);
            out.extend((number()? as u16).to_be_bytes());
        }
        PropertyKind::FourByteInteger => {
            out.push(info.id);
            out.extend(number()?.to_be_bytes());
        }
        PropertyKind::VariableByteInteger => {
            Property::SubscriptionIdentifier(number()?).encode(out)
        }
    }
    Ok(())
}

/// Properties as a list of name and value, in the order of the wire.
fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for property in Properties::from_validated(bytes).iter() {
        let name = PropertyInfo::by_id(property.id()).map_or("unknown", |info| info.name);
        let name = PyString::intern(py, name);
        list.append(match property {
            Property::PayloadFormatIndicator(value)
            | Property::RequestProblemInformation(value)
            | Property::RequestResponseInformation(value)
            | Property::MaximumQoS(value)
            | Property::RetainAvailable(value)
            | Property::WildcardSubscriptionAvailable(value)
            | Property::SubscriptionIdentifierAvailable(value)
            | Property::SharedSubscriptionAvailable(value) => (name, value).into_pyobject(py)?,
            Property::ServerKeepAlive(value)
            | Property::ReceiveMaximum(value)
            | Property::TopicAliasMaximum(value)
            | Property::TopicAlias(value) => (name, value).into_pyobject(py)?,
            Property::MessageExpiryInterval(value)
            | Property::SubscriptionIdentifier(value)
            | Property::SessionExpiryInterval(value)
            | Property::WillDelayInterval(value)
            | Property::MaximumPacketSize(value) => (name, value).into_pyobject(py)?,
            Property::ContentType(value)
            | Property::ResponseTopic(value)
            | Property::AssignedClientIdentifier(value)
            | Property::AuthenticationMethod(value)
            | Property::ResponseInformation(value)
            | Property::ServerReference(value)
            | Property::ReasonString(value) => (name, value).into_pyobject(py)?,
            Property::CorrelationData(value) | Property::AuthenticationData(value) => {
                (name, PyBytes::new(py, value)).into_pyobject(py)?
            }
            Property::UserProperty(key, value) => (name, (key, value)).into_pyobject(py)?,
        })?;
    }
    Ok(list)
}

/// An event as a tuple: its name, then its fields in the order of `Event`.
fn tuple<'py>(py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyTuple>> {
    let name = |name| PyString::intern(py, name);
    match event {
        Event::Message {
            topic,
            payload,
            qos,
            retain,
            dup,
            packet_id,
            properties,
        } => {
            let (payload, properties) = (PyBytes::new(py, &payload), decode(py, &properties)?);
            (
                name("message"),
                topic,
                payload,
                qos as u8,
                retain,
                dup,
                packet_id,
                properties,
            )
                .into_pyobject(py)
        }
        Event::Published {
            token,
            reason,
            properties,
        } => (name("published"), token, reason.0, decode(py, &properties)?).into_pyobject(py),
        Event::Subscribed {
            token,
            reasons,
            properties,
        } => (
            name("subscribed"),
            token,
            PyBytes::new(py, &reasons),
            decode(py, &properties)?,
        )
            .into_pyobject(py),
        Event::Unsubscribed {
            token,
            reasons,
            properties,
        } => (
            name("unsubscribed"),
            token,
            PyBytes::new(py, &reasons),
            decode(py, &properties)?,
        )
            .into_pyobject(py),
        Event::Failed {
            token,
            reason,
            text,
        } => (name("failed"), token, reason.0, text).into_pyobject(py),
        Event::Connected {
            session_present,
            client_id,
            properties,
        } => (
            name("connected"),
            session_present,
            client_id,
            decode(py, &properties)?,
        )
            .into_pyobject(py),
        Event::Refused {
            reason,
            properties,
            retries,
        } => (name("refused"), reason.0, retries, decode(py, &properties)?).into_pyobject(py),
        Event::Lost {
            reason,
            properties,
            text,
            retries,
        } => {
            let reason = reason.map(|reason| reason.0);
            (
                name("lost"),
                reason,
                text,
                retries,
                decode(py, &properties)?,
            )
                .into_pyobject(py)
        }
        Event::Auth { reason, properties } => {
            (name("auth"), reason.0, decode(py, &properties)?).into_pyobject(py)
        }
        Event::Closed => (name("closed"),).into_pyobject(py),
    }
}
