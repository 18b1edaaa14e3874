//! Certificates, keys and revocation lists in PEM files.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::SecretDocument;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateInfo {
    /// File that it was read from; empty if a peer showed it.
    pub file: String,
    /// Distinguished name of the subject.
    pub subject: String,
    /// Common name of the subject; empty if it has none.
    pub common_name: String,
    /// Distinguished name of the issuer.
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// DNS names and IP addresses that it is for.
    pub names: Vec<String>,
    /// Valid from, seconds since 1970.
    pub not_before_s: i64,
    /// Valid until, seconds since 1970.
    pub not_after_s: i64,
}

/// Why TLS cannot be set up. The text names the file and says what to do.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read.
    Read(String, std::io::Error),
    /// A file does not hold what it should.
    File(String, String),
    /// A setting is missing or unknown.
    Setting(String),
    /// The settings do not go together.
    Library(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "cannot read {path}: {error}"),
            Self::File(path, what) => write!(f, "{path}: {what}"),
            Self::Setting(what) => f.write_str(what),
            Self::Library(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Library(error)
    }
}

/// Reads a certificate; the signature is not checked.
///
/// # Errors
/// The bytes are no X.509 certificate.
pub fn info(certificate: &CertificateDer<'_>) -> Result<CertificateInfo, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let text_of = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    let names = match parsed.subject_alternative_name() {
        Ok(Some(extension)) => extension
            .value
            .general_names
            .iter()
            .filter_map(text_of)
            .collect(),
        _ => Vec::new(),
    };
    let common_name = parsed
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok());
    Ok(CertificateInfo {
        file: String::new(),
        subject: parsed.subject().to_string(),
        common_name: common_name.unwrap_or_default().to_owned(),
        issuer: parsed.issuer().to_string(),
        serial: parsed.raw_serial_as_string(),
        names,
        not_before_s: parsed.validity().not_before.timestamp(),
        not_after_s: parsed.validity().not_after.timestamp(),
    })
}

/// The certificates of a PEM file, in its order.
///
/// # Errors
/// It cannot be read or holds no certificate.
pub fn load_chain(path: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|error| file(path, format!("not valid PEM: {error}")))?;
    if chain.is_empty() {
        return Err(file(path, missing("certificate", "CERTIFICATE", "x509")));
    }
    Ok(chain)
}

/// The CAs of a PEM file.
///
/// # Errors
/// It cannot be read, holds no certificate, or one that is no CA certificate.
pub fn load_authorities(path: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in load_chain(path)? {
        store
            .add(certificate)
            .map_err(|error| file(path, format!("a certificate cannot be used as CA: {error}")))?;
    }
    Ok(store)
}

/// The revocation lists of a PEM file.
///
/// # Errors
/// It cannot be read or holds no list.
pub fn load_revocations(
    path: &str,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let lists = lists.map_err(|error| file(path, format!("not valid PEM: {error}")))?;
    if lists.is_empty() {
        return Err(file(path, missing("revocation list", "X509 CRL", "crl")));
    }
    Ok(lists)
}

/// The private key of a PEM file: PKCS#8, plain or encrypted, PKCS#1 or SEC1.
///
/// # Errors
/// It cannot be read, holds no key, or one that the password does not open.
pub fn load_key(path: &str, password: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    if let Some(block) = encrypted_block(&text) {
        return decrypt(path, block, password);
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        let advice = format!("convert it: openssl pkcs8 -topk8 -in {path} -out new.key");
        return Err(file(
            path,
            format!("the key is encrypted in a form of old OpenSSL; {advice}"),
        ));
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(&bytes);
    match keys.next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => Err(file(path, format!("not valid PEM: {error}"))),
        None => Err(file(path, missing("private key", "PRIVATE KEY", "pkey"))),
    }
}

fn encrypted_block(text: &str) -> Option<&str> {
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let start = text.find("-----BEGIN ENCRYPTED PRIVATE KEY-----")?;
    let len = text[start..].find(END)? + END.len();
    Some(&text[start..start + len])
}

fn decrypt(path: &str, block: &str, password: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    if password.is_empty() {
        return Err(file(
            path,
            "the key is encrypted; set key_password".to_owned(),
        ));
    }
    let (_, document) = SecretDocument::from_pem(block)
        .map_err(|error| file(path, format!("not valid PEM: {error}")))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|error| file(path, format!("not an encrypted PKCS#8 key: {error}")))?;
    let key = encrypted.decrypt(password).map_err(|error| {
        file(
            path,
            format!("the key cannot be decrypted ({error}); is key_password right"),
        )
    })?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

fn read(path: &str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read(path.to_owned(), error))
}

fn file(path: &str, what: String) -> TlsError {
    TlsError::File(path.to_owned(), what)
}

fn missing(what: &str, label: &str, command: &str) -> String {
    format!(
        "holds no {what} in PEM form (`-----BEGIN {label}-----`); convert a binary one with \
         `openssl {command} -inform der -in FILE -out FILE.pem`"
    )
}
