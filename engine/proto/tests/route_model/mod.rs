//! A plain reference of subscriptions and matching, and random filters and topics for it.

#![allow(clippy::unwrap_used, reason = "a test may stop")]
#![allow(dead_code, reason = "each test file uses its part")]

use nanomq_proto::route::index::{Index, Route, SessionKey, ShareStrategy, Subscriber};
use nanomq_proto::wire::packet::QoS;
use nanomq_proto::wire::topic::{Filter, check_topic_filter};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A session of shard `slot % 3`.
pub fn session(slot: u32) -> SessionKey {
    SessionKey {
        shard: (slot % 3) as u16,
        generation: (slot % 2) as u16,
        slot,
    }
}

/// A subscriber of QoS 1 without options.
pub fn subscriber(slot: u32) -> Subscriber {
    Subscriber {
        session: session(slot),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        subscription_id: 0,
    }
}

pub fn filter(text: &str) -> Filter<'_> {
    check_topic_filter(text).unwrap()
}

pub fn route(index: &Index, topic: &str) -> Route {
    index.route(topic, ShareStrategy::RoundRobin)
}

/// Section 4.7, as plainly as it can be said.
pub fn matches(filter: &str, topic: &str) -> bool {
    fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([wanted, filter @ ..], [level, topic @ ..]) => {
                (*wanted == "+" || wanted == level) && levels_match(filter, topic)
            }
            _ => false,
        }
    }
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let filter: Vec<_> = filter.split('/').collect();
    let topic: Vec<_> = topic.split('/').collect();
    levels_match(&filter, &topic)
}

/// Every subscription in a map; nothing clever.
#[derive(Debug, Default)]
pub struct Model {
    /// By filter as the client wrote it, and session.
    pub subscriptions: BTreeMap<(String, SessionKey), Subscriber>,
}

/// A receiver in a form that can be compared: QoS, retain as published, sorted identifiers.
pub type Receives = (QoS, bool, Vec<u32>);

/// A route in a form that can be compared.
#[derive(Debug, PartialEq)]
pub struct Plain {
    pub targets: BTreeMap<SessionKey, Receives>,
    /// What sessions get of their own messages.
    pub own: BTreeMap<SessionKey, Receives>,
    /// Members of each group, by the filter as written.
    pub groups: BTreeMap<String, BTreeSet<(SessionKey, QoS, bool, u32)>>,
}

impl Model {
    pub fn route(&self, topic: &str) -> Plain {
        let mut of_session = BTreeMap::<SessionKey, Vec<&Subscriber>>::new();
        let mut groups = BTreeMap::<String, BTreeSet<_>>::new();
        for ((text, _), one) in &self.subscriptions {
            let filter = filter(text);
            if !matches(filter.filter, topic) {
                continue;
            }
            if filter.share_group.is_some() {
                let member = (
                    one.session,
                    one.qos,
                    one.retain_as_published,
                    one.subscription_id,
                );
                groups.entry(text.clone()).or_default().insert(member);
            } else {
                of_session.entry(one.session).or_default().push(one);
            }
        }
        let merged = |counts: fn(&Subscriber) -> bool| {
            let merge = |(&session, all): (&SessionKey, &Vec<&Subscriber>)| {
                let counted: Vec<_> = all.iter().filter(|one| counts(one)).collect();
                let qos = counted.iter().map(|one| one.qos).max()?;
                let keeps_retain = counted.iter().any(|one| one.retain_as_published);
                let ids = counted.iter().map(|one| one.subscription_id);
                let mut ids: Vec<u32> = ids.filter(|&id| id != 0).collect();
                ids.sort_unstable();
                Some((session, (qos, keeps_retain, ids)))
            };
            of_session.iter().filter_map(merge).collect()
        };
        Plain {
            targets: merged(|_| true),
            own: merged(|one| !one.no_local),
            groups,
        }
    }

    pub fn filters(&self) -> BTreeSet<&str> {
        let texts = self.subscriptions.keys();
        texts.map(|(text, _)| text.as_str()).collect()
    }
}

/// Brings a route into the form of the model, checking its order on the way.
pub fn plain(index: &Index, route: &Route) -> Plain {
    let sorted = |ids: &[u32]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    assert!(
        route
            .targets
            .is_sorted_by(|a, b| (a.session.shard, a.session) < (b.session.shard, b.session))
    );
    let by_shard: Vec<_> = (0..4).flat_map(|shard| route.range(shard)).collect();
    assert_eq!(by_shard, route.targets.iter().collect::<Vec<_>>());
    assert_eq!(route.shards().flatten().count(), route.targets.len());
    let targets = route.targets.iter().map(|target| {
        let ids = sorted(route.ids(target));
        (
            target.session,
            (target.qos, target.retain_as_published, ids),
        )
    });
    let own = route.targets.iter().filter_map(|target| {
        let own = route.own(target)?;
        Some((
            target.session,
            (own.qos, own.retain_as_published, sorted(own.ids)),
        ))
    });
    let groups = route.groups.iter().map(|group| {
        let mut text = String::new();
        assert!(index.text_of(group.id, &mut text));
        let members = group.members().iter();
        let members = members.map(|m| (m.session, m.qos, m.retain_as_published, m.subscription_id));
        (text, members.collect())
    });
    let groups: Vec<_> = groups.collect();
    let plain = Plain {
        targets: targets.collect(),
        own: own.collect(),
        groups: groups.iter().cloned().collect(),
    };
    assert_eq!(plain.groups.len(), groups.len(), "a group stands twice");
    plain
}

/// Level texts of a small alphabet, so that random filters and topics meet.
pub fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        5 => Just("a"),
        3 => Just("b"),
        2 => Just("c"),
        1 => Just(""),
        1 => Just("$SYS"),
        1 => Just("a level of more than twenty-two bytes"),
    ]
}

pub fn topic() -> impl Strategy<Value = String> {
    let first = prop_oneof![8 => level(), 1 => Just("$SYS"), 1 => Just("$share")];
    (first, prop::collection::vec(level(), 0..5)).prop_map(|(first, rest)| {
        let levels: Vec<_> = std::iter::once(first).chain(rest).collect();
        not_empty(levels.join("/"))
    })
}

/// A topic filter without share group.
pub fn plain_filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+")];
    let levels = prop::collection::vec(level, 0..6);
    (levels, prop::bool::weighted(0.3)).prop_map(|(mut levels, is_multi)| {
        if is_multi {
            levels.push("#");
        }
        not_empty(levels.join("/"))
    })
}

/// One empty level alone is no topic.
fn not_empty(text: String) -> String {
    if text.is_empty() { "b".into() } else { text }
}

/// A filter of a share group; the names look like levels and like filters.
pub fn shared_filter() -> impl Strategy<Value = String> {
    let group = prop_oneof![
        2 => prop::sample::select(vec!["a", "b", "$share", "$SYS", "grüppe"]).prop_map(String::from),
        3 => (0..60_u32).prop_map(|number| format!("g{number}")),
    ];
    (group, plain_filter()).prop_map(|(group, filter)| format!("$share/{group}/{filter}"))
}

pub fn any_filter() -> impl Strategy<Value = String> {
    prop_oneof![3 => plain_filter(), 1 => shared_filter()]
}

pub fn any_subscriber(sessions: u32) -> impl Strategy<Value = Subscriber> {
    (0..sessions, 0..3_u8, any::<bool>(), any::<bool>(), 0..4_u32).prop_map(
        |(slot, qos, no_local, retain_as_published, subscription_id)| Subscriber {
            session: session(slot),
            qos: QoS::from_bits(qos).unwrap(),
            no_local,
            retain_as_published,
            subscription_id,
        },
    )
}
