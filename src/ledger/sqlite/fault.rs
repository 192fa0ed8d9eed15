//! SQLite's errors.
//!
//! Owns: which of them mean that one row cannot be read, and a sentence for the others.
//! Never: the value of a column in a text.

use rusqlite::{Error, ErrorCode, ffi};

/// What is the matter, for an operator.
pub(super) fn sentence(error: &Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process has held its lock for too long".to_owned()
        }
        Some(ErrorCode::DiskFull) => "there is no room left for it".to_owned(),
        Some(ErrorCode::ReadOnly) => "it may only be read".to_owned(),
        Some(ErrorCode::CannotOpen) => "the file and the folder it lies in must be writable".to_owned(),
        Some(ErrorCode::PermissionDenied) => "access is denied".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => "the file is damaged".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether another connection was in the way.
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy))
}

/// Whether the disk did not take what was handed to it. That is never tried again: after an fsync that failed the system may take
/// pages for written that are not, and the next one would succeed.
pub(super) fn is_final(error: &Error) -> bool {
    const FSYNC: [i32; 2] = [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC];
    error.sqlite_error().is_some_and(|error| FSYNC.contains(&error.extended_code))
}

/// The column of a row that does not hold what orderd writes there: somebody else has written to it. `None` for all other errors.
pub(super) fn odd_column(error: &Error) -> Option<usize> {
    match error {
        Error::FromSqlConversionFailure(column, ..)
        | Error::IntegralValueOutOfRange(column, _)
        | Error::Utf8Error(column, _)
        | Error::InvalidColumnType(column, ..) => Some(*column),
        _ => None,
    }
}
