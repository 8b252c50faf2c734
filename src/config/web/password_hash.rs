//! Passwords as bcrypt keeps them. The hash is read as Go's `golang.org/x/crypto/bcrypt` reads it, and refused in its words.

use std::fmt;

use base64::Engine;
use base64::alphabet::BCRYPT;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;

/// Go's bounds; each step doubles the work.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
/// Above this a check takes minutes, and all others wait for it.
const MAX_COST: u32 = 20;
/// The shortest hash: `$2$10$`, the salt, the hash.
const MIN_CHARS: usize = 59;
const SALT_CHARS: usize = 22;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 23;
/// What bcrypt takes of a password, the zero behind it included.
const MAX_PASSWORD_BYTES: usize = 72;
/// Bits that no byte is made of may have any value.
const BASE64: GeneralPurpose = GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

/// A hash that a password is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash {
    cost: u32,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash(cost {})", self.cost)
    }
}

impl PasswordHash {
    /// Reads `$2y$10$…`.
    ///
    /// # Errors
    /// A sentence without the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() < MIN_CHARS {
            return Err("crypto/bcrypt: hashedSecret too short to be a bcrypted password".to_owned());
        }
        let rest = text.strip_prefix('$').ok_or("crypto/bcrypt: bcrypt hashes must start with '$'")?;
        let (version, rest) = rest.split_once('$').ok_or(NOT_A_HASH)?;
        if !matches!(version.as_bytes(), [b'2'] | [b'2', _]) {
            return Err(format!("crypto/bcrypt: bcrypt algorithm version {version:?} is not version 2"));
        }
        let (cost, rest) = rest.split_once('$').ok_or(NOT_A_HASH)?;
        let cost: u32 = cost.parse().map_err(|_| NOT_A_HASH)?;
        if !COSTS.contains(&cost) {
            let (min, max) = COSTS.into_inner();
            return Err(format!(
                "crypto/bcrypt: cost {cost} is outside allowed inclusive range {min}..{max}"
            ));
        }
        if cost > MAX_COST {
            return Err(format!(
                "a password with cost {cost} takes minutes to check (limit: {MAX_COST}); hash it with a cost of 10 to 12"
            ));
        }
        let (salt, hash) = rest.split_at_checked(SALT_CHARS).ok_or(NOT_A_HASH)?;
        Ok(Self { cost, salt: decoded(salt).ok_or(NOT_A_HASH)?, hash: decoded(hash).ok_or(NOT_A_HASH)? })
    }

    /// One that no password fits and that takes as long to check as the slowest of `others`.
    pub fn of_no_one<'a>(others: impl Iterator<Item = &'a Self>) -> Self {
        let cost = others.map(|other| other.cost).max().unwrap_or(*COSTS.start());
        Self { cost, salt: [0; SALT_BYTES], hash: [0; HASH_BYTES] }
    }

    /// Whether this is the hash of `password`. Takes 50 ms and more.
    pub fn is_of(&self, password: &[u8]) -> bool {
        let mut key = [password, &[0]].concat();
        key.truncate(MAX_PASSWORD_BYTES);
        let computed = bcrypt::bcrypt(self.cost, self.salt, &key);
        // Always all of it, so that the time says nothing.
        computed.iter().zip(&self.hash).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }

    /// Bytes that no other hash has.
    pub fn identity(&self) -> [u8; SALT_BYTES + HASH_BYTES + 1] {
        let mut bytes = [0; SALT_BYTES + HASH_BYTES + 1];
        bytes[..SALT_BYTES].copy_from_slice(&self.salt);
        bytes[SALT_BYTES..SALT_BYTES + HASH_BYTES].copy_from_slice(&self.hash);
        bytes[SALT_BYTES + HASH_BYTES] = self.cost.to_be_bytes()[3];
        bytes
    }
}

const NOT_A_HASH: &str = "not a bcrypt hash; make one with `htpasswd -nBC 10 \"\"`";

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let n_bytes = BASE64.decode_slice(text, &mut bytes).ok()?;
    (n_bytes == N).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::PasswordHash;

    #[test]
    fn passwords_and_their_hashes() {
        // Of bcrypt's own tests and of exporter-toolkit's.
        let check = |hash: &str, password: &str, fits: bool| {
            let hash = PasswordHash::parse(hash).unwrap();
            assert_eq!(hash.is_of(password.as_bytes()), fits, "{hash:?} {password}");
        };
        check("$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", "", true);
        check("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a", true);
        check("$2y$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "b", false);
        let long = "0123456789".repeat(8);
        let of_no_one = PasswordHash::of_no_one([].into_iter());
        assert!(!of_no_one.is_of(long.as_bytes()) && !of_no_one.is_of(b""));
    }

    #[test]
    fn what_is_no_hash_is_refused_without_being_shown() {
        let check = |text: &str, want: &str| {
            let sentence = PasswordHash::parse(text).unwrap_err();
            assert!(sentence.contains(want), "{text}: {sentence}");
        };
        let tail = "DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";
        check("doe", "hashedSecret too short to be a bcrypted password");
        check(&format!("a2a$06${tail}"), "must start with '$'");
        check(&format!("$3a$06${tail}"), "is not version 2");
        check(&format!("$2a$03${tail}"), "cost 3 is outside allowed inclusive range 4..31");
        check(&format!("$2a$32${tail}"), "cost 32 is outside");
        check(&format!("$2a$21${tail}"), "takes minutes");
        check(&format!("$2a$10${tail}x"), "not a bcrypt hash");
        check(&format!("$2a$10${}", tail.replace('7', "!")), "not a bcrypt hash");
        check(&format!("$2a$1é${tail}"), "not a bcrypt hash");
    }
}
