//! What the cases have in common.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use container::{
    BuiltinImage, ContainerConfig, ContainerState, ContainerStatus, Embedded, EmbeddedConfig, NoNetwork,
    Runtime, SandboxConfig, SecurityContext,
};

use crate::images;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime with one image, in a directory of its own.
pub struct World {
    pub directory: PathBuf,
    pub runtime: Arc<Embedded>,
}

pub fn config(directory: &Path) -> EmbeddedConfig {
    let name = directory.file_name().unwrap().to_string_lossy().into_owned();
    EmbeddedConfig {
        builtin_images: vec![BuiltinImage {
            repository: "knarr.local/demo".to_owned(),
            entrypoint: vec!["/knarr".to_owned(), "hello-from-the-program".to_owned()],
            env: vec!["A=b".to_owned()],
            working_dir: "/tmp".to_owned(),
            user: "65534:65534".to_owned(),
        }],
        ..EmbeddedConfig::new(directory.join("data"), directory.join("run"), format!("knarr-test/{name}"))
    }
}

impl World {
    pub async fn new(name: &str) -> Self {
        let directory = Self::directory_for(name);
        std::fs::create_dir_all(&directory).unwrap();
        let runtime = Embedded::open(config(&directory), Arc::new(NoNetwork)).await.unwrap();
        let archive = images::oci_archive(&images::image("one"), images::NAME, &directory);
        let names = runtime.import_image(&archive).await.unwrap();
        assert_eq!(names, [images::NAME]);
        Self { directory, runtime }
    }

    pub fn directory_for(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("knarr-ct-{name}-{}", std::process::id()))
    }

    pub fn sandbox_config(&self, name: &str) -> SandboxConfig {
        SandboxConfig {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            uid: format!("uid-{name}"),
            hostname: name.to_owned(),
            cgroup_parent: format!("kubepods/burstable/pod{name}"),
            log_directory: self.directory.join("logs").join(name),
            ..SandboxConfig::default()
        }
    }

    pub async fn sandbox(&self, name: &str) -> String {
        self.runtime.run_sandbox(self.sandbox_config(name)).await.unwrap()
    }

    pub async fn start(&self, sandbox: &str, config: ContainerConfig) -> String {
        let id = self.runtime.create_container(sandbox, config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    /// Runs a shell script to its end in a sandbox of its own; returns status and log lines without time stamps.
    pub async fn script(
        &self,
        text: &str,
        change: impl FnOnce(&mut ContainerConfig),
    ) -> (ContainerStatus, Vec<String>) {
        let name = format!("script{}", rand::random::<u32>());
        let sandbox = self.sandbox(&name).await;
        let mut config = shell(text);
        change(&mut config);
        let id = self.start(&sandbox, config).await;
        let status = self.ended(&id).await;
        let lines = log_lines(&status);
        self.runtime.remove_sandbox(&sandbox).await.unwrap();
        (status, lines)
    }

    pub async fn ended(&self, id: &str) -> ContainerStatus {
        self.until(id, |status| status.state == ContainerState::Exited).await
    }

    pub async fn until(&self, id: &str, good: impl Fn(&ContainerStatus) -> bool) -> ContainerStatus {
        let mut events = self.runtime.events();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.runtime.container_status(id).await.unwrap();
            if good(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waited too long: {status:?}");
            let _ = tokio::time::timeout(Duration::from_millis(200), events.recv()).await;
        }
    }

    pub async fn output(&self, id: &str, script: &str) -> String {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let output = self.runtime.exec_sync(id, command, PATIENCE).await.unwrap();
        assert_eq!(output.exit_code, 0, "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Ends the runtime and asserts that nothing is left on the machine.
    pub async fn close(self) {
        let Self { directory, runtime } = self;
        runtime.shutdown().await;
        drop(runtime);
        container::cleanup(&config(&directory)).unwrap();
        assert_nothing_left(&directory);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

pub fn assert_nothing_left(directory: &Path) {
    let name = directory.file_name().unwrap().to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&name), "mounts are left:\n{mounts}");
    assert!(!directory.join("run").exists() && !directory.join("data/containers").exists());
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let group = hierarchy.path().join("knarr-test").join(&name);
        assert!(!group.exists(), "{} is left", group.display());
    }
    eventually("monitors to end", || monitors().is_empty());
}

pub fn monitors() -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(knarr-monitor)") && !stat.contains(") Z")
    })
    .collect()
}

pub fn eventually(what: &str, good: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !good() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn shell(script: &str) -> ContainerConfig {
    ContainerConfig {
        name: "main".to_owned(),
        image: "busybox:test".to_owned(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        log_path: "main/0.log".into(),
        security: SecurityContext { mask_proc: true, ..SecurityContext::default() },
        ..ContainerConfig::default()
    }
}

/// `stream tag text` of each line.
pub fn log_lines(status: &ContainerStatus) -> Vec<String> {
    let text = std::fs::read_to_string(&status.log_path).unwrap();
    text.lines()
        .map(|line| {
            let (stamp, rest) = line.split_once(' ').unwrap();
            assert!(stamp.len() == 30 && stamp.ends_with('Z'), "{line}");
            rest.to_owned()
        })
        .collect()
}
