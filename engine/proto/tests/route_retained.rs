//! Retained messages: single behaviours, then random sequences against a plain reference.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod route_model;

use nanomq_proto::route::retained::Retained;
use proptest::prelude::*;
use route_model::{matches, plain_filter, topic};
use std::collections::BTreeMap;

fn found(retained: &Retained<u32>, filter: &str) -> Vec<u32> {
    let mut found = Vec::new();
    retained.find(filter, &mut |&value| found.push(value));
    found.sort_unstable();
    found
}

#[test]
fn setting_again_replaces_and_removing_returns_the_value() {
    let mut retained = Retained::new(1);
    assert_eq!(retained.set("a/b", 1), None);
    assert_eq!(retained.set("a/b", 2), Some(1));
    assert_eq!((retained.len(), retained.get("a/b")), (1, Some(&2)));
    assert_eq!(retained.remove("a"), None);
    assert_eq!(retained.remove("a/b"), Some(2));
    assert_eq!(retained.remove("a/b"), None);
    assert!(retained.is_empty());
}

#[test]
fn wildcards_find_what_they_match() {
    let mut retained = Retained::new(1);
    for (value, topic) in ["a", "a/b", "a/b/c", "a//c", "x/b", "$SYS/b", "/b"]
        .iter()
        .enumerate()
    {
        retained.set(topic, value as u32);
    }
    assert_eq!(found(&retained, "a/#"), [0, 1, 2, 3]);
    assert_eq!(found(&retained, "a/+/c"), [2, 3]);
    assert_eq!(found(&retained, "+/b"), [1, 4, 6]);
    assert_eq!(found(&retained, "#"), [0, 1, 2, 3, 4, 6]);
    assert_eq!(found(&retained, "$SYS/#"), [5]);
    assert_eq!(found(&retained, "$SYS/+"), [5]);
    assert_eq!(found(&retained, "unknown/+"), []);
    assert_eq!(found(&retained, "+/+/+/#"), [2, 3]);
}

#[test]
fn dollar_topics_are_hidden_from_first_level_wildcards_at_any_depth() {
    let mut retained = Retained::new(1);
    for topic in ["$SYS", "$SYS/b", "$SYS/b/c", "$other/b"] {
        retained.set(topic, 1);
    }
    for filter in ["#", "+", "+/b", "+/#", "+/+/c"] {
        assert_eq!(found(&retained, filter), [], "{filter}");
    }
    assert_eq!(found(&retained, "$SYS/+"), [1]);
}

/// 65,535 bytes are up to 65,536 levels; the stack of a small thread has to do.
#[test]
fn depth_costs_no_stack() {
    let walk = || {
        let slashes = "/".repeat(65_535);
        let mut retained = Retained::new(1);
        retained.set(&slashes, 1);
        retained.set(&slashes[..40_000], 2);
        assert_eq!(found(&retained, "#"), [1, 2]);
        assert_eq!(found(&retained, &vec!["+"; 32_768].join("/")), []);
        assert_eq!(found(&retained, &format!("{}#", &slashes[..65_000])), [1]);
        retained.retain(|&value| value == 2);
        assert_eq!(
            (retained.len(), retained.remove(&slashes[..40_000])),
            (1, Some(2))
        );
    };
    std::thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(walk)
        .unwrap()
        .join()
        .unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Set(String, u32),
    Remove(String),
    Purge(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (topic(), any::<u32>()).prop_map(|(topic, value)| Step::Set(topic, value)),
        6 => topic().prop_map(Step::Remove),
        1 => (2..9_u32).prop_map(Step::Purge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn retained_agrees_with_the_reference(
        seed: u64,
        steps in prop::collection::vec(step(), 1..200),
        filters in prop::collection::vec(plain_filter(), 10),
    ) {
        let mut retained = Retained::new(seed);
        let mut model = BTreeMap::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Set(topic, value) => prop_assert_eq!(retained.set(&topic, value), model.insert(topic, value)),
                Step::Remove(topic) => prop_assert_eq!(retained.remove(&topic), model.remove(&topic)),
                Step::Purge(divisor) => {
                    retained.retain(|value| value % divisor != 0);
                    model.retain(|_, value| *value % divisor != 0);
                }
            }
            prop_assert_eq!(retained.len(), model.len());
            let filter = &filters[at % filters.len()];
            let matching = model.iter().filter(|(topic, _)| matches(filter, topic));
            let mut expected: Vec<u32> = matching.map(|(_, &value)| value).collect();
            expected.sort_unstable();
            prop_assert_eq!(found(&retained, filter), expected, "{}", filter);
        }
        for (topic, value) in &model {
            prop_assert_eq!(retained.get(topic), Some(value));
            prop_assert_eq!(found(&retained, topic), vec![*value]);
        }
        for (topic, value) in model {
            prop_assert_eq!(retained.remove(&topic), Some(value));
        }
        prop_assert!(retained.is_empty());
        prop_assert_eq!(found(&retained, "#"), Vec::<u32>::new());
    }
}
