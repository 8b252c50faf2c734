//! A process without standard input, output or error: something takes their numbers, so that no line of the log is written
//! into a file that got one of them.
//!
//! Rust's own start does that by `/dev/null`, and ends the process without a word where there is none, as in an empty root.
//! So it is done before that: the C library calls what stands in `.init_array` of a program first, and `main.rs` has this
//! there.

use libc::{AF_UNIX, F_GETFD, O_RDWR, SOCK_DGRAM, c_int};

/// Opens something for each of the three that is closed.
#[allow(unsafe_code, reason = "the standard library is not there yet")]
pub extern "C" fn take_closed() {
    for number in 0..=2 {
        // SAFETY: calls of the C library that take numbers and texts that end in a zero; the lowest free number is given,
        // which is the one that was just found closed.
        unsafe {
            if libc::fcntl(number, F_GETFD) != -1 {
                continue;
            }
            let opened: c_int = libc::open(c"/dev/null".as_ptr(), O_RDWR);
            if opened == -1 {
                // A socket without a peer: nothing can be read from it or written to it.
                libc::socket(AF_UNIX, SOCK_DGRAM, 0);
            }
        }
    }
}
