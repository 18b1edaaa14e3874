//! Any bytes as a PROXY protocol header: no panic, and an answer that more bytes do not change.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanomq_engine::net::proxy::{Header, parse};

/// A header is never longer, so nobody collects more to decide.
const LONGEST: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let whole = parse(input);
    match whole {
        Header::Incomplete => assert!(input.len() < LONGEST),
        Header::Done { consumed, .. } => {
            assert!(consumed <= input.len());
            assert_eq!(parse(&input[..consumed]), whole);
            assert_eq!(parse(&input[..consumed - 1]), Header::Incomplete);
        }
        Header::Invalid(why) => assert!(!why.is_empty()),
    }
    for cut in 0..input.len().min(256) {
        let answer = parse(&input[..cut]);
        if answer != Header::Incomplete {
            // Which fault is named may depend on the cut, whether there is one may not.
            match answer {
                Header::Invalid(_) => assert!(matches!(whole, Header::Invalid(_))),
                answer => assert_eq!(answer, whole),
            }
            break;
        }
    }
});
