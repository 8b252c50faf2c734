//! Opens connections for ureq: names, addresses, proxies and TLS, each step within the deadline.
//!
//! Runs inside ureq on the thread that asks. What is opened is a [`NetTransport`]; how bytes go over it is its
//! business. The traits are ureq's `unversioned` ones.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use socket2::Socket;
use ureq::Error;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout};

use crate::http::address::site::join;
use crate::http::dial::dialer::{Dialer, Turn};
use crate::http::dial::proxy::{Proxy, Speech};
use crate::http::dial::tunnel;
use crate::http::error::{HttpErrorKind, Phase};
use crate::http::profile::ClientProfile;
use crate::http::tls::session::TlsSession;
use crate::http::wire::carry::{Deadline, Link, Wire, carry};
use crate::http::wire::exchange::Exchange;
use crate::http::wire::transport::{NetTransport, OverProxy, Preface};

/// ureq resolves before it looks whether it has a connection; [`NetConnector`] looks names up when it needs them.
#[derive(Debug)]
pub(in crate::http) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from(([0, 0, 0, 0], 0)));
        Ok(addresses)
    }
}

/// Where a client's connections lead.
#[derive(Clone, Debug)]
pub(in crate::http) enum Route {
    /// To the host of the URL.
    Network,
    /// The same, each connection to another one of its addresses.
    InTurn(Turn),
    /// To a socket of this machine.
    UnixSocket(PathBuf),
}

/// Opens connections for one client.
#[derive(Debug)]
pub(in crate::http) struct NetConnector {
    pub(in crate::http) route: Route,
    pub(in crate::http) dialer: Dialer,
    pub(in crate::http) profile: Arc<ClientProfile>,
}

/// Whom a connection is for.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    is_tls: bool,
    host: &'a str,
    port: u16,
}

impl Connector for NetConnector {
    type Out = NetTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<NetTransport>, Error> {
        self.exchange().opens_connection();
        let deadline = Deadline::of(details.timeout);
        let Some(site) = self.exchange().site() else {
            return Err(carry(HttpErrorKind::BadUrl("no host in request URL".to_owned())));
        };
        let is_tls = details.needs_tls();
        let port = site.port_or(if is_tls { 443 } else { 80 }).map_err(carry)?;
        let target = Target { is_tls, host: site.host(), port };
        let transport = match &self.route {
            Route::UnixSocket(path) => self.straight(target, self.dialer.path(path, deadline)?, deadline)?,
            Route::Network | Route::InTurn(_) => {
                match self.profile.proxies.of(is_tls, target.host, target.port) {
                    None => {
                        let (socket, address) = self.dialer.host(target.host, target.port, deadline)?;
                        self.straight(target, socket, deadline)?.leading_to(
                            target.host,
                            address,
                            &self.dialer.names,
                        )
                    }
                    Some(proxy) => self.through(proxy, target, site.header(), deadline)?,
                }
            }
        };
        Ok(Some(transport))
    }
}

impl NetConnector {
    fn exchange(&self) -> &Exchange {
        &self.dialer.exchange
    }

    fn straight(
        &self,
        target: Target<'_>,
        socket: Arc<Socket>,
        deadline: Deadline,
    ) -> Result<NetTransport, Error> {
        let mut wire = Wire::new(socket, Arc::clone(&self.dialer.exchange));
        let tls = match target.is_tls {
            true => Some(self.shake_hands(target.host, &mut wire, deadline)?),
            false => None,
        };
        Ok(NetTransport::new(wire, None, tls, None))
    }

    fn through(
        &self,
        proxy: &Proxy,
        target: Target<'_>,
        header_host: &str,
        deadline: Deadline,
    ) -> Result<NetTransport, Error> {
        let on_the_way = |error| tunnel::on_the_way(self.exchange(), error);
        let proxy_port = proxy.site.port_or(proxy.default_port()).map_err(carry).map_err(on_the_way)?;
        let (socket, address) =
            self.dialer.host(proxy.site.host(), proxy_port, deadline).map_err(on_the_way)?;
        // What is looked up again for a kept connection is the proxy: it looks up the target itself.
        let leading_there =
            |transport: NetTransport| transport.leading_to(proxy.site.host(), address, &self.dialer.names);
        let mut wire = Wire::new(socket, Arc::clone(&self.dialer.exchange));
        if proxy.speech == Speech::Socks5 {
            tunnel::connect_by_socks(&mut wire, deadline, proxy, target.host, target.port)
                .map_err(on_the_way)?;
            let tls = match target.is_tls {
                true => Some(self.shake_hands(target.host, &mut wire, deadline)?),
                false => None,
            };
            return Ok(leading_there(NetTransport::new(wire, None, tls, None)));
        }
        let mut outer = match proxy.speech {
            // By its own name: `server_name` is the target's.
            Speech::Https => {
                Some(self.shake_hands_as(proxy.site.host(), &mut wire, deadline).map_err(on_the_way)?)
            }
            _ => None,
        };
        if !target.is_tls {
            let preface = Preface::new(header_host, proxy);
            return Ok(leading_there(NetTransport::new(wire, None, outer, Some(preface))));
        }
        self.exchange().enter(Phase::Connect);
        let header = &self.profile.config().proxy.connect_header;
        let address = join(target.host, target.port);
        let tls = {
            let mut over_proxy = outer.as_mut().map(|outer| OverProxy { wire: &mut wire, outer });
            let link: &mut dyn Link = match &mut over_proxy {
                Some(over_proxy) => over_proxy,
                None => &mut wire,
            };
            tunnel::connect(link, deadline, proxy, header, &address).map_err(on_the_way)?;
            self.shake_hands(target.host, link, deadline)?
        };
        Ok(leading_there(NetTransport::new(wire, outer, Some(tls), None)))
    }

    fn shake_hands(&self, host: &str, link: &mut dyn Link, deadline: Deadline) -> Result<TlsSession, Error> {
        match self.profile.config().tls.server_name.as_str() {
            "" => self.shake_hands_as(host, link, deadline),
            name => self.shake_hands_as(name, link, deadline),
        }
    }

    fn shake_hands_as(
        &self,
        name: &str,
        link: &mut dyn Link,
        deadline: Deadline,
    ) -> Result<TlsSession, Error> {
        self.exchange().enter(Phase::Handshake);
        // Certificates know no zones.
        let name = name.split('%').next().unwrap_or_default();
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            carry(HttpErrorKind::Tls(format!("tls: {name:?} is not a name that a server can have")))
        })?;
        let config = self.profile.tls.client_config().map_err(|cause| carry(HttpErrorKind::Setup(cause)))?;
        TlsSession::connect(config, name, link, deadline)
    }
}
