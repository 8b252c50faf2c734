//! One request over TLS: by whom, in which version, and what came of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::{Authority, Pair};
use crate::PATIENCE;
use crate::scraped::Answer;

/// A client.
pub struct Asker<'a> {
    /// Who has issued the server's certificate.
    pub trusts: &'a Authority,
    /// What it shows when it is asked for a certificate.
    pub shows: Option<&'a Pair>,
    /// What it speaks.
    pub versions: &'a [&'static SupportedProtocolVersion],
}

impl Asker<'_> {
    /// Connects to `address` as to `localhost`; the handshake is part of the first request.
    pub fn connect(&self, address: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusts.der.clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(self.versions)
            .expect("versions that there are")
            .with_root_certificates(roots);
        let config = match self.shows {
            None => builder.with_no_client_auth(),
            Some(pair) => builder.with_client_auth_cert(vec![pair.cert.clone()], pair.key()).expect("a pair"),
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        StreamOwned::new(connection, stream)
    }

    /// The answer to a `GET`, or why there is none.
    pub fn get(&self, address: &str, path: &str, headers: &str) -> Result<Answer, String> {
        let mut stream = self.connect(address);
        let host = "Host: localhost\r\nConnection: close\r\n";
        write!(stream, "GET {path} HTTP/1.1\r\n{host}{headers}\r\n").map_err(|err| err.to_string())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map_err(|err| err.to_string())?;
        Answer::read(&bytes).ok_or_else(|| "no answer".to_owned())
    }
}
