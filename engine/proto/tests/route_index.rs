//! The index of subscriptions: single behaviours, then random sequences against a plain reference.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod route_model;

use nanomq_proto::route::index::{Index, MemberState, NoLocal, SessionKey, Subscriber};
use nanomq_proto::wire::packet::QoS;
use proptest::prelude::*;
use proptest::sample::Index as Choice;
use route_model::{
    Model, any_filter, any_subscriber, filter, matches, plain, route, session, subscriber, topic,
};
use std::sync::Arc;

/// An index in which session 1 has these filters.
fn index_of(filters: &[&str]) -> Index {
    let mut index = Index::new(7);
    for text in filters {
        index.subscribe(&filter(text), subscriber(1), None);
    }
    index
}

fn reaches(index: &Index, topic: &str) -> bool {
    !route(index, topic).is_empty()
}

#[test]
fn exact_filter_matches_its_topic_only() {
    let index = index_of(&["a/b"]);
    assert!(reaches(&index, "a/b"));
    for topic in ["a", "a/b/c", "a/B", "/a/b", "a/b/"] {
        assert!(!reaches(&index, topic), "{topic}");
    }
}

#[test]
fn plus_matches_one_level_even_an_empty_one() {
    let index = index_of(&["a/+/c"]);
    assert!(reaches(&index, "a/b/c"));
    assert!(reaches(&index, "a//c"));
    assert!(!reaches(&index, "a/c"));
    assert!(!reaches(&index, "a/b/b/c"));
}

#[test]
fn multi_level_wildcard_matches_its_parent() {
    let index = index_of(&["a/#"]);
    for topic in ["a", "a/", "a/b", "a/b/c"] {
        assert!(reaches(&index, topic), "{topic}");
    }
    assert!(!reaches(&index, "b"));
}

#[test]
fn dollar_topics_are_hidden_from_wildcards_at_the_first_level() {
    let index = index_of(&["#", "+/x", "+/#"]);
    assert!(!reaches(&index, "$SYS/x"));
    assert!(reaches(&index, "SYS/x"));
    let index = index_of(&["$SYS/#", "$SYS/+"]);
    assert_eq!(route(&index, "$SYS/x").targets.len(), 1);
}

#[test]
fn overlapping_subscriptions_reach_a_session_once_with_the_highest_qos_and_all_identifiers() {
    let mut index = Index::new(7);
    for (text, qos, subscription_id) in [
        ("a/b", QoS::AtMostOnce, 5),
        ("a/+", QoS::ExactlyOnce, 9),
        ("#", QoS::AtLeastOnce, 5),
        ("a/#", QoS::AtLeastOnce, 0),
    ] {
        let one = Subscriber {
            qos,
            subscription_id,
            ..subscriber(1)
        };
        index.subscribe(&filter(text), one, None);
    }
    let route = route(&index, "a/b");
    let [target] = *route.targets else {
        panic!("{route:?}")
    };
    assert_eq!(target.qos, QoS::ExactlyOnce);
    let mut ids = route.ids(&target).to_vec();
    ids.sort_unstable();
    assert_eq!(ids, [5, 5, 9]);
}

#[test]
fn a_route_of_one_target_with_thousands_of_identifiers_is_large() {
    let mut index = Index::new(7);
    for bits in 0..1u32 << 12 {
        let levels: Vec<&str> = (0..12)
            .map(|level| if bits >> level & 1 == 0 { "a" } else { "+" })
            .collect();
        let text = levels.join("/");
        let subscriber = Subscriber {
            subscription_id: bits + 1,
            ..subscriber(1)
        };
        index.subscribe(&filter(&text), subscriber, None);
    }
    let large = route(&index, &["a"; 12].join("/"));
    assert_eq!((large.targets.len(), large.ids.len()), (1, 1 << 12));
    assert!(large.is_large);
    assert!(!route(&index, "a").is_large);
}

#[test]
fn a_publisher_gets_what_its_subscriptions_without_no_local_ask_for() {
    let mut index = Index::new(7);
    let silent = Subscriber {
        no_local: true,
        qos: QoS::ExactlyOnce,
        subscription_id: 1,
        ..subscriber(1)
    };
    index.subscribe(&filter("a/#"), silent, None);
    let all = route(&index, "a");
    assert_eq!(all.targets[0].no_local, NoLocal::Set);
    assert_eq!(all.own(&all.targets[0]), None);

    index.subscribe(
        &filter("a"),
        Subscriber {
            subscription_id: 2,
            ..subscriber(1)
        },
        None,
    );
    let mixed = route(&index, "a");
    let target = mixed.targets[0];
    assert_eq!(
        (target.no_local, target.qos),
        (NoLocal::Mixed, QoS::ExactlyOnce)
    );
    assert_eq!(mixed.ids(&target).len(), 2);
    let own = mixed.own(&target).unwrap();
    assert_eq!((own.qos, own.ids), (QoS::AtLeastOnce, &[2][..]));
}

#[test]
fn subscribing_again_replaces_the_options() {
    let mut index = Index::new(7);
    let first = index.subscribe(&filter("a/+"), subscriber(1), None);
    let louder = Subscriber {
        qos: QoS::ExactlyOnce,
        ..subscriber(1)
    };
    let second = index.subscribe(&filter("a/+"), louder, None);
    assert_eq!(
        (first.is_new, second.is_new, first.id == second.id),
        (true, false, true)
    );
    assert_eq!(route(&index, "a/b").targets[0].qos, QoS::ExactlyOnce);
    assert_eq!((index.len(), index.filters()), (1, 1));
}

#[test]
fn a_shared_filter_and_its_plain_twin_have_their_own_ids_and_texts() {
    let mut index = Index::new(7);
    let shared = index.subscribe(&filter("$share/g/a/+"), subscriber(1), Some(Arc::default()));
    assert_eq!(index.id_of(&filter("a/+")), None);
    let plain = index.subscribe(&filter("a/+"), subscriber(1), None);
    assert_ne!(shared.id, plain.id);
    let mut text = String::new();
    assert!(index.text_of(shared.id, &mut text) && index.text_of(plain.id, &mut text));
    assert_eq!(text, "$share/g/a/+a/+");
    assert!(index.unsubscribe(&filter("a/+"), session(1)));
    assert!(!index.text_of(plain.id, &mut text));
    assert_eq!(route(&index, "a/b").groups.len(), 1);
    assert_eq!((index.len(), index.filters()), (1, 1));
}

#[test]
fn ids_never_given_are_refused() {
    let mut index = index_of(&["a"]);
    for id in [1, 77, 1 << 31, u32::MAX] {
        assert!(!index.unsubscribe_id(id, session(1)));
        assert!(!index.text_of(id, &mut String::new()));
        assert!(index.group(id).is_none());
    }
    assert!(!index.unsubscribe(&filter("a"), session(2)));
    assert_eq!(index.len(), 1);
}

#[test]
fn a_filter_inside_of_another_is_found_before_and_after_it() {
    let deep = "a/+/c/a level of more than twenty-two bytes/+/#";
    let inside = [
        "a/+",
        "a/+/c",
        "a/+/c/#",
        "a/+/c/x/+/#",
        "a/#",
        "+/b",
        "a/+/c/+/+",
    ];
    for text in inside {
        let mut index = index_of(&[deep]);
        let id = index.id_of(&filter(deep)).unwrap();
        index.subscribe(&filter(text), subscriber(2), None);
        assert_eq!(index.id_of(&filter(deep)), Some(id), "{text}");
        let topic = "a/b/c/a level of more than twenty-two bytes/d";
        let expected = 1 + usize::from(matches(text, topic));
        assert_eq!(route(&index, topic).targets.len(), expected, "{text}");
        let mut written = String::new();
        assert!(index.text_of(id, &mut written));
        assert_eq!(written, deep);
        assert!(index.unsubscribe_id(id, session(1)));
        assert!(
            !reaches(&index, "a/b/c/a level of more than twenty-two bytes/d/e/f")
                || matches(text, topic)
        );
    }
}

/// 65,535 bytes are up to 65,536 levels; the stack of a small thread has to do.
#[test]
fn depth_costs_no_stack() {
    let walk = || {
        let slashes = "/".repeat(65_535);
        let pluses = vec!["+"; 32_768].join("/");
        let multi = format!("{}#", "/".repeat(65_534));
        let mut index = index_of(&[&slashes, &pluses, &multi, "#", "+/#"]);
        assert_eq!(route(&index, &slashes).targets.len(), 1);
        assert!(reaches(&index, &"/".repeat(32_767)));
        let mut text = String::new();
        let id = index.id_of(&filter(&multi)).unwrap();
        assert!(index.text_of(id, &mut text));
        assert_eq!(text, multi);
        for text in [&*slashes, &pluses, &multi, "#", "+/#"] {
            assert!(index.unsubscribe(&filter(text), session(1)));
        }
        assert!(index.is_empty() && !reaches(&index, &slashes));
    };
    std::thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(walk)
        .unwrap()
        .join()
        .unwrap();
}

/// One step of a random sequence.
#[derive(Clone, Debug)]
enum Step {
    Subscribe(String, Subscriber),
    /// A filter that may not be there.
    Unsubscribe(String, SessionKey),
    /// One of those that are there, by its filter or by its id.
    Forget(Choice, bool),
    EndSession(SessionKey),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any_filter(), any_subscriber(6)).prop_map(|(text, one)| Step::Subscribe(text, one)),
        2 => (any_filter(), any_subscriber(6)).prop_map(|(text, one)| Step::Unsubscribe(text, one.session)),
        5 => (any::<Choice>(), any::<bool>()).prop_map(|(which, by_id)| Step::Forget(which, by_id)),
        1 => any_subscriber(6).prop_map(|one| Step::EndSession(one.session)),
    ]
}

fn forget(index: &mut Index, model: &mut Model, key: &(String, SessionKey), by_id: bool) -> bool {
    let (text, session) = key;
    let is_there = model.subscriptions.remove(key).is_some();
    let filter = filter(text);
    let is_gone = match index.id_of(&filter) {
        Some(id) if by_id => index.unsubscribe_id(id, *session),
        _ => index.unsubscribe(&filter, *session),
    };
    is_there == is_gone
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn index_agrees_with_the_reference(
        seed: u64,
        steps in prop::collection::vec(step(), 1..150),
        topics in prop::collection::vec(topic(), 12),
    ) {
        let mut index = Index::new(seed);
        let mut model = Model::default();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Subscribe(text, one) => {
                    let member = filter(&text).share_group.map(|_| Arc::<MemberState>::default());
                    let subscribed = index.subscribe(&filter(&text), one, member);
                    let mut written = String::new();
                    prop_assert!(index.text_of(subscribed.id, &mut written));
                    prop_assert_eq!(&written, &text);
                    let is_new = model.subscriptions.insert((text, one.session), one).is_none();
                    prop_assert_eq!(subscribed.is_new, is_new);
                }
                Step::Unsubscribe(text, session) => {
                    prop_assert!(forget(&mut index, &mut model, &(text, session), false));
                }
                Step::Forget(which, by_id) if !model.subscriptions.is_empty() => {
                    let at = which.index(model.subscriptions.len());
                    let key = model.subscriptions.keys().nth(at).unwrap().clone();
                    prop_assert!(forget(&mut index, &mut model, &key, by_id));
                }
                Step::Forget(..) => {}
                Step::EndSession(session) => {
                    let all: Vec<_> = model.subscriptions.keys().filter(|key| key.1 == session).cloned().collect();
                    for key in all {
                        prop_assert!(forget(&mut index, &mut model, &key, true));
                    }
                }
            }
            prop_assert_eq!((index.len(), index.filters()), (model.subscriptions.len(), model.filters().len()));
            let topic = &topics[at % topics.len()];
            prop_assert_eq!(plain(&index, &route(&index, topic)), model.route(topic), "{}", topic);
        }
        for topic in &topics {
            prop_assert_eq!(plain(&index, &route(&index, topic)), model.route(topic), "{}", topic);
        }
        for key in model.subscriptions.keys().cloned().collect::<Vec<_>>() {
            prop_assert!(forget(&mut index, &mut model, &key, true));
        }
        prop_assert!(index.is_empty() && index.filters() == 0);
        for topic in &topics {
            prop_assert!(!reaches(&index, topic));
        }
    }

    #[test]
    fn wire_matching_agrees_with_the_reference(text in route_model::plain_filter(), topic in topic()) {
        prop_assert_eq!(nanomq_proto::wire::topic::matches(&text, &topic), matches(&text, &topic));
    }
}
