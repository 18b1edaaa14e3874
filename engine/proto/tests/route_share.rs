//! Shared subscriptions: who is chosen, and thousands of random groups against a plain reference.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod route_model;

use nanomq_proto::route::index::{GroupRoute, Index, MemberState, ShareStrategy};
use proptest::prelude::*;
use route_model::{
    Model, any_subscriber, filter, plain, route, session, shared_filter, subscriber, topic,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const STRATEGIES: [ShareStrategy; 6] = [
    ShareStrategy::RoundRobin,
    ShareStrategy::Random,
    ShareStrategy::Sticky,
    ShareStrategy::LeastInflight,
    ShareStrategy::HashClientId,
    ShareStrategy::HashTopic,
];

/// A group of `count` online members on the topic `t`.
struct Fixture {
    index: Index,
    states: Vec<Arc<MemberState>>,
}

impl Fixture {
    fn new(count: u32) -> Self {
        let mut fixture = Self {
            index: Index::new(3),
            states: Vec::new(),
        };
        for slot in 0..count {
            fixture.join(slot);
        }
        fixture
    }

    fn join(&mut self, slot: u32) {
        let state = Arc::new(MemberState::default());
        state.online.store(true, Ordering::Relaxed);
        self.index.subscribe(
            &filter("$share/g/t"),
            subscriber(slot),
            Some(Arc::clone(&state)),
        );
        self.states.push(state);
    }

    fn leave(&mut self, slot: u32) {
        assert!(self.index.unsubscribe(&filter("$share/g/t"), session(slot)));
    }

    fn go_offline(&self, slot: usize) {
        self.states[slot].online.store(false, Ordering::Relaxed);
    }

    fn group(&self) -> GroupRoute {
        route(&self.index, "t").groups[0].clone()
    }

    /// How often each member is chosen in `count` messages with different hashes and random numbers.
    fn chosen(&self, strategy: ShareStrategy, count: u64) -> BTreeMap<u32, u64> {
        let group = self.group();
        let mut chosen = BTreeMap::new();
        for number in 0..count {
            let number = number.wrapping_mul(0xD134_2543_DE82_EF95);
            let member = group.choose(strategy, number, number, number).unwrap();
            *chosen.entry(member.session.slot).or_default() += 1;
        }
        chosen
    }
}

#[test]
fn round_robin_is_even() {
    let chosen = Fixture::new(7).chosen(ShareStrategy::RoundRobin, 700);
    assert!(
        chosen.len() == 7 && chosen.values().all(|&count| count == 100),
        "{chosen:?}"
    );
}

#[test]
fn round_robin_stays_even_beside_offline_members() {
    let fixture = Fixture::new(6);
    for slot in [1, 2, 5] {
        fixture.go_offline(slot);
    }
    let chosen = fixture.chosen(ShareStrategy::RoundRobin, 300);
    assert_eq!(chosen, BTreeMap::from([(0, 100), (3, 100), (4, 100)]));
}

#[test]
fn round_robin_is_even_while_all_are_offline() {
    let fixture = Fixture::new(4);
    (0..4).for_each(|slot| fixture.go_offline(slot));
    let chosen = fixture.chosen(ShareStrategy::RoundRobin, 400);
    assert!(
        chosen.len() == 4 && chosen.values().all(|&count| count == 100),
        "{chosen:?}"
    );
}

#[test]
fn round_robin_goes_on_over_all_topics_and_threads() {
    let mut fixture = Fixture::new(0);
    for slot in 0..5 {
        let member = Arc::new(MemberState::default());
        member.online.store(true, Ordering::Relaxed);
        fixture
            .index
            .subscribe(&filter("$share/g/+"), subscriber(slot), Some(member));
    }
    let choose = |topic: &str| {
        let route = route(&fixture.index, topic);
        let chosen = (0..500).map(|_| route.groups[0].choose(ShareStrategy::RoundRobin, 0, 0, 0));
        chosen
            .map(|member| member.unwrap().session.slot)
            .collect::<Vec<_>>()
    };
    let all: Vec<u32> = std::thread::scope(|scope| {
        let threads = ["a", "b", "c"].map(|topic| scope.spawn(move || choose(topic)));
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    for slot in 0..5 {
        assert_eq!(all.iter().filter(|&&one| one == slot).count(), 300);
    }
}

#[test]
fn random_and_hashes_spread_over_the_online_members() {
    let fixture = Fixture::new(10);
    for slot in [0, 1, 2, 9] {
        fixture.go_offline(slot);
    }
    for strategy in [
        ShareStrategy::Random,
        ShareStrategy::HashClientId,
        ShareStrategy::HashTopic,
    ] {
        let chosen = fixture.chosen(strategy, 60_000);
        assert_eq!(chosen.len(), 6, "{strategy:?}");
        assert!(
            chosen.values().all(|count| (9_000..11_000).contains(count)),
            "{strategy:?} {chosen:?}"
        );
    }
}

#[test]
fn hashes_choose_the_same_member_for_the_same_value() {
    let group = Fixture::new(10).group();
    for number in 0..100 {
        let by_topic = |random| group.choose(ShareStrategy::HashTopic, number, random, random);
        let by_client = |random| group.choose(ShareStrategy::HashClientId, random, number, random);
        assert_eq!(by_topic(1).unwrap().session, by_topic(2).unwrap().session);
        assert_eq!(by_client(1).unwrap().session, by_client(2).unwrap().session);
    }
}

#[test]
fn sticky_keeps_its_member_until_it_goes_offline_or_leaves() {
    let mut fixture = Fixture::new(5);
    let only = |fixture: &Fixture| {
        let chosen = fixture.chosen(ShareStrategy::Sticky, 50);
        assert_eq!(chosen.len(), 1, "{chosen:?}");
        *chosen.keys().next().unwrap()
    };
    let first = only(&fixture);
    fixture.join(5);
    assert_eq!(only(&fixture), first);
    fixture.go_offline(first as usize);
    let second = only(&fixture);
    assert_ne!(second, first);
    fixture.states[first as usize]
        .online
        .store(true, Ordering::Relaxed);
    assert_eq!(only(&fixture), second);
    fixture.leave(second);
    let third = only(&fixture);
    assert_ne!(third, second);
}

#[test]
fn least_inflight_takes_the_idlest_and_turns_among_equals() {
    let fixture = Fixture::new(4);
    for (state, inflight) in fixture.states.iter().zip([9, 2, 5, 2]) {
        state.inflight.store(inflight, Ordering::Relaxed);
    }
    let chosen = fixture.chosen(ShareStrategy::LeastInflight, 100);
    assert!(
        chosen.len() == 2 && chosen[&1] > 20 && chosen[&3] > 20,
        "{chosen:?}"
    );
    fixture.go_offline(1);
    fixture.go_offline(3);
    assert_eq!(
        fixture.chosen(ShareStrategy::LeastInflight, 10),
        BTreeMap::from([(2, 10)])
    );
}

#[test]
fn no_strategy_chooses_an_offline_member_while_one_is_online() {
    let fixture = Fixture::new(40);
    (0..40)
        .filter(|&slot| slot != 17)
        .for_each(|slot| fixture.go_offline(slot));
    for strategy in STRATEGIES {
        assert_eq!(
            fixture.chosen(strategy, 200),
            BTreeMap::from([(17, 200)]),
            "{strategy:?}"
        );
    }
}

#[test]
fn every_strategy_chooses_somebody_while_all_are_offline() {
    let fixture = Fixture::new(3);
    (0..3).for_each(|slot| fixture.go_offline(slot));
    for strategy in STRATEGIES {
        assert!(!fixture.chosen(strategy, 10).is_empty(), "{strategy:?}");
    }
}

#[test]
fn redelivery_goes_to_another_member_or_nowhere() {
    let fixture = Fixture::new(3);
    fixture.go_offline(2);
    for strategy in STRATEGIES {
        let group = fixture.group();
        let other =
            |slot, number| group.choose_other(session(slot), strategy, number, number, number);
        for number in 0..50 {
            assert_eq!(
                other(0, number).unwrap().session,
                session(1),
                "{strategy:?}"
            );
        }
        let alone = Fixture::new(1).group();
        assert!(
            alone.choose_other(session(0), strategy, 1, 1, 1).is_none(),
            "{strategy:?}"
        );
    }
}

#[test]
fn a_route_keeps_the_members_it_was_built_with() {
    let mut fixture = Fixture::new(40);
    let before = fixture.group();
    fixture.leave(3);
    fixture.join(99);
    let slots = |group: &GroupRoute| {
        let mut slots: Vec<u32> = group
            .members()
            .iter()
            .map(|member| member.session.slot)
            .collect();
        slots.sort_unstable();
        slots
    };
    assert_eq!(slots(&before), (0..40).collect::<Vec<_>>());
    assert_eq!(
        slots(&fixture.group()),
        (0..40)
            .filter(|&slot| slot != 3)
            .chain([99])
            .collect::<Vec<_>>()
    );
}

#[test]
fn one_group_name_on_two_filters_is_two_groups() {
    let mut index = Index::new(3);
    for text in [
        "$share/g/a/+",
        "$share/g/a/b",
        "$share/g/#",
        "$share/h/a/b",
        "a/b",
    ] {
        index.subscribe(&filter(text), subscriber(1), Some(Arc::default()));
    }
    let route = route(&index, "a/b");
    assert_eq!((route.groups.len(), route.targets.len()), (4, 1));
    let group = index
        .id_of(&filter("$share/h/a/b"))
        .and_then(|id| index.group(id))
        .unwrap();
    assert_eq!(group.members().len(), 1);
    assert!(index.group(index.id_of(&filter("a/b")).unwrap()).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn thousands_of_groups_agree_with_the_reference(
        seed: u64,
        subscriptions in prop::collection::vec((shared_filter(), any_subscriber(200)), 2_000..4_000),
        topics in prop::collection::vec(topic(), 8),
        leaves in prop::collection::vec(any::<bool>(), 4_000),
    ) {
        let mut index = Index::new(seed);
        let mut model = Model::default();
        for (text, one) in subscriptions {
            index.subscribe(&filter(&text), one, Some(Arc::default()));
            model.subscriptions.insert((text, one.session), one);
        }
        prop_assert_eq!(index.filters(), model.filters().len());
        for topic in &topics {
            prop_assert_eq!(plain(&index, &route(&index, topic)), model.route(topic));
        }
        let leaving = model.subscriptions.keys().zip(leaves).filter(|(_, leaves)| *leaves);
        for (key, _) in leaving.map(|(key, leaves)| (key.clone(), leaves)).collect::<Vec<_>>() {
            prop_assert!(index.unsubscribe(&filter(&key.0), key.1));
            model.subscriptions.remove(&key);
        }
        prop_assert_eq!((index.len(), index.filters()), (model.subscriptions.len(), model.filters().len()));
        for topic in &topics {
            prop_assert_eq!(plain(&index, &route(&index, topic)), model.route(topic));
        }
    }
}
