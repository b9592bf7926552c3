//! Container log files in CRI's format: `<time> <stream> <F|P> <text>`, one line a line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use container::Runtime;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

/// A log file is rotated when it is larger than this.
const ROTATE_BYTES: u64 = 10 * 1024 * 1024;
/// Files kept of one container, the current one included.
const ROTATE_FILES: usize = 5;
/// How often sizes are looked at. Not in any path that someone waits for.
const ROTATE_PERIOD: Duration = Duration::from_secs(10);

/// One line of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// As written.
    pub time: &'a str,
    pub is_stderr: bool,
    /// The line ends here; false when the next line of the file goes on with it.
    pub complete: bool,
    pub text: &'a [u8],
}

/// Reads one line of a log file (without its newline); `None` when it is not in CRI's format.
pub(crate) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let is_stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let tags = parts.next()?;
    let complete = tags.split(|byte| *byte == b':').next() != Some(b"P");
    Some(Line { time, is_stderr, complete, text: parts.next().unwrap_or_default() })
}

impl Line<'_> {
    /// When the line was written.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// Offset of the first of the last `count` lines of a file.
pub(crate) fn tail_offset(file: &mut File, count: u64) -> std::io::Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let size = file.seek(SeekFrom::End(0))?;
    if count == 0 {
        return Ok(size);
    }
    let mut seen = 0;
    let mut end = size;
    let mut buffer = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        buffer.clear();
        file.by_ref().take(end - start).read_to_end(&mut buffer)?;
        for (index, byte) in buffer.iter().enumerate().rev() {
            let at = start + index as u64;
            // The newline that ends the file does not begin a line.
            if *byte == b'\n' && at + 1 < size {
                seen += 1;
                if seen == count {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// The first `max` bytes of a small file as text; empty when there is none.
pub(crate) fn read_head(path: &Path, max: usize) -> String {
    let mut data = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(max as u64).read_to_end(&mut data);
    }
    String::from_utf8_lossy(&data).into_owned()
}

/// The end of a log as a termination message.
pub(crate) fn tail_message(path: &Path, lines: usize, bytes: usize) -> String {
    let mut data = Vec::new();
    if let Ok(mut file) = File::open(path)
        && let Ok(offset) = tail_offset(&mut file, lines as u64)
        && file.seek(SeekFrom::Start(offset)).is_ok()
    {
        let _ = file.read_to_end(&mut data);
    }
    let mut text = Vec::new();
    for line in data.split(|byte| *byte == b'\n').filter_map(parse) {
        text.extend_from_slice(line.text);
        if line.complete {
            text.push(b'\n');
        }
    }
    let start = text.len().saturating_sub(bytes);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

/// Removes a log file and what was rotated away from it.
pub(crate) fn remove(path: &Path) {
    if path.as_os_str().is_empty() {
        return;
    }
    for old in rotated(path) {
        let _ = std::fs::remove_file(old);
    }
    let _ = std::fs::remove_file(path);
}

/// Files rotated away from a log, the oldest first.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut list: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|other| other.starts_with(&prefix)))
        .map(|entry| entry.path())
        .collect();
    list.sort();
    list
}

/// Rotates logs of running containers until the token is cancelled.
pub(crate) async fn rotate_all(runtime: Arc<dyn Runtime>, token: CancellationToken) {
    loop {
        if token.run_until_cancelled(tokio::time::sleep(ROTATE_PERIOD)).await.is_none() {
            return;
        }
        let list = match runtime.list_containers().await {
            Ok(list) => list,
            Err(error) => {
                tracing::debug!(%error, "failed to list containers for log rotation");
                continue;
            }
        };
        for container in list.iter().filter(|container| container.state == container::ContainerState::Running)
        {
            let path = &container.log_path;
            let large = std::fs::metadata(path).is_ok_and(|meta| meta.len() > ROTATE_BYTES);
            if large && let Err(error) = rotate(&*runtime, &container.id, path).await {
                tracing::warn!(path = %path.display(), %error, "failed to rotate a log");
            }
        }
    }
}

async fn rotate(runtime: &dyn Runtime, id: &str, path: &Path) -> std::io::Result<()> {
    let old = rotated(path);
    // The current file and the one that is rotated away now count as well.
    for gone in old.iter().take((old.len() + 2).saturating_sub(ROTATE_FILES)) {
        std::fs::remove_file(gone)?;
    }
    let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{stamp}"));
    let away = PathBuf::from(name);
    std::fs::rename(path, &away)?;
    if let Err(error) = runtime.reopen_log(id).await {
        std::fs::rename(&away, path)?;
        return Err(std::io::Error::other(error.to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = parse(b"2016-10-06T00:17:09.669794202Z stderr P hello  world").expect("line");
        assert!(line.is_stderr && !line.complete);
        assert_eq!(line.text, b"hello  world");
        assert!(line.timestamp().is_some());
        assert_eq!(parse(b"2016-10-06T00:17:09Z stdout F ").expect("line").text, b"");
        assert_eq!(parse(b"2016-10-06T00:17:09Z stdout F").expect("line").text, b"");
        assert!(parse(b"nonsense").is_none());
        assert!(parse(b"2016-10-06T00:17:09Z other F x").is_none());
    }

    #[test]
    fn tails() {
        let dir = crate::testing::temp_dir();
        let path = dir.path().join("log");
        std::fs::write(&path, "a\nbb\nccc\n").expect("write");
        let mut file = File::open(&path).expect("open");
        for (count, want) in [(0, 9), (1, 5), (2, 2), (3, 0), (9, 0)] {
            assert_eq!(tail_offset(&mut file, count).expect("offset"), want, "{count}");
        }
        std::fs::write(&path, "a\nbb").expect("write");
        assert_eq!(tail_offset(&mut File::open(&path).expect("open"), 1).expect("offset"), 2);
        std::fs::write(&path, "").expect("write");
        assert_eq!(tail_offset(&mut File::open(&path).expect("open"), 1).expect("offset"), 0);
    }

    #[test]
    fn messages_from_logs() {
        let dir = crate::testing::temp_dir();
        let path = dir.path().join("log");
        let text = "2016-10-06T00:17:09Z stdout F one\n2016-10-06T00:17:09Z stderr P tw\n2016-10-06T00:17:09Z stderr F o\n";
        std::fs::write(&path, text).expect("write");
        assert_eq!(tail_message(&path, 80, 2048), "one\ntwo\n");
        assert_eq!(tail_message(&path, 80, 3), "wo\n");
    }
}
