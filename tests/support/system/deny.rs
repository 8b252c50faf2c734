//! A kernel that refuses a system call to a process: a seccomp filter that is in force before the program starts.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// From now on `syscall` (`libc::SYS_…`) fails with `errno` in the process that `command` starts.
pub fn deny(command: &mut Command, syscall: i64, errno: i32) {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load_number = instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0);
    let is_it = instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, syscall as u32);
    let fail = instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32);
    let allow = instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW);
    install(command, vec![load_number, is_it, fail, allow]);
}

/// From now on the process that `command` starts has sockets of these `families` only (`libc::AF_…`), as by systemd's
/// `RestrictAddressFamilies`; another one is refused with EAFNOSUPPORT.
pub fn allow_families(command: &mut Command, families: &[i32]) {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let is = |jt, jf, value| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, value);
    let answer = |value| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let n_families = families.len() as u8;
    // The number of the call, and of `socket` its first argument.
    let mut filter = vec![load(0), is(0, n_families + 2, libc::SYS_socket as u32), load(16)];
    for (idx, family) in (0_u8..).zip(families) {
        filter.push(is(n_families - idx, 0, *family as u32));
    }
    filter.push(answer(libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32));
    filter.push(answer(libc::SECCOMP_RET_ALLOW));
    install(command, filter);
}

#[allow(unsafe_code, reason = "a filter is set between fork and exec")]
fn install(command: &mut Command, filter: Vec<libc::sock_filter>) {
    let set = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: both calls read their arguments only, and the filter lives in the closure.
        let is_set = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if is_set { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes system calls and nothing else.
    unsafe {
        command.pre_exec(set);
    }
}
