//! The effective configuration as Python hands it over, one JSON document.

use nanomq_proto::route::index::ShareStrategy;
use nanomq_proto::route::router::RetainedLimits;
use nanomq_proto::session::credential::Credentials;
use nanomq_proto::session::settings::{ListenerLimits, Settings};
use nanomq_proto::wire::packet::QoS;
use nanomq_proto::{SECOND, Time};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Everything the engine is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// Name of this node in reports.
    pub node: String,
    /// Threads that serve connections; 0 = one per core.
    pub shards: usize,
    /// Where connections are accepted.
    pub listeners: Vec<Listener>,
    /// Protocol settings.
    pub mqtt: Mqtt,
    /// Who may connect.
    pub auth: Auth,
    /// Events below this level are not made: trace, debug, info, warn, error.
    pub event_level: String,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Unique name, such as `tcp` or `ssl.factory`.
    pub name: String,
    /// tcp, tls, ws, wss or unix.
    pub kind: String,
    /// `address:port`, or the path of a Unix socket.
    pub bind: String,
    /// Path of WebSocket upgrades.
    pub path: String,
    /// Most connections; 0 = no limit.
    pub max_connections: usize,
    /// Most new connections a second; 0 = no limit.
    pub max_conn_rate: f64,
    /// Messages a second of one connection; 0 = no limit.
    pub messages_rate: f64,
    /// Bytes a second of one connection; 0 = no limit.
    pub bytes_rate: f64,
    /// Largest packet; 0 = the broker's limit.
    pub max_packet_size: usize,
    /// Whether every connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// Idle seconds before TCP keepalive probes; 0 = off.
    pub tcp_keepalive_s: u64,
    /// Connections waiting to be accepted.
    pub backlog: i32,
    /// TLS, for tls and wss.
    pub tls: Tls,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub certfile: String,
    /// Private key, PEM.
    pub keyfile: String,
    /// Password of the private key.
    pub key_password: String,
    /// CAs for client certificates, PEM.
    pub cacertfile: String,
    /// Revocation lists, PEM.
    pub crlfile: String,
    /// Ask the client for a certificate.
    pub verify_peer: bool,
    /// With `verify_peer`: refuse clients without one.
    pub fail_if_no_peer_cert: bool,
    /// Versions offered: 1.2, 1.3; empty = both.
    pub versions: Vec<String>,
    /// Further certificates, chosen by server name.
    pub sni: Vec<Sni>,
}

/// A further certificate.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sni {
    /// Certificate chain, PEM.
    pub certfile: String,
    /// Private key, PEM.
    pub keyfile: String,
    /// Password of the private key.
    pub key_password: String,
}

/// Protocol settings; see [`Settings`] for their meaning.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each is documented at Settings, which it fills"
)]
pub struct Mqtt {
    pub max_packet_size: usize,
    pub max_mqueue_len: usize,
    pub max_mqueue_bytes: usize,
    pub max_total_queue_bytes: usize,
    pub queue_ttl_s: f64,
    pub max_topic_alias: u16,
    pub max_inflight_window: u16,
    pub receive_maximum: u16,
    pub retry_interval_s: f64,
    pub keepalive_multiplier: f64,
    pub server_keepalive_s: u16,
    pub max_session_expiry_s: u32,
    pub max_qos: u8,
    pub retain_available: bool,
    pub wildcard_available: bool,
    pub shared_available: bool,
    pub subscription_id_available: bool,
    pub shared_strategy: String,
    pub payload_format_check: bool,
    pub max_topic_levels: usize,
    pub max_client_id_bytes: usize,
    pub max_subscriptions: usize,
    pub max_retained: usize,
    pub max_retained_bytes: usize,
    pub server_reference: String,
    pub response_information: String,
    pub connect_timeout_s: f64,
    pub property_size: usize,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether clients without username and password may.
    pub allow_anonymous: bool,
    /// Password by username.
    pub users: BTreeMap<String, String>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            node: "nanomq".to_owned(),
            shards: 0,
            listeners: Vec::new(),
            mqtt: Mqtt::default(),
            auth: Auth::default(),
            event_level: "info".to_owned(),
        }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            name: "tcp".to_owned(),
            kind: "tcp".to_owned(),
            bind: "127.0.0.1:0".to_owned(),
            path: "/mqtt".to_owned(),
            max_connections: 0,
            max_conn_rate: 0.0,
            messages_rate: 0.0,
            bytes_rate: 0.0,
            max_packet_size: 0,
            proxy_protocol: false,
            nodelay: true,
            tcp_keepalive_s: 0,
            backlog: 1024,
            tls: Tls::default(),
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        let core = Settings::default();
        Self {
            max_packet_size: core.max_packet_bytes,
            max_mqueue_len: core.max_queue_count,
            max_mqueue_bytes: core.max_queue_bytes,
            max_total_queue_bytes: core.max_total_queue_bytes,
            queue_ttl_s: 0.0,
            max_topic_alias: core.max_topic_alias,
            max_inflight_window: core.max_inflight,
            receive_maximum: core.receive_maximum,
            retry_interval_s: 0.0,
            keepalive_multiplier: core.keepalive_multiplier,
            server_keepalive_s: 0,
            max_session_expiry_s: core.max_session_expiry_s,
            max_qos: core.max_qos as u8,
            retain_available: true,
            wildcard_available: true,
            shared_available: true,
            subscription_id_available: true,
            shared_strategy: "round_robin".to_owned(),
            payload_format_check: false,
            max_topic_levels: core.max_topic_levels,
            max_client_id_bytes: core.max_client_id_bytes,
            max_subscriptions: 0,
            max_retained: 0,
            max_retained_bytes: 0,
            server_reference: String::new(),
            response_information: String::new(),
            connect_timeout_s: 10.0,
            property_size: 32,
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            allow_anonymous: true,
            users: BTreeMap::new(),
        }
    }
}

impl EngineSettings {
    /// The protocol core's settings.
    ///
    /// # Errors
    /// A sentence that names the key and what it accepts.
    pub fn core(&self) -> Result<Settings, String> {
        let mqtt = &self.mqtt;
        Ok(Settings {
            max_packet_bytes: mqtt.max_packet_size,
            max_queue_count: mqtt.max_mqueue_len,
            max_queue_bytes: mqtt.max_mqueue_bytes,
            max_total_queue_bytes: mqtt.max_total_queue_bytes,
            queue_ttl: time(mqtt.queue_ttl_s),
            max_topic_alias: mqtt.max_topic_alias,
            max_inflight: at_least_one("mqtt.max_inflight_window", mqtt.max_inflight_window)?,
            receive_maximum: at_least_one("mqtt.receive_maximum", mqtt.receive_maximum)?,
            retry_interval: time(mqtt.retry_interval_s),
            keepalive_multiplier: mqtt.keepalive_multiplier,
            server_keepalive_s: mqtt.server_keepalive_s,
            max_session_expiry_s: mqtt.max_session_expiry_s,
            max_qos: QoS::from_bits(mqtt.max_qos).ok_or("mqtt.max_qos: write 0, 1 or 2")?,
            retain_available: mqtt.retain_available,
            wildcard_available: mqtt.wildcard_available,
            shared_available: mqtt.shared_available,
            subscription_id_available: mqtt.subscription_id_available,
            share_strategy: self.share_strategy()?,
            payload_format_check: mqtt.payload_format_check,
            max_topic_levels: mqtt.max_topic_levels.max(1),
            max_client_id_bytes: mqtt.max_client_id_bytes.max(1),
            max_subscriptions: mqtt.max_subscriptions,
            server_reference: mqtt.server_reference.clone(),
            response_information: mqtt.response_information.clone(),
            connect_timeout: time(mqtt.connect_timeout_s).max(SECOND / 10),
            allow_anonymous: self.auth.allow_anonymous,
            credentials: Credentials::new(
                self.auth
                    .users
                    .iter()
                    .map(|(name, password)| (name.as_str(), password.as_str())),
                random_salt,
            ),
        })
    }

    /// How shared subscriptions choose.
    ///
    /// # Errors
    /// An unknown name.
    pub fn share_strategy(&self) -> Result<ShareStrategy, String> {
        let name = &self.mqtt.shared_strategy;
        ShareStrategy::from_name(name).ok_or_else(|| {
            format!(
                "mqtt.shared_strategy: {name} is unknown; write round_robin, random, sticky, least_inflight, \
                 hash_clientid or hash_topic"
            )
        })
    }

    /// Limits of retained messages.
    pub const fn retained_limits(&self) -> RetainedLimits {
        RetainedLimits {
            count: self.mqtt.max_retained,
            bytes: self.mqtt.max_retained_bytes,
        }
    }
}

impl Listener {
    /// What the protocol core needs to know.
    pub fn limits(&self) -> ListenerLimits {
        ListenerLimits {
            name: self.name.clone(),
            max_packet_bytes: self.max_packet_size,
            messages_rate: self.messages_rate,
            bytes_rate: self.bytes_rate,
        }
    }
}

/// 16 bytes from the system's random source, in two halves.
fn random_salt() -> [u8; 16] {
    let mut salt = [0; 16];
    salt[..8].copy_from_slice(&random_u64().to_le_bytes());
    salt[8..].copy_from_slice(&random_u64().to_le_bytes());
    salt
}

/// A random number from the system.
pub fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: eight writable bytes. For so few bytes the call is not interrupted once the pool is ready.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    debug_assert_eq!(got, 8);
    u64::from_ne_bytes(bytes)
}

fn time(seconds: f64) -> Time {
    (seconds.max(0.0) * SECOND as f64) as Time
}

fn at_least_one(key: &str, value: u16) -> Result<u16, String> {
    if value == 0 {
        Err(format!(
            "{key}: 0 would stop all messages; write 1 to 65535"
        ))
    } else {
        Ok(value)
    }
}
