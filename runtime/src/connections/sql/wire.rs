//! A byte stream to a PostgreSQL server, for what the SQL client has no words for: opened by the guard, encrypted as
//! the resource says.
//!
//! The modes mean what they mean to the SQL client (`pool.rs`), and the same authorities are trusted: the public ones
//! and the resource's own. Source: PostgreSQL's chapter "Frontend/Backend Protocol", section "SSL Session Encryption".

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::{Engine, Network, Server, Target, TlsMode};
use super::{Fault, Pool};
use crate::connections::stream::Socket;
use crate::egress;

/// `SSLRequest`: its length and its number.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// An open stream on which nothing has been said yet.
pub struct Wire {
    /// The stream.
    pub socket: Socket,
    /// Whether what is said on it is encrypted.
    pub encrypted: bool,
    /// What it leads to, and who logs in.
    pub network: Network,
}

impl Pool {
    /// Connects to a PostgreSQL server. The caller bounds how long that may take.
    pub async fn wire(&self, server: &Server) -> Result<Wire, Fault> {
        let target = Target::of(&server.url).map_err(|detail| Fault::permanent("DB_REFUSED", detail))?;
        let network = match target {
            Target::Network(network) if network.engine == Engine::Postgres => network,
            _ => return Err(Fault::permanent("DB_REFUSED", "this is no PostgreSQL server")),
        };
        let tcp = self.egress.connect_tcp(&network.host, network.port).await?;
        let mode = network.tls(server.tls);
        if mode == TlsMode::Disable {
            return Ok(Wire { socket: Box::new(tcp), encrypted: false, network });
        }
        let socket = encrypt(tcp, &network.host, mode, server.ca.as_deref()).await?;
        Ok(Wire { socket, encrypted: true, network })
    }
}

async fn encrypt(mut tcp: TcpStream, host: &str, mode: TlsMode, ca: Option<&str>) -> Result<Socket, Fault> {
    let broken = |error: std::io::Error| Fault::of_io(&error);
    tcp.write_all(&SSL_REQUEST).await.map_err(broken)?;
    // One byte and no more: whatever followed it unencrypted would otherwise be taken for the server's.
    match tcp.read_u8().await.map_err(broken)? {
        b'S' => {}
        b'N' => {
            return Err(Fault::permanent(
                "DB_REFUSED",
                "the server does not speak TLS; turn it on there, or set `tls`",
            ));
        }
        _ => return Err(protocol("the server did not say whether it speaks TLS".to_owned())),
    }
    let config = config(mode, ca)?;
    let name = ServerName::try_from(host.to_owned());
    let name =
        name.map_err(|_| Fault::permanent("DB_REFUSED", "the host is no name that a certificate could be for"))?;
    let connected = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    let stream = connected.map_err(|error| protocol(format!("TLS: {}", egress::Error::of_io(&error))))?;
    Ok(Box::new(stream))
}

fn protocol(message: String) -> Fault {
    Fault { code: "EPROTO", message, retryable: true, gone: false }
}

fn config(mode: TlsMode, ca: Option<&str>) -> Result<rustls::ClientConfig, Fault> {
    let unusable = |why: String| Fault::permanent("RESOURCE_INVALID", why);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| unusable(format!("TLS cannot be set up: {error}")))?;
    if mode != TlsMode::VerifyFull {
        let anybody = Arc::new(Anybody(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth());
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or_default().as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(format!("/ca: this is no PEM: {error}")))?;
        roots.add(certificate).map_err(|error| unusable(format!("/ca: a certificate cannot be used: {error}")))?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// `require`: whoever the server is, but it must hold the key of the certificate that it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
