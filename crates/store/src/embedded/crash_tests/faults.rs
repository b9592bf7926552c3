//! Single faults: reads that fail, files that are removed while they are read, and disks without room.

use super::*;
use crate::embedded::read;

/// Everything a store is read by, in the same order each time.
async fn read_all(store: &Embedded, history: &History) -> Result<(), ReadError> {
    store.verify().await?;
    for (key, _) in history.values().take(20) {
        store.get(key).await?;
    }
    store.list("", ListOptions::default()).await?;
    store.watch("", store.compacted()).await.map(drop)
}

#[tokio::test]
async fn a_read_that_fails_is_an_error_of_that_read_only() {
    use io::ErrorKind::{Interrupted, Other};
    const FAULTS: [Fault; 3] = [Fault::Error(Other), Fault::Short, Fault::Error(Interrupted)];
    let (files, history) = filled().await;
    let (opening, all) = {
        let disk = FaultyDisk::of(files.clone());
        let store = reopen(&disk).unwrap();
        let opening = disk.reads();
        read_all(&store, &history).await.unwrap();
        (opening, disk.reads())
    };
    // How many reads there are depends on how far the base was rewritten.
    let later = (opening..all).step_by((all - opening).div_ceil(30));
    let mut failed = [0, 0];
    for (at, fault) in (0..opening).chain(later.clone()).flat_map(|at| FAULTS.map(|fault| (at, fault))) {
        let disk = FaultyDisk::of(files.clone());
        disk.fail_read(at + 1, fault);
        let said = match reopen(&disk) {
            Ok(store) => {
                let said = read_all(&store, &history).await;
                read_all(&store, &history).await.unwrap();
                check(&store, &history).await;
                said.map_err(|error| (1, error))
            }
            Err(error) => {
                assert!(disk.files() == files, "read {at}: nothing is changed");
                let name = files.keys().find(|name| error.to_string().contains(*name));
                assert!(name.is_some(), "read {at}: {error}");
                Err((0, error))
            }
        };
        if let Err((when, error)) = said {
            assert!(fault == FAULTS[0] && matches!(error, ReadError::Io(_)), "read {at}: {fault:?}: {error}");
            failed[when] += 1;
        } else {
            assert!(fault != FAULTS[0], "read {at}: nobody has noticed");
        }
    }
    assert_eq!(failed, [opening, later.count()]);
}

#[tokio::test]
async fn what_cannot_be_read_can_be_read_again() {
    let (files, history) = filled().await;
    let disk = FaultyDisk::of(files);
    let store = reopen(&disk).unwrap();
    let entry = store.list("", ListOptions::default()).await.unwrap().entries.pop().unwrap();
    disk.fail_read(disk.reads() + 1, Fault::Error(io::ErrorKind::Other));
    // Its last state goes with the event.
    let refused = store.write(delete(&*entry.key, Expect::Any)).await;
    assert!(matches!(refused, Err(WriteError::Unreadable(ReadError::Io(_)))), "{refused:?}");
    assert_eq!(store.revision(), history.len() as u64 + EMPTY);
    store.write(delete(&*entry.key, Expect::Revision(entry.revision))).await.unwrap();
}

#[tokio::test]
async fn what_has_been_found_stays_readable_when_its_files_are_removed() {
    let (disk, mut numbers) = (created(), Numbers(9));
    let store = open(&disk).unwrap();
    work(&disk, &store, 20, 6_000, &mut numbers).await;
    let want = store.list("", ListOptions::default()).await.unwrap();
    let found = read::find(&store.shared.index, "", &ListOptions::default()).unwrap();
    while disk.files().contains_key(&log::name(1)) {
        work(&disk, &store, 20, 6_000, &mut numbers).await;
    }
    assert_eq!(found.read(), Ok(want));
}

#[tokio::test]
async fn a_batch_may_be_larger_than_a_segment() {
    let disk = Arc::new(MemoryDisk::default());
    load::create(&*disk, [1; 16]).unwrap();
    let store = Embedded::over(disk.clone(), None, Options::default()).unwrap();
    let value = "x".repeat((4 << 20) - 1_000);
    let writes = (0..12).map(|number| store.write(put(format!("/large/{number}"), Expect::Absent, &value)));
    let mut written: Vec<_> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
    drop(store);
    let names = disk.list().unwrap();
    let lengths =
        names.iter().filter(|name| log::number(name).is_some()).map(|name| disk.open(name).unwrap().length());
    assert!(lengths.max_by_key(|length| *length.as_ref().unwrap()).unwrap().unwrap() > 17 << 20);
    let store = Embedded::over(disk, None, Options::default()).unwrap();
    written.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(store.list("", ListOptions::default()).await.unwrap().entries, written);
    store.verify().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_has_room_again_takes_writes_again() {
    let disk = created();
    let store = reopen(&disk).unwrap();
    let value = "x".repeat(400_000);
    store.write(put("/a", Expect::Any, &value)).await.unwrap();
    // The next write, its sync, and the segment that is made ready because this one is half full then.
    disk.fail(disk.calls() + 3, Fault::Error(io::ErrorKind::StorageFull));
    let second = store.write(put("/a", Expect::Any, &value)).await.unwrap();
    let full = store.write(put("/b", Expect::Absent, &value)).await;
    assert!(matches!(full, Err(WriteError::DiskFull(_))), "{full:?}");
    assert_eq!(store.revision(), second.revision);
    let third = store.write(put("/b", Expect::Absent, &value)).await.unwrap();
    assert_eq!(third.revision, second.revision + 1);
    drop(store);
    let store = reopen(&disk).unwrap();
    assert_eq!(store.list("", ListOptions::default()).await.unwrap().entries, [second, third]);
    store.verify().await.unwrap();
}
