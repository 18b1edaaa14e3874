//! The answer of the index: who gets the messages of one topic.

use super::share::{GroupRoute, ShareStrategy};
use super::{SessionKey, Subscriber};
use crate::wire::packet::QoS;

/// Everybody who gets the messages of one topic. Never changes; a change of subscriptions makes a new one.
#[derive(Debug, Default)]
pub struct Route {
    /// Sessions with subscriptions of their own, each once, ordered: a shard's are side by side.
    pub targets: Box<[Target]>,
    /// Share groups, each of which gets the message once.
    pub groups: Box<[GroupRoute]>,
    /// Subscription identifiers of all targets; see [`Route::ids`].
    pub ids: Box<[u32]>,
    /// How the groups choose.
    pub strategy: ShareStrategy,
    /// Too large for every publisher to keep it.
    pub is_large: bool,
    /// What [`NoLocal::Mixed`] targets get of their own messages, ordered by session.
    mixed: Box<[Own]>,
}

/// A session that gets a message, its overlapping subscriptions merged into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The session.
    pub session: SessionKey,
    /// The highest QoS of its subscriptions [MQTT-3.3.4-2].
    pub qos: QoS,
    /// Whether one of its subscriptions wants the retain flag as published.
    pub retain_as_published: bool,
    /// Whether its own messages are for it.
    pub no_local: NoLocal,
    ids_at: u32,
    ids_len: u32,
}

/// What a target's subscriptions say about messages that it published itself [MQTT-3.8.3-3].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLocal {
    /// None has No Local: it gets its own messages like any other.
    Unset,
    /// All have No Local: it does not get its own messages.
    Set,
    /// Some have it: [`Route::own`] tells what the others ask for.
    Mixed,
}

/// What one session gets: the options and identifiers of the subscriptions that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The highest QoS.
    pub qos: QoS,
    /// Whether one wants the retain flag as published.
    pub retain_as_published: bool,
    /// Their subscription identifiers; equal ones are repeated, section 3.3.4.
    pub ids: &'a [u32],
}

/// A mixed target as receiver of its own messages.
#[derive(Clone, Copy, Debug)]
struct Own {
    session: SessionKey,
    qos: QoS,
    retain_as_published: bool,
    ids_at: u32,
    ids_len: u32,
}

impl Target {
    /// Whether [`Route::own`] has to be asked when the session itself is the publisher.
    #[inline]
    pub const fn has_no_local(&self) -> bool {
        !matches!(self.no_local, NoLocal::Unset)
    }

    /// Whether [`Route::ids`] has some for it.
    #[inline]
    pub const fn has_ids(&self) -> bool {
        self.ids_len > 0
    }
}

impl Route {
    /// Whether nobody gets the message.
    pub const fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }

    /// How much it holds, counted in targets. One client can bring thousands of identifiers to one target.
    pub const fn weight(&self) -> usize {
        self.targets.len() + self.groups.len() + self.mixed.len() + self.ids.len() / 4
    }

    /// Subscription identifiers of one of this route's targets [MQTT-3.3.4-3].
    #[inline]
    pub fn ids(&self, target: &Target) -> &[u32] {
        self.ids_in(target.ids_at, target.ids_len)
    }

    /// The targets of one shard.
    pub fn range(&self, shard: u16) -> &[Target] {
        let start = self
            .targets
            .partition_point(|target| target.session.shard < shard);
        let rest = self.targets.get(start..).unwrap_or_default();
        let len = rest.partition_point(|target| target.session.shard == shard);
        rest.get(..len).unwrap_or_default()
    }

    /// The targets of each shard that has some.
    pub fn shards(&self) -> impl Iterator<Item = &[Target]> {
        self.targets
            .chunk_by(|a, b| a.session.shard == b.session.shard)
    }

    /// What one of this route's targets gets of a message that it published itself; nothing if all
    /// its subscriptions have No Local.
    pub fn own(&self, target: &Target) -> Option<Delivery<'_>> {
        match target.no_local {
            NoLocal::Unset => Some(Delivery {
                qos: target.qos,
                retain_as_published: target.retain_as_published,
                ids: self.ids(target),
            }),
            NoLocal::Set => None,
            NoLocal::Mixed => {
                let at = self
                    .mixed
                    .binary_search_by_key(&target.session, |own| own.session)
                    .ok()?;
                let own = self.mixed.get(at)?;
                Some(Delivery {
                    qos: own.qos,
                    retain_as_published: own.retain_as_published,
                    ids: self.ids_in(own.ids_at, own.ids_len),
                })
            }
        }
    }

    fn ids_in(&self, at: u32, len: u32) -> &[u32] {
        let at = at as usize;
        self.ids.get(at..at + len as usize).unwrap_or_default()
    }
}

/// Collects what matches and makes a route of it.
#[derive(Default)]
pub(super) struct Matches {
    pub(super) subscribers: Vec<Subscriber>,
    pub(super) groups: Vec<GroupRoute>,
}

impl Matches {
    pub(super) fn into_route(mut self, strategy: ShareStrategy) -> Route {
        if self.subscribers.len() > 1 {
            self.subscribers
                .sort_unstable_by_key(|subscriber| subscriber.session.bits());
        }
        let mut targets = Vec::with_capacity(self.subscribers.len());
        let mut ids = Vec::new();
        let mut mixed = Vec::new();
        for subscriptions in self.subscribers.chunk_by(|a, b| a.session == b.session) {
            let Some(mut target) = merge(subscriptions.iter(), &mut ids) else {
                continue;
            };
            let with_no_local = subscriptions.iter().filter(|one| one.no_local).count();
            if with_no_local == subscriptions.len() {
                target.no_local = NoLocal::Set;
            } else if with_no_local > 0 {
                target.no_local = NoLocal::Mixed;
                mixed.extend(
                    merge(subscriptions.iter().filter(|one| !one.no_local), &mut ids)
                        .map(Own::from),
                );
            }
            targets.push(target);
        }
        let mut route = Route {
            targets: targets.into_boxed_slice(),
            groups: self.groups.into_boxed_slice(),
            ids: ids.into_boxed_slice(),
            strategy,
            is_large: false,
            mixed: mixed.into_boxed_slice(),
        };
        route.is_large = route.weight() > LARGE;
        route
    }
}

/// One target of a session's subscriptions; their identifiers go to the end of `ids`.
fn merge<'a>(
    subscriptions: impl Iterator<Item = &'a Subscriber>,
    ids: &mut Vec<u32>,
) -> Option<Target> {
    let ids_at = ids.len() as u32;
    let mut merged: Option<Target> = None;
    for one in subscriptions {
        let target = merged.get_or_insert(Target {
            session: one.session,
            qos: one.qos,
            retain_as_published: false,
            no_local: NoLocal::Unset,
            ids_at,
            ids_len: 0,
        });
        target.qos = target.qos.max(one.qos);
        target.retain_as_published |= one.retain_as_published;
        if one.subscription_id != 0 {
            ids.push(one.subscription_id);
            target.ids_len += 1;
        }
    }
    merged
}

impl From<Target> for Own {
    fn from(target: Target) -> Self {
        let Target {
            session,
            qos,
            retain_as_published,
            ids_at,
            ids_len,
            ..
        } = target;
        Self {
            session,
            qos,
            retain_as_published,
            ids_at,
            ids_len,
        }
    }
}

/// Weight of a route that the shard's cache keeps, but no connection.
const LARGE: usize = 1000;
