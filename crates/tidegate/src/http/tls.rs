//! TLS: whom to trust, and which protocol to ask for.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::{Http2, Options, SetupError};

pub(super) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Trusts the system's roots and those of `options.ca`.
pub(super) fn connector(options: &Options) -> Result<TlsConnector, SetupError> {
    let mut roots = RootCertStore::empty();
    // A system may hold some certificates that nobody can read; the others still count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in &options.ca {
        add_file(&mut roots, path)?;
    }
    if roots.is_empty() {
        return Err(SetupError::NoRoots);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let protocols: &[&[u8]] = match options.http2 {
        Http2::Auto => &[ALPN_H2, ALPN_HTTP1],
        Http2::Never => &[ALPN_HTTP1],
        Http2::PriorKnowledge => &[ALPN_H2],
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), SetupError> {
    let refuse = |reason: String| SetupError::Ca { path: path.to_owned(), reason };
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))? {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
        found = true;
    }
    if found { Ok(()) } else { Err(refuse("it holds no certificate".to_owned())) }
}
