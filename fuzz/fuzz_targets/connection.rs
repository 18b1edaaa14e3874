//! Any bytes from several clients, with lost connections, full sockets and passing time: no panic, the ledger
//! adds up, nothing is left at the end, and the broker says the same however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanomq_proto::SECOND;
use nanomq_proto::route::index::ShareStrategy;
use nanomq_proto::route::router::{RetainedLimits, Router};
use nanomq_proto::session::connection::Origin;
use nanomq_proto::session::registry::{Action, ConnectionKey, Registry};
use nanomq_proto::session::settings::Settings;
use std::io::IoSlice;
use std::sync::Arc;

const CLIENTS: usize = 3;

fuzz_target!(|steps: Vec<(u8, u8, Vec<u8>)>| {
    let mut whole = World::new();
    let mut cut = World::new();
    for (client, what, bytes) in &steps {
        let client = usize::from(*client) % CLIENTS;
        whole.step(client, *what, bytes, bytes.len());
        cut.step(client, *what, bytes, usize::from(*what >> 3) + 1);
    }
    assert_eq!(whole.sent, cut.sent);
    whole.end();
    cut.end();
});

struct World {
    registry: Registry,
    clients: [Option<ConnectionKey>; CLIENTS],
    /// Input that is not a whole packet yet.
    unread: [Vec<u8>; CLIENTS],
    sent: [Vec<u8>; CLIENTS],
    now: u64,
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            max_queue_count: 5,
            max_inflight: 3,
            ..Settings::default()
        };
        let limits = RetainedLimits { count: 3, bytes: 0 };
        let router = Router::new(1, ShareStrategy::RoundRobin, limits);
        let mut world = Self {
            registry: Registry::new(0, 1, Arc::new(router), Arc::new(settings), 1),
            clients: [None; CLIENTS],
            unread: Default::default(),
            sent: Default::default(),
            now: 0,
        };
        (0..CLIENTS).for_each(|client| world.connect(client));
        world
    }

    /// Connects and subscribes, so that bytes by chance have somebody to reach.
    fn connect(&mut self, client: usize) {
        let key = self.registry.open(self.now, Arc::new(Origin::default()));
        self.clients[client] = Some(key);
        self.unread[client].clear();
        let name = b'a' + client as u8;
        let version = [4, 5, 5][client];
        let properties: &[u8] = if version == 5 {
            &[5, 17, 0, 0, 0, 9]
        } else {
            &[]
        };
        let body = [
            b"\0\x04MQTT",
            &[version, 0, 0, 9][..],
            properties,
            &[0, 1, name],
        ]
        .concat();
        self.feed(
            client,
            &[&[0x10, body.len() as u8][..], &body].concat(),
            usize::MAX,
        );
        let properties: &[u8] = if version == 5 { &[0] } else { &[] };
        let body = [&[0, 1][..], properties, &[0, 1, b'#', client as u8]].concat();
        self.feed(
            client,
            &[&[0x82, body.len() as u8][..], &body].concat(),
            usize::MAX,
        );
    }

    fn step(&mut self, client: usize, what: u8, bytes: &[u8], piece: usize) {
        match what % 8 {
            0 => {
                self.lose(client);
                self.connect(client);
            }
            1 => self.now += u64::from(what) * SECOND / 4,
            2 => {
                if let Some(key) = self.clients[client] {
                    self.registry.set_blocked(key.slot);
                }
            }
            3 => self.drain(),
            _ => self.feed(client, bytes, piece),
        }
        self.registry.expire(self.now);
        self.act();
        assert!(self.registry.ledger().adds_up());
    }

    fn feed(&mut self, client: usize, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece.max(1)) {
            let Some(key) = self.clients[client] else {
                return;
            };
            self.unread[client].extend_from_slice(piece);
            let received = self.registry.receive(self.now, key, &self.unread[client]);
            self.unread[client].drain(..received.consumed);
            self.act();
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.registry.next_action() {
            if let Action::Close(key) = action {
                let client = self.clients.iter().position(|other| *other == Some(key));
                if let Some(client) = client {
                    self.take(client, key.slot);
                    self.lose(client);
                }
            }
        }
    }

    fn lose(&mut self, client: usize) {
        if let Some(key) = self.clients[client].take() {
            self.registry.release(self.now, key);
        }
    }

    /// Every socket takes what waits for it.
    fn drain(&mut self) {
        while self.registry.next_dirty().is_some() {}
        for client in 0..CLIENTS {
            if let Some(key) = self.clients[client] {
                self.take(client, key.slot);
            }
        }
    }

    fn take(&mut self, client: usize, slot: u32) {
        while let Some(output) = self.registry.output(slot) {
            let before = output.len() as u64;
            while !output.is_empty() {
                let mut slices = [IoSlice::new(&[]); 4];
                let count = output.chunks(&mut slices);
                let taken = slices[..count].iter().map(|slice| slice.len()).sum();
                slices[..count]
                    .iter()
                    .for_each(|slice| self.sent[client].extend_from_slice(slice));
                output.advance(taken);
            }
            if !self.registry.flushed(self.now, slot, before) {
                return;
            }
        }
    }

    fn end(mut self) {
        (0..CLIENTS).for_each(|client| self.lose(client));
        // Far enough for every session but those that never end.
        self.now += 1 << 60;
        self.registry.expire(self.now);
        self.act();
        let ledger = self.registry.ledger();
        assert!(ledger.adds_up());
        assert_eq!(ledger.connections.value(), 0);
    }
}
