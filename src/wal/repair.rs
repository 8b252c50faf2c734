//! Repair of damaged segments: loses only what is damaged.
