//! A root directory with nothing in it but the program: no `/etc`, `/proc`, `/sys`, `/tmp` or `/dev`. Needs root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A user that no machine knows.
pub const UNKNOWN_UID: u32 = 54_321;

/// The directory; it goes when it is dropped.
#[derive(Debug)]
pub struct EmptyRoot(TempDir);

impl EmptyRoot {
    /// With `/scraped`, the libraries that it is linked with, and a directory `/data` that is for [`UNKNOWN_UID`].
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let program = crate::program();
        crate::copy_program(&program, &dir.path().join("scraped"));
        for library in libraries(&program) {
            let place = dir.path().join(library.strip_prefix("/").expect("an absolute path"));
            fs::create_dir_all(place.parent().expect("a directory")).expect("a directory");
            crate::copy_program(&library, &place);
        }
        fs::create_dir(dir.path().join("data")).expect("a directory");
        chown(dir.path().join("data"), Some(UNKNOWN_UID), Some(UNKNOWN_UID))
            .expect("the tests run as root; this one needs that");
        Self(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file for all.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).expect("writable");
    }

    /// The program in it as [`UNKNOWN_UID`], in a mount namespace of its own where all but `/data` is read-only.
    /// `redirections` are the shell's: `<&- >&- 2>&-`.
    pub fn command(&self, redirections: &str) -> Command {
        let root = self.path().display();
        let mut command = Command::new("unshare");
        let script = format!(
            "mount --bind {root} {root} && mount -o remount,bind,ro {root} && mount --bind {root}/data {root}/data && \
             mount -o remount,bind,rw {root}/data && \
             exec chroot --userspec={UNKNOWN_UID}:{UNKNOWN_UID} {root} /scraped \"$@\" {redirections}"
        );
        command.args(["--mount", "sh", "-c", &script, "sh"]);
        command
    }
}

impl Default for EmptyRoot {
    fn default() -> Self {
        Self::new()
    }
}

/// What the dynamic linker loads for a program; nothing for a static one.
pub fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
