//! Files, commands and sockets of this machine as targets: those that the operator named, and no others.

mod provenance;
mod sockets;
mod targets;
