//! What a client signs to say who it is: a JSON web token for the grant of RFC 7523.
//!
//! After prometheus/common `config/oauth_assertion.go`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::http::tls::random::random;
use crate::http::tls::signature::{RsaHash, sign_by_rsa};

/// An assertion is used at once; it may be later by the clock of who reads it.
const GOOD_FOR: Duration = Duration::from_secs(10 * 60);

/// What an assertion says.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Assertion<'a> {
    pub(in crate::http) issuer: &'a str,
    pub(in crate::http) subject: &'a str,
    pub(in crate::http) audience: &'a str,
    pub(in crate::http) scope: &'a str,
    /// These replace what is said otherwise.
    pub(in crate::http) claims: &'a Map<String, Value>,
    /// May be empty.
    pub(in crate::http) key_id: &'a str,
    /// `RS256` (also if it is empty), `RS384` or `RS512`.
    pub(in crate::http) algorithm: &'a str,
}

impl Assertion<'_> {
    /// Signed with the key in `pem`.
    pub(in crate::http) fn signed(&self, pem: &[u8], now: SystemTime) -> Result<String, String> {
        let (algorithm, hash) = match self.algorithm {
            "RS384" => ("RS384", RsaHash::Sha384),
            "RS512" => ("RS512", RsaHash::Sha512),
            _ => ("RS256", RsaHash::Sha256),
        };
        let mut header = json!({"alg": algorithm, "typ": "JWT"});
        if !self.key_id.is_empty() {
            header["kid"] = Value::from(self.key_id);
        }
        let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = json!({
            "iss": self.issuer,
            "sub": self.subject,
            "jti": uuid(random()?),
            "aud": self.audience,
            "iat": now_s,
            "exp": now_s + GOOD_FOR.as_secs(),
        });
        if !self.scope.is_empty() {
            claims["scope"] = Value::from(self.scope);
        }
        for (name, value) in self.claims {
            claims[name] = value.clone();
        }
        let encoded = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = sign_by_rsa(pem, hash, text.as_bytes())?;
        Ok(format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// RFC 9562, version 4.
fn uuid(random: [u8; 16]) -> String {
    let mut bits = u128::from_be_bytes(random);
    bits = bits & !(0xf << 76) | 4 << 76;
    bits = bits & !(0b11 << 62) | 0b10 << 62;
    let digits = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn a_uuid_says_its_version() {
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
