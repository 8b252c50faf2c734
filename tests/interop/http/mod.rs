//! The same servers for both: the same answers and the same sentences.

mod api_paths;
mod certificates;
mod door;
mod grafana;
mod heads;
mod negotiation;
mod proxy;
mod queries;
mod remote_read;
mod tls;
