//! Our log, read by real programs.

mod floats;
mod kinds;
