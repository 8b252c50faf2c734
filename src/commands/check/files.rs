//! What `scraped check config` looks at beside the configuration: the files that it names.
//!
//! The verdicts are promtool's (`cmd/promtool/main.go`): a job's credentials or client certificate that is not there and a
//! list of targets that cannot be read are mistakes, a list that is not there is worth a warning. What promtool does not
//! look at is a warning as well. No secret is read.

use std::fs;
use std::path::Path;

use crate::config::client::http_client::{Auth, HttpClientConfig};
use crate::config::client::oauth2::Grant;
use crate::config::client::secret::Source;
use crate::config::discovery::DiscoveryConfig;
use crate::config::text::paths::glob;
use crate::config::{Config, ScrapeConfig};
use crate::discovery::read_list;

/// What was found beside the configuration itself.
#[derive(Debug, Default)]
pub(in crate::commands::check) struct Findings {
    /// The configuration is not good.
    pub(in crate::commands::check) mistakes: Vec<String>,
    /// It may be.
    pub(in crate::commands::check) warnings: Vec<String>,
}

/// Looks at every file that `config` names.
pub(in crate::commands::check) fn look(config: &Config) -> Findings {
    let mut found = Findings::default();
    for job in &config.scrape_configs {
        let owner = format!("scrape job {:?}", job.job_name);
        found.look_at_client(&job.http_client, &owner, true);
        for provider in &job.discovery {
            found.look_at_provider(provider, job, &owner);
        }
    }
    for section in &config.remote_write {
        found.look_at_client(&section.http_client, &format!("remote_write {}", section.shown_url()), false);
    }
    // Jobs often share their files.
    found.mistakes.dedup();
    found.warnings.dedup();
    found
}

impl Findings {
    /// `promtool_looks`: promtool looks at the job's own client, and there at credentials and certificates.
    fn look_at_client(&mut self, client: &HttpClientConfig, owner: &str, promtool_looks: bool) {
        match &client.auth {
            // Clouds have files where their own tools put them.
            None | Some(Auth::SigV4(_) | Auth::AzureAd(_)) => {}
            Some(Auth::Credentials { credentials, .. }) => {
                let what = "authorization credentials or bearer token";
                self.look_at_source(credentials.as_ref(), what, owner, promtool_looks);
            }
            Some(Auth::Basic { username, password }) => {
                self.look_at_source(username.as_ref(), "basic auth username", owner, false);
                self.look_at_source(password.as_ref(), "basic auth password", owner, false);
            }
            Some(Auth::OAuth2(oauth2)) => {
                match &oauth2.grant {
                    Grant::ClientCredentials { secret, .. } => {
                        self.look_at_source(secret.as_ref(), "oauth2 client secret", owner, false);
                    }
                    Grant::ClientAssertion { assertion } => {
                        self.look_at_source(Some(assertion), "client assertion", owner, false);
                    }
                    Grant::JwtBearer { key, .. } => {
                        self.look_at_source(key.as_ref(), "oauth2 client certificate key", owner, false);
                    }
                }
                self.look_at_client(&oauth2.client, owner, false);
            }
        }
        self.look_at_source(client.tls.ca.as_ref(), "CA certificate", owner, false);
        if let Some(identity) = &client.tls.identity {
            self.look_at_source(Some(&identity.cert), "client cert", owner, promtool_looks);
            self.look_at_source(Some(&identity.key), "client key", owner, promtool_looks);
        }
        for secret in client.headers.iter().flat_map(|header| &header.secrets) {
            self.look_at_source(Some(secret), "header", owner, false);
        }
    }

    fn look_at_source(&mut self, source: Option<&Source>, what: &str, owner: &str, is_mistake: bool) {
        if let Some(Source::File(path)) = source {
            self.look_at_file(path, what, owner, is_mistake);
        }
    }

    fn look_at_file(&mut self, path: &Path, what: &str, owner: &str, is_mistake: bool) {
        let Err(error) = fs::metadata(path) else { return };
        let sentence =
            format!("error checking {what} file {:?} of {owner}: {error}", path.display().to_string());
        match is_mistake {
            true => self.mistakes.push(sentence),
            false => self.warnings.push(sentence),
        }
    }

    fn look_at_provider(&mut self, provider: &DiscoveryConfig, job: &ScrapeConfig, owner: &str) {
        let client = match provider {
            DiscoveryConfig::File(config) => {
                for pattern in &config.files {
                    self.look_at_lists(pattern, job, owner);
                }
                return;
            }
            DiscoveryConfig::Kubernetes(config) => {
                if let Some(path) = &config.kubeconfig_file {
                    self.look_at_file(path, "kubeconfig", owner, false);
                }
                &config.client
            }
            DiscoveryConfig::Consul(config) => &config.client,
            DiscoveryConfig::Docker(config) => &config.client,
            DiscoveryConfig::Http(config) => &config.client,
            DiscoveryConfig::Kubelet(config) => &config.client,
            DiscoveryConfig::Dns(_)
            | DiscoveryConfig::Exec(_)
            | DiscoveryConfig::Mdns(_)
            | DiscoveryConfig::Static(_) => return,
        };
        self.look_at_client(client, owner, false);
    }

    fn look_at_lists(&mut self, pattern: &Path, job: &ScrapeConfig, owner: &str) {
        // A pattern that is wrong in itself was refused with the configuration.
        let paths = glob(pattern).unwrap_or_default();
        if paths.is_empty() {
            let pattern = pattern.display().to_string();
            self.warnings.push(format!("file {pattern:?} for file_sd in {owner} does not exist"));
        }
        for path in paths {
            let shown = path.display().to_string();
            match read_list(&path) {
                Err(cause) => self.mistakes.push(format!("checking SD file {shown:?}: {cause}")),
                Ok(groups) if job.relabel_configs.is_empty() => {
                    let targets = groups.iter().flat_map(|group| group.targets.iter().enumerate());
                    let nameless = targets.filter(|(_, target)| target.get("__address__").is_empty());
                    self.mistakes.extend(
                        nameless
                            .map(|(idx, _)| format!("checking SD file {shown:?}: target {idx}: no address")),
                    );
                }
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::look;
    use crate::config::load;
    use std::fs;

    /// Mistakes, and warnings behind a `?`, with `DIR` for the directory.
    fn check(jobs: &str, want: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let shown = dir.path().display().to_string();
        fs::write(dir.path().join("good.yml"), "\u{feff}- targets: ['a:1']\n").unwrap();
        fs::write(dir.path().join("good.json"), "[{\"targets\": [\"a:1\"]}]").unwrap();
        fs::write(dir.path().join("broken.yml"), "- targets: [a:1\n").unwrap();
        fs::write(dir.path().join("unknown.yml"), "- targets: ['a:1']\n  bla: 1\n").unwrap();
        fs::write(dir.path().join("empty_target.yml"), "- targets: ['']\n").unwrap();
        let path = dir.path().join("c.yml");
        fs::write(&path, jobs).unwrap();
        let found = look(&load(&path).unwrap());
        let warnings = found.warnings.into_iter().map(|warning| format!("? {warning}"));
        let got: Vec<String> =
            found.mistakes.into_iter().chain(warnings).map(|line| line.replace(&shown, "DIR")).collect();
        assert_eq!(got, want, "{jobs}");
    }

    #[test]
    fn lists_of_targets_are_read() {
        let lists = |files: &str| {
            format!("scrape_configs: [{{job_name: a, file_sd_configs: [{{files: [{files}]}}]}}]\n")
        };
        check(&lists("good.yml, good.json, 'go*.yml'"), &[]);
        check(
            &lists("none.yml, 'none*.yml', /nope/x.json"),
            &[
                "? file \"DIR/none.yml\" for file_sd in scrape job \"a\" does not exist",
                "? file \"DIR/none*.yml\" for file_sd in scrape job \"a\" does not exist",
                "? file \"/nope/x.json\" for file_sd in scrape job \"a\" does not exist",
            ],
        );
        check(
            &lists("broken.yml, unknown.yml, empty_target.yml"),
            &[
                "checking SD file \"DIR/broken.yml\": line 2: not valid YAML: did not find expected ',' or ']'",
                "checking SD file \"DIR/unknown.yml\": line 2: unknown field; a group has \"targets\" and \"labels\"",
                "checking SD file \"DIR/empty_target.yml\": target 0: no address",
            ],
        );
    }

    #[test]
    fn credentials_and_certificates_are_there() {
        let job = |client: &str| format!("scrape_configs: [{{job_name: a, {client}}}]\n");
        let missing = "DIR/none\" of scrape job \"a\": No such file or directory (os error 2)";
        check(&job("bearer_token_file: good.yml"), &[]);
        for client in ["bearer_token_file: none", "authorization: {credentials_file: none}"] {
            let want = format!("error checking authorization credentials or bearer token file \"{missing}");
            check(&job(client), &[&want]);
        }
        check(
            &job("tls_config: {ca_file: none, cert_file: none, key_file: none}"),
            &[
                &format!("error checking client cert file \"{missing}"),
                &format!("error checking client key file \"{missing}"),
                &format!("? error checking CA certificate file \"{missing}"),
            ],
        );
        check(
            &job("basic_auth: {username: u, password_file: none}"),
            &[&format!("? error checking basic auth password file \"{missing}")],
        );
        check(
            &job("http_sd_configs: [{url: 'http://box', authorization: {credentials_file: none}}]"),
            &[&format!("? error checking authorization credentials or bearer token file \"{missing}")],
        );
        check(
            "remote_write: [{url: 'http://box/w', bearer_token_file: none}]\n",
            &[
                "? error checking authorization credentials or bearer token file \"DIR/none\" of remote_write \
               http://box/w: No such file or directory (os error 2)",
            ],
        );
    }
}
