//! JSON as Go reads it: `null` leaves a field as it was.

use serde::{Deserialize, Deserializer};

/// For `deserialize_with`: the default value in place of `null`.
pub(in crate::discovery) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
