//! Topic names, filters and matching; matching against a plain reference.
#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use nanomq_proto::wire::tables::ReasonCode;
use nanomq_proto::wire::topic::{
    check_topic_filter, check_topic_name, level_count, levels, matches,
};
use proptest::prelude::*;

macro_rules! matching {
    ($($name:ident: $filter:literal, $topic:literal => $expected:literal;)*) => {
        $(#[test] fn $name() { assert_eq!(matches($filter, $topic), $expected); })*
    };
}

matching! {
    test_equal_text_matches: "a/b", "a/b" => true;
    test_case_counts: "a/B", "a/b" => false;
    test_hash_matches_all_levels: "a/#", "a/b/c" => true;
    test_hash_matches_the_parent: "a/#", "a" => true;
    test_hash_does_not_match_a_longer_name: "a/#", "ab" => false;
    test_hash_alone_matches_everything: "#", "a/b" => true;
    test_plus_matches_one_level: "a/+", "a/b" => true;
    test_plus_does_not_match_two_levels: "a/+", "a/b/c" => false;
    test_plus_does_not_match_no_level: "a/+", "a" => false;
    test_plus_matches_an_empty_level: "a/+", "a/" => true;
    test_plus_in_the_middle: "a/+/c", "a/b/c" => true;
    test_plus_and_hash: "+/#", "a" => true;
    test_leading_slash_is_an_empty_level: "/+", "/finance" => true;
    test_plus_plus_matches_leading_slash: "+/+", "/finance" => true;
    test_plus_alone_does_not_match_leading_slash: "+", "/finance" => false;
    test_trailing_slash_counts: "a", "a/" => false;
    test_hash_hides_dollar: "#", "$SYS/a" => false;
    test_plus_hides_dollar: "+/a", "$SYS/a" => false;
    test_dollar_by_name: "$SYS/#", "$SYS/a/b" => true;
    test_dollar_with_plus: "$SYS/+", "$SYS/a" => true;
    test_dollar_in_a_later_level_is_ordinary: "a/+", "a/$b" => true;
}

macro_rules! invalid_filter {
    ($($name:ident: $filter:expr;)*) => {
        $(#[test] fn $name() {
            let refusal = check_topic_filter($filter).map(|_| ()).map_err(|error| error.reason);
            assert_eq!(refusal, Err(ReasonCode::TOPIC_FILTER_INVALID));
        })*
    };
}

invalid_filter! {
    test_filter_with_nul: "a\0b";
    test_filter_too_long: &"a".repeat(65_536);
    test_hash_not_last: "a/#/b";
    test_hash_within_level: "a/b#";
    test_hash_before_text: "#b";
    test_plus_within_level: "a/b+";
    test_plus_before_text: "+b/c";
    test_share_without_group: "$share//a";
    test_share_without_filter: "$share/g";
    test_share_with_nothing: "$share/";
    test_share_group_with_plus: "$share/g+/a";
    test_share_group_with_hash: "$share/#/a";
    test_share_with_bad_filter: "$share/g/a#";
}

#[test]
fn test_empty_filter_is_malformed() {
    for filter in ["", "$share/g/"] {
        let refusal = check_topic_filter(filter).map_err(|error| error.reason);
        assert_eq!(refusal.err(), Some(ReasonCode::MALFORMED_PACKET));
    }
}

#[test]
fn test_filter_is_taken_apart() {
    let filter = check_topic_filter("$share/group/a/+/#").unwrap();
    assert_eq!(filter.share_group, Some("group"));
    assert_eq!(filter.filter, "a/+/#");
    assert_eq!(filter.full, "$share/group/a/+/#");
    assert!(filter.has_wildcard);
}

#[test]
fn test_plain_filter_has_no_group() {
    let filter = check_topic_filter("a/b").unwrap();
    assert_eq!(
        (filter.share_group, filter.filter, filter.has_wildcard),
        (None, "a/b", false)
    );
}

#[test]
fn test_shared_filter_may_begin_with_slash() {
    let filter = check_topic_filter("$share/g//a").unwrap();
    assert_eq!((filter.share_group, filter.filter), (Some("g"), "/a"));
}

#[test]
fn test_share_without_slash_is_an_ordinary_filter() {
    assert_eq!(check_topic_filter("$share").unwrap().share_group, None);
    assert_eq!(check_topic_filter("$shared/g/a").unwrap().share_group, None);
}

#[test]
fn test_names_without_wildcards_are_topic_names() {
    for topic in ["a", "/", "//", "$SYS/x", " ", "ä/ö", &"a".repeat(65_535)] {
        assert_eq!(check_topic_name(topic), Ok(()));
    }
    for topic in ["", "+", "a/#", "a+", "\0", &"a".repeat(65_536)] {
        assert_eq!(
            check_topic_name(topic).unwrap_err().reason,
            ReasonCode::MALFORMED_PACKET
        );
    }
}

#[test]
fn test_levels_are_counted() {
    assert_eq!(levels("a//b").collect::<Vec<_>>(), ["a", "", "b"]);
    assert_eq!(
        (level_count("a"), level_count("/"), level_count("a//b")),
        (1, 2, 3)
    );
}

/// Section 4.7 word by word, on lists of levels.
fn reference(filter: &[&str], topic: &[&str]) -> bool {
    fn below(filter: &[&str], topic: &[&str]) -> bool {
        match (filter.first(), topic.first()) {
            (None, None) => true,
            (Some(&"#"), _) => true,
            (Some(&"+"), Some(_)) => below(&filter[1..], &topic[1..]),
            (Some(wanted), Some(level)) => wanted == level && below(&filter[1..], &topic[1..]),
            _ => false,
        }
    }
    let begins_with_wildcard = filter[0] == "#" || filter[0] == "+";
    !(begins_with_wildcard && topic[0].starts_with('$')) && below(filter, topic)
}

fn name() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        Just(""),
        Just("a"),
        Just("b"),
        Just("ab"),
        Just("$a"),
        Just("ä")
    ];
    prop::collection::vec(level, 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("no empty name", |name| !name.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        Just(""),
        Just("a"),
        Just("b"),
        Just("$a"),
        Just("+"),
        Just("+")
    ];
    (prop::collection::vec(level, 0..6), any::<bool>())
        .prop_map(|(mut levels, has_hash)| {
            levels.extend(has_hash.then_some("#"));
            levels.join("/")
        })
        .prop_filter("no empty filter", |filter| !filter.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn test_matches_like_the_reference(filter in filter(), topic in name()) {
        let wanted: Vec<_> = filter.split('/').collect();
        let given: Vec<_> = topic.split('/').collect();
        prop_assert_eq!(matches(&filter, &topic), reference(&wanted, &given));
    }

    #[test]
    fn test_filters_of_valid_levels_are_valid(filter in filter()) {
        let parsed = check_topic_filter(&filter).unwrap();
        prop_assert_eq!(parsed.has_wildcard, filter.contains(['+', '#']));
    }

    #[test]
    fn test_any_text_is_judged_without_panic(filter in ".{0,40}", topic in ".{0,40}") {
        let _ = check_topic_filter(&filter);
        let _ = check_topic_name(&topic);
        let _ = matches(&filter, &topic);
    }

    #[test]
    fn test_a_valid_name_is_a_filter_of_itself(topic in name()) {
        prop_assert!(matches(&topic, &topic));
        prop_assert!(!check_topic_filter(&topic).unwrap().has_wildcard);
    }
}
