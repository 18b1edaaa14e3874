//! Shared subscriptions: a group of sessions of which one gets each message.
//!
//! Section 4.8.2 of MQTT 5.0. A group is named by `$share/<group>/<filter>`, the filter included: the
//! same group name on two filters is two groups.

use super::index::FilterId;
use super::leaf::{Entry, Roster};
use super::slab::{NONE, Slot};
use super::{SessionKey, Subscriber};
use crate::wire::packet::QoS;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// How a group chooses the member that gets a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShareStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// The same one as long as it is there.
    Sticky,
    /// The one with the fewest unacknowledged messages.
    LeastInflight,
    /// By the publisher's client id.
    HashClientId,
    /// By the topic.
    HashTopic,
}

impl ShareStrategy {
    /// The strategy with this name in the configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "round_robin" => Self::RoundRobin,
            "random" => Self::Random,
            "sticky" => Self::Sticky,
            "least_inflight" => Self::LeastInflight,
            "hash_clientid" => Self::HashClientId,
            "hash_topic" => Self::HashTopic,
            _ => return None,
        })
    }
}

/// What groups must know of a session. The session's shard writes, every publishing shard reads.
#[derive(Debug, Default)]
pub struct MemberState {
    /// Whether the session has a connection.
    pub online: AtomicBool,
    /// Messages sent and not yet acknowledged.
    pub inflight: AtomicU32,
}

/// A session in a group, with the options of its subscription.
#[derive(Clone, Debug)]
pub struct GroupMember {
    /// The session.
    pub session: SessionKey,
    /// Highest QoS it wants.
    pub qos: QoS,
    /// It wants the retain flag as published.
    pub retain_as_published: bool,
    /// Its subscription identifier, 0 = none.
    pub subscription_id: u32,
    /// Shared by all groups the session is in.
    pub state: Arc<MemberState>,
}

impl GroupMember {
    // No Local needs no place: it is refused on shared subscriptions [MQTT-3.8.3-4].
    pub(super) fn new(subscriber: Subscriber, state: Arc<MemberState>) -> Self {
        Self {
            session: subscriber.session,
            qos: subscriber.qos,
            retain_as_published: subscriber.retain_as_published,
            subscription_id: subscriber.subscription_id,
            state,
        }
    }

    /// Its subscription identifiers: one or none.
    pub const fn ids(&self) -> &[u32] {
        match self.subscription_id {
            0 => &[],
            _ => std::slice::from_ref(&self.subscription_id),
        }
    }

    #[inline]
    fn is_online(&self) -> bool {
        self.state.online.load(Ordering::Relaxed)
    }

    #[inline]
    fn inflight(&self) -> u32 {
        self.state.inflight.load(Ordering::Relaxed)
    }
}

impl Entry for GroupMember {
    #[inline]
    fn session(&self) -> SessionKey {
        self.session
    }
}

/// Where a group's choice stands; shared by all routes that lead to the group.
#[derive(Debug)]
struct Turn {
    /// Place of the next member, counted on and on.
    next: AtomicUsize,
    /// Bits of the session that the group sticks to, or [`NOBODY`].
    sticky: AtomicU64,
}

/// Bits of no session: there is no shard of this number.
const NOBODY: u64 = u64::MAX;

/// One `$share/<group>/<filter>` in the index.
#[derive(Clone, Debug, Default)]
pub(super) struct Share {
    pub(super) name: Box<str>,
    /// The leaf of its filter, and its neighbours in the leaf's list of groups.
    pub(super) leaf: u32,
    pub(super) next: u32,
    pub(super) previous: u32,
    /// Nothing only in a freed slot and while the first member joins.
    group: Option<Group>,
}

/// The part of a group that routes share.
#[derive(Clone, Debug, Default)]
struct Group {
    /// Copied only if routes still hold it when it changes.
    members: Arc<Roster<GroupMember>>,
    turn: Arc<Turn>,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            next: AtomicUsize::new(0),
            sticky: AtomicU64::new(NOBODY),
        }
    }
}

impl Slot for Share {
    fn is_free(&self) -> bool {
        self.group.is_none()
    }
}

impl Share {
    /// A group without members, first in the list of its leaf.
    pub(super) fn new(name: &str, leaf: u32, next: u32) -> Self {
        Self {
            name: name.into(),
            leaf,
            next,
            previous: NONE,
            ..Self::default()
        }
    }

    pub(super) fn put(&mut self, member: GroupMember) -> bool {
        Arc::make_mut(&mut self.group.get_or_insert_default().members).put(member)
    }

    pub(super) fn take(&mut self, session: SessionKey) -> bool {
        // Looked up first: a session that is not there must not cause a copy.
        match &mut self.group {
            Some(group) if group.members.find(session).is_some() => {
                Arc::make_mut(&mut group.members).take(session).is_some()
            }
            _ => false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.group
            .as_ref()
            .is_none_or(|group| group.members.as_slice().is_empty())
    }

    pub(super) fn to_route(&self, id: FilterId) -> Option<GroupRoute> {
        let group = self.group.clone()?;
        Some(GroupRoute { id, group })
    }
}

/// A group that gets a message, with its members at the time the route was built.
#[derive(Clone, Debug)]
pub struct GroupRoute {
    /// Names the group in the index.
    pub id: FilterId,
    group: Group,
}

/// What a choice may depend on.
#[derive(Clone, Copy)]
struct Draw {
    strategy: ShareStrategy,
    topic_hash: u64,
    publisher_hash: u64,
    random: u64,
}

impl GroupRoute {
    /// All members, in no particular order.
    pub fn members(&self) -> &[GroupMember] {
        self.group.members.as_slice()
    }

    /// The member that gets the message: one that is online, or any if all are offline.
    ///
    /// Nothing only if the group has no members, which no route contains.
    pub fn choose(
        &self,
        strategy: ShareStrategy,
        topic_hash: u64,
        publisher_hash: u64,
        random: u64,
    ) -> Option<&GroupMember> {
        let draw = Draw {
            strategy,
            topic_hash,
            publisher_hash,
            random,
        };
        self.pick(draw, GroupMember::is_online)
            .or_else(|| self.pick(draw, |_| true))
    }

    /// Like [`GroupRoute::choose`], for a message that `not` has had and did not acknowledge.
    pub fn choose_other(
        &self,
        not: SessionKey,
        strategy: ShareStrategy,
        topic_hash: u64,
        publisher_hash: u64,
        random: u64,
    ) -> Option<&GroupMember> {
        let draw = Draw {
            strategy,
            topic_hash,
            publisher_hash,
            random,
        };
        self.pick(draw, |member| member.session != not && member.is_online())
            .or_else(|| self.pick(draw, |member| member.session != not))
    }

    fn pick(&self, draw: Draw, fits: impl Fn(&GroupMember) -> bool) -> Option<&GroupMember> {
        match draw.strategy {
            ShareStrategy::RoundRobin => self.in_turn(fits),
            ShareStrategy::Random => self.by_number(draw.random, fits),
            ShareStrategy::Sticky => self.the_same(fits),
            ShareStrategy::LeastInflight => self.least_inflight(fits),
            ShareStrategy::HashClientId => self.by_number(draw.publisher_hash, fits),
            ShareStrategy::HashTopic => self.by_number(draw.topic_hash, fits),
        }
    }

    /// The next member that fits. Those skipped lose their turn, so the others stay even.
    fn in_turn(&self, fits: impl Fn(&GroupMember) -> bool) -> Option<&GroupMember> {
        let turn = self.group.turn.next.fetch_add(1, Ordering::Relaxed);
        let found = self
            .from(turn)
            .enumerate()
            .find(|(_skipped, member)| fits(member));
        match found {
            Some((0, member)) => Some(member),
            Some((skipped, member)) => {
                self.group.turn.next.fetch_add(skipped, Ordering::Relaxed);
                Some(member)
            }
            None => {
                self.group.turn.next.fetch_sub(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// The member this number stands for; another one that fits, chosen evenly, if that one does not.
    fn by_number(&self, number: u64, fits: impl Fn(&GroupMember) -> bool) -> Option<&GroupMember> {
        let members = self.members();
        let number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let first = members.get(scale(number >> 32, members.len()))?;
        if fits(first) {
            return Some(first);
        }
        let fitting = members.iter().filter(|member| fits(member)).count();
        let place = scale((number ^ (number >> 32)) & 0xFFFF_FFFF, fitting);
        members.iter().filter(|member| fits(member)).nth(place)
    }

    /// The member chosen last time, or from now on the next one.
    fn the_same(&self, fits: impl Fn(&GroupMember) -> bool) -> Option<&GroupMember> {
        let sticky = self.group.turn.sticky.load(Ordering::Relaxed);
        let same = self
            .group
            .members
            .find(SessionKey::from_bits(sticky))
            .and_then(|place| self.members().get(place));
        if let Some(member) = same.filter(|member| fits(member)) {
            return Some(member);
        }
        let member = self.in_turn(fits)?;
        self.group
            .turn
            .sticky
            .store(member.session.bits(), Ordering::Relaxed);
        Some(member)
    }

    /// The least busy member that fits; among equals they take turns.
    fn least_inflight(&self, fits: impl Fn(&GroupMember) -> bool) -> Option<&GroupMember> {
        let turn = self.group.turn.next.fetch_add(1, Ordering::Relaxed);
        let mut least: Option<(u32, &GroupMember)> = None;
        for member in self.from(turn).filter(|member| fits(member)) {
            let inflight = member.inflight();
            if inflight == 0 {
                return Some(member);
            }
            if least.is_none_or(|(fewest, _)| inflight < fewest) {
                least = Some((inflight, member));
            }
        }
        least.map(|(_, member)| member)
    }

    /// Every member once, beginning with the one whose turn it is.
    fn from(&self, turn: usize) -> impl Iterator<Item = &GroupMember> {
        let members = self.members();
        let start = turn.checked_rem(members.len()).unwrap_or_default();
        let (before, after) = members.split_at(start);
        after.iter().chain(before)
    }
}

/// Brings 32 bits evenly into `0..count`.
const fn scale(bits: u64, count: usize) -> usize {
    (((bits & 0xFFFF_FFFF) * count as u64) >> 32) as usize
}
