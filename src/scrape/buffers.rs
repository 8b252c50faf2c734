//! The byte budget of bodies in flight.

/// Bytes that bodies may hold together.
#[derive(Debug, Default)]
pub struct BodyBudget {}
