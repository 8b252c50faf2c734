//! Providers of Prometheus that are not built in, and how their targets come here all the same.

/// Providers of Prometheus 3.14 that speak the API of a cloud or of a cluster, and will not come.
pub(crate) const BRIDGED: [&str; 30] = [
    "aws_sd_configs",
    "azure_sd_configs",
    "digitalocean_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "elasticache_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "ionos_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "rds_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

/// The way out for users of what is not built in.
pub(crate) const BRIDGE: &str = "let a program that knows these targets hand them over as [{\"targets\": [...], \"labels\": {...}}]: \
                      at a URL for http_sd_configs, in a file for file_sd_configs, or printed for exec_sd_configs";

/// True for the key of a provider that [`read`] has something to say about.
pub(in crate::config) fn is_other_provider(key: &str) -> bool {
    BRIDGED.contains(&key)
}
