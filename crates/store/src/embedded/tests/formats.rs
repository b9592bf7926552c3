//! Files of other versions, and what was left of an exchange.

use super::*;

/// Makes the format in a file's header the next one.
pub(super) fn make_newer(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[11] += 1;
    let sum = record::checksum(&[&bytes[..60]]);
    bytes[60..64].copy_from_slice(&sum.to_be_bytes());
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_refused_by_name() {
    for name in [base::name(EMPTY), log::name(1)] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        store.write(put("/a", Expect::Absent, 1)).await.unwrap();
        drop(store);
        let file = directory.path().join("v2").join(&name);
        let whole = fs::read(&file).unwrap();
        make_newer(&file);
        let newer = fs::read(&file).unwrap();
        let error = Embedded::open(directory.path(), small()).err().unwrap();
        assert!(matches!(&error, OpenError::UnknownFormat { .. }), "{error}");
        let path = directory.path().display();
        assert_eq!(
            error.to_string(),
            format!(
                "the store in {path} cannot be read by this version of the program: {name}: it has format 3, \
                 this program knows 2"
            )
        );
        assert_eq!(fs::read(&file).unwrap(), newer, "it is left alone");
        fs::write(&file, whole).unwrap();
        assert_eq!(open(directory.path()).revision(), 2);
    }
}

#[tokio::test]
async fn a_segment_of_a_newer_format_that_was_only_made_ready_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let ready = directory.path().join("v2").join(log::name(2));
    fs::copy(data(directory.path()), &ready).unwrap();
    make_newer(&ready);
    let error = Embedded::open(directory.path(), small()).err().unwrap();
    assert!(matches!(error, OpenError::UnknownFormat { .. }), "{error}");
    assert!(ready.exists());
}

#[tokio::test]
async fn what_an_exchange_has_left_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let kept = store.write(put("/a", Expect::Absent, 1)).await.unwrap();
    drop(store);
    let left = directory.path().join("v2.creating");
    fs::create_dir(&left).unwrap();
    fs::write(left.join(log::name(1)), "of a store that was replaced").unwrap();
    assert_eq!(open(directory.path()).get("/a").await, Ok(Some(kept)));
    assert!(!left.exists());
}
