//! Looking at the place of a ledger before it is used.
//!
//! Owns: whether a ledger could be opened or made there.
//! Never: a change: no file, no lock, not even the files that SQLite itself keeps beside a ledger.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::open;
use crate::ledger::error::LedgerError;

/// What stands at the place of a ledger that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A ledger.
    Ledger,
    /// Nothing yet; one will be made.
    Nothing,
}

/// Looks at `path`. An error is what would keep a worker from using it.
pub fn look(path: &Path) -> Result<Standing, LedgerError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let unusable = |why: String| LedgerError::CannotOpen { path: path.to_owned(), why };
    if !folder.is_dir() {
        return Err(unusable(format!("there is no folder {}", folder.display())));
    }
    if path.is_dir() {
        return Err(unusable("it is a folder".to_owned()));
    }
    let standing = if path.exists() { standing(path)? } else { Standing::Nothing };
    access(&folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|_| unusable(format!("the folder {} may not be written to", folder.display())))?;
    Ok(standing)
}

fn standing(path: &Path) -> Result<Standing, LedgerError> {
    let version = open::version_at(path)?;
    // Opening a file for writing changes nothing in it.
    let opened = OpenOptions::new().write(true).open(path);
    opened.map_err(|error| LedgerError::CannotOpen { path: path.to_owned(), why: error.to_string() })?;
    Ok(if version == 0 { Standing::Nothing } else { Standing::Ledger })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::domain::order::Rules;
    use crate::ledger::Parts;
    use crate::ledger::sqlite::SqliteLedger;
    use crate::telemetry::Telemetry;

    fn names(folder: &TempDir) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_ledger_is_seen_at_rest_and_in_use_and_nothing_is_made_beside_it() {
        let folder = TempDir::new().unwrap();
        // A name that an address would read as something else.
        let path = folder.path().join("a%20b?c#d.db");
        assert_eq!(look(&path), Ok(Standing::Nothing));
        assert_eq!(names(&folder), [""; 0]);

        let parts = Parts { rules: Rules::default(), telemetry: Telemetry::new().unwrap() };
        let ledger = SqliteLedger::open(&path, parts).unwrap();
        assert_eq!(look(&path), Ok(Standing::Ledger), "in use");
        ledger.close().unwrap();
        let before = (names(&folder), fs::read(&path).unwrap());
        assert_eq!(look(&path), Ok(Standing::Ledger), "at rest");
        assert_eq!((names(&folder), fs::read(&path).unwrap()), before);
    }

    #[test]
    fn what_is_no_ledger_or_no_place_for_one_is_named() {
        let folder = TempDir::new().unwrap();
        let foreign = folder.path().join("letter.txt");
        fs::write(&foreign, "Dear sir or madam, ".repeat(100)).unwrap();
        assert!(matches!(look(&foreign), Err(LedgerError::NotALedger { .. })));
        let empty = folder.path().join("empty.db");
        fs::write(&empty, "").unwrap();
        assert_eq!(look(&empty), Ok(Standing::Nothing));
        assert!(look(folder.path()).unwrap_err().to_string().contains("it is a folder"));
        let nowhere = look(&folder.path().join("no/orders.db")).unwrap_err().to_string();
        assert!(nowhere.contains("there is no folder"), "{nowhere}");
        assert_eq!(look(Path::new("no-such-ledger.db")), Ok(Standing::Nothing), "a name alone is one in this folder");
    }
}
