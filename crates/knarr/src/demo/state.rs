//! What the demonstration server knows and can be told.

use std::sync::atomic::{AtomicI64, Ordering};

/// Facts about this pod and its probes.
pub(super) struct State {
    pub pod: String,
    pub namespace: Option<String>,
    pub node: Option<String>,
    pub address: Option<String>,
    /// Tag of the image this container was made from.
    pub version: String,
    pub healthy: Probe,
    pub ready: Probe,
}

impl State {
    /// Reads what the pod's manifest passes by the downward API; the host's name is the pod's.
    pub(super) fn from_environment() -> Self {
        let get = |name| std::env::var(name).ok();
        let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        Self {
            pod: get("POD_NAME").or(host.ok()).unwrap_or_default(),
            namespace: get("POD_NAMESPACE"),
            node: get("NODE_NAME"),
            address: get("POD_IP"),
            version: get("KNARR_IMAGE_TAG").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            healthy: Probe::default(),
            ready: Probe::default(),
        }
    }
}

/// How many more answers fail; negative: all.
#[derive(Default)]
pub(super) struct Probe {
    failing: AtomicI64,
}

impl Probe {
    /// Whether this answer is a good one.
    pub(super) fn check(&self) -> bool {
        let next = |left: i64| (left > 0).then(|| left - 1);
        self.failing.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) == Err(0)
    }

    /// `always`, `never` or a count.
    pub(super) fn set(&self, value: &str) -> Option<()> {
        let failing = match value {
            "always" => -1,
            "never" => 0,
            count => i64::from(count.parse::<u32>().ok()?),
        };
        self.failing.store(failing, Ordering::Release);
        Some(())
    }

    /// For the page.
    pub(super) fn describe(&self) -> String {
        match self.failing.load(Ordering::Acquire) {
            0 => "answers 200".to_owned(),
            left if left < 0 => "fails always".to_owned(),
            left => format!("fails {left} more times"),
        }
    }
}
