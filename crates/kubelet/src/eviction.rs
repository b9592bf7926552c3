//! Ends pods that keep more in their `emptyDir` volumes than they said they would.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::Pod;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Manager;
use crate::pod::spec_of;
use crate::resources::value;
use crate::worker::Inbox;
use crate::worker::state::Verdict;

/// How often sizes are measured. Nobody waits for it.
const PERIOD: Duration = Duration::from_secs(10);
/// Nested deeper than this is not measured.
const DEPTH_MAX: usize = 256;

/// Measures limited volumes until the token is cancelled.
pub(crate) async fn run(manager: Arc<Manager>, token: CancellationToken) {
    while token.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_some() {
        for view in manager.views() {
            let Some(pod) = view.pod.filter(|pod| !api::is_pod_finished(pod)) else { continue };
            let dir = manager.shared.volumes.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default());
            let measured = pod.clone();
            let verdict = tokio::task::spawn_blocking(move || exceeded(&measured, &dir)).await.ok().flatten();
            if let Some(verdict) = verdict {
                manager.tell(pod.metadata.uid.as_deref().unwrap_or_default(), |inbox: &Inbox| {
                    inbox.fail(verdict)
                });
            }
        }
    }
}

fn exceeded(pod: &Pod, dir: &Path) -> Option<Verdict> {
    spec_of(pod).volumes.iter().flatten().find_map(|volume| {
        let source = volume.empty_dir.as_ref()?;
        let limit = source.size_limit.as_ref()?;
        let bytes = value(limit);
        // A tmpfs keeps its own limit.
        if bytes <= 0 || source.medium.as_deref() == Some("Memory") {
            return None;
        }
        let path = dir.join("volumes/kubernetes.io~empty-dir").join(&volume.name);
        (size(&path, 0) > u64::try_from(bytes).unwrap_or(u64::MAX)).then(|| Verdict {
            reason: "Evicted".to_owned(),
            message: format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", volume.name, limit.0),
        })
    })
}

fn size(path: &Path, depth: usize) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return 0 };
    let own = meta.blocks() * 512;
    if !meta.is_dir() || depth > DEPTH_MAX {
        return own;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    own + entries.map(|entry| size(&entry.path(), depth + 1)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::pod;
    use serde_json::json;

    #[test]
    fn limits_of_volumes() {
        let dir = crate::testing::temp_dir();
        let volume = dir.path().join("volumes/kubernetes.io~empty-dir/scratch/deep");
        std::fs::create_dir_all(&volume).expect("dirs");
        std::fs::write(volume.join("file"), vec![1; 100_000]).expect("write");
        let of =
            |limit: &str| pod(json!({"volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": limit}}]}));
        assert_eq!(exceeded(&of("1Mi").pod, dir.path()), None);
        let verdict = exceeded(&of("50Ki").pod, dir.path()).expect("too much");
        assert_eq!(verdict.message, "Usage of EmptyDir volume \"scratch\" exceeds the limit \"50Ki\". ");
    }
}
