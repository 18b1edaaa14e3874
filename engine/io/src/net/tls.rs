//! TLS of listeners and clients: what the settings say becomes a configuration of rustls.

use super::certificate;
pub use super::certificate::{CertificateInfo, TlsError};
use crate::settings::Tls as Settings;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion, version,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

thread_local! {
    /// The name that the client of the handshake at work asked for. The unbuffered connection of rustls does
    /// not tell it; the resolver, which it calls on the same thread, writes it here for the TLS stage.
    pub(super) static ASKED_NAME: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// TLS of one listener; can be replaced while connections live.
#[derive(Debug)]
pub struct ServerTls {
    /// Written by `reload`; read once per new connection. Held for a few instructions, nothing is taken in it.
    current: RwLock<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    certificates: Vec<CertificateInfo>,
}

impl ServerTls {
    /// Reads all files.
    ///
    /// # Errors
    /// A sentence with the file and what to do.
    pub fn load(settings: &Settings) -> Result<Self, TlsError> {
        Ok(Self {
            current: RwLock::new(load(settings)?),
        })
    }

    /// Reads all files again. New connections use them; those that are open stay as they are.
    ///
    /// # Errors
    /// As [`load`](Self::load); what was loaded before stays in use then.
    pub fn reload(&self, settings: &Settings) -> Result<(), TlsError> {
        let loaded = load(settings)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// What a new connection uses.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(
            &self
                .current
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .config,
        )
    }

    /// The certificates in use, the default one first: their names and when they expire.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.certificates.clone()
    }
}

/// TLS of a client.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientTlsOptions {
    /// CAs of the server, PEM; empty = the system's.
    pub cafile: String,
    /// Our certificate chain, PEM; empty = none.
    pub certfile: String,
    /// Its key, PEM.
    pub keyfile: String,
    /// The key's password.
    pub key_password: String,
    /// Take any certificate of the server: only for tests.
    pub insecure: bool,
}

/// Makes the configuration of a client.
///
/// # Errors
/// A sentence with the file and what to do.
pub fn client_config(options: &ClientTlsOptions) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = if options.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    } else if options.cafile.is_empty() {
        builder.with_root_certificates(system_authorities()?)
    } else {
        builder.with_root_certificates(certificate::load_authorities(&options.cafile)?)
    };
    let ClientTlsOptions {
        certfile,
        keyfile,
        key_password,
        ..
    } = options;
    let config = if certfile.is_empty() {
        builder.with_no_client_auth()
    } else {
        let chain = certificate::load_chain(certfile)?;
        let key = certificate::load_key(key_file(certfile, keyfile), key_password)?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable(certfile, keyfile, &error))?
    };
    Ok(Arc::new(config))
}

fn load(settings: &Settings) -> Result<Loaded, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let mut certificates = Certificates::default();
    let mut infos = Vec::new();
    let mut add = |certfile: &str, keyfile: &str, password: &str| {
        let (key, info) = load_certified_key(certfile, keyfile, password, &provider)?;
        certificates.add(Arc::new(key), &info);
        infos.push(info);
        Ok::<(), TlsError>(())
    };
    add(
        &settings.certfile,
        &settings.keyfile,
        &settings.key_password,
    )?;
    for sni in &settings.sni {
        add(&sni.certfile, &sni.keyfile, &sni.key_password)?;
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(&settings.versions)?)?;
    let builder = if settings.verify_peer {
        if settings.cacertfile.is_empty() {
            let what = "verify_peer needs cacertfile: the CAs that sign the clients' certificates";
            return Err(TlsError::Setting(what.to_owned()));
        }
        let roots = Arc::new(certificate::load_authorities(&settings.cacertfile)?);
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        if !settings.crlfile.is_empty() {
            // As OpenSSL's usual check: the list of the client's own issuer must be there and is asked.
            verifier = verifier
                .with_crls(certificate::load_revocations(&settings.crlfile)?)
                .only_check_end_entity_revocation();
        }
        if !settings.fail_if_no_peer_cert {
            verifier = verifier.allow_unauthenticated();
        }
        let verifier = verifier.build().map_err(|error| {
            TlsError::File(settings.crlfile.clone(), format!("cannot be used: {error}"))
        })?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    // The keys of the tickets live and end with this configuration: after a reload nobody resumes a session
    // that the new CAs or revocation lists would not let in.
    config.ticketer = ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Loaded {
        config: Arc::new(config),
        certificates: infos,
    })
}

fn load_certified_key(
    certfile: &str,
    keyfile: &str,
    password: &str,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, CertificateInfo), TlsError> {
    if certfile.is_empty() {
        return Err(TlsError::Setting(
            "certfile is not set; TLS needs a certificate chain and its key".to_owned(),
        ));
    }
    let chain = certificate::load_chain(certfile)?;
    let info = match chain.first().map(certificate::info) {
        Some(Ok(info)) => CertificateInfo {
            file: certfile.to_owned(),
            ..info
        },
        Some(Err(what)) => {
            return Err(TlsError::File(
                certfile.to_owned(),
                format!("not a certificate: {what}"),
            ));
        }
        None => {
            return Err(TlsError::File(
                certfile.to_owned(),
                "holds no certificate".to_owned(),
            ));
        }
    };
    let key = certificate::load_key(key_file(certfile, keyfile), password)?;
    let key = CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| unusable(certfile, keyfile, &error))?;
    Ok((key, info))
}

/// A file may hold both, as many tools write it.
const fn key_file<'a>(certfile: &'a str, keyfile: &'a str) -> &'a str {
    if keyfile.is_empty() {
        certfile
    } else {
        keyfile
    }
}

fn unusable(certfile: &str, keyfile: &str, error: &rustls::Error) -> TlsError {
    let keyfile = key_file(certfile, keyfile);
    let what = match error {
        rustls::Error::InconsistentKeys(_) => {
            format!(
                "the certificate does not belong to the key in {keyfile}; use the pair that was made together"
            )
        }
        error => format!("cannot be used with the key in {keyfile}: {error}"),
    };
    TlsError::File(certfile.to_owned(), what)
}

fn versions(names: &[String]) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    if names.is_empty() {
        return Ok(vec![&version::TLS13, &version::TLS12]);
    }
    names
        .iter()
        .map(|name| match name.trim_start_matches("tlsv") {
            "1.2" => Ok(&version::TLS12),
            "1.3" => Ok(&version::TLS13),
            _ => Err(TlsError::Setting(format!(
                "versions: `{name}` is not known; write 1.2 or 1.3"
            ))),
        })
        .collect()
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Old systems have some that cannot be used; the others can.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let what =
            "this system has no CA certificates; install ca-certificates or give a file of CAs";
        return Err(TlsError::Setting(what.to_owned()));
    }
    Ok(roots)
}

/// The certificates of a listener, found by the name that the client asks for.
#[derive(Debug, Default)]
struct Certificates {
    default: Option<Arc<CertifiedKey>>,
    /// Lower case; `*.example.org` as it stands in the certificate.
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// The first one that has a name keeps it.
    fn add(&mut self, key: Arc<CertifiedKey>, info: &CertificateInfo) {
        let common_name = Some(&info.common_name).filter(|_| info.names.is_empty());
        for name in info.names.iter().chain(common_name) {
            self.by_name
                .entry(name.to_ascii_lowercase())
                .or_insert_with(|| Arc::clone(&key));
        }
        self.default.get_or_insert(key);
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.by_name.get(&name).or_else(|| {
            // RFC 6125, section 6.4.3: the asterisk is the whole first label.
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        ASKED_NAME.set(name.map(Into::into));
        name.and_then(|name| self.find(name))
            .or(self.default.as_ref())
            .cloned()
    }
}

/// Trusts any server; signatures are checked all the same.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
