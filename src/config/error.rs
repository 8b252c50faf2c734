//! Mistakes in a configuration: file, line, path of the key, a sentence.
