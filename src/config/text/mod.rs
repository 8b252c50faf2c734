//! Files and their YAML: text in, typed fields and lines of mistakes out, and back into text.

pub mod changes;
pub(crate) mod document;
pub mod encoding;
pub(crate) mod fields;
pub(crate) mod locate;
pub mod node;
pub mod paths;
pub mod yaml;
