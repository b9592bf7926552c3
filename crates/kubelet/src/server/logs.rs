//! `/containerLogs`: what a container wrote, from CRI log files, and what it goes on writing.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::{ContainerState, ContainerStatus, Pod, container_status};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Answer, Server, query, text};
use crate::logs::{parse, tail_offset};
use crate::worker::View;

const BLOCK_BYTES: usize = 64 * 1024;
/// Blocks that wait to be sent.
const QUEUE: usize = 4;
/// Longest line; a longer one is passed on in pieces.
const LINE_MAX: usize = 1 << 20;
/// A follower looks at the container's state this often even when nothing is written.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// What of a log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<u64>,
    since: Option<Timestamp>,
    limit: Option<u64>,
    /// `None`: both streams.
    stderr: Option<bool>,
}

impl Options {
    fn parse(text: &str, now: Timestamp) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in query(text) {
            let on = matches!(value.as_str(), "1" | "true");
            let bad = || format!("invalid value {value:?} of parameter {name:?}");
            match name.as_str() {
                "follow" => options.follow = on,
                "previous" => options.previous = on,
                "timestamps" => options.timestamps = on,
                "tailLines" => options.tail = value.parse::<i64>().map_err(|_| bad())?.try_into().ok(),
                "limitBytes" => options.limit = Some(value.parse().map_err(|_| bad())?),
                "sinceSeconds" => {
                    let seconds: i64 = value.parse().map_err(|_| bad())?;
                    options.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
                }
                "sinceTime" => options.since = Some(value.parse().map_err(|_| bad())?),
                "stream" => {
                    options.stderr = match value.as_str() {
                        "" | "All" => None,
                        "Stdout" => Some(false),
                        "Stderr" => Some(true),
                        _ => return Err(bad()),
                    }
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// Answers with the log of a container.
pub(crate) async fn answer(
    server: &Arc<Server>,
    namespace: &str,
    pod: &str,
    container: &str,
    text_query: &str,
) -> Answer {
    let options = match Options::parse(text_query, Timestamp::now()) {
        Ok(options) => options,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let Some(view) = server.manager.view(namespace, pod, None) else {
        return text(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist"));
    };
    let Some(object) = view.pod.clone() else {
        return text(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist"));
    };
    let path = match log_path(server, &view, &object, pod, container, &options) {
        Ok(path) => path,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let (sender, receiver) = mpsc::channel(QUEUE);
    let follow = options.follow.then(|| Follow {
        server: server.clone(),
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
    });
    let token = server.token.clone();
    server.sessions.spawn(async move {
        let job = Job { path, options, sender, follow };
        token.run_until_cancelled(job.run()).await;
    });
    let body = StreamBody::new(ReceiverStream::new(receiver).map(|data| Ok(Frame::data(data))));
    let mut response = Response::new(body.boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The file to read, or why there is none, in upstream's words.
fn log_path(
    server: &Server,
    view: &View,
    object: &Pod,
    pod: &str,
    container: &str,
    options: &Options,
) -> Result<PathBuf, String> {
    let (current, former) = view.logs.get(container).cloned().unwrap_or_default();
    let status = container_status(object, container);
    let path = if options.previous {
        former
            .or_else(|| recorded(server, object, container, status, true))
            .ok_or_else(|| format!("previous terminated container {container:?} in pod {pod:?} not found"))?
    } else {
        let known = current.or_else(|| recorded(server, object, container, status, false));
        match known {
            Some(path) => path,
            None => return Err(waiting(object, pod, container, status)),
        }
    };
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("failed to open log file {:?}: no such file or directory", path.display().to_string()))
    }
}

/// Where the log of an attempt is that only the API remembers.
fn recorded(
    server: &Server,
    object: &Pod,
    container: &str,
    status: Option<&ContainerStatus>,
    previous: bool,
) -> Option<PathBuf> {
    let status = status?;
    let ran = |state: &Option<ContainerState>| state.as_ref().is_some_and(|state| state.terminated.is_some());
    let attempt = if previous {
        ran(&status.last_state).then_some(status.restart_count.checked_sub(1)?)?
    } else {
        ran(&status.state).then_some(status.restart_count)?
    };
    let path = server.manager.log_dir(object).join(container).join(format!("{attempt}.log"));
    path.exists().then_some(path)
}

fn waiting(object: &Pod, pod: &str, container: &str, status: Option<&ContainerStatus>) -> String {
    let known = object.spec.as_ref().is_some_and(|spec| {
        let lists = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| &container.name);
        lists.map(|container| &container.name).chain(ephemeral).any(|name| name == container)
    });
    if !known {
        return format!("container {container:?} in pod {pod:?} is not available");
    }
    let reason = status.and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let reason = match reason.as_deref() {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) => reason,
        None => "ContainerCreating",
    };
    format!("container {container:?} in pod {pod:?} is waiting to start: {reason}")
}

/// Whether a container that is followed still runs.
struct Follow {
    server: Arc<Server>,
    namespace: String,
    pod: String,
    container: String,
    uid: String,
}

impl Follow {
    /// Whether this very log can still grow.
    fn is_alive(&self, path: &Path) -> bool {
        self.server.manager.view(&self.namespace, &self.pod, Some(&self.uid)).is_some_and(|view| {
            let current = view.logs.get(&self.container).and_then(|(current, _)| current.clone());
            view.running.contains_key(&self.container) && current.as_deref() == Some(path)
        })
    }
}

struct Job {
    path: PathBuf,
    options: Options,
    sender: mpsc::Sender<Bytes>,
    follow: Option<Follow>,
}

impl Job {
    async fn run(self) {
        if let Err(error) = self.stream().await {
            tracing::debug!(path = %self.path.display(), %error, "failed to read a log");
        }
    }

    async fn stream(&self) -> std::io::Result<()> {
        let mut file = File::open(&self.path)?;
        if let Some(count) = self.options.tail {
            let offset = tail_offset(&mut file, count)?;
            file.seek(SeekFrom::Start(offset))?;
        }
        // Watched before the first read: nothing that is written in between can be missed.
        let watch = match &self.follow {
            Some(_) => Some(Watch::new(&self.path)?),
            None => None,
        };
        let mut filter = Filter::new(&self.options);
        loop {
            let alive = self.follow.as_ref().is_some_and(|follow| follow.is_alive(&self.path));
            if !self.read_on(&mut file, &mut filter).await? {
                return Ok(());
            }
            let Some(watch) = &watch else { break };
            if let Some(next) = reopened(&file, &self.path)? {
                // Rotated: what was written to the old file until then has been read.
                self.read_on(&mut file, &mut filter).await?;
                file = next;
                watch.add(&self.path)?;
                continue;
            }
            // Asked before the last read, so that the container's last words are not lost.
            if !alive {
                break;
            }
            tokio::select! {
                () = watch.changed() => {}
                () = tokio::time::sleep(LOOK_PERIOD) => {}
                () = self.sender.closed() => return Ok(()),
            }
        }
        let rest = filter.finish();
        if !rest.is_empty() {
            let _ = self.sender.send(rest).await;
        }
        Ok(())
    }

    /// Sends what the file has more than before; false when no more is wanted.
    async fn read_on(&self, file: &mut File, filter: &mut Filter) -> std::io::Result<bool> {
        let mut buffer = vec![0; BLOCK_BYTES];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(true);
            }
            let data = filter.take(&buffer[..count]);
            if !data.is_empty() && self.sender.send(data).await.is_err() {
                return Ok(false);
            }
            if filter.is_full() {
                return Ok(false);
            }
        }
    }
}

/// The file now at the path, if it is another one than that which is open.
fn reopened(file: &File, path: &Path) -> std::io::Result<Option<File>> {
    use std::os::unix::fs::MetadataExt;
    let Ok(now) = std::fs::metadata(path) else { return Ok(None) };
    let open = file.metadata()?;
    if (now.dev(), now.ino()) == (open.dev(), open.ino()) {
        return Ok(None);
    }
    File::open(path).map(Some)
}

/// Tells when a log file or its directory changes.
struct Watch {
    inotify: AsyncFd<InotifyFd>,
}

struct InotifyFd(Inotify);

impl AsRawFd for InotifyFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    fn new(path: &Path) -> std::io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "the replacement is unsafe; this type owns its descriptor and never changes it"
        )]
        let inotify = AsyncFd::with_interest(InotifyFd(inotify), Interest::READABLE)?;
        let watch = Self { inotify };
        watch.add(path)?;
        if let Some(dir) = path.parent() {
            let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
            watch.inotify.get_ref().0.add_watch(dir, flags)?;
        }
        Ok(watch)
    }

    fn add(&self, path: &Path) -> std::io::Result<()> {
        self.inotify.get_ref().0.add_watch(path, AddWatchFlags::IN_MODIFY)?;
        Ok(())
    }

    /// Waits for a change. Without a working watch it waits for ever; the caller looks from time to time anyway.
    async fn changed(&self) {
        match self.inotify.readable().await {
            Ok(mut guard) => {
                // The events themselves do not matter.
                while guard.get_inner().0.read_events().is_ok() {}
                guard.clear_ready();
            }
            Err(_) => std::future::pending().await,
        }
    }
}

/// Turns lines of a log file into what the client asked for.
struct Filter {
    since: Option<Timestamp>,
    timestamps: bool,
    stderr: Option<bool>,
    left: Option<u64>,
    partial: Vec<u8>,
    /// The last line of each stream was not complete: the next one goes on without a timestamp.
    open: [bool; 2],
}

impl Filter {
    fn new(options: &Options) -> Self {
        Self {
            since: options.since,
            timestamps: options.timestamps,
            stderr: options.stderr,
            left: options.limit,
            partial: Vec::new(),
            open: [false; 2],
        }
    }

    fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    fn take(&mut self, data: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        self.partial.extend_from_slice(data);
        let buffer = std::mem::take(&mut self.partial);
        let mut rest = buffer.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line(&rest[..end], &mut out);
            rest = &rest[end + 1..];
        }
        if rest.len() > LINE_MAX {
            self.line(rest, &mut out);
            rest = &[];
        }
        self.partial = rest.to_vec();
        self.cut(out)
    }

    fn finish(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            self.line(&rest, &mut out);
        }
        self.cut(out)
    }

    fn line(&mut self, line: &[u8], out: &mut BytesMut) {
        let Some(line) = parse(line) else { return };
        let open = &mut self.open[usize::from(line.is_stderr)];
        let continued = std::mem::replace(open, !line.complete);
        if self.stderr.is_some_and(|wanted| wanted != line.is_stderr) {
            return;
        }
        if let Some(since) = self.since
            && line.timestamp().is_some_and(|time| time < since)
        {
            return;
        }
        if self.timestamps && !continued {
            out.extend_from_slice(line.time.as_bytes());
            out.extend_from_slice(b" ");
        }
        out.extend_from_slice(line.text);
        if line.complete {
            out.extend_from_slice(b"\n");
        }
    }

    fn cut(&mut self, mut out: BytesMut) -> Bytes {
        if let Some(left) = &mut self.left {
            out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= out.len() as u64;
        }
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.5Z stdout F one\n\
                       2026-01-01T00:00:02.5Z stderr F two\n\
                       2026-01-01T00:00:03.5Z stdout P thr\n\
                       2026-01-01T00:00:03.6Z stdout F ee\n";

    fn filtered(text: &str) -> String {
        let options = Options::parse(text, Timestamp::now()).expect("options");
        let mut filter = Filter::new(&options);
        let mut out = Vec::new();
        for piece in LOG.as_bytes().chunks(7) {
            out.extend_from_slice(&filter.take(piece));
        }
        out.extend_from_slice(&filter.finish());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!(filtered(""), "one\ntwo\nthree\n");
        assert_eq!(filtered("stream=Stderr"), "two\n");
        assert_eq!(filtered("sinceTime=2026-01-01T00:00:02Z"), "two\nthree\n");
        assert_eq!(filtered("limitBytes=5"), "one\nt");
        assert_eq!(
            filtered("timestamps=true&stream=Stdout"),
            "2026-01-01T00:00:01.5Z one\n2026-01-01T00:00:03.5Z three\n"
        );
    }

    #[test]
    fn bad_options() {
        for text in ["limitBytes=x", "sinceTime=yesterday", "stream=Both", "tailLines=many"] {
            assert!(Options::parse(text, Timestamp::now()).is_err(), "{text}");
        }
        assert_eq!(Options::parse("tailLines=-1", Timestamp::now()).expect("options").tail, None);
    }

    #[tokio::test]
    async fn a_change_wakes_the_follower() {
        let dir = crate::testing::temp_dir();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "x").expect("write");
        let watch = Watch::new(&path).expect("watch");
        std::fs::write(&path, "xy").expect("write");
        tokio::time::timeout(Duration::from_secs(60), watch.changed()).await.expect("told");
        std::fs::rename(&path, dir.path().join("old")).expect("rename");
        std::fs::write(&path, "new").expect("write");
        tokio::time::timeout(Duration::from_secs(60), watch.changed()).await.expect("told");
    }
}
