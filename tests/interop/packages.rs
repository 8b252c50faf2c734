//! What `scripts/package` and `scripts/install` make, given to those for whom it is made: lintian, dpkg, a container's root.
//!
//! Of the debug build, which is there already. Needs root, for roots of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use support::scraped::{ask, free_address};
use support::system::empty_root::libraries;
use support::{program, repository, wait_until};
use tempfile::TempDir;

/// The packages of this build, made once.
struct Packages(TempDir);

fn packages() -> &'static Packages {
    static PACKAGES: OnceLock<Packages> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        let binary = dir.path().join("scraped");
        run(Command::new("strip").arg("-o").arg(&binary).arg(program()));
        make(&binary, &dir.path().join("packages"));
        Packages(dir)
    })
}

/// Makes packages of a binary; their checksums.
fn make(binary: &Path, out: &Path) -> String {
    let mut package = Command::new(repository().join("scripts/package"));
    run(package.arg(format!("--binary={}", binary.display())).arg(format!("--out={}", out.display())));
    fs::read_to_string(out.join("SHA256SUMS")).unwrap()
}

impl Packages {
    /// The package whose name ends so.
    fn file(&self, end: &str) -> PathBuf {
        let files = fs::read_dir(self.0.path().join("packages")).unwrap();
        let mut found =
            files.map(|file| file.unwrap().path()).filter(|path| path.display().to_string().ends_with(end));
        found.next().unwrap_or_else(|| panic!("no {end}"))
    }
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {stdout}{stderr}");
    stdout.into_owned()
}

fn names_in(archive: &Path) -> Vec<String> {
    run(Command::new("tar").arg("-tzf").arg(archive))
        .lines()
        .map(|name| name.trim_start_matches("./").to_owned())
        .collect()
}

/// Files below a directory, in order.
fn files(dir: &Path) -> Vec<String> {
    run(Command::new("find").arg(dir).args(["-mindepth", "1"])).lines().map(str::to_owned).collect()
}

#[test]
fn the_same_binary_gives_the_same_bytes() {
    // Any program will do; a small one is packed in no time.
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let sums = make(Path::new("/bin/true"), &dir.path().join("packages"));
    let sums_again = make(Path::new("/bin/true"), &dir.path().join("again"));
    assert_eq!(sums, sums_again);
    assert_eq!(sums.lines().count(), 5, "{sums}");
    run(Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(dir.path().join("packages")));
}

#[test]
fn each_kind_has_the_program_and_what_starts_it() {
    let check = |end: &str, wanted: &[&str]| {
        let names = names_in(&packages().file(end));
        for name in wanted {
            assert!(names.iter().any(|it| it.ends_with(name)), "{end}: no {name} in {names:?}");
        }
    };
    check(".tar.gz", &["/scraped", "/etc/scraped.service", "/etc/openrc/scraped", "/LICENSE", "/README.md"]);
    check(".apk", &[".PKGINFO", "usr/bin/scraped", "etc/init.d/scraped", "etc/scraped/scraped.yml"]);
    check(".ipk", &["debian-binary", "control.tar.gz", "data.tar.gz"]);
}

/// Alpine's program reads two streams: what it finds first names the digest of the second.
#[test]
fn an_apk_says_the_digest_of_its_data() {
    let bytes = fs::read(packages().file(".apk")).unwrap();
    let heads: Vec<usize> =
        (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"\x1f\x8b\x08\x00\0\0\0\0\x02")).collect();
    assert_eq!(heads.len(), 2, "{heads:?}");
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let (control, data) = (dir.path().join("control"), dir.path().join("data"));
    fs::write(&control, &bytes[..heads[1]]).unwrap();
    fs::write(&data, &bytes[heads[1]..]).unwrap();
    let info = run(Command::new("sh")
        .arg("-c")
        .arg(format!("gunzip -c <{} | tar -xO .PKGINFO 2>/dev/null", control.display())));
    let digest = run(Command::new("sha256sum").arg(&data));
    let digest = digest.split(' ').next().unwrap();
    assert!(info.contains(&format!("datahash = {digest}\n")), "{info} {digest}");
}

#[test]
fn lintian_finds_no_error_in_the_deb() {
    let output = Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error"])
        .arg(packages().file(".deb"))
        .output();
    let output = output.expect("lintian is missing (on Debian: apt-get install lintian)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.lines().all(|line| !line.starts_with("E:")), "{said}");
}

/// A root with what the scripts of a package need, and what this build is linked with.
fn scratch_root() -> TempDir {
    let root = TempDir::with_prefix("scraped-test-").unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for tool in ["/bin/sh", "/bin/rm"] {
        put(root.path(), Path::new(tool));
        libraries(Path::new(tool)).iter().for_each(|library| put(root.path(), library));
    }
    libraries(&program()).iter().for_each(|library| put(root.path(), library));
    root
}

fn put(root: &Path, file: &Path) {
    let place = root.join(file.strip_prefix("/").unwrap());
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(file, place).unwrap();
}

/// Starts a program in a root, waits until it is ready, and ends it.
fn start_in(root: &Path, program: &str, arguments: &[&str]) {
    let address = free_address();
    let mut command = Command::new("chroot");
    command.arg("--userspec=65534:65534").arg(root).arg(program).args(arguments);
    command.arg(format!("--web.listen-address={address}")).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("chroot runs");
    wait_until("it is ready", || ask(&address, "GET", "/-/ready").is_some_and(|answer| answer.status == 200));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_deb_is_installed_started_upgraded_and_purged() {
    let root = scratch_root();
    let before = files(root.path());
    for dir in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "data"] {
        fs::create_dir_all(root.path().join(dir)).unwrap();
    }
    fs::write(root.path().join("var/lib/dpkg/status"), "").unwrap();
    fs::set_permissions(root.path().join("data"), fs::Permissions::from_mode(0o777)).unwrap();
    let dpkg = |arguments: &[&str]| {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.path().display())).args(["--log=/dev/null", "--force-unsafe-io"]);
        run(dpkg.args(arguments))
    };
    let deb = packages().file(".deb").display().to_string();
    dpkg(&["--install", &deb]);
    let config = root.path().join("etc/scraped/scraped.yml");
    assert!(config.exists() && root.path().join("usr/lib/systemd/system/scraped.service").exists());
    let start = ["--config.file=/etc/scraped/scraped.yml", "--storage.agent.path=/data"];
    start_in(root.path(), "/usr/bin/scraped", &start);
    // What its owner has changed is kept over an upgrade, and so is the log.
    let own = fs::read_to_string(&config).unwrap() + "# mine\n";
    fs::write(&config, &own).unwrap();
    dpkg(&["--install", &deb]);
    assert_eq!(fs::read_to_string(&config).unwrap(), own);
    start_in(root.path(), "/usr/bin/scraped", &start);
    assert!(root.path().join("data/wal/00000001").exists());
    fs::create_dir_all(root.path().join("var/lib/private/scraped/wal")).unwrap();
    dpkg(&["--remove", "scraped"]);
    assert!(!root.path().join("usr/bin/scraped").exists() && config.exists());
    dpkg(&["--purge", "scraped"]);
    for dir in ["data", "var", "run"] {
        let _ = fs::remove_dir_all(root.path().join(dir));
    }
    assert_eq!(files(root.path()), before);
}

#[test]
fn a_layout_of_oci_is_whole_and_starts_as_it_says() {
    let layout = packages().file(".tar");
    let layout = layout.with_extension("");
    let read =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(layout.join(name)).unwrap()).unwrap() };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = layout.join("blobs/sha256").join(digest);
        assert_eq!(fs::metadata(&path).unwrap().len(), descriptor["size"].as_u64().unwrap());
        let sum = run(Command::new("sha256sum").arg(&path));
        assert!(sum.starts_with(digest), "{sum}");
        path
    };
    assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
    let json = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let manifest = json(blob(&read("index.json")["manifests"][0]));
    let config = json(blob(&manifest["config"]));
    let layer = blob(&manifest["layers"][0]);
    let diff = run(Command::new("sh").arg("-c").arg(format!("gunzip -c <{} | sha256sum", layer.display())));
    assert!(config["rootfs"]["diff_ids"][0].as_str().unwrap().ends_with(diff.split(' ').next().unwrap()));
    let root = TempDir::with_prefix("scraped-test-").unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    run(Command::new("tar").arg("-xzpf").arg(layer).arg("-C").arg(root.path()).arg("--numeric-owner"));
    libraries(&program()).iter().for_each(|library| put(root.path(), library));
    let words = |name: &str| -> Vec<String> {
        config["config"][name]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(config["config"]["User"], "65534:65534");
    let arguments = words("Cmd");
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with("--web.listen-address"))
        .collect();
    start_in(root.path(), &words("Entrypoint")[0], &arguments);
    assert!(root.path().join("data/wal/00000000").exists());
}

#[test]
fn an_installation_goes_without_a_trace() {
    let root = TempDir::with_prefix("scraped-test-").unwrap();
    let install = |arguments: &[&str]| {
        let mut install = Command::new(repository().join("scripts/install"));
        install
            .arg(format!("--root={}", root.path().display()))
            .arg(format!("--binary={}", program().display()));
        run(install.args(arguments))
    };
    for prefix in ["--prefix=/usr/local", "--prefix=/opt/scraped"] {
        install(&[prefix]);
        let place = prefix.strip_prefix("--prefix=/").unwrap();
        assert!(root.path().join(place).join("bin/scraped").exists());
        let unit = fs::read_to_string(root.path().join("etc/systemd/system/scraped.service")).unwrap();
        assert!(unit.contains(&format!("ExecStart=/{place}/bin/scraped ")), "{unit}");
        // What its owner has changed stays, until all goes.
        let config = root.path().join("etc/scraped/scraped.yml");
        fs::write(&config, "scrape_configs: []\n").unwrap();
        install(&[prefix]);
        install(&[prefix, "--remove"]);
        assert_eq!(files(root.path()).len(), 3, "{:?}", files(root.path()));
        assert_eq!(fs::read_to_string(&config).unwrap(), "scrape_configs: []\n");
        install(&[prefix]);
        fs::create_dir_all(root.path().join("var/lib/private/scraped/wal")).unwrap();
        install(&[prefix, "--remove", "--purge"]);
        let left = files(root.path());
        assert!(left.iter().all(|file| file.contains("/var")), "{left:?}");
        let _ = fs::remove_dir_all(root.path().join("var"));
    }
}
