//! `file_sd_configs` as files are really written: by Kubernetes, by package managers, by editors, by accident.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::discovery::Discovery;
use support::wait_until;

const JOB: &str =
    "- job_name: files\n  file_sd_configs: [{files: ['sd/*.yml', 'sd/*.json'], refresh_interval: 1h}]\n";

fn target(name: &str, file: &str) -> String {
    format!("files: {name}:1{{__meta_filepath=\"sd/{file}\"}}")
}

/// A ConfigMap as the kubelet mounts it: files are links through `..data`, which is a link that is swapped.
fn mount(volume: &Path, version: &str, target: &str) {
    let data = volume.join(format!("..{version}"));
    fs::create_dir(&data).expect("a directory");
    fs::write(data.join("a.yml"), format!("- targets: ['{target}:1']\n")).expect("writable");
    symlink(format!("..{version}"), volume.join("..data_tmp")).expect("a link");
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("same disk");
}

#[test]
fn a_config_map_is_swapped() {
    let discovery = Discovery::start(JOB, &[]);
    assert_eq!(discovery.next(), "files:");
    let volume = discovery.dir.path().join("sd");
    mount(&volume, "2026_01", "one");
    symlink("..data/a.yml", volume.join("a.yml")).expect("a link");
    discovery.expect(&target("one", "a.yml"));
    for (version, name) in [("2026_02", "two"), ("2026_03", "three")] {
        mount(&volume, version, name);
        discovery.expect(&target(name, "a.yml"));
    }
    fs::remove_dir_all(volume.join("..2026_01")).expect("removable");
    discovery.handle.stop();
}

#[test]
fn a_directory_comes_late_goes_and_is_another_one() {
    let discovery = Discovery::start(JOB, &[]);
    let sd = discovery.dir.path().join("sd");
    fs::remove_dir(&sd).expect("empty");
    assert_eq!(discovery.next(), "files:");
    for round in 0..3 {
        // A whole directory at once, as a package or `git checkout` brings it.
        let next = discovery.dir.path().join(format!("next{round}"));
        fs::create_dir(&next).expect("a directory");
        fs::write(next.join("a.yml"), format!("- targets: ['r{round}:1']\n")).expect("writable");
        if round > 0 {
            fs::rename(&sd, discovery.dir.path().join(format!("before{round}"))).expect("same disk");
        }
        fs::rename(next, &sd).expect("same disk");
        discovery.expect(&target(&format!("r{round}"), "a.yml"));
        // Changes in it are heard of like in any other.
        discovery.write("a.yml", &format!("- targets: ['s{round}:1']\n"));
        discovery.expect(&target(&format!("s{round}"), "a.yml"));
    }
    discovery.handle.stop();
}

#[test]
fn what_an_editor_or_an_accident_leaves() {
    let discovery = Discovery::start(JOB, &[("a.yml", "- targets: ['a:1']\n")]);
    assert_eq!(discovery.next(), target("a", "a.yml"));
    let path = discovery.dir.path().join("sd/a.yml");
    let errors = || discovery.metrics.file_read_errors.get();
    let huge = || format!("- targets: ['{}']\n", "a".repeat(17 << 20)).into_bytes();
    let bad: [(&str, Vec<u8>); 5] = [
        ("UTF-16", b"\xff\xfe-\0 \0t\0".to_vec()),
        ("not UTF-8", b"- targets: ['\xe9:1']\n".to_vec()),
        ("zeros, as after a power cut", vec![0; 4096]),
        ("larger than the limit", huge()),
        ("half of it", b"- targets: ['b:1', 'c".to_vec()),
    ];
    for (what, content) in bad {
        let before = errors();
        fs::write(&path, content).expect("writable");
        wait_until(what, || errors() > before);
    }
    // None of it was taken for targets; and a mark of the byte order is nothing bad in YAML.
    discovery.write("b.yml", "\u{feff}- targets: ['b:1']\n- targets: ['c:1']\n");
    let b = "b:1{__meta_filepath=\"sd/b.yml\"} c:1{__meta_filepath=\"sd/b.yml\"}";
    discovery.expect(&format!("{} {b}", target("a", "a.yml")));
    discovery.write("b.json", "\u{feff}[{\"targets\": [\"e:1\"]}, {\"targets\": [\"f:1\"]}]");
    let json = "e:1{__meta_filepath=\"sd/b.json\"} f:1{__meta_filepath=\"sd/b.json\"}";
    discovery.expect(&format!("{} {json} {b}", target("a", "a.yml")));
    fs::remove_file(discovery.dir.path().join("sd/b.json")).expect("there");
    // The other two files tell of what comes next.
    discovery.expect(&format!("{} {b}", target("a", "a.yml")));
    // Written by hand, in place, byte by byte: only the end counts.
    fs::write(&path, "").expect("writable");
    discovery.expect(&format!("files: {b}"));
    fs::write(&path, "- targets: ['d:1']\n").expect("writable");
    discovery.expect(&format!("{} {b}", target("d", "a.yml")));
    discovery.handle.stop();
}
