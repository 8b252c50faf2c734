//! One table of all label names and values: text stands once, labels are numbers.
