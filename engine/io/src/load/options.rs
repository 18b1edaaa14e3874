//! What a load is made of.

use super::publisher::STAMP_BYTES;
use crate::net::dial::Target;
use crate::net::tls::{ClientTlsOptions, client_config};
use nanomq_proto::wire::packet::{QoS, Version};
use nanomq_proto::wire::topic::{check_topic_filter, check_topic_name};
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `count` clients connect and stay.
    Conn,
    /// `count` clients subscribe.
    Sub,
    /// `count` clients publish.
    Pub,
    /// `count` pairs of a publisher and a subscriber, each with its own topic.
    Pair,
    /// `publishers` × `subscribers`: every message goes to every subscriber.
    Fan,
}

/// Certificates, as a client of the engine takes them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadTls {
    /// CAs of the server; empty = the system's.
    pub cafile: String,
    /// Certificate of the clients.
    pub certfile: String,
    /// Its key.
    pub keyfile: String,
    /// The key's password.
    pub key_password: String,
    /// Take any certificate.
    pub insecure: bool,
}

/// A load, as JSON describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadOptions {
    /// What the clients do.
    pub mode: Mode,
    /// Where to.
    pub url: String,
    /// For the TLS transports.
    pub tls: LoadTls,
    /// 3 is 3.1, 4 is 3.1.1, 5 is 5.0.
    pub version: u8,
    /// Clients, or pairs.
    pub count: u32,
    /// Publishers of `fan`.
    pub publishers: u32,
    /// Subscribers of `fan`.
    pub subscribers: u32,
    /// Further subscribers of `fan` that read nothing once they are subscribed.
    pub stalled: u32,
    /// Topic filters of each client of `sub`.
    pub filters: u32,
    /// Number of the first client.
    pub startnumber: u32,
    /// Milliseconds between two connects; 0 = several at once.
    pub interval_ms: f64,
    /// Milliseconds between two messages of one publisher; below 1 as fast as possible.
    pub message_interval_ms: f64,
    /// Messages per second of all publishers together, instead of `message_interval_ms`; 0 = not given.
    pub rate: f64,
    /// `%c` is the client id, `%u` the username, `%i` the number; in a filter of `fan`, `%c` and `%i` are `+`.
    pub topic: String,
    /// Bytes of the payload. From 16 on it carries time and number of the message.
    pub size: usize,
    /// QoS of publishers and subscribers.
    pub qos: u8,
    /// Retain flag.
    pub retain: bool,
    /// Keepalive.
    pub keepalive_s: u16,
    /// Clean start.
    pub clean: bool,
    /// Messages of all publishers (of `sub`: received) after which it ends; 0 = none.
    pub limit: u64,
    /// Ends after this time, without the warm-up; 0 = never.
    pub duration_s: f64,
    /// Time before the measurement begins.
    pub warmup_s: f64,
    /// Username.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Local address of the connections; empty = the system's choice.
    pub ifaddr: String,
    /// Client ids are this and the number.
    pub prefix: String,
    /// Unacknowledged messages of one publisher.
    pub inflight: u16,
    /// Messages of one publisher that may be on their way to the subscribers of `pair` or `fan`, so that no server
    /// has to drop or to hold what comes too fast; 0 = any number.
    pub outstanding: u32,
    /// Threads of the generator.
    pub threads: u16,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Conn,
            url: "mqtt-tcp://127.0.0.1:1883".to_owned(),
            tls: LoadTls::default(),
            version: 4,
            count: 1,
            publishers: 1,
            subscribers: 1,
            stalled: 0,
            filters: 1,
            startnumber: 0,
            interval_ms: 0.0,
            message_interval_ms: 0.0,
            rate: 0.0,
            topic: String::new(),
            size: 256,
            qos: 0,
            retain: false,
            keepalive_s: 300,
            clean: true,
            limit: 0,
            duration_s: 0.0,
            warmup_s: 0.0,
            username: None,
            password: None,
            ifaddr: String::new(),
            prefix: String::new(),
            inflight: 100,
            outstanding: 0,
            threads: 1,
        }
    }
}

/// One of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Idle,
    Subscriber,
    /// Stops reading once it is subscribed.
    Stalled,
    /// With its number among the publishers.
    Publisher(u32),
}

/// Options that were found to be possible.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) options: LoadOptions,
    pub(super) target: Target,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) local: Option<IpAddr>,
    pub(super) version: Version,
    pub(super) qos: QoS,
    /// Subscribers that read; they have the first numbers. The stalled ones follow, then the publishers.
    pub(super) subscribers: u32,
    pub(super) publishers: u32,
    /// Messages per second of one publisher; 0 = as many as possible.
    pub(super) pace: f64,
}

impl Plan {
    /// Checks the options and reads the certificates.
    pub(super) fn new(mut options: LoadOptions) -> Result<Self, String> {
        let target: Target = options.url.parse()?;
        options.username = options.username.or_else(|| target.username.clone());
        options.password = options.password.or_else(|| target.password.clone());
        let version = match options.version {
            3 => Version::V31,
            4 => Version::V311,
            5 => Version::V5,
            other => return Err(format!("version {other}: write 3, 4 or 5")),
        };
        let qos = QoS::from_bits(options.qos)
            .ok_or_else(|| format!("qos {}: write 0, 1 or 2", options.qos))?;
        let local = match options.ifaddr.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| format!("ifaddr `{text}` is no IP address"))?,
            ),
        };
        let (subscribers, publishers) = match options.mode {
            Mode::Conn => (0, 0),
            Mode::Sub => (options.count, 0),
            Mode::Pub => (0, options.count),
            Mode::Pair => (options.count, options.count),
            Mode::Fan => (options.subscribers, options.publishers),
        };
        if options.count == 0 || options.mode == Mode::Fan && subscribers.min(publishers) == 0 {
            return Err("a load needs at least one client of each kind".to_owned());
        }
        if options.topic.is_empty() {
            options.topic = match options.mode {
                Mode::Fan => "bench/fan",
                _ => "bench/%i",
            }
            .to_owned();
        }
        let flows = matches!(options.mode, Mode::Pair | Mode::Fan) && options.size >= STAMP_BYTES;
        if options.outstanding > 0 && (options.threads > 1 || !flows) {
            return Err(format!(
                "outstanding needs pair or fan, one thread and {STAMP_BYTES} bytes of payload"
            ));
        }
        options.inflight = options.inflight.max(1);
        options.threads = options.threads.clamp(1, 64);
        let secure = target.is_secure();
        let tls = secure
            .then(|| client_config(&options.tls.clone().into()))
            .transpose()
            .map_err(|error| error.to_string())?;
        let pace = if options.rate > 0.0 {
            options.rate / f64::from(publishers.max(1))
        } else if options.message_interval_ms >= 1.0 {
            1000.0 / options.message_interval_ms
        } else {
            0.0
        };
        let plan = Self {
            options,
            target,
            tls,
            local,
            version,
            qos,
            subscribers,
            publishers,
            pace,
        };
        plan.check_topics()?;
        Ok(plan)
    }

    fn check_topics(&self) -> Result<(), String> {
        for number in [0, self.clients() - 1] {
            let (topic, check) = match self.role(number) {
                Role::Idle => continue,
                Role::Publisher(_) => (
                    self.topic(number),
                    check_topic_name as fn(&str) -> Result<(), _>,
                ),
                Role::Subscriber | Role::Stalled => (
                    self.filter(number, 0),
                    (|filter| check_topic_filter(filter).map(|_| ())) as fn(&str) -> Result<(), _>,
                ),
            };
            check(&topic).map_err(|error| format!("topic `{topic}`: {error}"))?;
        }
        Ok(())
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> u32 {
        match self.options.mode {
            Mode::Conn => self.options.count,
            _ => self.subscribers + self.stalled() + self.publishers,
        }
    }

    fn stalled(&self) -> u32 {
        match self.options.mode {
            Mode::Fan => self.options.stalled,
            _ => 0,
        }
    }

    /// What a client does.
    pub(super) fn role(&self, number: u32) -> Role {
        if self.options.mode == Mode::Conn {
            Role::Idle
        } else if number < self.subscribers {
            Role::Subscriber
        } else if number < self.subscribers + self.stalled() {
            Role::Stalled
        } else {
            Role::Publisher(number - self.subscribers - self.stalled())
        }
    }

    /// Whether publishers wait until all clients are ready, and losses can be told.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.options.mode, Mode::Pair | Mode::Fan)
    }

    /// How many subscribers get a message.
    pub(super) fn copies(&self) -> u64 {
        match self.options.mode {
            Mode::Pair => 1,
            Mode::Fan => u64::from(self.subscribers),
            _ => 0,
        }
    }

    /// A client's id.
    pub(super) fn client_id(&self, number: u32) -> String {
        format!(
            "{}{}",
            self.options.prefix,
            u64::from(number) + u64::from(self.options.startnumber)
        )
    }

    /// Where a publisher publishes.
    pub(super) fn topic(&self, number: u32) -> String {
        let index = match self.role(number) {
            Role::Publisher(index) => index,
            _ => number,
        };
        let running = u64::from(index) + u64::from(self.options.startnumber);
        self.filled(&self.client_id(number), &running.to_string())
    }

    /// One of the topic filters of a subscriber.
    pub(super) fn filter(&self, number: u32, at: u32) -> String {
        match self.options.mode {
            Mode::Fan => self.filled("+", "+"),
            // The pair's topic is that of its publisher.
            Mode::Pair => self.topic(number + self.subscribers),
            _ => {
                let running = u64::from(number) * u64::from(self.options.filters)
                    + u64::from(at)
                    + u64::from(self.options.startnumber);
                self.filled(&self.client_id(number), &running.to_string())
            }
        }
    }

    fn filled(&self, client_id: &str, number: &str) -> String {
        let username = self.options.username.as_deref().unwrap_or("undefined");
        let mut filled = String::new();
        let mut rest = self.options.topic.as_str();
        while let Some(at) = rest.find('%') {
            filled.push_str(&rest[..at]);
            let (text, len) = match rest.as_bytes().get(at + 1) {
                Some(b'c') => (client_id, 2),
                Some(b'u') => (username, 2),
                Some(b'i') => (number, 2),
                _ => ("%", 1),
            };
            filled.push_str(text);
            rest = &rest[at + len..];
        }
        filled + rest
    }
}

impl From<LoadTls> for ClientTlsOptions {
    fn from(tls: LoadTls) -> Self {
        Self {
            cafile: tls.cafile,
            certfile: tls.certfile,
            keyfile: tls.keyfile,
            key_password: tls.key_password,
            insecure: tls.insecure,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    fn plan(json: &str) -> Result<Plan, String> {
        Plan::new(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn every_placeholder_is_replaced_and_the_rest_kept() {
        let plan = plan(
            r#"{"mode": "pub", "topic": "%i/%u/x%cy/%i%/%q", "username": "ann", "prefix": "p-", "startnumber": 7}"#,
        )
        .unwrap();
        assert_eq!(plan.topic(0), "7/ann/xp-7y/7%/%q");
    }

    #[test]
    fn a_pair_has_one_topic_and_a_fan_one_filter() {
        let pairs = plan(r#"{"mode": "pair", "count": 3, "topic": "t/%i/%c"}"#).unwrap();
        assert_eq!(pairs.role(4), Role::Publisher(1));
        assert_eq!(pairs.filter(1, 0), "t/1/4");
        assert_eq!(pairs.topic(4), "t/1/4");
        let fan =
            plan(r#"{"mode": "fan", "publishers": 2, "stalled": 1, "topic": "t/%i"}"#).unwrap();
        assert_eq!((fan.clients(), fan.role(1)), (4, Role::Stalled));
        assert_eq!(
            (fan.filter(0, 0), fan.topic(3)),
            ("t/+".to_owned(), "t/1".to_owned())
        );
    }

    #[test]
    fn the_running_number_goes_over_all_filters() {
        let plan = plan(r#"{"mode": "sub", "count": 2, "filters": 10}"#).unwrap();
        assert_eq!(
            (plan.filter(0, 9), plan.filter(1, 0)),
            ("bench/9".to_owned(), "bench/10".to_owned())
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for options in [
            r#"{"version": 6}"#,
            r#"{"qos": 3}"#,
            r#"{"count": 0}"#,
            r#"{"url": "h"}"#,
            r#"{"ifaddr": "lo"}"#,
            r#"{"mode": "pub", "topic": "a/#"}"#,
            r#"{"mode": "fan", "topic": "a%i"}"#,
            r#"{"mode": "pair", "outstanding": 1, "size": 8}"#,
        ] {
            assert!(plan(options).is_err(), "{options}");
        }
    }
}
