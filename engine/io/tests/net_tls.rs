//! TLS of a listener: whose certificate is shown, who is let in, what a reload changes.

#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod net_peer;

use nanomq_engine::net::tls::{ClientTlsOptions, ServerTls, client_config};
use nanomq_engine::settings::{Sni, Tls};
use net_peer::{Authority, read, run, send, tcp_pair, tls_pair};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams};
use std::io::{Read, Write};
use std::sync::Arc;

fn load(settings: &Tls) -> Arc<ServerTls> {
    Arc::new(ServerTls::load(settings).unwrap())
}

fn refusal(settings: &Tls) -> String {
    ServerTls::load(settings).unwrap_err().to_string()
}

/// The common name that the server shows to a client that asks for `name`.
fn shown(tls: &Arc<ServerTls>, client: &ClientTlsOptions, name: &'static str) -> String {
    run(async {
        let (server, client) = tls_pair(tls, client, name).await;
        let server = server.unwrap().tls_info().unwrap();
        let asked = server.server_name.unwrap();
        assert!(asked.eq_ignore_ascii_case(name));
        client
            .unwrap()
            .tls_info()
            .unwrap()
            .certificate
            .unwrap()
            .common_name
    })
}

/// Whether the server lets this client in, and which name it knows it by.
fn admitted(settings: &Tls, client: &ClientTlsOptions) -> Result<Option<String>, String> {
    run(async {
        let (server, _client) = tls_pair(&load(settings), client, "localhost").await;
        let mut server = server?;
        assert_eq!(read(&mut server, 10).await.unwrap(), b"hello");
        Ok(server
            .tls_info()
            .unwrap()
            .certificate
            .map(|certificate| certificate.common_name))
    })
}

#[test]
fn the_name_that_the_client_asks_for_chooses_the_certificate() {
    let authority = Authority::new();
    let sni = |names: &[&str]| {
        let Tls {
            certfile, keyfile, ..
        } = authority.server(names);
        Sni {
            certfile,
            keyfile,
            key_password: String::new(),
        }
    };
    let sni = vec![sni(&["a.example"]), sni(&["*.b.example", "c.example"])];
    let tls = load(&Tls {
        sni,
        ..authority.server(&["localhost"])
    });
    let client = ClientTlsOptions {
        insecure: true,
        ..authority.client()
    };
    assert_eq!(shown(&tls, &client, "localhost"), "localhost");
    assert_eq!(shown(&tls, &client, "A.example"), "a.example");
    assert_eq!(shown(&tls, &client, "x.b.example"), "*.b.example");
    assert_eq!(shown(&tls, &client, "c.example"), "*.b.example");
    assert_eq!(shown(&tls, &client, "x.y.b.example"), "localhost");
    assert_eq!(shown(&tls, &client, "unknown.example"), "localhost");
}

#[test]
fn the_version_is_one_that_the_settings_allow() {
    let authority = Authority::new();
    for (version, name) in [("1.2", "TLSv1.2"), ("tlsv1.3", "TLSv1.3")] {
        let settings = Tls {
            versions: vec![version.to_owned()],
            ..authority.server(&["localhost"])
        };
        run(async {
            let (server, _client) =
                tls_pair(&load(&settings), &authority.client(), "localhost").await;
            assert_eq!(server.unwrap().tls_info().unwrap().version, name);
        });
    }
    let settings = Tls {
        versions: vec!["1.1".to_owned()],
        ..authority.server(&["localhost"])
    };
    assert_eq!(
        refusal(&settings),
        "versions: `1.1` is not known; write 1.2 or 1.3"
    );
}

#[test]
fn a_client_refuses_a_server_that_it_cannot_trust() {
    let (authority, other) = (Authority::new(), Authority::new());
    run(async {
        let tls = load(&authority.server(&["localhost"]));
        let (_, client) = tls_pair(&tls, &other.client(), "localhost").await;
        assert!(client.unwrap_err().contains("UnknownIssuer"));
        let (_, client) = tls_pair(&tls, &authority.client(), "elsewhere").await;
        assert!(client.unwrap_err().contains("elsewhere"));
    });
}

#[test]
fn certificates_of_clients_are_asked_for_and_required_as_the_settings_say() {
    let (authority, other) = (Authority::new(), Authority::new());
    let known = authority.known_client("sensor-1", 5);
    let stranger = ClientTlsOptions {
        cafile: authority.ca_file(),
        ..other.known_client("sensor-1", 5)
    };
    for version in ["1.2", "1.3"] {
        let none = Tls {
            versions: vec![version.to_owned()],
            ..authority.server(&["localhost"])
        };
        let optional = Tls {
            verify_peer: true,
            cacertfile: authority.ca_file(),
            ..none.clone()
        };
        let required = Tls {
            fail_if_no_peer_cert: true,
            ..optional.clone()
        };
        assert_eq!(admitted(&none, &known), Ok(None));
        assert_eq!(admitted(&optional, &authority.client()), Ok(None));
        assert_eq!(admitted(&optional, &known), Ok(Some("sensor-1".to_owned())));
        assert!(
            admitted(&optional, &stranger)
                .unwrap_err()
                .contains("UnknownIssuer")
        );
        assert_eq!(admitted(&required, &known), Ok(Some("sensor-1".to_owned())));
        assert!(
            admitted(&required, &authority.client())
                .unwrap_err()
                .contains("no certificates")
        );
    }
}

#[test]
fn a_client_without_the_required_certificate_gets_an_alert() {
    let authority = Authority::new();
    let settings = Tls {
        verify_peer: true,
        fail_if_no_peer_cert: true,
        cacertfile: authority.ca_file(),
        ..authority.server(&["localhost"])
    };
    run(async {
        let (server, client) = tls_pair(&load(&settings), &authority.client(), "localhost").await;
        drop(server);
        let error = read(&mut client.unwrap(), 10).await.unwrap_err();
        assert!(error.to_string().contains("CertificateRequired"), "{error}");
    });
}

#[test]
fn a_revoked_certificate_is_refused() {
    let authority = Authority::new();
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2020, 1, 1),
        next_update: rcgen::date_time_ymd(2120, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: 66.into(),
            revocation_time: rcgen::date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let settings = Tls {
        verify_peer: true,
        cacertfile: authority.ca_file(),
        crlfile: authority.file(&list.signed_by(authority.issuer()).unwrap().pem().unwrap()),
        ..authority.server(&["localhost"])
    };
    assert_eq!(
        admitted(&settings, &authority.known_client("good", 65)),
        Ok(Some("good".to_owned()))
    );
    assert!(
        admitted(&settings, &authority.known_client("bad", 66))
            .unwrap_err()
            .contains("Revoked")
    );
}

#[test]
fn a_reload_is_for_new_connections_and_a_bad_file_changes_nothing() {
    let authority = Authority::new();
    let settings = authority.server(&["localhost"]);
    let tls = load(&settings);
    run(async {
        let (server, client) = tls_pair(&tls, &authority.client(), "localhost").await;
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        assert_eq!(read(&mut server, 10).await.unwrap(), b"hello");

        std::fs::write(&settings.certfile, "nonsense").unwrap();
        assert!(
            tls.reload(&settings)
                .unwrap_err()
                .to_string()
                .contains(&settings.certfile)
        );
        assert_eq!(tls.certificates()[0].names, ["localhost"]);

        let new = authority.server(&["localhost", "new.example"]);
        tls.reload(&new).unwrap();
        assert_eq!(tls.certificates()[0].names, ["localhost", "new.example"]);
        let (again, _) = tls_pair(&tls, &authority.client(), "new.example").await;
        again.unwrap();

        send(&mut client, b"still here").await.unwrap();
        assert_eq!(read(&mut server, 20).await.unwrap(), b"still here");
    });
}

#[test]
fn names_and_dates_of_a_certificate_can_be_read() {
    let authority = Authority::new();
    let settings = authority.server(&["localhost", "127.0.0.1", "::1"]);
    let tls = load(&settings);
    let [certificate] = &*tls.certificates() else {
        panic!("one certificate")
    };
    assert_eq!(certificate.file, settings.certfile);
    assert_eq!(certificate.common_name, "localhost");
    assert!(certificate.subject.contains("CN=localhost"));
    assert!(certificate.issuer.contains("CN=test authority"));
    assert_eq!(certificate.names, ["localhost", "127.0.0.1", "::1"]);
    assert_eq!(certificate.not_before_s, 1_577_836_800);
    assert_eq!(certificate.not_after_s, 4_733_510_400);
}

/// Keys made once with `openssl genpkey -algorithm EC` and encrypted with the password `secret`.
const AES_KEY: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgqLn7Ejh+PXAICCAAw\n\
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAUJYdIEO6hm5MySVbFNam8EgZAD\n\
V9OFuMdXFUrq4RoEMP2hiELdU8h5ppdUW07/CzUUgWcnehdeV0Clibe9MG/W7SLj\n\
7YSUyW5tI1uKlV+FYtolTzxf0/FJBn9M5w0MlQMdS0qurRUVIk3i1bRBQQRzdTPV\n\
ghvFGqhsiJLDRjTZSu4Xm4Tokga6IQzZbE+pDOgnFopuoSd94O8TjgOM2MGBlQ8=\n\
-----END ENCRYPTED PRIVATE KEY-----\n";
const DES3_SHA1_KEY: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
MIHVMEAGCSqGSIb3DQEFDTAzMBsGCSqGSIb3DQEFDDAOBAjd2qnP58vwVgICCAAw\n\
FAYIKoZIhvcNAwcECB0bG2q2X7DLBIGQCeG7jHbzTFZ0wlVPbDfaJvm8I3ZlPeCQ\n\
LrNEe43jHW1yiaFpPVWReppusYDolGxax2nJLVpLG4oitPeqBAzDFudSqhDuNels\n\
oJ7qRUjJxcEjxtg3N6Xsx2jRVTpHexSFlLPlocq9fyeNm78krybsVQ58wdqqgsRU\n\
UxKGLOGL7+FN35rynCMqC8+MAlTZ8w59\n\
-----END ENCRYPTED PRIVATE KEY-----\n";
const LEGACY_KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";

/// Settings with a certificate for this encrypted key.
fn with_key(authority: &Authority, encrypted: &str, password: &str) -> Tls {
    Tls {
        keyfile: authority.file(encrypted),
        key_password: password.to_owned(),
        ..authority.server(&["localhost"])
    }
}

#[test]
fn an_encrypted_key_is_opened_with_its_password() {
    let authority = Authority::new();
    for key in [AES_KEY, DES3_SHA1_KEY] {
        // The key is read; that it belongs to another certificate is found after that.
        assert!(
            refusal(&with_key(&authority, key, "secret")).contains("does not belong to the key")
        );
        assert!(refusal(&with_key(&authority, key, "wrong")).contains("is key_password right"));
        assert!(
            refusal(&with_key(&authority, key, ""))
                .ends_with("the key is encrypted; set key_password")
        );
    }
    assert!(refusal(&with_key(&authority, LEGACY_KEY, "secret")).contains("openssl pkcs8 -topk8"));
}

#[test]
fn every_refusal_names_the_file_and_says_what_to_do() {
    let authority = Authority::new();
    let good = authority.server(&["localhost"]);
    let missing = Tls {
        certfile: "/nowhere/cert.pem".to_owned(),
        ..good.clone()
    };
    assert!(refusal(&missing).starts_with("cannot read /nowhere/cert.pem: "));
    let swapped = Tls {
        certfile: good.keyfile.clone(),
        ..good.clone()
    };
    assert!(refusal(&swapped).starts_with(&format!(
        "{}: holds no certificate in PEM form",
        good.keyfile
    )));
    let no_key = Tls {
        keyfile: good.certfile.clone(),
        ..good.clone()
    };
    assert!(refusal(&no_key).starts_with(&format!(
        "{}: holds no private key in PEM form",
        good.certfile
    )));
    let other = Tls {
        keyfile: authority.server(&["localhost"]).keyfile,
        ..good.clone()
    };
    assert!(refusal(&other).contains("does not belong to the key in"));
    let no_ca = Tls {
        verify_peer: true,
        ..good.clone()
    };
    assert!(refusal(&no_ca).contains("needs cacertfile"));
    let no_list = Tls {
        verify_peer: true,
        cacertfile: authority.ca_file(),
        crlfile: good.certfile.clone(),
        ..good
    };
    assert!(refusal(&no_list).contains("holds no revocation list"));
    assert!(refusal(&Tls::default()).starts_with("certfile is not set"));
}

#[test]
fn certificate_and_key_may_share_a_file() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["localhost"], 1);
    let certfile = authority.file(&format!("{certificate}{}", key.serialize_pem()));
    ServerTls::load(&Tls {
        certfile,
        ..Tls::default()
    })
    .unwrap();
}

#[test]
fn a_client_with_the_systems_authorities_can_be_made() {
    // Whether there are any is the system's affair; that it is said is ours.
    if let Err(error) = client_config(&ClientTlsOptions::default()) {
        assert!(error.to_string().contains("ca-certificates"));
    }
}

/// rustls' buffered client, on a thread of its own, as a peer of another make.
#[test]
fn a_returning_client_resumes_its_session() {
    let authority = Authority::new();
    for version in ["1.2", "1.3"] {
        let tls = load(&Tls {
            versions: vec![version.to_owned()],
            ..authority.server(&["localhost"])
        });
        let config = client_config(&authority.client()).unwrap();
        let kinds: Vec<_> = (0..2).map(|_| foreign_client(&tls, &config)).collect();
        assert_eq!(
            kinds,
            [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed],
            "{version}"
        );
    }
}

fn foreign_client(
    tls: &Arc<ServerTls>,
    config: &Arc<rustls::ClientConfig>,
) -> rustls::HandshakeKind {
    run(async {
        let (server, client) = tcp_pair().await;
        let config = Arc::clone(config);
        let client = client.into_std().unwrap();
        client.set_nonblocking(false).unwrap();
        let thread = std::thread::spawn(move || {
            let connection =
                rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, client);
            stream.write_all(b"ping").unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"pong");
            stream.conn.handshake_kind().unwrap()
        });
        let mut server = nanomq_engine::net::stream::Stream::tcp(server)
            .with_tls_server(tls.config())
            .unwrap();
        net_peer::handshake(&mut server).await.unwrap();
        assert_eq!(read(&mut server, 10).await.unwrap(), b"ping");
        send(&mut server, b"pong").await.unwrap();
        thread.join().unwrap()
    })
}
