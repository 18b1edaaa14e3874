//! What a link is subscribed to, to ask again when the server has lost the session.

use crate::wire::packet::SubscribeOptions;

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) filter: Box<str>,
    pub(super) options: SubscribeOptions,
    pub(super) properties: Box<[u8]>,
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions(Vec<Subscription>);

impl Subscriptions {
    pub(super) fn add(&mut self, filters: &[(&str, SubscribeOptions)], properties: &[u8]) {
        for &(filter, options) in filters {
            self.0.retain(|known| known.filter.as_ref() != filter);
            let (filter, properties) = (filter.into(), properties.into());
            self.0.push(Subscription {
                filter,
                options,
                properties,
            });
        }
    }

    pub(super) fn remove(&mut self, filters: &[&str]) {
        self.0
            .retain(|known| !filters.contains(&known.filter.as_ref()));
    }

    /// Neighbours with equal properties, each for one SUBSCRIBE.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[Subscription]> {
        self.0.chunk_by(|a, b| a.properties == b.properties)
    }
}
