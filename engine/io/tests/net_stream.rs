//! Every kind of stream carries the same bytes, in the face of full sockets, moves and closes.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod net_peer;

use nanomq_engine::net::stream::Stream;
use nanomq_proto::Output;
use net_peer::{
    Authority, KINDS, Kind, both, close, handshake, pair, pattern, raw_pair, read, read_all, run,
    send, tcp_pair, write,
};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Copied and shared pieces, as the core writes them.
fn mixed_output(bytes: &[u8]) -> Output {
    let mut out = Output::new();
    for (number, piece) in bytes.chunks(7000).enumerate() {
        if number % 3 == 2 {
            out.extend_shared(piece.to_vec().into());
        } else {
            out.extend(piece);
        }
    }
    out
}

#[test]
fn bytes_arrive_in_order_on_every_kind() {
    for kind in KINDS {
        run(async {
            let (mut server, mut client) = pair(kind).await;
            for len in [1, 125, 126, 4096, 65_535, 65_536, 1_000_000] {
                let bytes = pattern(len);
                for is_to_server in [true, false] {
                    let (from, to) = if is_to_server {
                        (&mut client, &mut server)
                    } else {
                        (&mut server, &mut client)
                    };
                    let mut out = mixed_output(&bytes);
                    let (sent, received) = both(write(from, &mut out), read_all(to, len)).await;
                    sent.unwrap();
                    assert_eq!(received.unwrap(), bytes, "{kind:?} {len}");
                }
            }
        });
    }
}

#[test]
fn what_is_appended_while_the_socket_is_full_follows_in_order() {
    for kind in KINDS {
        run(async {
            let (mut server, mut client) = pair(kind).await;
            let bytes = pattern(12_000_000);
            let mut out = Output::new();
            let mut is_full = false;
            for piece in bytes.chunks(100_000) {
                out.extend(piece);
                let mut cx = Context::from_waker(Waker::noop());
                is_full |= server.poll_write(&mut cx, &mut out).is_pending();
                assert_eq!(
                    is_full,
                    !out.is_empty(),
                    "{kind:?}: pending means that something waits"
                );
            }
            assert!(is_full);
            let (sent, received) = both(
                write(&mut server, &mut out),
                read_all(&mut client, bytes.len()),
            )
            .await;
            sent.unwrap();
            assert!(received.unwrap() == bytes, "{kind:?}");
        });
    }
}

#[test]
fn a_small_buffer_gets_everything_piece_by_piece() {
    for kind in KINDS {
        run(async {
            let (mut server, mut client) = pair(kind).await;
            send(&mut client, b"hello").await.unwrap();
            let mut all = Vec::new();
            while all.len() < 5 {
                all.extend(read(&mut server, 2).await.unwrap());
            }
            assert_eq!(all, b"hello", "{kind:?}");
        });
    }
}

#[test]
fn a_stream_moves_to_another_thread_with_what_it_holds() {
    for kind in KINDS {
        run(async {
            let (mut server, mut client) = pair(kind).await;
            send(&mut client, b"before").await.unwrap();
            // Half is read, half stays in the stages.
            assert_eq!(read(&mut server, 3).await.unwrap(), b"bef");
            let detached = server.detach().unwrap();
            let thread = std::thread::spawn(move || {
                run(async {
                    let mut server = detached.attach().unwrap();
                    let rest = read_all(&mut server, 3).await.unwrap();
                    send(&mut server, b"after").await.unwrap();
                    (rest, read(&mut server, 10).await.unwrap())
                })
            });
            assert_eq!(
                read_all(&mut client, 5).await.unwrap(),
                b"after",
                "{kind:?}"
            );
            close(&mut client).await.unwrap();
            assert_eq!(
                thread.join().unwrap(),
                (b"ore".to_vec(), vec![]),
                "{kind:?}"
            );
        });
    }
}

#[test]
fn a_close_is_an_end_for_the_peer_and_its_last_bytes_arrive() {
    for kind in KINDS {
        run(async {
            let (mut server, mut client) = pair(kind).await;
            send(&mut server, b"last").await.unwrap();
            close(&mut server).await.unwrap();
            assert_eq!(read(&mut client, 10).await.unwrap(), b"last", "{kind:?}");
            assert_eq!(read(&mut client, 10).await.unwrap(), b"", "{kind:?}");
            close(&mut client).await.unwrap();
            assert_eq!(read(&mut server, 10).await.unwrap(), b"", "{kind:?}");
        });
    }
}

#[test]
fn a_plain_stream_is_small() {
    assert!(size_of::<Stream>() <= 48, "{}", size_of::<Stream>());
}

#[test]
fn the_proxy_tells_the_peer_before_every_other_stage() {
    for kind in [Kind::Tcp, Kind::Tls13, Kind::Ws, Kind::Wss] {
        run(async {
            let (server, client) = tcp_pair().await;
            let (mut server, mut client) = over(
                kind,
                server,
                client,
                b"PROXY TCP4 192.0.2.7 10.0.0.1 5 1883\r\n",
            )
            .await;
            let (first, second) = both(handshake(&mut server), handshake(&mut client)).await;
            first.unwrap();
            second.unwrap();
            assert_eq!(server.peer_addr(), "192.0.2.7:5", "{kind:?}");
            let (sent, received) =
                both(send(&mut client, b"hello"), read_all(&mut server, 5)).await;
            sent.unwrap();
            assert_eq!(received.unwrap(), b"hello", "{kind:?}");
        });
    }
}

/// Streams of a kind over sockets, with a PROXY header before all.
async fn over(
    kind: Kind,
    server: tokio::net::TcpStream,
    mut client: tokio::net::TcpStream,
    header: &[u8],
) -> (Stream, Stream) {
    client.write_all(header).await.unwrap();
    let (mut server, mut client) = (Stream::tcp(server).with_proxy(), Stream::tcp(client));
    if matches!(kind, Kind::Tls13 | Kind::Wss) {
        let authority = Authority::new();
        let tls =
            nanomq_engine::net::tls::ServerTls::load(&authority.server(&["localhost"])).unwrap();
        let config = nanomq_engine::net::tls::client_config(&authority.client()).unwrap();
        server = server.with_tls_server(tls.config()).unwrap();
        client = client
            .with_tls_client(config, "localhost".try_into().unwrap())
            .unwrap();
    }
    if matches!(kind, Kind::Ws | Kind::Wss) {
        server = server.with_websocket_server("/mqtt".into());
        client = client.with_websocket_client("localhost", "/mqtt", [1, 2, 3]);
    }
    (server, client)
}

#[test]
fn bytes_that_come_with_the_proxy_header_are_not_lost() {
    run(async {
        let (server, mut client) = tcp_pair().await;
        client.write_all(b"PROXY UNKNOWN\r\nhello").await.unwrap();
        let mut server = Stream::tcp(server).with_proxy();
        handshake(&mut server).await.unwrap();
        assert_eq!(read(&mut server, 3).await.unwrap(), b"hel");
        assert_eq!(read(&mut server, 3).await.unwrap(), b"lo");
        assert_eq!(server.peer_addr(), client.local_addr().unwrap().to_string());
    });
}

#[test]
fn a_connection_without_its_proxy_header_is_refused() {
    run(async {
        let (server, mut client) = tcp_pair().await;
        client
            .write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0")
            .await
            .unwrap();
        let mut server = Stream::tcp(server).with_proxy();
        assert_eq!(
            handshake(&mut server).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    });
}

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A server's end, and the socket of a client that has sent these bytes.
async fn websocket_server(bytes: &[u8]) -> (Stream, tokio::net::TcpStream) {
    let (server, mut client) = tcp_pair().await;
    client.write_all(bytes).await.unwrap();
    (
        Stream::tcp(server).with_websocket_server("/mqtt".into()),
        client,
    )
}

/// What the client gets until the server closes.
async fn said_to(client: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    let start = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    all.split_off(start)
}

#[test]
fn frames_that_come_with_the_upgrade_are_read() {
    run(async {
        let bytes = [REQUEST, b"\x82\x85\0\0\0\0hello"].concat();
        let (mut server, _client) = websocket_server(&bytes).await;
        handshake(&mut server).await.unwrap();
        assert_eq!(read_all(&mut server, 5).await.unwrap(), b"hello");
    });
}

#[test]
fn an_upgrade_at_another_path_is_told_where_to_go() {
    run(async {
        let (mut server, mut client) = websocket_server(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(handshake(&mut server).await.is_err());
        drop(server);
        assert_eq!(
            said_to(&mut client).await,
            b"nothing is at /; MQTT is at /mqtt\n"
        );
    });
}

#[test]
fn a_ping_is_answered_between_frames() {
    run(async {
        let (mut server, mut client) =
            websocket_server(&[REQUEST, b"\x89\x82\0\0\0\0hi\x82\x81\0\0\0\0x"].concat()).await;
        handshake(&mut server).await.unwrap();
        assert_eq!(read(&mut server, 10).await.unwrap(), b"x");
        send(&mut server, b"y").await.unwrap();
        drop(server);
        assert_eq!(said_to(&mut client).await, b"\x8a\x02hi\x82\x01y");
    });
}

#[test]
fn text_is_answered_with_close_code_1003() {
    run(async {
        let (mut server, mut client) =
            websocket_server(&[REQUEST, b"\x81\x81\0\0\0\0x"].concat()).await;
        handshake(&mut server).await.unwrap();
        assert_eq!(
            read(&mut server, 10).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        drop(server);
        assert_eq!(said_to(&mut client).await, b"\x88\x02\x03\xeb");
    });
}

#[test]
fn a_peer_that_only_pings_does_not_keep_the_thread() {
    run(async {
        let (mut server, mut client) = websocket_server(REQUEST).await;
        handshake(&mut server).await.unwrap();
        let pings = b"\x89\x80\0\0\0\0".repeat(1000);
        client.write_all(&pings).await.unwrap();
        let mut buf = [0; 6];
        // One frame a read: the turn ends although more is there.
        let polled = poll_fn(|cx| Poll::Ready(server.poll_read(cx, &mut buf).is_pending())).await;
        assert!(polled);
        client.write_all(b"\x82\x81\0\0\0\0x").await.unwrap();
        assert_eq!(read(&mut server, 6).await.unwrap(), b"x");
    });
}

#[test]
fn a_peer_that_goes_away_in_a_handshake_is_an_error() {
    for kind in [Kind::Tls12, Kind::Tls13, Kind::Ws, Kind::Wss] {
        run(async {
            let (mut server, client) = raw_pair(kind).await;
            drop(client);
            assert_eq!(
                handshake(&mut server).await.unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof,
                "{kind:?}"
            );
        });
    }
}

#[test]
fn something_else_than_tls_is_refused_with_an_alert() {
    run(async {
        let authority = Authority::new();
        let tls =
            nanomq_engine::net::tls::ServerTls::load(&authority.server(&["localhost"])).unwrap();
        let (server, mut client) = tcp_pair().await;
        client
            .write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0")
            .await
            .unwrap();
        let mut server = Stream::tcp(server).with_tls_server(tls.config()).unwrap();
        assert_eq!(
            handshake(&mut server).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        drop(server);
        let mut alert = Vec::new();
        client.read_to_end(&mut alert).await.unwrap();
        assert_eq!(alert.first(), Some(&21), "an alert record: {alert:?}");
    });
}
