//! Each kind of source against a server or files of the test's own, and the manager that merges what they send.

mod changes;
mod consul;
mod descriptors;
mod docker;
mod exec;
mod files;
mod http;
mod kubelet;
mod kubernetes;
mod kubernetes_trouble;
mod manager;
mod mdns;
mod remembered;
mod tls;
