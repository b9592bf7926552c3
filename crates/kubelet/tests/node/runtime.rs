//! A container runtime in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use container::*;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, broadcast};

/// Containers that do nothing until a test says so.
#[derive(Clone)]
pub struct Fake(Arc<Inner>);

struct Inner {
    state: Mutex<World>,
    events: broadcast::Sender<ContainerEvent>,
    looked: Notify,
}

#[derive(Default)]
struct World {
    next: u32,
    sandboxes: BTreeMap<String, SandboxStatus>,
    containers: BTreeMap<String, ContainerStatus>,
    images: Vec<String>,
    /// What was asked for, in order.
    log: Vec<String>,
    exec_codes: BTreeMap<String, i32>,
    /// Whether the next container that is looked at ends then.
    hasty: bool,
}

fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).expect("in range")
}

fn missing(kind: &'static str, id: &str) -> RuntimeError {
    RuntimeError::NotFound { kind, id: id.to_owned() }
}

impl Fake {
    /// A runtime that has these images.
    pub fn new(images: &[&str]) -> Self {
        let state =
            World { images: images.iter().map(|image| (*image).to_owned()).collect(), ..World::default() };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            events: broadcast::channel(256).0,
            looked: Notify::new(),
        }))
    }

    pub fn log(&self) -> Vec<String> {
        self.0.state.lock().log.clone()
    }

    /// The running container of that name in any pod.
    pub fn container(&self, name: &str) -> Option<ContainerStatus> {
        let state = self.0.state.lock();
        let mut found: Vec<_> =
            state.containers.values().filter(|c| c.config.name == name).cloned().collect();
        found.sort_by_key(|container| container.config.attempt);
        found.pop()
    }

    pub fn counts(&self) -> (usize, usize) {
        let state = self.0.state.lock();
        (state.sandboxes.len(), state.containers.len())
    }

    /// The exit code of commands run in containers of that name.
    pub fn set_exec_code(&self, container: &str, code: i32) {
        self.0.state.lock().exec_codes.insert(container.to_owned(), code);
    }

    /// Lets a container end.
    pub fn exit(&self, id: &str, code: i32) {
        let event = {
            let mut state = self.0.state.lock();
            let container = state.containers.get_mut(id).expect("a container");
            container.state = ContainerState::Exited;
            container.exit_code = code;
            container.finished_at_ns = now_ns();
            container.reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
            let sandbox_id = container.sandbox_id.clone();
            let pod_uid = container.config.labels["io.kubernetes.pod.uid"].clone();
            ContainerEvent { sandbox_id, container_id: Some(id.to_owned()), pod_uid }
        };
        let _ = self.0.events.send(event);
    }

    /// Lets the next container end just after it is looked at first, which it tells only after the second look.
    pub fn end_at_first_look(&self) {
        self.0.state.lock().hasty = true;
    }

    fn note(&self, word: impl Into<String>) {
        self.0.state.lock().log.push(word.into());
    }
}

#[async_trait]
impl Runtime for Fake {
    fn version(&self) -> String {
        "fake://1.0".to_owned()
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String, RuntimeError> {
        let mut state = self.0.state.lock();
        state.next += 1;
        let id = format!("s{}", state.next);
        state.log.push(format!("sandbox {}", config.name));
        let status = SandboxStatus {
            id: id.clone(),
            config,
            state: SandboxState::Ready,
            created_at_ns: now_ns(),
            ips: vec!["127.0.0.1".parse().expect("ip")],
            netns: None,
        };
        state.sandboxes.insert(id.clone(), status);
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        if let Some(sandbox) = self.0.state.lock().sandboxes.get_mut(id) {
            sandbox.state = SandboxState::NotReady;
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let mut state = self.0.state.lock();
        state.sandboxes.remove(id);
        state.containers.retain(|_, container| container.sandbox_id != id);
        Ok(())
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        Ok(self.0.state.lock().sandboxes.values().cloned().collect())
    }

    async fn create_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String, RuntimeError> {
        let mut state = self.0.state.lock();
        let directory = state.sandboxes.get(sandbox).ok_or_else(|| missing("sandbox", sandbox))?;
        let log_path = directory.config.log_directory.join(&config.log_path);
        std::fs::create_dir_all(log_path.parent().expect("a parent")).expect("log directory");
        std::fs::write(&log_path, "2026-01-01T00:00:00.5Z stdout F hello from the log\n").expect("log file");
        state.next += 1;
        let id = format!("c{}", state.next);
        state.log.push(format!("create {} {}", config.name, config.attempt));
        let status = ContainerStatus {
            id: id.clone(),
            sandbox_id: sandbox.to_owned(),
            config,
            state: ContainerState::Created,
            created_at_ns: now_ns(),
            started_at_ns: 0,
            finished_at_ns: 0,
            exit_code: 0,
            signal: None,
            reason: String::new(),
            message: String::new(),
            image_id: "sha256:1".to_owned(),
            log_path,
            pid: None,
        };
        state.containers.insert(id.clone(), status);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let mut state = self.0.state.lock();
        let container = state.containers.get_mut(id).ok_or_else(|| missing("container", id))?;
        container.state = ContainerState::Running;
        container.started_at_ns = now_ns();
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        self.note(format!("stop {id} {}", grace.as_secs()));
        let running = self.0.state.lock().containers.get(id).map(|c| c.state == ContainerState::Running);
        match running {
            Some(true) => {
                self.exit(id, 143);
                Ok(())
            }
            Some(false) => Ok(()),
            None => Err(missing("container", id)),
        }
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.0.state.lock().containers.remove(id);
        Ok(())
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        Ok(self.0.state.lock().containers.values().cloned().collect())
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus, RuntimeError> {
        let (status, hasty) = {
            let mut state = self.0.state.lock();
            let status = state.containers.get(id).cloned().ok_or_else(|| missing("container", id))?;
            (status, std::mem::take(&mut state.hasty))
        };
        if hasty {
            self.exit(id, 0);
            self.0.looked.notified().await;
        } else {
            self.0.looked.notify_one();
        }
        Ok(status)
    }

    async fn update_resources(&self, _: &str, _: Resources) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn usage(&self, _: &str) -> Result<Usage, RuntimeError> {
        Ok(Usage {
            cpu_usage_ns: 5_000_000_000,
            memory_working_set_bytes: 1024,
            memory_rss_bytes: 512,
            pids: 1,
        })
    }

    async fn exec_sync(&self, id: &str, _: Vec<String>, _: Duration) -> Result<ExecOutput, RuntimeError> {
        let state = self.0.state.lock();
        let name = &state.containers.get(id).ok_or_else(|| missing("container", id))?.config.name;
        let exit_code = state.exec_codes.get(name).copied().unwrap_or(0);
        Ok(ExecOutput { exit_code, stderr: b"unwell".to_vec(), ..ExecOutput::default() })
    }

    /// Says what it was asked, then gives back its input until that ends.
    async fn exec(&self, _: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        let code = request.command.first().and_then(|word| word.parse().ok()).unwrap_or(0);
        let (near_in, mut far_in) = tokio::io::duplex(1024);
        let (mut far_out, near_out) = tokio::io::duplex(1024);
        let (_, stdin) = tokio::io::split(near_in);
        let work = tokio::spawn(async move {
            let greeting = format!("{}\n", request.command.join(" "));
            let _ = far_out.write_all(greeting.as_bytes()).await;
            let mut buffer = [0; 256];
            while request.stdin
                && let Ok(count @ 1..) = far_in.read(&mut buffer).await
            {
                let _ = far_out.write_all(&buffer[..count]).await;
            }
        });
        Ok(ExecSession {
            stdin: request.stdin.then(|| Box::pin(stdin) as Writer),
            stdout: Some(Box::pin(near_out)),
            stderr: None,
            resize: None,
            exit: Box::pin(async move {
                let _ = work.await;
                Ok(code)
            }),
        })
    }

    async fn attach(&self, id: &str, request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        self.exec(id, request).await
    }

    /// Every port gives back what it is sent, except 1, where nothing listens.
    async fn port_forward(&self, _: &str, port: u16) -> Result<(Reader, Writer), RuntimeError> {
        if port == 1 {
            return Err(RuntimeError::Invalid("connection refused".to_owned()));
        }
        let (near, far) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(far);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        });
        let (reader, writer) = tokio::io::split(near);
        Ok((Box::pin(reader), Box::pin(writer)))
    }

    async fn reopen_log(&self, _: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn pull_image(&self, image: &str, _: Option<RegistryAuth>) -> Result<String, RuntimeError> {
        self.note(format!("pull {image}"));
        if image.contains("missing") {
            return Err(RuntimeError::Pull { image: image.to_owned(), reason: "not found".to_owned() });
        }
        self.0.state.lock().images.push(image.to_owned());
        Ok("sha256:1".to_owned())
    }

    async fn image_status(&self, image: &str) -> Result<Option<Image>, RuntimeError> {
        let has = self.0.state.lock().images.iter().any(|known| known == image);
        Ok(has.then(|| Image {
            id: "sha256:1".to_owned(),
            repo_tags: vec![image.to_owned()],
            repo_digests: vec![],
            size_bytes: 1,
            user: String::new(),
        }))
    }

    async fn list_images(&self) -> Result<Vec<Image>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn remove_image(&self, _: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn import_image(&self, _: &Path) -> Result<Vec<String>, RuntimeError> {
        Ok(Vec::new())
    }

    fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.0.events.subscribe()
    }
}
