//! What the runtime is asked for: sandbox and container configurations from a pod's specification.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::{Container, VolumeMount};
use container::{ContainerConfig, Image, Mount, Propagation, SandboxConfig, SecurityContext};

use super::state::{
    CONTAINER_NAME_LABEL, GRACE_ANNOTATION, HASH_ANNOTATION, POD_NAME_LABEL, POD_NAMESPACE_LABEL,
    POD_UID_LABEL, RESTARTS_ANNOTATION, container_hash,
};
use crate::cgroup;
use crate::env::{expand, expand_all};
use crate::pod::PodInfo;
use crate::volumes::{Mounts, subpath};

const TERMINATION_LOG: &str = "/dev/termination-log";

/// The pod's log directory below `root`.
pub(crate) fn log_directory(root: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    root.join(format!("{namespace}_{name}_{uid}"))
}

fn pod_labels(pod: &PodInfo) -> BTreeMap<String, String> {
    BTreeMap::from([
        (POD_NAME_LABEL.to_owned(), pod.name().to_owned()),
        (POD_NAMESPACE_LABEL.to_owned(), pod.namespace().to_owned()),
        (POD_UID_LABEL.to_owned(), pod.uid().to_owned()),
    ])
}

/// The sandbox of a pod.
pub(crate) fn sandbox(pod: &PodInfo, attempt: u32, hostname: String, log_root: &Path) -> SandboxConfig {
    let spec = pod.spec();
    let mut labels = pod.pod.metadata.labels.clone().unwrap_or_default();
    labels.extend(pod_labels(pod));
    let mut annotations = pod.pod.metadata.annotations.clone().unwrap_or_default();
    annotations.insert(GRACE_ANNOTATION.to_owned(), pod.grace_seconds().to_string());
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    SandboxConfig {
        name: pod.name().to_owned(),
        namespace: pod.namespace().to_owned(),
        uid: pod.uid().to_owned(),
        attempt,
        hostname,
        labels,
        annotations,
        host_network: pod.host_network(),
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        share_process_namespace: spec.share_process_namespace == Some(true),
        cgroup_parent: cgroup::pod_parent(pod),
        resources: cgroup::pod_resources(pod),
        log_directory: log_directory(log_root, pod.namespace(), pod.name(), pod.uid()),
        sysctls: sysctls.map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone())).collect(),
    }
}

/// Everything about a container that has been worked out already.
pub(crate) struct Parts<'a> {
    pub pod: &'a PodInfo,
    pub container: &'a Container,
    pub attempt: u32,
    pub image: &'a Image,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub memory_capacity: i64,
    pub seccomp_root: &'a Path,
}

/// The configuration of a container; an error is the message of `CreateContainerConfigError`.
pub(crate) fn container(parts: Parts<'_>) -> Result<ContainerConfig, String> {
    let Parts { pod, container, attempt, image, env, mounts, memory_capacity, seccomp_root } = parts;
    let security = security(pod, container, seccomp_root)?;
    check_user(pod, container, &security, image)?;
    let mut labels = pod_labels(pod);
    labels.insert(CONTAINER_NAME_LABEL.to_owned(), container.name.clone());
    let annotations = BTreeMap::from([
        (HASH_ANNOTATION.to_owned(), container_hash(container)),
        (RESTARTS_ANNOTATION.to_owned(), attempt.to_string()),
        (GRACE_ANNOTATION.to_owned(), pod.grace_seconds().to_string()),
        (
            "io.kubernetes.container.terminationMessagePath".to_owned(),
            container.termination_message_path.clone().unwrap_or_else(|| TERMINATION_LOG.to_owned()),
        ),
    ]);
    Ok(ContainerConfig {
        name: container.name.clone(),
        attempt,
        image: container.image.clone().unwrap_or_default(),
        command: expand_all(container.command.as_ref(), &env),
        args: expand_all(container.args.as_ref(), &env),
        working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
        env,
        mounts,
        labels,
        annotations,
        log_path: PathBuf::from(&container.name).join(format!("{attempt}.log")),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        resources: cgroup::container_resources(pod, container, memory_capacity),
        security,
        stop_signal: container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone()),
    })
}

fn security(pod: &PodInfo, container: &Container, seccomp_root: &Path) -> Result<SecurityContext, String> {
    let empty_pod = api::PodSecurityContext::default();
    let empty = api::SecurityContext::default();
    let of_pod = pod.spec().security_context.as_ref().unwrap_or(&empty_pod);
    let own = container.security_context.as_ref().unwrap_or(&empty);
    let mut groups = of_pod.supplemental_groups.clone().unwrap_or_default();
    groups.extend(of_pod.fs_group);
    let privileged = own.privileged == Some(true);
    let capabilities = own.capabilities.as_ref();
    let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    let seccomp = match profile.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("RuntimeDefault", _)) => Some("runtime/default".to_owned()),
        Some(("Localhost", Some(name))) => {
            if name.starts_with('/') || name.split('/').any(|part| part == "..") {
                return Err(format!("invalid seccomp profile {name:?}"));
            }
            Some(seccomp_root.join(name).display().to_string())
        }
        _ => None,
    };
    Ok(SecurityContext {
        run_as_user: own.run_as_user.or(of_pod.run_as_user),
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        supplemental_groups: groups,
        run_as_non_root: own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true),
        privileged,
        add_capabilities: capabilities.and_then(|set| set.add.clone()).unwrap_or_default(),
        drop_capabilities: capabilities.and_then(|set| set.drop.clone()).unwrap_or_default(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        read_only_rootfs: own.read_only_root_filesystem == Some(true),
        seccomp: seccomp.filter(|_| !privileged),
        mask_proc: !privileged && own.proc_mount.as_deref() != Some("Unmasked"),
    })
}

/// Refuses to run as root what must not.
fn check_user(
    pod: &PodInfo,
    container: &Container,
    security: &SecurityContext,
    image: &Image,
) -> Result<(), String> {
    if !security.run_as_non_root {
        return Ok(());
    }
    let who = format!("(pod: \"{}\", container: {})", pod.formatted(), container.name);
    match security.run_as_user {
        Some(0) => {
            return Err(format!("container's runAsUser breaks non-root policy {who}"));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let user = image.user.split(':').next().unwrap_or_default();
    match user.parse::<i64>() {
        Ok(0) => Err(format!("container has runAsNonRoot and image will run as root {who}")),
        Ok(_) => Ok(()),
        Err(_) if user.is_empty() => {
            Err(format!("container has runAsNonRoot and image will run as root {who}"))
        }
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {who}"
        )),
    }
}

/// Files of the pod that every container gets.
#[derive(Debug, Clone)]
pub(crate) struct ManagedFiles {
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
    pub hostname: PathBuf,
}

/// Mounts of a container: its volumes, the managed files and the termination message file.
pub(crate) fn mounts(
    pod_dir: &Path,
    container: &Container,
    volumes: &Mounts,
    env: &[(String, String)],
    files: &ManagedFiles,
    termination_log: &Path,
) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume_mount(pod_dir, container, volumes, env, mount, index)?);
    }
    let path = container.termination_message_path.as_deref().filter(|path| !path.is_empty());
    let managed = [
        ("/etc/hosts", &files.hosts),
        ("/etc/resolv.conf", &files.resolv_conf),
        ("/etc/hostname", &files.hostname),
        (path.unwrap_or(TERMINATION_LOG), &termination_log.to_owned()),
    ];
    for (container_path, host_path) in managed {
        if mounts.iter().all(|mount| mount.container_path != Path::new(container_path)) {
            mounts.push(Mount {
                host_path: host_path.clone(),
                container_path: PathBuf::from(container_path),
                ..Mount::default()
            });
        }
    }
    Ok(mounts)
}

fn volume_mount(
    pod_dir: &Path,
    container: &Container,
    volumes: &Mounts,
    env: &[(String, String)],
    mount: &VolumeMount,
    index: usize,
) -> Result<Mount, String> {
    let volume = volumes.get(&mount.name).ok_or_else(|| {
        format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name)
    })?;
    let sub = sub_path(mount, env)?;
    let host_path = match sub.as_deref().filter(|sub| !sub.is_empty()) {
        Some(sub) => {
            let dir = pod_dir.join("volume-subpaths").join(&mount.name).join(&container.name);
            subpath::prepare(&volume.path, sub, &dir, index).map_err(|error| {
                format!(
                    "failed to prepare subPath for volumeMount {:?} of container {:?}: {error}",
                    mount.name, container.name
                )
            })?
        }
        None => {
            if !volume.path.exists() {
                std::fs::create_dir_all(&volume.path)
                    .map_err(|error| format!("failed to create {}: {error}", volume.path.display()))?;
            }
            volume.path.clone()
        }
    };
    let container_path = if mount.mount_path.starts_with('/') {
        PathBuf::from(&mount.mount_path)
    } else {
        Path::new("/").join(&mount.mount_path)
    };
    Ok(Mount {
        host_path,
        container_path,
        read_only: volume.read_only || mount.read_only == Some(true),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::Private,
        },
    })
}

fn sub_path(mount: &VolumeMount, env: &[(String, String)]) -> Result<Option<String>, String> {
    let Some(expression) = mount.sub_path_expr.as_deref().filter(|expression| !expression.is_empty()) else {
        return Ok(mount.sub_path.clone());
    };
    let missing = std::cell::Cell::new(false);
    let text = expand(expression, |name| {
        let value = env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        missing.set(missing.get() || value.is_none());
        value
    });
    if missing.get() {
        return Err(format!("failed to expand subPathExpr {expression:?}: missing value"));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::pod;
    use serde_json::{Value, json};

    fn build(spec: Value, image_user: &str) -> Result<ContainerConfig, String> {
        let pod = pod(spec);
        let container = pod.regular().next().expect("container");
        let image = Image {
            id: "sha256:1".into(),
            repo_tags: vec![],
            repo_digests: vec![],
            size_bytes: 1,
            user: image_user.into(),
        };
        super::container(Parts {
            pod: &pod,
            container,
            attempt: 2,
            image: &image,
            env: vec![("A".into(), "1".into())],
            mounts: vec![],
            memory_capacity: 1 << 30,
            seccomp_root: Path::new("/seccomp"),
        })
    }

    #[test]
    fn containers_own_settings_win() {
        let config = build(
            json!({
                "securityContext": {"runAsUser": 5, "runAsGroup": 6, "fsGroup": 7, "supplementalGroups": [8],
                                    "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "web", "image": "img", "command": ["run", "$(A)"], "args": ["$(B)"],
                    "securityContext": {"runAsUser": 9, "allowPrivilegeEscalation": false,
                                        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
            }),
            "",
        )
        .expect("config");
        assert_eq!(config.security.run_as_user, Some(9));
        assert_eq!(config.security.run_as_group, Some(6));
        assert_eq!(config.security.supplemental_groups, [8, 7]);
        assert_eq!(config.security.seccomp.as_deref(), Some("runtime/default"));
        assert!(config.security.no_new_privs && config.security.mask_proc);
        assert_eq!(
            (config.command, config.args),
            (vec!["run".to_owned(), "1".into()], vec!["$(B)".to_owned()])
        );
        assert_eq!(config.log_path, Path::new("web/2.log"));
        assert_eq!(config.annotations[RESTARTS_ANNOTATION], "2");
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        let non_root =
            |user: Option<i64>| json!({"securityContext": {"runAsNonRoot": true, "runAsUser": user}});
        let cases = [
            (non_root(None), "", Some("container has runAsNonRoot and image will run as root")),
            (non_root(None), "0:0", Some("container has runAsNonRoot and image will run as root")),
            (non_root(None), "app", Some("non-numeric user (app)")),
            (non_root(None), "1000", None),
            (non_root(Some(0)), "1000", Some("breaks non-root policy")),
            (non_root(Some(1)), "", None),
            (json!({}), "", None),
        ];
        for (spec, user, want) in cases {
            match (build(spec, user), want) {
                (Ok(_), None) => {}
                (Err(message), Some(want)) => assert!(message.contains(want), "{message}"),
                (result, want) => panic!("{user}: {result:?} instead of {want:?}"),
            }
        }
    }
}
