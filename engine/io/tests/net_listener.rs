//! Binding: which addresses go together, and what is said when one is taken.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod net_peer;

use nanomq_engine::net::listener::{Bound, Shared};
use nanomq_engine::net::stream::Stream;
use nanomq_engine::settings::Listener;
use net_peer::{Authority, both, handshake, read, run, send};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream};

fn tcp(bind: &str) -> Listener {
    Listener {
        bind: bind.to_owned(),
        ..Listener::default()
    }
}

fn unix(path: &str) -> Listener {
    Listener {
        kind: "unix".to_owned(),
        bind: path.to_owned(),
        ..Listener::default()
    }
}

#[test]
fn an_address_in_use_is_told_with_advice() {
    run(async {
        let first = Bound::bind(&tcp("127.0.0.1:0")).unwrap();
        let error = Bound::bind(&tcp(&first.address())).unwrap_err();
        assert!(
            error.contains(&first.address()) && error.contains("another broker may be running"),
            "{error}"
        );
    });
}

#[test]
fn both_ip_versions_share_a_port() {
    run(async {
        let four = Bound::bind(&tcp("0.0.0.0:0")).unwrap();
        let port = four.address().rsplit_once(':').unwrap().1.to_owned();
        // A machine without IPv6 cannot show it.
        match Bound::bind(&tcp(&format!("[::]:{port}"))) {
            Ok(six) => assert_eq!(six.address(), format!("[::]:{port}")),
            Err(error) => assert!(!error.contains("in use"), "{error}"),
        }
    });
}

#[test]
fn a_port_can_be_bound_again_at_once() {
    run(async {
        let first = Bound::bind(&tcp("127.0.0.1:0")).unwrap();
        let address = first.address();
        let (accepted, client) = both(first.accept(), TcpStream::connect(&address)).await;
        // Our side closes first, so the port is in TIME_WAIT.
        drop((accepted.unwrap(), first));
        drop(client.unwrap());
        Bound::bind(&tcp(&address)).unwrap();
    });
}

#[test]
fn a_socket_file_is_replaced_only_if_nobody_listens() {
    run(async {
        let files = Authority::new();
        let path = files.file("");
        assert!(
            Bound::bind(&unix(&path)).is_err(),
            "a file that is no socket stays"
        );
        std::fs::remove_file(&path).unwrap();

        drop(UnixListener::bind(&path).unwrap());
        let bound = Bound::bind(&unix(&path)).unwrap();
        assert!(
            Bound::bind(&unix(&path))
                .unwrap_err()
                .contains("another broker may be running")
        );

        // The second one knocked to find that out.
        bound.accept().await.unwrap();
        let (accepted, client) = both(bound.accept(), UnixStream::connect(&path)).await;
        let (mut server, mut client) = (
            accepted.unwrap().attach().unwrap(),
            Stream::unix(client.unwrap()),
        );
        send(&mut client, b"hello").await.unwrap();
        assert_eq!(read(&mut server, 10).await.unwrap(), b"hello");
        assert_eq!(server.peer_addr(), "unix");
        drop(bound);
        assert!(!std::path::Path::new(&path).exists());
    });
}

#[test]
fn an_accepted_connection_has_the_stages_of_its_listener() {
    run(async {
        let authority = Authority::new();
        let settings = Listener {
            kind: "wss".to_owned(),
            proxy_protocol: true,
            tls: authority.server(&["localhost"]),
            ..tcp("127.0.0.1:0")
        };
        let bound = Bound::bind(&settings).unwrap();
        let shared = Arc::new(Shared::new(&settings).unwrap());
        let (accepted, client) = both(bound.accept(), TcpStream::connect(bound.address())).await;
        let (mut server, _guard) = shared
            .admit(accepted.unwrap())
            .unwrap()
            .into_stream()
            .unwrap();
        assert_eq!(shared.connections(), 1);

        let client = client.unwrap();
        client.writable().await.unwrap();
        client
            .try_write(b"PROXY TCP6 2001:db8::1 ::1 7 8\r\n")
            .unwrap();
        let config = nanomq_engine::net::tls::client_config(&authority.client()).unwrap();
        let client = Stream::tcp(client).with_tls_client(config, "localhost".try_into().unwrap());
        let mut client = client
            .unwrap()
            .with_websocket_client("localhost", "/mqtt", [1, 2, 3]);
        let (first, second) = both(handshake(&mut server), handshake(&mut client)).await;
        first.unwrap();
        second.unwrap();
        assert!(server.is_secure());
        assert_eq!(server.peer_addr(), "[2001:db8::1]:7");
    });
}
