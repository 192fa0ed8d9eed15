//! What the tests of the whole system stand on: root, commands that have to work, and waiting with a deadline.
//!
//! Owns: the words in which a test fails when the machine is not fit for it.
//! Never: something left behind. Whatever a test starts has a type that ends it, by its id, when it is dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Fails where the test does not run as root.
pub(crate) fn as_root() {
    let user = rustix::process::geteuid();
    assert!(user.is_root(), "the tests of the whole system need root, and this is user {}", user.as_raw());
}

/// A file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a command that has to work, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{printed}{said}", output.status);
    printed
}

/// An image that `scripts/system-images.sh` has made.
pub(crate) fn image(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("system").join(name);
    assert!(path.exists(), "there is no {}: `make system-test` makes it", path.display());
    path
}

/// How long a condition may take to come true. Generous: it is the bound of a failure, not a measure of speed.
const DEADLINE: Duration = Duration::from_secs(90);

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `found` returns something.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
