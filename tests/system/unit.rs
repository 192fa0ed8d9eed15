//! The unit file, judged by systemd itself, without being run.

use std::fs;
use std::process::Command;

use super::harness::{as_root, repository, run};

const UNIT: &str = "deploy/systemd/orderd.service";
/// The exposure that the unit may have, as `systemd-analyze security` counts it (0 to 10, times ten).
const EXPOSURE: &str = "15";

#[test]
fn the_unit_leaves_hardly_anything_open() {
    as_root();
    let threshold = format!("--threshold={EXPOSURE}");
    run(Command::new("systemd-analyze").args(["security", "--offline=true", &threshold]).arg(repository(UNIT)));
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    as_root();
    // The program has to be where the unit says, so it looks at a copy that names one that is there.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("orderd.service");
    let text = fs::read_to_string(repository(UNIT)).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/orderd run\n"));
    fs::write(&copy, text.replace("/usr/bin/orderd", env!("CARGO_BIN_EXE_orderd"))).unwrap();

    // It ends with 0 whatever it finds, and says it on standard error.
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
