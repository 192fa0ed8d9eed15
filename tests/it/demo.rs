//! `orderd demo`, from its first line to what it leaves behind: nothing.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::harness::{stderr, stdout, wait_for, wait_until};

/// `orderd demo` with a folder of its own for whatever is temporary.
fn demo(temporary: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
    command.env_clear().env("PATH", std::env::var_os("PATH").expect("PATH")).env("TMPDIR", temporary.path());
    command.arg("demo").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The processes that work in a folder. Each server works in its own.
fn processes_in(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let working =
        processes.filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)));
    working.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}

fn assert_nothing_is_left(temporary: &TempDir) {
    let left: Vec<_> = fs::read_dir(temporary.path()).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(processes_in(temporary.path()), [""; 0]);
}

/// The row of a table that begins with `what`, without blanks: what stands in its last column.
fn number_of(report: &str, what: &str) -> String {
    let row = report.lines().find_map(|line| line.trim().strip_prefix(what));
    row.unwrap_or_else(|| panic!("no row '{what}' in\n{report}")).trim().to_owned()
}

#[test]
fn the_demo_applies_every_event_exactly_once_shows_it_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a folder");
    let output = demo(&temporary, &["--events", "2000", "--orders", "100"]).output().expect("orderd starts");
    let report = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{report}{}", stderr(&output));
    assert_eq!(stderr(&output), "", "no progress where nobody looks");
    assert!(!report.contains('\u{1b}'), "{report:?}");
    for (what, number) in [
        ("added ", "2,000"),
        ("applied exactly once", "2,000"),
        ("applied more than once", "0"),
        ("not applied", "0"),
        ("dead letters (cannot be decoded)", "5"),
    ] {
        assert_eq!(number_of(&report, what), number, "{what}");
    }
    assert!(report.contains("\nevery event was applied exactly once\n"), "{report}");
    for shown in ["missing-field", "bad-amount", "empty-field", "duplicate-field", "delivered", "orderd check"] {
        assert!(report.contains(shown), "{shown} in {report}");
    }
    assert_nothing_is_left(&temporary);
}

#[test]
fn a_demo_that_is_interrupted_ends_its_server_and_removes_its_folders() {
    for signal in [Signal::INT, Signal::TERM] {
        let temporary = tempfile::tempdir().expect("a folder");
        // So many that it is still at work when the signal comes.
        let mut child = demo(&temporary, &["--events", "300000"]).spawn().expect("orderd starts");
        wait_until("the private server to run", || !processes_in(temporary.path()).is_empty());
        interrupt(&child, signal);
        let status = wait_for("the demo to end", || child.try_wait().expect("wait"));
        let output = child.wait_with_output().expect("its output");
        assert_eq!(status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("before the end"), "{}", stderr(&output));
        assert_nothing_is_left(&temporary);
    }
}

fn interrupt(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the demo is there to be signalled");
}

#[test]
fn without_a_redis_server_the_demo_says_what_to_install() {
    let temporary = tempfile::tempdir().expect("a folder");
    let output = demo(&temporary, &[]).env("PATH", temporary.path()).output().expect("orderd starts");
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("apt-get install redis-server"), "{}", stderr(&output));
    assert_nothing_is_left(&temporary);
}
