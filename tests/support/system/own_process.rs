//! A test in a process of its own: what it sets for a whole process concerns no other test.

use std::env;
use std::process::Command;

/// Set in the second run.
const INSIDE: &str = "SCRAPED_TEST_HAS_OWN_PROCESS";

/// Runs the test of this name in `module` (`module_path!()`) again, alone; false where it is to be run now.
pub fn runs_elsewhere(module: &str, test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return false;
    }
    let mut inside = Command::new(env::current_exe().expect("a path"));
    let status = inside.args(alone(module, test)).env(INSIDE, "1").status().expect("it runs");
    assert!(status.success(), "{test} failed in a process of its own");
    true
}

/// The arguments by which a test binary runs this one test and shows what it prints.
pub fn alone(module: &str, test: &str) -> [String; 4] {
    // The harness leaves the name of the crate out.
    let module = module.split_once("::").map_or("", |(_, module)| module);
    let name = format!("{module}::{test}");
    [
        "--exact".to_owned(),
        name.trim_start_matches("::").to_owned(),
        "--nocapture".to_owned(),
        "--test-threads=1".to_owned(),
    ]
}
