//! Ingresses as targets (Prometheus' `discovery/kubernetes/ingress.go`).

use crate::discovery::lists::tally::Tally;
use crate::discovery::providers::kubernetes::objects::Object;
use crate::discovery::providers::kubernetes::roles::{counted_group, label, of_namespaced};
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use scraped_engine::labels::Labels;

/// A target for each path of each rule.
///
/// # Errors
/// A sentence: it has too many.
pub(in crate::discovery::providers::kubernetes) fn ingress_group(
    ingress: &Object,
    tally: &mut Tally,
) -> Result<TargetGroup, String> {
    let Object { metadata, spec, .. } = ingress;
    let mut targets = Vec::new();
    for rule in &spec.rules {
        let mut patterns = spec.tls.iter().flat_map(|tls| &tls.hosts);
        let scheme = if patterns.any(|it| covers(it, &rule.host)) { "https" } else { "http" };
        let mut push = |path: &str| {
            targets.push(Labels::from_pairs([
                (ADDRESS_LABEL.to_owned(), rule.host.clone()),
                label("ingress_scheme", scheme),
                label("ingress_host", rule.host.as_str()),
                label("ingress_path", if path.is_empty() { "/" } else { path }),
            ]));
        };
        match &rule.http {
            None => push("/"),
            Some(http) => http.paths.iter().for_each(|it| push(&it.path)),
        }
    }
    let source = format!("ingress/{}/{}", metadata.namespace, metadata.name);
    let mut labels = of_namespaced("ingress", metadata);
    labels.push(label("ingress_class_name", spec.ingress_class_name.as_str()));
    counted_group(source, labels, targets, tally)
}

/// Whether a certificate's name is that of the host, or has `*` in place of its first part.
fn covers(pattern: &str, host: &str) -> bool {
    let behind_first = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
    let is_wildcard = pattern.split('.').next() == Some("*");
    pattern == host || (is_wildcard && behind_first(pattern) == behind_first(host))
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn names_of_certificates() {
        for (pattern, host, want) in [
            ("a.b", "a.b", true),
            ("*.b", "a.b", true),
            ("*.b", "c.a.b", false),
            ("*.b.c", "a.x.c", false),
            ("a.*", "a.b", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("", "", true),
        ] {
            assert_eq!(covers(pattern, host), want, "{pattern} {host}");
        }
    }
}
