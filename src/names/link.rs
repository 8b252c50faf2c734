//! Questions to the link by multicast DNS (RFC 6762), and the answers that come back.
//!
//! Asking from a port of our own makes neighbours answer to us alone (section 6.7), beside whatever else on this machine
//! speaks mDNS. Every network that the machine is in is asked, by IPv4 and IPv6; one that cannot be asked does not keep
//! the others from it. Knows packets, not what is asked for.

use scraped_engine::sorting::sort;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simple_dns::{Packet, PacketFlag};
use socket2::{Domain, Protocol, Socket, Type};

const PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// The link and no further (RFC 6762, section 11).
const HOPS: u32 = 255;

/// Largest packet (RFC 6762, section 17).
const MAX_PACKET_BYTES: usize = 9000;

/// Sockets that ask; a machine with more networks has them for its containers.
const MAX_SOCKETS: usize = 32;

/// Sockets to all networks that are asked.
#[derive(Debug)]
pub struct Link {
    sockets: Vec<(UdpSocket, SocketAddr)>,
}

impl Link {
    /// The networks of these addresses of this machine; of all its networks if there are none.
    ///
    /// # Errors
    /// No network can be asked: what the system says about the last one.
    pub fn open(interfaces: &[Ipv4Addr]) -> io::Result<Self> {
        let networks: Vec<Network> = if interfaces.is_empty() {
            own_networks()?
        } else {
            interfaces.iter().map(|address| Network::V4(*address)).collect()
        };
        let mut sockets = Vec::new();
        let mut failure = None;
        for network in networks.into_iter().take(MAX_SOCKETS) {
            match network.socket() {
                Ok(socket) => sockets.push(socket),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if sockets.is_empty() => Err(error),
            _ => Ok(Self { sockets }),
        }
    }

    /// Sends a question everywhere.
    ///
    /// # Errors
    /// It could be sent nowhere: what the system says about the last network.
    pub fn ask(&self, question: &[u8]) -> io::Result<()> {
        let mut failure = None;
        let mut n_sent = 0;
        for (socket, group) in &self.sockets {
            match socket.send_to(question, group) {
                Ok(_) => n_sent += 1,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if n_sent == 0 => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits up to `patience` for answers and shows those that came. What cannot be read is not said.
    ///
    /// # Errors
    /// The system cannot wait.
    pub fn hear(&self, patience: Duration, mut take: impl FnMut(&Packet<'_>)) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        let mut bytes = [0; MAX_PACKET_BYTES];
        let mut waiting: Vec<PollFd<'_>> =
            self.sockets.iter().map(|(socket, _)| PollFd::new(socket, PollFlags::IN)).collect();
        let mut n_heard = 0;
        while n_heard == 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut waiting, Some(&timeout)) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for (socket, _) in &self.sockets {
                while let Ok(n_read) = socket.recv(&mut bytes) {
                    n_heard += 1;
                    let packet = Packet::parse(bytes.get(..n_read).unwrap_or_default());
                    if let Some(packet) = packet.ok().filter(|it| it.has_flags(PacketFlag::RESPONSE)) {
                        take(&packet);
                    }
                    // A neighbour may talk without a pause.
                    if Instant::now() >= deadline {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A network that the machine is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Network {
    /// By an address of the machine in it: choosing by the interface would need a privilege.
    V4(Ipv4Addr),
    /// By the number of its interface.
    V6(u32),
}

fn own_networks() -> io::Result<Vec<Network>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let network = |interface: if_addrs::Interface| match interface.ip() {
        IpAddr::V4(address) => Some(Network::V4(address)),
        IpAddr::V6(_) => interface.index.map(Network::V6),
    };
    let mut networks: Vec<Network> = interfaces.into_iter().filter_map(network).collect();
    sort(&mut networks);
    networks.dedup();
    Ok(networks)
}

impl Network {
    /// A socket, and where its questions go.
    fn socket(self) -> io::Result<(UdpSocket, SocketAddr)> {
        let (socket, group) = match self {
            Network::V4(address) => {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
                socket.set_multicast_if_v4(&address)?;
                socket.set_multicast_ttl_v4(HOPS)?;
                socket.bind(&SocketAddrV4::new(address, 0).into())?;
                (socket, SocketAddrV4::new(GROUP_V4, PORT).into())
            }
            Network::V6(index) => {
                let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
                socket.set_only_v6(true)?;
                socket.set_multicast_if_v6(index)?;
                socket.set_multicast_hops_v6(HOPS)?;
                socket.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0).into())?;
                (socket, SocketAddrV6::new(GROUP_V6, PORT, 0, index).into())
            }
        };
        socket.set_nonblocking(true)?;
        Ok((socket.into(), group))
    }
}
