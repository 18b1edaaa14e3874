//! Topic names and topic filters, section 4.7; shared subscriptions, section 4.8.2.

use super::codec::DecodeError;
use super::tables::ReasonCode;

/// A topic filter taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Filter<'a> {
    /// Share group of `$share/<group>/<filter>`.
    pub share_group: Option<&'a str>,
    /// The filter that topic names are compared with, without `$share/<group>/`.
    pub filter: &'a str,
    /// The filter as the client wrote it.
    pub full: &'a str,
    /// Whether [`Filter::filter`] holds `+` or `#`.
    pub has_wildcard: bool,
}

/// Checks what is published to.
///
/// # Errors
/// `MALFORMED_PACKET` when it is empty, too long, or holds U+0000 or a wildcard. (The standard keeps
/// `TOPIC_NAME_INVALID` for names that are well formed, but not accepted.)
pub fn check_topic_name(topic: &str) -> Result<(), DecodeError> {
    let bytes = topic.as_bytes();
    let what = if bytes.is_empty() {
        "[MQTT-4.7.3-1] topic name is empty"
    } else if bytes.len() > MAX_BYTES {
        "[MQTT-4.7.3-3] topic name is longer than 65535 bytes"
    } else if is_plain(bytes) {
        return Ok(());
    } else {
        "[MQTT-3.3.2-2] topic name holds a wildcard or U+0000"
    };
    Err(DecodeError::malformed(what))
}

/// Checks what is subscribed to and takes it apart.
///
/// # Errors
/// `MALFORMED_PACKET` when it is empty; `TOPIC_FILTER_INVALID`, which fits SUBACK and DISCONNECT, when
/// it is too long, holds U+0000, a wildcard does not fill its level, `#` is not last, or `$share/` is
/// not followed by a group and a filter.
pub fn check_topic_filter(full: &str) -> Result<Filter<'_>, DecodeError> {
    if full.len() > MAX_BYTES {
        return Err(invalid_filter(
            "[MQTT-4.7.3-3] topic filter is longer than 65535 bytes",
        ));
    }
    let (share_group, filter) = match full.strip_prefix("$share/") {
        None => (None, full),
        Some(rest) => {
            let Some((group, filter)) = rest.split_once('/') else {
                return Err(invalid_filter(
                    "[MQTT-4.8.2-2] share group without topic filter",
                ));
            };
            if group.is_empty() || group.contains(['+', '#']) {
                return Err(invalid_filter(
                    "[MQTT-4.8.2-1] share group is empty or holds a wildcard",
                ));
            }
            (Some(group), filter)
        }
    };
    if filter.is_empty() {
        // 0x8F is for filters that are correctly formed, section 3.14.2.1.
        return Err(DecodeError::malformed(
            "[MQTT-4.7.3-1] topic filter is empty",
        ));
    }
    if full.as_bytes().contains(&0) {
        return Err(invalid_filter("[MQTT-4.7.3-2] topic filter holds U+0000"));
    }
    let mut has_wildcard = false;
    let mut after_hash = false;
    for level in levels(filter) {
        if after_hash {
            return Err(invalid_filter("[MQTT-4.7.1-1] # is not the last level"));
        }
        match level {
            "#" => after_hash = true,
            "+" => {}
            _ if level.contains('#') => {
                return Err(invalid_filter("[MQTT-4.7.1-1] # does not fill its level"));
            }
            _ if level.contains('+') => {
                return Err(invalid_filter("[MQTT-4.7.1-2] + does not fill its level"));
            }
            _ => continue,
        }
        has_wildcard = true;
    }
    Ok(Filter {
        share_group,
        filter,
        full,
        has_wildcard,
    })
}

const fn invalid_filter(what: &'static str) -> DecodeError {
    DecodeError {
        reason: ReasonCode::TOPIC_FILTER_INVALID,
        what,
    }
}

/// Whether a valid filter (without `$share/<group>/`) matches a valid topic name.
///
/// `a/#` matches `a` as well; a filter that begins with a wildcard matches no topic that begins
/// with `$` [MQTT-4.7.2-1].
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic_levels = levels(topic);
    for wanted in levels(filter) {
        match (wanted, topic_levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

/// The levels of a topic name or filter; there is always at least one, and levels may be empty.
#[inline]
pub fn levels(topic: &str) -> std::str::Split<'_, char> {
    topic.split('/')
}

/// How many levels there are, at least 1.
#[inline]
pub fn level_count(topic: &str) -> usize {
    1 + topic.bytes().filter(|&byte| byte == b'/').count()
}

/// Whether no byte is a wildcard or U+0000. There is no early end, so it becomes wide compares.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |found, &byte| {
        found | (byte == 0) | (byte == b'+') | (byte == b'#')
    })
}

const MAX_BYTES: usize = u16::MAX as usize;
