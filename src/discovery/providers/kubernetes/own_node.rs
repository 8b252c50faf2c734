//! What the node that this runs on is called in its cluster.

/// Who deploys us says so; the second name is as usual as the first.
const VARIABLES: [&str; 2] = ["NODE_NAME", "KUBERNETES_NODE_NAME"];

/// The name, and where it comes from, for sentences. Without a word in the environment it is the host's name in lower
/// case, as the kubelet (and so k3s) has it.
pub(in crate::discovery::providers::kubernetes) fn own_node(
    env: impl Fn(&str) -> Option<String>,
) -> (String, &'static str) {
    for name in VARIABLES {
        if let Some(value) = env(name).map(|value| value.trim().to_owned()).filter(|it| !it.is_empty()) {
            return (value, name);
        }
    }
    let host = rustix::system::uname().nodename().to_string_lossy().trim().to_lowercase();
    (host, "this host's name")
}

#[cfg(test)]
mod tests {
    use super::own_node;

    #[test]
    fn the_environment_knows_better_than_the_host() {
        let check = |pairs: &[(&str, &str)], want: &str| {
            let env =
                |name: &str| pairs.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(own_node(env).0, want, "{pairs:?}");
        };
        check(&[("NODE_NAME", "a"), ("KUBERNETES_NODE_NAME", "b")], "a");
        check(&[("NODE_NAME", " "), ("KUBERNETES_NODE_NAME", "b\n")], "b");
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
        check(&[], &host.trim().to_lowercase());
    }
}
