//! `kill -9` in the middle of writing, and a disk that takes no more: nothing that was acknowledged is lost.
//!
//! The test runs itself again as the writer, which prints each acknowledged write; the parent kills it somewhere, or lets it
//! run into a limit of its files' size, then opens the store and compares.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use store::{Draft, Embedded, EventKind, Expect, ListOptions, Options, Store, Update, Write, WriteError};

const WRITER: &str = "KNARR_STORE_CRASH_WRITER";
const ROUNDS: u64 = 12;
const TASKS: u64 = 16;
const KEYS: u64 = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    if let Ok(arguments) = std::env::var(WRITER) {
        let (round, path) = arguments.split_once(':').expect("round:path");
        let round = round.parse().expect("a number");
        runtime.block_on(write_forever(Path::new(path), round));
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let written = kill_a_writer(directory.path(), round);
        assert!(!written.is_empty(), "round {round}: the writer was killed before it wrote");
        acknowledged.extend(written);
        runtime.block_on(check(directory.path(), &acknowledged, round));
    }
    let written = run_into_a_full_disk(directory.path());
    acknowledged.extend(written);
    runtime.block_on(check(directory.path(), &acknowledged, ROUNDS));
    let told = acknowledged.len();
    writeln!(
        std::io::stdout(),
        "crash test: {ROUNDS} kills and a full disk, {told} acknowledged writes, none lost"
    )
    .expect("told");
}

fn options() -> Options {
    // Compacts and rewrites all the time, so that the kill also hits these.
    Options {
        quota_bytes: 256 << 20,
        keep_for: Duration::ZERO,
        keep_revisions: 200,
        rewrite_bytes: 1 << 20,
        ..Options::default()
    }
}

/// Acknowledged writes by revision: key and value, no value for a deletion.
type Acknowledged = BTreeMap<u64, (String, Option<String>)>;

async fn write_forever(path: &Path, round: u64) {
    let store = Arc::new(Embedded::open(path, options()).expect("the store opens"));
    let tasks = (0..TASKS).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0u64.. {
                let key = format!("/crash/{task}/{}", number % KEYS);
                // Sizes from within a page to several pages.
                let value = format!("{round}.{number}.{}", "x".repeat((number * 397 % 9_000) as usize));
                let write = match number % 7 {
                    6 => Write::Delete { key: key.clone(), expect: Expect::Any },
                    _ => {
                        Write::Put { key: key.clone(), expect: Expect::Any, draft: draft(&value), ttl: None }
                    }
                };
                let deletion = matches!(write, Write::Delete { .. });
                let entry = match store.write(write).await {
                    Ok(entry) => entry,
                    Err(WriteError::Conflict { .. }) => continue,
                    Err(error) => {
                        let stopped = matches!(error, WriteError::Poisoned(_) | WriteError::DiskFull(_));
                        assert!(stopped, "{error}");
                        return;
                    }
                };
                let shown = if deletion { "-" } else { value.as_str() };
                tell(&format!("{} {key} {shown}\n", entry.revision));
            }
        })
    });
    for task in futures::future::join_all(tasks.collect::<Vec<_>>()).await {
        task.expect("the writer only ends when the disk takes no more");
    }
    tell("full - -\n");
}

/// One call, so that a kill cannot mix the lines of two tasks.
fn tell(line: &str) {
    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
}

fn draft(value: &str) -> Draft {
    Draft { bytes: format!(r#"{{"metadata":{{}},"value":"{value}"}}"#).into(), revision_at: 13 }
}

/// Starts a writer, kills it after a while that differs from round to round, and returns what it has acknowledged.
fn kill_a_writer(path: &Path, round: u64) -> Acknowledged {
    let program = std::env::current_exe().expect("this program");
    let argument = format!("{round}:{}", path.display());
    let mut writer = Command::new(program)
        .env(WRITER, argument)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the writer starts");
    let output = BufReader::new(writer.stdout.take().expect("piped"));
    let lines = 50 + round * 173;
    let mut acknowledged = Acknowledged::new();
    for (read, line) in output.split(b'\n').enumerate() {
        if read as u64 == lines {
            writer.kill().expect("SIGKILL");
        }
        acknowledged.extend(parse(line.expect("the pipe works")));
    }
    writer.wait().expect("it is dead");
    acknowledged
}

/// Lets a writer run until its file may grow no further.
fn run_into_a_full_disk(path: &Path) -> Acknowledged {
    let files = std::fs::read_dir(path.join("v2")).expect("the store's files");
    let lengths = files.map(|file| file.expect("a file").metadata().expect("its length").len());
    // No file may get as long as the longest one is. The limit is counted in blocks of 512 bytes. The signal has to be ignored for
    // the write to fail instead.
    let limit = lengths.max().expect("there are files") / 4 * 3 / 512;
    let limit = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\"");
    let program = std::env::current_exe().expect("this program");
    let argument = format!("{ROUNDS}:{}", path.display());
    let mut shell = Command::new("sh");
    let output =
        shell.args(["-c", &limit]).arg(program).env(WRITER, argument).output().expect("the writer starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = output.stdout.split(|byte| *byte == b'\n').collect();
    assert!(lines.iter().any(|line| line.starts_with(b"full ")), "the disk never got full");
    lines.into_iter().filter_map(parse).collect()
}

/// A line of a writer; nothing if it was torn.
fn parse(line: impl AsRef<[u8]>) -> Option<(u64, (String, Option<String>))> {
    let line = std::str::from_utf8(line.as_ref()).ok()?;
    let mut parts = line.split(' ');
    let (revision, key, value) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
    let whole = value == "-" || is_whole(value);
    whole.then(|| (revision, (key.to_owned(), (value != "-").then(|| value.to_owned()))))
}

/// Whether a value has all its bytes.
fn is_whole(value: &str) -> bool {
    let mut parts = value.split('.').skip(1);
    let number: Option<u64> = parts.next().and_then(|number| number.parse().ok());
    let length = parts.next().map(|text| text.len() as u64);
    number.is_some_and(|number| length == Some(number * 397 % 9_000))
}

/// Opens the store and looks for every acknowledged write.
async fn check(path: &Path, acknowledged: &Acknowledged, round: u64) {
    // With the default window, so that nothing is compacted while it is looked at.
    let store = Embedded::open(path, Options { quota_bytes: options().quota_bytes, ..Options::default() })
        .expect("the store opens after a kill");
    store.verify().await.expect("every record is whole");
    let newest = acknowledged.last_key_value().map_or(0, |(revision, _)| *revision);
    assert!(
        store.revision() >= newest,
        "round {round}: at {} but {newest} was acknowledged",
        store.revision()
    );

    // Of the revisions that are kept, each event; of all, the state they lead to.
    let compacted = store.compacted();
    let mut watch = store.watch("/crash/", compacted).await.expect("a watch from the oldest revision");
    let mut expected = compacted;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        match watch.next().await.expect("a watch goes on").expect("the log is readable") {
            Update::Progress(revision) if revision >= store.revision() => break,
            Update::Progress(_) => {}
            Update::Event(event) => {
                expected += 1;
                assert_eq!(event.entry.revision, expected, "round {round}: the log is dense");
                last.insert(event.entry.key.to_string(), expected);
                if let Some((key, value)) = acknowledged.get(&expected) {
                    assert_eq!(*key, *event.entry.key);
                    assert_eq!(value.is_none(), event.kind == EventKind::Deleted);
                    if let Some(value) = value {
                        assert_eq!(
                            event.entry.bytes,
                            draft(value).at_revision(key.as_str().into(), expected).bytes
                        );
                    }
                }
            }
        }
    }
    let page = store.list("/crash/", ListOptions::default()).await.expect("a list");
    let found: BTreeMap<_, _> =
        page.entries.into_iter().map(|entry| (entry.key.to_string(), entry)).collect();
    let mut states = BTreeMap::new();
    for (revision, (key, value)) in acknowledged {
        states.insert(key.clone(), (*revision, value));
    }
    for (key, (revision, value)) in states {
        // Committed, but the kill came before the acknowledgement: a later write that is just as good.
        if last.get(&key).is_some_and(|last| *last > revision)
            || found.get(&key).is_some_and(|entry| entry.revision > revision)
        {
            continue;
        }
        let want = value.as_ref().map(|value| draft(value).at_revision(key.as_str().into(), revision));
        assert_eq!(found.get(&key), want.as_ref(), "round {round}: {key} as of {revision}");
    }
}
