//! Signatures of Amazon's cloud, checked as a server does it: over what has arrived, and by nothing of ours.

use std::collections::BTreeMap;
use std::fmt::Write;

use ring::digest::{SHA256, digest};
use ring::hmac;

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `POST`.
    pub method: &'a str,
    /// Without dots and without a query.
    pub path: &'a str,
    /// By lower-case name.
    pub headers: &'a BTreeMap<String, String>,
    /// Bytes on the wire.
    pub body: &'a [u8],
}

impl Signed<'_> {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// A part of `Authorization`: `Credential`, `SignedHeaders` or `Signature`.
    pub fn part(&self, name: &str) -> &str {
        let line = self.header("authorization").strip_prefix("AWS4-HMAC-SHA256 ").unwrap_or_default();
        let parts = line.split(", ").filter_map(|part| part.split_once('='));
        parts.into_iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    /// Whether the owner of the key has signed exactly this; what is wrong otherwise.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(
        &self,
        access_key: &str,
        secret_key: &str,
        region: &str,
        service: &str,
    ) -> Result<(), String> {
        let time = self.header("x-amz-date");
        let day = time.get(..8).ok_or("no X-Amz-Date")?;
        let place = format!("{day}/{region}/{service}/aws4_request");
        if self.part("Credential") != format!("{access_key}/{place}") {
            return Err(format!("another credential: {}", self.part("Credential")));
        }
        let mut canonical = format!("{}\n{}\n\n", self.method, self.path);
        for name in self.part("SignedHeaders").split(';') {
            let value = self.headers.get(name).ok_or(format!("signed and not sent: {name}"))?;
            writeln!(canonical, "{name}:{value}").expect("a string");
        }
        let body = hex(digest(&SHA256, self.body).as_ref());
        write!(canonical, "\n{}\n{body}", self.part("SignedHeaders")).expect("a string");
        let canonical = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{place}\n{canonical}");
        let sign = |key: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
        };
        let mut key = format!("AWS4{secret_key}").into_bytes();
        for part in [day, region, service, "aws4_request"] {
            key = sign(&key, part);
        }
        match self.part("Signature") == hex(&sign(&key, &text)) {
            true => Ok(()),
            false => Err(format!("another signature than of {text:?}")),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
