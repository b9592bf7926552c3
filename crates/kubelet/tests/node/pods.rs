//! Lives of pods.

use std::time::Duration;

use serde_json::json;

use crate::{Bench, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_and_leaves_nothing() {
    let bench = Bench::start().await;
    let path = bench.create("p", json!({}));
    let pod = bench.phase(&path, "Running").await;
    assert_eq!(pod["status"]["podIP"], "127.0.0.1");
    assert_eq!(pod["status"]["containerStatuses"][0]["containerID"], "fake://c2");
    let ready = pod["status"]["conditions"].as_array().expect("list").iter().find(|c| c["type"] == "Ready");
    assert_eq!(ready.expect("ready")["status"], "True");
    bench.event("Started", "Container started").await;
    let container = bench.runtime.container("web").expect("a container");
    let hosts = container.config.mounts.iter().find(|mount| mount.container_path.ends_with("hosts"));
    let hosts = std::fs::read_to_string(&hosts.expect("hosts").host_path).expect("a file");
    assert!(hosts.contains("127.0.0.1\tp\n"), "{hosts}");
    let resolv = container.config.mounts.iter().find(|mount| mount.container_path.ends_with("resolv.conf"));
    let resolv = std::fs::read_to_string(&resolv.expect("resolv.conf").host_path).expect("a file");
    assert!(resolv.starts_with("search ns.svc.cluster.local svc.cluster.local cluster.local"), "{resolv}");

    let uid = pod["metadata"]["uid"].as_str().expect("uid").to_owned();
    bench.api.delete_gracefully(&path, 3);
    eventually("the object is gone", || bench.api.get(&path).is_none().then_some(())).await;
    eventually("nothing is left in the runtime", || (bench.runtime.counts() == (0, 0)).then_some(())).await;
    assert!(!bench.pod_dir(&uid).exists());
    bench.event("Killing", "Stopping container web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_pods_are_taken_over() {
    let mut bench = Bench::start().await;
    let path = bench.create("p", json!({}));
    let orphan = bench.create("o", json!({"containers": [{"name": "lost", "image": "img:1"}]}));
    bench.phase(&path, "Running").await;
    bench.phase(&orphan, "Running").await;
    let before = bench.runtime.container("web").expect("a container");
    bench.stop().await;
    bench.api.remove(&orphan);
    bench.run();
    eventually("the orphan is gone", || bench.runtime.container("lost").is_none().then_some(())).await;
    let after = bench.runtime.container("web").expect("a container");
    assert_eq!((after.id.clone(), after.state), (before.id, container::ContainerState::Running));
    // It is watched again: its end leads to a restart.
    bench.runtime.exit(&after.id, 1);
    let pod = eventually("a restart", || {
        bench.api.get(&path).filter(|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1)
    })
    .await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_during_the_start_is_seen() {
    let bench = Bench::start().await;
    bench.runtime.end_at_first_look();
    let path = bench.create("quick", json!({"restartPolicy": "Never"}));
    bench.phase(&path, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_ends_by_itself() {
    let bench = Bench::start().await;
    let path = bench.create("job", json!({"restartPolicy": "Never"}));
    bench.phase(&path, "Running").await;
    let container = bench.runtime.container("web").expect("a container");
    let mount =
        container.config.mounts.iter().find(|mount| mount.container_path.ends_with("termination-log"));
    std::fs::write(&mount.expect("a termination log").host_path, "my last words").expect("write");
    bench.runtime.exit(&container.id, 3);
    let pod = bench.phase(&path, "Failed").await;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["message"]), (&json!(3), &json!("my last words")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_says_so() {
    let bench = Bench::start().await;
    let path = bench.create("p", json!({}));
    bench.phase(&path, "Running").await;
    for _ in 0..2 {
        let id = eventually("it runs", || {
            bench
                .runtime
                .container("web")
                .filter(|c| c.state == container::ContainerState::Running)
                .map(|c| c.id)
        })
        .await;
        // Only an attempt the worker knows of can end.
        tokio::time::timeout(Duration::from_secs(60), bench.phase(&path, "Running")).await.expect("running");
        eventually("the worker knows it", || {
            let pod = bench.api.get(&path)?;
            (pod["status"]["containerStatuses"][0]["containerID"] == format!("fake://{id}")).then_some(())
        })
        .await;
        bench.runtime.exit(&id, 1);
    }
    let waiting = eventually("it waits", || {
        let pod = bench.api.get(&path)?;
        let waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        (waiting["reason"] == "CrashLoopBackOff").then_some(waiting)
    })
    .await;
    let message = waiting["message"].as_str().expect("a message");
    assert!(message.starts_with("back-off 10s restarting failed container=web pod=p_ns("), "{message}");
    bench.event("BackOff", "Back-off restarting failed container web in pod p_ns(").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_wait_for_their_objects_and_follow_them() {
    let bench = Bench::start().await;
    let path = bench.create(
        "p",
        json!({
            "volumes": [
                {"name": "config", "configMap": {"name": "settings"}},
                {"name": "all", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                ]}},
                {"name": "scratch", "emptyDir": {}},
            ],
            "containers": [{
                "name": "web", "image": "img:1",
                "env": [{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}],
                "volumeMounts": [
                    {"name": "config", "mountPath": "/etc/config"},
                    {"name": "all", "mountPath": "/var/all"},
                    {"name": "scratch", "mountPath": "/scratch"},
                ],
            }],
        }),
    );
    bench
        .event(
            "FailedMount",
            "MountVolume.SetUp failed for volume \"config\" : configmap \"settings\" not found",
        )
        .await;
    let map = |color: &str| json!({"metadata": {"namespace": "ns"}, "data": {"color": color}});
    let object = "/api/v1/namespaces/ns/configmaps/settings";
    bench.api.put(object, map("red"));
    bench.phase(&path, "Running").await;
    let config = bench.runtime.container("web").expect("a container").config;
    assert!(config.env.contains(&("COLOR".to_owned(), "red".to_owned())));
    let mount = |target: &str| {
        let found = config.mounts.iter().find(|mount| mount.container_path.ends_with(target));
        found.expect("a mount").clone()
    };
    assert!(mount("etc/config").read_only && !mount("scratch").read_only);
    let read = |target: &str, file: &str| std::fs::read_to_string(mount(target).host_path.join(file)).ok();
    assert_eq!(read("var/all", "token").as_deref(), Some("a-token"));
    assert_eq!(read("var/all", "name").as_deref(), Some("p"));
    assert_eq!(read("etc/config", "color").as_deref(), Some("red"));
    bench.api.put(object, map("blue"));
    eventually("the file follows", || (read("etc/config", "color").as_deref() == Some("blue")).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_reaches_the_api() {
    let bench = Bench::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("address").port();
    drop(listener);
    let path = bench.create(
        "p",
        json!({"containers": [{"name": "web", "image": "img:1",
            "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 30},
            "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1}}]}),
    );
    let pod = bench.phase(&path, "Running").await;
    assert_eq!(pod["status"]["containerStatuses"][0]["ready"], false);
    // Nobody waits a period of 30 s for a server that was only a moment late.
    let _listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
    eventually("it is ready", || {
        bench.api.get(&path).filter(|pod| pod["status"]["containerStatuses"][0]["ready"] == true)
    })
    .await;
    bench.runtime.set_exec_code("web", 1);
    eventually("it is restarted", || {
        bench.api.get(&path).filter(|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1)
    })
    .await;
    bench.event("Unhealthy", "Liveness probe failed: unwell").await;
    bench.event("Killing", "Container web failed liveness probe, will be restarted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cannot_be_had() {
    let bench = Bench::start().await;
    let reason = |path: String, want: &'static str| {
        let api = bench.api.clone();
        async move {
            eventually(want, || {
                let pod = api.get(&path)?;
                (pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == want).then_some(())
            })
            .await;
        }
    };
    let of = |image: &str, policy: &str| json!({"containers": [{"name": "web", "image": image, "imagePullPolicy": policy}]});
    reason(bench.create("a", of("missing:1", "IfNotPresent")), "ErrImagePull").await;
    reason(bench.create("b", of("other:1", "Never")), "ErrImageNeverPull").await;
    reason(bench.create("c", of("Bad Name", "Always")), "InvalidImageName").await;
    reason("/api/v1/namespaces/ns/pods/a".to_owned(), "ImagePullBackOff").await;
    bench.event("Failed", "Failed to pull image \"missing:1\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_does_not_fit_is_refused() {
    let bench = Bench::start().await;
    let resources = json!({"requests": {"cpu": "10000"}});
    let path = bench
        .create("big", json!({"containers": [{"name": "web", "image": "img:1", "resources": resources}]}));
    let pod = bench.phase(&path, "Failed").await;
    assert_eq!(pod["status"]["reason"], "OutOfcpu");
    assert!(bench.runtime.log().is_empty());
}
