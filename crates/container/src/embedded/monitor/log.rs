//! Container logs in CRI's format: `<RFC 3339 with nanoseconds> <stdout|stderr> <F|P> <line>`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A line longer than this is written in parts tagged `P`, the last one `F`.
pub const LINE_MAX_BYTES: usize = 16 * 1024;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stdout,
    Stderr,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Splits one stream into lines.
#[derive(Debug)]
pub struct Lines {
    source: Source,
    pending: Vec<u8>,
}

impl Lines {
    pub fn new(source: Source) -> Self {
        Self { source, pending: Vec::new() }
    }

    /// Appends the log lines that `bytes` completes to `out`, stamped with `now`.
    pub fn feed(&mut self, mut bytes: &[u8], now: &str, out: &mut Vec<u8>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end], now, out);
            self.emit('F', now, out);
            bytes = &bytes[end + 1..];
        }
        self.take(bytes, now, out);
    }

    /// The stream has ended: what is left is a line without its newline.
    pub fn finish(&mut self, now: &str, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.emit('F', now, out);
        }
        self.pending = Vec::new();
    }

    fn take(&mut self, mut bytes: &[u8], now: &str, out: &mut Vec<u8>) {
        while self.pending.len() + bytes.len() > LINE_MAX_BYTES {
            let (head, tail) = bytes.split_at(LINE_MAX_BYTES - self.pending.len());
            self.pending.extend_from_slice(head);
            self.emit('P', now, out);
            bytes = tail;
        }
        self.pending.extend_from_slice(bytes);
    }

    fn emit(&mut self, tag: char, now: &str, out: &mut Vec<u8>) {
        let _ = write!(out, "{now} {} {tag} ", self.source.name());
        out.extend_from_slice(&self.pending);
        out.push(b'\n');
        self.pending.clear();
    }
}

/// The time as log lines carry it.
pub fn timestamp() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

/// A container's log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
}

impl LogFile {
    /// Opens the file for appending, making its directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Ok(Self { path: PathBuf::new(), file: None });
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(Self { path: path.to_owned(), file: Some(open(path)?) })
    }

    /// Opens the file anew after it was renamed away.
    pub fn reopen(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            self.file = Some(open(&self.path)?);
        }
        Ok(())
    }

    /// Appends; a full disk loses lines, never the container.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file {
            let _ = file.write_all(bytes);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(chunks: &[&[u8]]) -> String {
        let mut lines = Lines::new(Source::Stdout);
        let mut out = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, "T", &mut out);
        }
        lines.finish("T", &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn lines_are_completed_across_chunks() {
        assert_eq!(
            log(&[b"one\ntw", b"o\n\nend"]),
            "T stdout F one\nT stdout F two\nT stdout F \nT stdout F end\n"
        );
        assert_eq!(log(&[]), "");
    }

    #[test]
    fn long_lines_come_in_parts() {
        let long = vec![b'x'; LINE_MAX_BYTES + 3];
        let text = log(&[&long, b"y\n"]);
        let parts: Vec<&str> = text.lines().collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].len(), "T stdout P ".len() + LINE_MAX_BYTES);
        assert_eq!(parts[1], "T stdout F xxxy");
    }

    #[test]
    fn timestamps_have_nanoseconds() {
        let stamp = timestamp();
        assert_eq!(stamp.len(), "2026-01-01T00:00:00.000000000Z".len(), "{stamp}");
    }
}
