//! How providers write what they found as labels.

/// Go's `net.JoinHostPort`.
pub(in crate::discovery) fn host_port(host: &str, port: u16) -> String {
    host_port_text(host, &port.to_string())
}

/// The same for a port that no one has looked at.
pub(in crate::discovery) fn host_port_text(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A name that was somebody else's as the end of a label name: every character that label names do not have becomes an
/// underscore (Prometheus' `util/strutil: SanitizeLabelName`).
pub(in crate::discovery) fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::{host_port, sanitized};

    #[test]
    fn as_go_writes_them() {
        assert_eq!(host_port("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(host_port("::1", 80), "[::1]:80");
        assert_eq!(host_port("", 80), ":80");
        assert_eq!(sanitized("com.docker/Größe-1_a"), "com_docker_Gr__e_1_a");
    }
}
