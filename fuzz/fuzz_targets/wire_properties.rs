//! Any bytes as properties of every place: no panic, and reading agrees with copying.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanomq_proto::wire::tables::{Properties, PropertyInfo, PropertyPlace as P};

const PLACES: [P; 14] = [
    P::Connect,
    P::Will,
    P::ConnAck,
    P::Publish,
    P::PubAck,
    P::PubRec,
    P::PubRel,
    P::PubComp,
    P::Subscribe,
    P::SubAck,
    P::Unsubscribe,
    P::UnsubAck,
    P::Disconnect,
    P::Auth,
];

fuzz_target!(|input: &[u8]| {
    let unchecked = Properties::from_validated(input);
    let _ = (unchecked.iter().count(), unchecked.iter_raw().count());
    for place in PLACES {
        let Ok(properties) = Properties::parse(input, place) else {
            continue;
        };
        let mut copied = Vec::new();
        for (id, raw) in properties.iter_raw() {
            assert!(PropertyInfo::by_id(id).is_some_and(|info| info.is_allowed_in(place)));
            copied.extend_from_slice(raw);
        }
        assert_eq!(copied, input);
        let mut written = Vec::new();
        properties
            .iter()
            .for_each(|property| property.encode(&mut written));
        assert_eq!(written, input);
    }
});
