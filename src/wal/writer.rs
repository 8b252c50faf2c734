//! Appends records to the newest segment; rotates; survives a full disk.
