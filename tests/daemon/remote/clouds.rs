//! Endpoints of clouds: requests signed for Amazon's, tokens of Microsoft's; keys from wherever their libraries look.

use std::collections::BTreeMap;
use std::fs;

use support::remote::config;
use support::remote::receiver::{Receiver, Request};
use support::remote::sigv4::Signed;
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::tls::endpoint::{self, Endpoint, reply, server_tls};
use support::tls::proxy::{Manner, Proxy};
use support::tls::{Authority, Validity};
use support::wait_until;

const JSON: &str = "Content-Type: application/json\r\n";

/// A target, a receiver, and the daemon between them, with these variables in its environment.
struct Fixture {
    receiver: Receiver,
    scraped: Scraped,
    _targets: FakeTargets,
}

impl Fixture {
    fn start(section: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with(Receiver::url, section, variables)
    }

    fn start_with(url: fn(&Receiver) -> String, section: &str, variables: &[(&str, &str)]) -> Self {
        let targets = FakeTargets::start();
        targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
        let receiver = Receiver::start();
        let config = config(&targets.address(), "/metrics", &url(&receiver), section, "");
        // Neither files nor machines of whoever runs the test.
        let closed = [
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let closed = closed.into_iter().filter(|(name, _)| variables.iter().all(|(other, _)| other != name));
        let all: Vec<(&str, &str)> = closed.chain(variables.iter().copied()).collect();
        let scraped = Scraped::spawn_in_environment(&all, &config);
        Self { receiver, scraped, _targets: targets }
    }

    fn first(&self) -> Request {
        wait_until("a request", || self.receiver.n_requests() > 0);
        self.receiver.requests().remove(0)
    }

    /// The first request is signed with the key `AK` and the secret `SK`.
    fn check_signature(&self, token: &str) -> Request {
        let request = self.first();
        check(&signed(&request), "aps");
        assert_eq!(request.header("x-amz-security-token"), token);
        request
    }
}

fn signed(request: &Request) -> Signed<'_> {
    let (method, path) = request.line.split_once(' ').expect("a request line");
    let path = path.split(' ').next().unwrap_or_default();
    Signed { method, path, headers: &request.headers, body: &request.body }
}

fn check(request: &Signed<'_>, service: &str) {
    assert_eq!(request.check("AK", "SK/secret+", "eu-north-1", service), Ok(()), "{request:?}");
}

fn headers(request: &endpoint::Request) -> BTreeMap<String, String> {
    let lines = request.head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
}

/// Keys as metadata and containers give them.
fn keys(token: &str) -> String {
    format!(
        "{{\"Code\": \"Success\", \"AccessKeyId\": \"AK\", \"SecretAccessKey\": \"SK/secret+\", \"Token\": \
         \"{token}\", \"Expiration\": \"2099-01-01T00:00:00Z\"}}"
    )
}

#[test]
fn keys_of_the_configuration_sign_each_request() {
    let section =
        "sigv4: {region: eu-north-1, access_key: AK, secret_key: SK/secret+}\nheaders: {X-Tenant: a}";
    let fixture = Fixture::start(section, &[]);
    let request = fixture.check_signature("");
    assert_eq!(request.header("x-tenant"), "a");
    let names =
        "content-encoding;content-length;content-type;host;x-amz-date;x-prometheus-remote-write-version";
    assert_eq!(signed(&request).part("SignedHeaders"), names);
    wait_until("more requests", || fixture.receiver.n_requests() > 2);
    for request in fixture.receiver.requests() {
        check(&signed(&request), "aps");
    }
    let page = fixture.scraped.get("/config").body;
    assert!(page.contains("secret_key: &lt;secret&gt;") && !page.contains("SK/secret"), "{page}");
}

#[test]
fn the_path_that_is_signed_is_sent() {
    let url = |receiver: &Receiver| receiver.url().replace("/api/", "//prom/../api/./");
    let section = "sigv4: {region: eu-north-1, access_key: AK, secret_key: SK/secret+}";
    let request = Fixture::start_with(url, section, &[]).check_signature("");
    assert!(request.line.starts_with("POST /api/v1/write"), "{}", request.line);
}

#[test]
fn keys_of_the_environment() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AK"),
        ("AWS_SECRET_ACCESS_KEY", "SK/secret+"),
        ("AWS_SESSION_TOKEN", "st"),
        ("AWS_REGION", "eu-north-1"),
    ];
    Fixture::start("sigv4: {}", &variables).check_signature("st");
}

#[test]
fn keys_of_a_profile_go_before_those_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let config = file("config", "[profile edge]\nregion = eu-north-1\n");
    let credentials = file(
        "credentials",
        "[default]\naws_access_key_id = x\naws_secret_access_key = y\n[edge]\naws_access_key_id = AK\n\
         aws_secret_access_key = SK/secret+\n",
    );
    let variables = [
        ("AWS_CONFIG_FILE", config.as_str()),
        ("AWS_SHARED_CREDENTIALS_FILE", &credentials),
        ("AWS_ACCESS_KEY_ID", "other"),
        ("AWS_SECRET_ACCESS_KEY", "other"),
    ];
    Fixture::start("sigv4: {profile: edge}", &variables).check_signature("");
}

#[test]
fn keys_of_a_container_and_of_the_machine() {
    let agent = Endpoint::plain(|request| match request.values("Authorization") == ["pass"] {
        true => reply(200, JSON, &keys("of-container")),
        false => reply(401, "", "who?"),
    });
    let url = format!("http://{}/keys", agent.at("127.0.0.1"));
    let variables =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pass")];
    Fixture::start("sigv4: {region: eu-north-1}", &variables).check_signature("of-container");
    let metadata = Endpoint::plain(|request| {
        let is_known = request.values("X-Aws-Ec2-Metadata-Token") == ["session"];
        match request.head.split(" HTTP").next().unwrap_or_default() {
            "PUT /latest/api/token" => reply(200, "", "session"),
            "GET /latest/meta-data/iam/security-credentials/" if is_known => reply(200, "", "edge-role\n"),
            "GET /latest/meta-data/iam/security-credentials/edge-role" if is_known => {
                reply(200, JSON, &keys("of-machine"))
            }
            _ => reply(401, "", ""),
        }
    });
    let url = format!("http://{}/", metadata.at("127.0.0.1"));
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str()), ("AWS_EC2_METADATA_DISABLED", "")];
    Fixture::start("sigv4: {region: eu-north-1}", &variables).check_signature("of-machine");
    assert_eq!(metadata.requests().len(), 3, "keys are kept until they expire");
}

#[test]
fn keys_of_a_role() {
    let sts = Endpoint::plain(|request| {
        let headers = headers(request);
        let signed = Signed { method: "POST", path: "/", headers: &headers, body: &request.body };
        assert_eq!(signed.check("base", "of base", "eu-north-1", "sts"), Ok(()));
        let form = String::from_utf8_lossy(&request.body).into_owned();
        assert!(
            form.starts_with(
                "Action=AssumeRole&ExternalId=x+y&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fedge&RoleSessionName=scraped-"
            ),
            "{form}"
        );
        reply(
            200,
            "Content-Type: text/xml\r\n",
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AK</AccessKeyId><SecretAccessKey>SK/secret+\
             </SecretAccessKey><SessionToken>of-role</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
             </Credentials></AssumeRoleResult></AssumeRoleResponse>",
        )
    });
    let url = format!("http://{}", sts.at("127.0.0.1"));
    let section = "sigv4: {region: eu-north-1, access_key: base, secret_key: of base, external_id: x y, role_arn: \
                   'arn:aws:iam::1:role/edge'}";
    Fixture::start(section, &[("AWS_ENDPOINT_URL_STS", &url)]).check_signature("of-role");
}

#[test]
fn without_keys_there_is_a_sentence_and_nothing_is_lost() {
    let fixture = Fixture::start("sigv4: {region: eu-north-1}", &[]);
    let sentence =
        "could not get SigV4 credentials: neither access_key and secret_key, nor AWS_ACCESS_KEY_ID";
    wait_until("the sentence", || fixture.scraped.stderr().contains(sentence));
    assert_eq!(fixture.receiver.n_requests(), 0);
}

#[test]
fn a_machine_of_azure_has_an_identity() {
    let giver = Endpoint::plain(|request| {
        assert_eq!(request.values("X-IDENTITY-HEADER"), ["pass"]);
        let path = request.head.split(' ').nth(1).unwrap_or_default();
        let want = "/token?api-version=2019-08-01&resource=https%3A%2F%2Fmonitor.azure.cn%2F&client_id=\
                    00000000-0000-0000-0000-000000000001";
        assert_eq!(path, want);
        reply(200, JSON, r#"{"access_token": "t1", "expires_on": "4070908800", "token_type": "Bearer"}"#)
    });
    let url = format!("http://{}/token", giver.at("127.0.0.1"));
    let section = "azuread: {cloud: AzureChina, managed_identity: {client_id: \
                   00000000-0000-0000-0000-000000000001}}";
    let variables = [("IDENTITY_ENDPOINT", url.as_str()), ("IDENTITY_HEADER", "pass")];
    let fixture = Fixture::start(section, &variables);
    assert_eq!(fixture.first().header("authorization"), "Bearer t1");
    wait_until("more requests", || fixture.receiver.n_requests() > 2);
    assert_eq!(giver.requests().len(), 1);
}

/// Where tokens are given is fixed; a proxy and an authority of the test's own lead there.
#[test]
fn an_application_of_azure_has_a_secret_or_a_token_of_its_cluster() {
    let authority = Authority::new("clouds");
    let pair = authority.issue(&["login.microsoftonline.us"], Validity::Now);
    let giver = Endpoint::tls(server_tls(&pair, None, rustls::ALL_VERSIONS));
    giver.answer(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let has_secret = !request.values("Authorization").is_empty();
        let token = if has_secret { "by-secret" } else { "by-assertion" };
        assert!(body.contains("scope=https%3A%2F%2Fmonitor.azure.us%2F%2F.default"), "{body}");
        assert!(has_secret || body.contains("client_assertion=of-cluster&client_assertion_type="), "{body}");
        reply(
            200,
            JSON,
            &format!(r#"{{"access_token": "{token}", "expires_in": 3599, "token_type": "Bearer"}}"#),
        )
    });
    let proxy =
        Proxy::new(Manner::Connect("HTTP/1.1 200 OK\r\n\r\n".to_owned()), None, giver.at("127.0.0.1"));
    let dir = tempfile::tempdir().unwrap();
    let (store, token) = (dir.path().join("store.pem"), dir.path().join("token"));
    fs::write(&store, &authority.pem).unwrap();
    fs::write(&token, "of-cluster\n").unwrap();
    let proxy_url = format!("http://{}", proxy.at("127.0.0.1"));
    let variables = [
        ("SSL_CERT_FILE", store.to_str().unwrap()),
        ("HTTPS_PROXY", proxy_url.as_str()),
        ("AZURE_FEDERATED_TOKEN_FILE", token.to_str().unwrap()),
    ];
    let id = "00000000-0000-0000-0000-000000000001";
    for (way, want) in [
        (
            format!("oauth: {{client_id: {id}, client_secret: hunter2, tenant_id: t.example}}"),
            "Bearer by-secret",
        ),
        (format!("workload_identity: {{client_id: {id}, tenant_id: {id}}}"), "Bearer by-assertion"),
    ] {
        let fixture = Fixture::start(&format!("azuread: {{cloud: AzureGovernment, {way}}}"), &variables);
        assert_eq!(fixture.first().header("authorization"), want);
        let page = fixture.scraped.get("/config").body;
        assert!(page.contains("cloud: AzureGovernment") && !page.contains("hunter2"), "{page}");
    }
}
