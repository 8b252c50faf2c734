//! Random numbers of the system.

use ring::rand::{SecureRandom, SystemRandom};

/// Bytes that no one can guess.
///
/// # Errors
/// The system has none.
pub(in crate::http) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(bytes)
}
