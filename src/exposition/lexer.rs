//! Byte classes, quoted strings and numbers of the text formats.
