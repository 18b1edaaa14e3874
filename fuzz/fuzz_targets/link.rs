//! Any bytes from a server: the client side neither panics nor says anything after it has given up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanomq_proto::session::link::{Link, LinkOptions};
use nanomq_proto::wire::packet::Version;
use nanomq_proto::wire::tables::ReasonCode;

fuzz_target!(|input: (bool, Vec<(u8, Vec<u8>)>)| {
    let (is_v5, steps) = input;
    let version = if is_v5 { Version::V5 } else { Version::V311 };
    let Ok(mut link) = Link::new(LinkOptions::new(version, "c")) else {
        return;
    };
    link.start(0);
    let accepted: &[u8] = if is_v5 {
        &[0x20, 3, 0, 0, 0]
    } else {
        &[0x20, 2, 0, 0]
    };
    let mut unread = accepted.to_vec();
    let mut now = 0;
    for (what, bytes) in &steps {
        match what % 5 {
            0 => now += u64::from(*what) * 1_000_000,
            1 => link.acknowledge(now, u16::from(*what), ReasonCode::SUCCESS),
            2 => {
                link.lost();
                link.start(now);
                unread = accepted.to_vec();
            }
            _ => unread.extend_from_slice(bytes),
        }
        if link.expire(now).is_err() {
            return;
        }
        let mut count = 0;
        match link.receive(now, &unread, &mut |_event| count += 1) {
            Ok(consumed) => {
                unread.drain(..consumed);
                // An event costs at least one packet of two bytes.
                assert!(count <= consumed);
            }
            Err(_) => return,
        }
        link.output.clear();
    }
});
