//! Two texts as filter and topic name: no panic, and matching agrees with a plain reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanomq_proto::wire::topic::{
    check_topic_filter, check_topic_name, level_count, levels, matches,
};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (filter, topic) = text.split_once('\n').unwrap_or((text, text));
    assert_eq!(levels(topic).count(), level_count(topic));
    let (parsed, name) = (check_topic_filter(filter), check_topic_name(topic));
    if name.is_ok() {
        // A name is a filter too, unless it looks like a broken shared subscription.
        assert!(topic.starts_with("$share/") || check_topic_filter(topic).is_ok());
    }
    let Ok(parsed) = parsed else { return };
    assert!(filter.ends_with(parsed.filter) && filter == parsed.full);
    assert_eq!(parsed.has_wildcard, parsed.filter.contains(['+', '#']));
    if name.is_ok() {
        assert_eq!(
            matches(parsed.filter, topic),
            reference(parsed.filter, topic)
        );
    }
});

/// Section 4.7 word by word.
fn reference(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('#') || filter.starts_with('+')) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let (fixed, has_hash) = match filter.split_last() {
        Some((&"#", fixed)) => (fixed, true),
        _ => (&filter[..], false),
    };
    let fits = fixed
        .iter()
        .zip(&topic)
        .all(|(wanted, level)| *wanted == "+" || wanted == level);
    fits && if has_hash {
        topic.len() >= fixed.len()
    } else {
        topic.len() == fixed.len()
    }
}
