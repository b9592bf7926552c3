//! The cases, run one after another, each with a runtime of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use container::{
    ContainerConfig, ContainerState, Embedded, ExecRequest, Mount, NoNetwork, Reader, Resources, Runtime,
    RuntimeError, SandboxConfig, SandboxState, TerminalSize,
};
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::images;
use crate::registry;
use crate::world::{PATIENCE, World, config, eventually, log_lines, monitors, shell};

type Case = (&'static str, for<'a> fn(&'a World) -> BoxFuture<'a, ()>);

macro_rules! cases {
    ($($name:ident: $function:path),* $(,)?) => {
        const CASES: &[Case] = &[$((stringify!($name), |world| Box::pin($function(world)))),*];
    };
}

cases! {
    runs_logs_and_exits: runs_logs_and_exits,
    environment_user_and_mounts: environment_user_and_mounts,
    security: security,
    seccomp_also_in_exec: seccomp_also_in_exec,
    limits_and_usage: limits_and_usage,
    out_of_memory: out_of_memory,
    exec_to_its_end: exec_to_its_end,
    exec_streams: exec_streams,
    exec_terminal: exec_terminal,
    attach: attach,
    terminal_container: terminal_container,
    stop_and_kill: stop_and_kill,
    start_errors: start_errors,
    pods_share_namespaces: pods_share_namespaces,
    shared_process_namespace: shared_process_namespace,
    port_forward: port_forward,
    log_rotation: log_rotation,
    images_come_and_go: images_come_and_go,
    builtin_image: builtin_image,
    pulls: registry::pulls,
    basic_auth: registry::basic_auth,
    killed_daemon: killed_daemon,
    removal_leaves_nothing: removal_leaves_nothing,
    latency: latency,
}

pub fn run_all() -> ExitCode {
    // The private network namespace starts with loopback down.
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let filter: Option<String> = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let chosen =
        CASES.iter().filter(|(name, _)| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in chosen {
        let begin = Instant::now();
        let outcome = runtime.block_on(async {
            let task = tokio::spawn(async move {
                let world = World::new(name).await;
                case(&world).await;
                world.close().await;
            });
            tokio::time::timeout(Duration::from_secs(300), task).await
        });
        let verdict = match outcome {
            Ok(Ok(())) => "ok",
            Ok(Err(_)) => "FAILED",
            Err(_) => "FAILED: took too long",
        };
        if verdict == "ok" {
            passed += 1;
        } else {
            // Whatever the case has left must not disturb the next.
            let directory = World::directory_for(name);
            for directory in [directory.join("second"), directory.clone()] {
                let _ = container::cleanup(&config(&directory));
            }
            let _ = std::fs::remove_dir_all(&directory);
            failed += 1;
        }
        println!("test {name} ... {verdict} ({} ms)", begin.elapsed().as_millis());
    }
    println!("test result: {passed} passed; {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

async fn read_until(reader: &mut Reader, text: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0_u8; 1024];
    let read = async {
        while !seen.contains(text) {
            let count = reader.read(&mut buffer).await.unwrap();
            assert!(count > 0, "ended before {text:?}: {seen:?}");
            seen += &String::from_utf8_lossy(&buffer[..count]);
        }
    };
    if tokio::time::timeout(PATIENCE, read).await.is_err() {
        panic!("waited too long for {text:?}: {seen:?}");
    }
    seen
}

async fn runs_logs_and_exits(world: &World) {
    let script = "echo out; echo err >&2; printf 'no newline'; exit 3";
    let (status, log) = world.script(script, |_| {}).await;
    assert_eq!((status.exit_code, status.reason.as_str(), status.signal), (3, "Error", None));
    assert!(status.created_at_ns < status.started_at_ns && status.started_at_ns < status.finished_at_ns);
    for line in ["stdout F out", "stderr F err", "stdout F no newline"] {
        assert!(log.contains(&line.to_owned()), "{log:?}");
    }
    let (status, log) = world.script("head -c 40000 /dev/zero | tr '\\0' x; echo", |_| {}).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    let tags: Vec<&str> = log.iter().map(|line| &line[..9]).collect();
    assert_eq!(tags, ["stdout P ", "stdout P ", "stdout F "]);
    assert_eq!(log.iter().map(|line| line.len() - 9).sum::<usize>(), 40000);
}

async fn environment_user_and_mounts(world: &World) {
    let host = world.directory.join("mounted");
    std::fs::create_dir_all(host.join("sub")).unwrap();
    std::fs::write(host.join("file"), "from the host").unwrap();
    let script = "cat /mnt/file; echo; echo $FROM $MORE $HOSTNAME $HOME; pwd; id; \
        touch /mnt/x 2>/dev/null || echo read-only; touch /rw/y && echo writable; cat /single; echo; cat /etc/marker; echo; env | grep -c KNARR";
    let (status, log) = world
        .script(script, |config| {
            config.env = vec![("MORE".to_owned(), "pod".to_owned())];
            config.security.run_as_user = Some(1000);
            config.security.supplemental_groups = vec![77];
            std::os::unix::fs::chown(&host, Some(1000), None).unwrap();
            let mount = |from: &Path, to: &str, read_only| Mount {
                host_path: from.to_owned(),
                container_path: to.into(),
                read_only,
                ..Mount::default()
            };
            config.mounts = vec![
                mount(&host, "/mnt", true),
                mount(&host, "/rw", false),
                mount(&host.join("file"), "/single", true),
            ];
        })
        .await;
    assert_eq!(status.exit_code, 1, "no variable of the daemon's: {log:?}");
    assert_eq!(log[0], "stdout F from the host");
    assert!(log[1].starts_with("stdout F image pod script") && log[1].ends_with("/home/web"), "{log:?}");
    assert_eq!(log[2], "stdout F /home/web");
    assert_eq!(log[3], "stdout F uid=1000(web) gid=1001(web) groups=50(logs),77,1001(web)");
    assert_eq!(
        &log[4..8],
        ["stdout F read-only", "stdout F writable", "stdout F from the host", "stdout F one"]
    );
    assert!(host.join("y").exists());
    let (status, log) =
        world.script("pwd", |config| config.working_dir = Some("/made/on/demand".to_owned())).await;
    assert_eq!((status.exit_code, log[0].as_str()), (0, "stdout F /made/on/demand"));
}

async fn security(world: &World) {
    let script = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' '; \
        cat /proc/kcore 2>/dev/null | wc -c; touch /proc/sys/kernel/hostname 2>/dev/null || echo proc-ro; \
        touch /sys/x 2>/dev/null || echo sys-ro; mount -t tmpfs t /tmp 2>/dev/null || echo no-mount; \
        mknod /tmp/disk b 254 0 && cat /tmp/disk 2>/dev/null | head -c 1 | wc -c; readlink /proc/self/exe";
    let (_, log) = world.script(script, |_| {}).await;
    assert_eq!(log[0], "stdout F CapBnd: 00000000a80425fb".replace("CapBnd", "CapEff"), "{log:?}");
    assert_eq!(
        &log[2..6],
        ["stdout F NoNewPrivs: 0", "stdout F Seccomp: 0", "stdout F 0", "stdout F proc-ro"],
        "{log:?}"
    );
    assert_eq!(&log[6..9], ["stdout F sys-ro", "stdout F no-mount", "stdout F 0"], "{log:?}");
    let (_, log) = world
        .script(script, |config| {
            config.security.drop_capabilities = vec!["ALL".to_owned()];
            config.security.add_capabilities = vec!["NET_BIND_SERVICE".to_owned()];
            config.security.no_new_privs = true;
            config.security.read_only_rootfs = true;
        })
        .await;
    assert_eq!(
        &log[..3],
        ["stdout F CapEff: 0000000000000400", "stdout F CapBnd: 0000000000000400", "stdout F NoNewPrivs: 1"]
    );
    let (_, log) = world
        .script("touch /x 2>/dev/null || echo ro; mount -t tmpfs t /tmp && echo mounted", |config| {
            config.security.privileged = true;
            config.security.read_only_rootfs = true;
        })
        .await;
    assert_eq!(log, ["stdout F ro", "stdout F mounted"]);
}

async fn seccomp_also_in_exec(world: &World) {
    for no_new_privs in [false, true] {
        let sandbox = world.sandbox(if no_new_privs { "sc1" } else { "sc0" }).await;
        let mut config = shell("unshare -U true 2>&1; grep Seccomp: /proc/self/status; sleep 1000");
        config.security.seccomp = Some("runtime/default".to_owned());
        config.security.no_new_privs = no_new_privs;
        let id = world.start(&sandbox, config).await;
        let status = world.runtime.container_status(&id).await.unwrap();
        eventually("the log", || log_lines(&status).len() >= 2);
        let log = log_lines(&status);
        assert!(log[0].contains("Operation not permitted"), "{log:?}");
        assert!(log[1].ends_with("Seccomp:\t2"), "{log:?}");
        assert_eq!(world.output(&id, "grep Seccomp: /proc/self/status").await, "Seccomp:\t2");
        assert_eq!(world.output(&id, "grep CapEff /proc/self/status").await, "CapEff:\t00000000a80425fb");
        world.runtime.remove_sandbox(&sandbox).await.unwrap();
    }
}

async fn limits_and_usage(world: &World) {
    let sandbox = world.sandbox("limits").await;
    let mut config = shell("sleep 1000");
    config.resources = Resources {
        cpu_shares: Some(512),
        cpu_quota_us: Some(50_000),
        cpu_period_us: Some(100_000),
        memory_limit_bytes: Some(64 << 20),
        pids_limit: Some(50),
        oom_score_adj: Some(500),
    };
    let id = world.start(&sandbox, config).await;
    let read = |files: &'static str| world.output(&id, files);
    let memory =
        read("cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max").await;
    assert_eq!(memory, (64 << 20).to_string());
    assert_eq!(read("cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max").await, "50");
    assert_eq!(read("cat /proc/1/oom_score_adj").await, "500");
    assert_eq!(read("cat /proc/self/oom_score_adj").await, "500");
    let usage = world.runtime.usage(&id).await.unwrap();
    assert!(usage.memory_working_set_bytes > 0 && usage.cpu_usage_ns > 0 && usage.pids == 1, "{usage:?}");
    let grown = Resources { memory_limit_bytes: Some(128 << 20), ..Resources::default() };
    world.runtime.update_resources(&id, grown).await.unwrap();
    let memory =
        read("cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max").await;
    assert_eq!(memory, (128 << 20).to_string());
}

async fn out_of_memory(world: &World) {
    let (status, _) = world
        .script("exec tail /dev/zero", |config| {
            config.resources.memory_limit_bytes = Some(16 << 20);
        })
        .await;
    assert_eq!((status.exit_code, status.signal, status.reason.as_str()), (137, Some(9), "OOMKilled"));
}

/// Waits until the container has its first process only.
async fn alone(world: &World, id: &str) {
    let deadline = Instant::now() + PATIENCE;
    while world.runtime.usage(id).await.unwrap().pids != 1 {
        assert!(Instant::now() < deadline, "other processes stay");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn exec_to_its_end(world: &World) {
    let sandbox = world.sandbox("exec").await;
    let mut config = shell("sleep 1000");
    config.security.run_as_user = Some(1000);
    let id = world.start(&sandbox, config).await;
    let run = |command: &[&str], limit: Duration| {
        let command = command.iter().map(|part| (*part).to_owned()).collect();
        world.runtime.exec_sync(&id, command, limit)
    };
    let output = run(&["sh", "-c", "id -u; pwd; echo $FROM $HOME >&2; exit 9"], PATIENCE).await.unwrap();
    assert_eq!(output.stdout, b"1000\n/home/web\n");
    assert_eq!((output.stderr.as_slice(), output.exit_code), (b"image /home/web\n".as_slice(), 9));
    let output = run(&["sh", "-c", "kill -9 $$"], PATIENCE).await.unwrap();
    assert_eq!(output.exit_code, 137);
    let error = run(&["missing"], PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("exec: \"missing\": executable file not found in $PATH"), "{error}");
    let begin = Instant::now();
    let error = run(&["sleep", "50"], Duration::from_millis(300)).await.unwrap_err();
    assert!(
        matches!(error, RuntimeError::Timeout(_)) && begin.elapsed() < Duration::from_secs(40),
        "{error}"
    );
    alone(world, &id).await;
    // A background process keeps the streams open; the answer does not wait for it.
    let output = run(&["sh", "-c", "sleep 3000 & echo done"], PATIENCE).await.unwrap();
    assert_eq!(output.stdout, b"done\n");
    let big = run(&["sh", "-c", "head -c 3000000 /dev/zero"], PATIENCE).await.unwrap();
    assert_eq!(big.stdout.len(), 3_000_000);
    let begin = Instant::now();
    for _ in 0..20 {
        run(&["true"], PATIENCE).await.unwrap();
    }
    println!("     exec: {:.1} ms each", begin.elapsed().as_secs_f64() * 50.0);
}

async fn exec_streams(world: &World) {
    let sandbox = world.sandbox("streams").await;
    let id = world.start(&sandbox, shell("sleep 1000")).await;
    let request = ExecRequest {
        command: ["sh", "-c", "cat; echo end >&2; exit 6"].map(str::to_owned).to_vec(),
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let mut session = world.runtime.exec(&id, request).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let bytes = vec![b'z'; 1 << 20];
    let writer = tokio::spawn(async move {
        stdin.write_all(&bytes).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    let mut out = Vec::new();
    session.stdout.take().unwrap().read_to_end(&mut out).await.unwrap();
    writer.await.unwrap();
    assert_eq!(out.len(), 1 << 20);
    let mut err = String::new();
    session.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
    assert_eq!((err.as_str(), session.exit.await.unwrap()), ("end\n", 6));
    let request = ExecRequest {
        command: vec!["sleep".to_owned(), "900".to_owned()],
        stdout: true,
        ..ExecRequest::default()
    };
    drop(world.runtime.exec(&id, request).await.unwrap());
    alone(world, &id).await;
}

async fn exec_terminal(world: &World) {
    let sandbox = world.sandbox("tty").await;
    let id = world.start(&sandbox, shell("sleep 1000")).await;
    let request =
        ExecRequest { command: vec!["sh".to_owned()], tty: true, stdin: true, stdout: true, stderr: true };
    let mut session = world.runtime.exec(&id, request).await.unwrap();
    assert!(session.stderr.is_none());
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    session.resize.as_ref().unwrap().send(TerminalSize { width: 101, height: 41 }).await.unwrap();
    stdin
        .write_all(b"tty; while ! stty size | grep 41; do sleep 0.1; done; echo TERM=$TERM; exit 8\n")
        .await
        .unwrap();
    let seen = read_until(&mut stdout, "TERM=xterm").await;
    assert!(seen.contains("/dev/pts/0") && seen.contains("41 101"), "{seen}");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(session.exit.await.unwrap(), 8);
}

async fn attach(world: &World) {
    let sandbox = world.sandbox("attach").await;
    let mut config = shell("while read line; do echo got $line; done; echo input ended; exit 2");
    (config.stdin, config.stdin_once) = (true, true);
    let id = world.start(&sandbox, config).await;
    let request = ExecRequest { stdin: true, stdout: true, stderr: true, ..ExecRequest::default() };
    let mut session = world.runtime.attach(&id, request).await.unwrap();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    stdin.write_all(b"one\n").await.unwrap();
    read_until(&mut stdout, "got one\n").await;
    stdin.write_all(b"two\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let seen = read_until(&mut stdout, "input ended\n").await;
    assert!(seen.contains("got two"), "{seen}");
    assert_eq!(session.exit.await.unwrap(), 2);
    let status = world.ended(&id).await;
    assert_eq!(log_lines(&status), ["stdout F got one", "stdout F got two", "stdout F input ended"]);
}

async fn terminal_container(world: &World) {
    let sandbox = world.sandbox("term").await;
    let mut config = shell("tty; test -c /dev/console && echo console; exec sh");
    (config.stdin, config.tty) = (true, true);
    let id = world.start(&sandbox, config).await;
    let request = ExecRequest { stdin: true, stdout: true, tty: true, ..ExecRequest::default() };
    let mut session = world.runtime.attach(&id, request).await.unwrap();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    session.resize.as_ref().unwrap().send(TerminalSize { width: 77, height: 22 }).await.unwrap();
    stdin.write_all(b"while ! stty size | grep 22; do sleep 0.1; done; exit 5\n").await.unwrap();
    read_until(&mut stdout, "22 77").await;
    assert_eq!(session.exit.await.unwrap(), 5);
    let status = world.ended(&id).await;
    let log = log_lines(&status);
    // The terminal's echo of the input may come between.
    for line in ["stdout F /dev/pts/0", "stdout F console"] {
        assert!(log.contains(&line.to_owned()), "{log:?}");
    }
}

async fn stop_and_kill(world: &World) {
    let sandbox = world.sandbox("stop").await;
    let polite = world
        .start(&sandbox, shell("trap 'echo bye; exit 7' TERM; echo ready; while true; do sleep 0.05; done"))
        .await;
    let status = world.runtime.container_status(&polite).await.unwrap();
    eventually("the trap", || log_lines(&status).len() == 1);
    world.runtime.stop_container(&polite, PATIENCE).await.unwrap();
    let status = world.runtime.container_status(&polite).await.unwrap();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 7));
    assert_eq!(log_lines(&status)[1], "stdout F bye");

    let mut config = shell("trap '' TERM; echo ready; sleep 1000 & wait; sleep 1000");
    config.name = "stubborn".to_owned();
    config.log_path = "stubborn/0.log".into();
    let stubborn = world.start(&sandbox, config).await;
    let begin = Instant::now();
    world.runtime.stop_container(&stubborn, Duration::from_millis(200)).await.unwrap();
    let status = world.runtime.container_status(&stubborn).await.unwrap();
    assert_eq!((status.exit_code, status.signal, status.reason.as_str()), (137, Some(9), "Error"));
    assert!(begin.elapsed() >= Duration::from_millis(200));

    let mut config = shell("trap 'exit 3' USR1; echo ready; while true; do sleep 0.05; done");
    config.log_path = "signal/0.log".into();
    config.stop_signal = Some("SIGUSR1".to_owned());
    let other = world.start(&sandbox, config).await;
    let status = world.runtime.container_status(&other).await.unwrap();
    eventually("the trap", || log_lines(&status).len() == 1);
    world.runtime.stop_container(&other, PATIENCE).await.unwrap();
    assert_eq!(world.runtime.container_status(&other).await.unwrap().exit_code, 3);
    world.runtime.stop_container("unknown", PATIENCE).await.unwrap();
}

type Change = Box<dyn Fn(&mut ContainerConfig) + Send + Sync>;

async fn start_errors(world: &World) {
    let sandbox = world.sandbox("errors").await;
    let cases: [(&str, Change); 7] = [
        (
            "exec: \"foo\": executable file not found in $PATH",
            Box::new(|config| config.command = vec!["foo".to_owned()]),
        ),
        (
            "exec: \"/foo\": stat /foo: no such file or directory",
            Box::new(|config| config.command = vec!["/foo".to_owned()]),
        ),
        (
            "exec: \"/etc/passwd\": permission denied",
            Box::new(|config| config.command = vec!["/etc/passwd".to_owned()]),
        ),
        (
            "exec: \"/bin/script\": exec format error",
            Box::new(|config| config.command = vec!["/bin/script".to_owned()]),
        ),
        (
            "container has runAsNonRoot and image will run as root",
            Box::new(|config| config.security.run_as_non_root = true),
        ),
        (
            "\"/no/such\": No such file or directory",
            Box::new(|config| {
                config.mounts = vec![Mount {
                    host_path: "/no/such".into(),
                    container_path: "/x".into(),
                    ..Mount::default()
                }];
            }),
        ),
        ("open the log", Box::new(|config| config.log_path = "/proc/nowhere/log".into())),
    ];
    for (expected, change) in cases {
        let mut config = shell("true");
        change(&mut config);
        let id = world.runtime.create_container(&sandbox, config).await.unwrap();
        let error = world.runtime.start_container(&id).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::Start { name, .. } if name == "main"), "{error:?}");
        assert!(error.to_string().contains(expected), "{error} lacks {expected:?}");
        let status = world.runtime.container_status(&id).await.unwrap();
        assert_eq!(
            (status.state, status.exit_code, status.reason.as_str()),
            (ContainerState::Exited, 128, "StartError")
        );
        assert!(status.message.contains(expected));
        world.runtime.remove_container(&id).await.unwrap();
    }
    let mut config = shell("true");
    config.image = "missing:1".to_owned();
    assert!(matches!(
        world.runtime.create_container(&sandbox, config).await,
        Err(RuntimeError::NotFound { kind: "image", .. })
    ));
    assert!(matches!(
        world.runtime.create_container("nope", shell("true")).await,
        Err(RuntimeError::NotFound { kind: "sandbox", .. })
    ));
}

async fn pods_share_namespaces(world: &World) {
    let mut sandbox_config = world.sandbox_config("pod");
    sandbox_config.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "77".to_owned());
    let sandbox = world.runtime.run_sandbox(sandbox_config).await.unwrap();
    let first = world.start(&sandbox, shell("sleep 1000")).await;
    let second = world.start(&sandbox, shell("sleep 1000")).await;
    let namespaces = "for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n; done";
    let (one, two) = (world.output(&first, namespaces).await, world.output(&second, namespaces).await);
    let same: Vec<bool> = one.lines().zip(two.lines()).map(|(a, b)| a == b).collect();
    assert_eq!(same, [true, true, true, false, false], "{one}\n{two}");
    world.output(&first, "echo shared > /dev/shm/file").await;
    assert_eq!(world.output(&second, "cat /dev/shm/file").await, "shared");
    assert_eq!(world.output(&first, "hostname; cat /etc/hostname").await, "pod\npod");
    assert_eq!(world.output(&first, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start").await, "77");
    assert!(world.output(&first, "ip link show lo").await.contains("UP"));
    assert_eq!(world.output(&first, "ps | grep -c 'slee[p]'").await, "1", "own processes only");
    let host =
        SandboxConfig { host_network: true, host_pid: true, host_ipc: true, ..world.sandbox_config("host") };
    let sandbox = world.runtime.run_sandbox(host).await.unwrap();
    let id = world.start(&sandbox, shell("sleep 1000")).await;
    let own = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
    assert_eq!(world.output(&id, "readlink /proc/self/ns/net").await, own("net"));
    assert_eq!(world.output(&id, "readlink /proc/self/ns/pid").await, own("pid"));
    world.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
}

async fn shared_process_namespace(world: &World) {
    let config = SandboxConfig { share_process_namespace: true, ..world.sandbox_config("shared") };
    let sandbox = world.runtime.run_sandbox(config).await.unwrap();
    let first = world.start(&sandbox, shell("sleep 1001 & sleep 1002; true")).await;
    let second = world.start(&sandbox, shell("sleep 1003; true")).await;
    let seen = world.output(&first, "ps").await;
    assert!(seen.contains("pause") && seen.contains("1001") && seen.contains("1003"), "{seen}");
    assert_eq!(world.output(&first, "ls -A /proc/1/root/ 2>/dev/null | wc -l").await, "0");
    world.runtime.stop_container(&first, Duration::ZERO).await.unwrap();
    let seen = world.output(&second, "ps").await;
    assert!(!seen.contains("1001") && !seen.contains("1002") && seen.contains("1003"), "{seen}");
    world.runtime.remove_sandbox(&sandbox).await.unwrap();
}

async fn port_forward(world: &World) {
    let sandbox = world.sandbox("port").await;
    let id =
        world.start(&sandbox, shell("while true; do echo welcome | nc -l -p 8080 127.0.0.1; done")).await;
    let mut answer = String::new();
    for _ in 0..100 {
        if let Ok((mut reader, _writer)) = world.runtime.port_forward(&sandbox, 8080).await {
            reader.read_to_string(&mut answer).await.unwrap();
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(answer, "welcome\n");
    let error = world.runtime.port_forward(&sandbox, 9).await.err().unwrap().to_string();
    assert!(error.contains("refused"), "{error}");
    world.runtime.stop_container(&id, Duration::ZERO).await.unwrap();
}

async fn log_rotation(world: &World) {
    let sandbox = world.sandbox("rotate").await;
    let mut config = shell("while read line; do echo $line; done");
    config.stdin = true;
    let id = world.start(&sandbox, config).await;
    let status = world.runtime.container_status(&id).await.unwrap();
    let request = ExecRequest { stdin: true, ..ExecRequest::default() };
    let mut session = world.runtime.attach(&id, request).await.unwrap();
    let stdin = session.stdin.as_mut().unwrap();
    stdin.write_all(b"before\n").await.unwrap();
    eventually("the first line", || log_lines(&status).len() == 1);
    std::fs::rename(&status.log_path, status.log_path.with_extension("old")).unwrap();
    world.runtime.reopen_log(&id).await.unwrap();
    stdin.write_all(b"after\n").await.unwrap();
    eventually("the second line", || log_lines(&status) == ["stdout F after"]);
}

async fn images_come_and_go(world: &World) {
    let layers = || std::fs::read_dir(world.directory.join("data/layers")).unwrap().count();
    assert_eq!(layers(), 2);
    let archive = images::docker_archive(&images::image("two"), "other:2", &world.directory);
    assert_eq!(world.runtime.import_image(&archive).await.unwrap(), ["docker.io/library/other:2"]);
    assert_eq!((layers(), world.runtime.list_images().await.unwrap().len()), (3, 2));
    let sandbox = world.sandbox("keep").await;
    let id = world.start(&sandbox, shell("sleep 1000")).await;
    for image in world.runtime.list_images().await.unwrap() {
        world.runtime.remove_image(&image.id).await.unwrap();
    }
    assert!(world.runtime.list_images().await.unwrap().is_empty());
    assert_eq!(layers(), 2, "a container still stands on them");
    assert_eq!(world.output(&id, "cat /etc/marker").await, "one");
    world.runtime.remove_sandbox(&sandbox).await.unwrap();
    let archive = images::docker_archive(&images::image("two"), "other:2", &world.directory);
    world.runtime.import_image(&archive).await.unwrap();
    world.runtime.remove_image("other:2").await.unwrap();
    assert_eq!(layers(), 0);
    assert_eq!(std::fs::read_dir(world.directory.join("data/blobs/sha256")).unwrap().count(), 0);
    let broken = world.directory.join("broken.tar");
    std::fs::write(&broken, b"nothing of the kind").unwrap();
    assert!(world.runtime.import_image(&broken).await.is_err());
    let mut damaged = images::image("three");
    let middle = damaged.layers[0].bytes.len() / 2;
    damaged.layers[0].bytes[middle] ^= 1;
    let archive = images::oci_archive(&damaged, "damaged:1", &world.directory);
    let error = world.runtime.import_image(&archive).await.unwrap_err().to_string();
    assert!(error.contains("failed to import"), "{error}");
    assert!(world.runtime.list_images().await.unwrap().is_empty());
}

async fn builtin_image(world: &World) {
    let known = world.runtime.image_status("knarr.local/demo:v7").await.unwrap().unwrap();
    assert_eq!(
        (known.user.as_str(), known.repo_tags),
        ("65534:65534", vec!["knarr.local/demo:v7".to_owned()])
    );
    world.runtime.pull_image("knarr.local/demo:v8", None).await.unwrap();
    let (status, log) = world
        .script("", |config| {
            config.image = "knarr.local/demo:v8".to_owned();
            config.command = Vec::new();
        })
        .await;
    assert_eq!((status.exit_code, log[0].as_str()), (4, "stdout F hello tag=v8 cwd=/tmp"), "{log:?}");
    assert_eq!(world.runtime.list_images().await.unwrap().len(), 3);
}

/// Another process that opens the runtime, starts containers, prints their ids and waits to be killed.
pub fn daemon() -> ExitCode {
    let directory = std::env::args().nth(2).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let directory = Path::new(&directory);
        let embedded = Embedded::open(config(directory), Arc::new(NoNetwork)).await.unwrap();
        let world = World { directory: directory.to_owned(), runtime: embedded };
        let sandbox = world.sandbox("left").await;
        let scripts = [
            "echo started; while true; do sleep 0.05; done",
            "while test ! -e /mnt/go; do sleep 0.02; done; exit 5",
        ];
        let mut ids = vec![sandbox.clone()];
        for (index, script) in scripts.iter().enumerate() {
            let mut config = shell(script);
            config.log_path = format!("{index}/0.log").into();
            config.mounts = vec![Mount {
                host_path: directory.to_owned(),
                container_path: "/mnt".into(),
                ..Mount::default()
            }];
            ids.push(world.start(&sandbox, config).await);
        }
        println!("{}", ids.join(" "));
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

async fn killed_daemon(world: &World) {
    let directory = world.directory.join("second");
    std::fs::create_dir_all(directory.join("data")).unwrap();
    let archive = images::oci_archive(&images::image("one"), images::NAME, &directory);
    let prepare = Embedded::open(config(&directory), Arc::new(NoNetwork)).await.unwrap();
    prepare.import_image(&archive).await.unwrap();
    prepare.shutdown().await;
    drop(prepare);
    let mut child = Command::new("/proc/self/exe")
        .arg("daemon-to-be-killed")
        .arg(&directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ids: Vec<&str> = line.split_whitespace().collect();
    let [sandbox, first, second] = ids[..] else { panic!("{line:?}") };
    let locked = Embedded::open(config(&directory), Arc::new(NoNetwork)).await.err().unwrap();
    assert!(locked.to_string().contains("in use by another process"), "{locked}");
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(directory.join("go"), "").unwrap();
    eventually("the second container's monitor to end", || monitors().len() == 1);
    print_memory(&monitors());

    let runtime = Embedded::open(config(&directory), Arc::new(NoNetwork)).await.unwrap();
    let again = World { directory: directory.clone(), runtime };
    let sandboxes = again.runtime.list_sandboxes().await.unwrap();
    assert!(sandboxes.iter().any(|status| status.id == sandbox && status.state == SandboxState::Ready));
    let status = again.runtime.container_status(second).await.unwrap();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 5));
    let status = again.runtime.container_status(first).await.unwrap();
    assert_eq!(status.state, ContainerState::Running);
    assert_eq!(log_lines(&status), ["stdout F started"]);
    assert_eq!(again.output(first, "cat /etc/marker").await, "one");
    // A monitor that is killed takes its container along, and that is noticed.
    for pid in monitors() {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    let status = again.ended(first).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (255, "Unknown"));
    again.runtime.remove_sandbox(sandbox).await.unwrap();
    assert!(again.runtime.list_containers().await.unwrap().is_empty());
    again.close().await;
}

fn print_memory(pids: &[i32]) {
    for pid in pids {
        let mut text = String::new();
        std::fs::File::open(format!("/proc/{pid}/smaps_rollup")).unwrap().read_to_string(&mut text).unwrap();
        let lines = text
            .lines()
            .filter(|line| ["Rss", "Private_Dirty", "Pss:"].iter().any(|name| line.starts_with(name)));
        println!(
            "     monitor: {}",
            lines
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
}

async fn removal_leaves_nothing(world: &World) {
    let count = |path: &str| std::fs::read_dir(world.directory.join(path)).unwrap().count();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let before = mounts();
    let sandbox = world.sandbox("gone").await;
    let id = world.start(&sandbox, shell("sleep 1000")).await;
    let twice = world.start(&sandbox, shell("sleep 1000 & sleep 1000")).await;
    assert!(mounts() > before);
    // A container's creator, briefly of the same name, may still be ending.
    eventually("one monitor for each container", || monitors().len() == 2);
    world.runtime.remove_container(&id).await.unwrap();
    assert!(world.runtime.container_status(&id).await.is_err());
    world.runtime.stop_sandbox(&sandbox).await.unwrap();
    world.runtime.stop_sandbox(&sandbox).await.unwrap();
    assert_eq!(world.runtime.container_status(&twice).await.unwrap().state, ContainerState::Exited);
    assert_eq!(world.runtime.list_sandboxes().await.unwrap()[0].state, SandboxState::NotReady);
    world.runtime.remove_sandbox(&sandbox).await.unwrap();
    world.runtime.remove_sandbox(&sandbox).await.unwrap();
    assert_eq!(mounts(), before);
    eventually("monitors to end", || monitors().is_empty());
    for path in ["data/sandboxes", "data/containers", "run/ns", "run/m", "run/oci"] {
        assert_eq!(count(path), 0, "{path}");
    }
    let groups = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let name = world.directory.file_name().unwrap();
    for group in groups.map(|path| path.join("knarr-test").join(name)) {
        assert!(!group.join("kubepods/burstable/podgone").exists());
    }
    // Containers still running are ended by the clean-up that follows.
    let sandbox = world.sandbox("running").await;
    world.start(&sandbox, shell("sleep 1000")).await;
}

async fn latency(world: &World) {
    let mut totals = Vec::new();
    for round in 0..10 {
        let begin = Instant::now();
        let sandbox = world.sandbox(&format!("quick{round}")).await;
        let ready = begin.elapsed();
        let id = world.runtime.create_container(&sandbox, shell("sleep 1000")).await.unwrap();
        let created = begin.elapsed();
        world.runtime.start_container(&id).await.unwrap();
        let started = begin.elapsed();
        world.runtime.remove_sandbox(&sandbox).await.unwrap();
        totals.push((started, ready, created, begin.elapsed()));
    }
    totals.sort();
    let (started, ready, created, removed) = totals[5];
    println!(
        "     sandbox {ready:.1?}, create {:.1?}, start {:.1?}, together {started:.1?}, remove {:.1?}",
        created - ready,
        started - created,
        removed - started
    );
}
