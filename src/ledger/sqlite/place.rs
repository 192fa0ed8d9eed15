//! The place of the file.
//!
//! Owns: noticing that the file is not there any more, or another one is.
//! Never: what follows from that.
//!
//! A file that is deleted while it is open lives on without a name: all is written as before, and with the process it is gone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The files of an open ledger: itself, and its log.
#[derive(Debug)]
pub(super) struct Place {
    files: Vec<(PathBuf, Identity)>,
}

/// What tells one file from another: device and inode.
type Identity = (u64, u64);

impl Place {
    /// The place of the ledger at `path`, which has just been opened.
    pub(super) fn of(path: &Path) -> Self {
        // SQLite puts its log beside the file itself, not beside a link to it.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let files = [path, log.into()].into_iter().filter_map(|file| Some((identity(&file)?, file)));
        Self { files: files.map(|(identity, file)| (file, identity)).collect() }
    }

    /// The first file that is not where it was.
    pub(super) fn missing(&self) -> Option<&Path> {
        self.files.iter().find(|(file, was)| identity(file) != Some(*was)).map(|(file, _)| file.as_path())
    }
}

fn identity(file: &Path) -> Option<Identity> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_file_that_was_deleted_or_replaced_is_missing_and_one_that_was_written_to_is_not() {
        let folder = TempDir::new().unwrap();
        let (file, log) = (folder.path().join("x.db"), folder.path().join("x.db-wal"));
        fs::write(&file, "a").unwrap();
        fs::write(&log, "b").unwrap();
        let place = Place::of(&file);
        fs::write(&file, "other content").unwrap();
        assert_eq!(place.missing(), None);

        fs::rename(&log, folder.path().join("elsewhere")).unwrap();
        assert_eq!(place.missing(), Some(fs::canonicalize(folder.path()).unwrap().join("x.db-wal").as_path()));
        fs::rename(folder.path().join("elsewhere"), &log).unwrap();
        assert_eq!(place.missing(), None);

        fs::write(folder.path().join("another"), "a").unwrap();
        fs::rename(folder.path().join("another"), &file).unwrap();
        assert!(place.missing().is_some());
        fs::remove_file(&file).unwrap();
        assert!(place.missing().is_some());
    }
}
