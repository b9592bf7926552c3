//! Helpers of this crate's tests.

/// A directory that goes away with the value.
pub(crate) fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
