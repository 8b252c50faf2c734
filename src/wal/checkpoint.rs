//! Checkpoints: the series that older segments named, once those are gone.
