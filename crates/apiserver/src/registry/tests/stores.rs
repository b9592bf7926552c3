//! The tests beside this one once more, with etcd as the store; and stores that are refused.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use store::{Draft, Embedded, Expect, Store, Write};
use tokio_util::sync::CancellationToken;

use super::harness::{Everyone, STORE, config};
use crate::registry::{Registry, StartError};

/// Each has an etcd and mostly waits for it.
const THREADS: &str = "4";

#[test]
fn the_api_is_the_same_on_etcd() {
    on_etcd("", None);
}

/// The tests that need more of a store than others: several servers on it, and values that are no objects.
#[test]
#[cfg(target_arch = "x86_64")]
fn addresses_are_given_on_etcd_3_5() {
    let etcd = testkit::client("etcd-3.5").unwrap_or_else(|error| panic!("{error:#}")).join("etcd");
    on_etcd("allocation::", Some(&etcd));
}

/// Runs some of the tests beside this file on etcd, Debian's or another one.
fn on_etcd(which: &str, etcd: Option<&Path>) {
    let program = std::env::current_exe().expect("this program");
    let tests = module_path!().split_once("::").and_then(|(_, path)| path.strip_suffix("stores"));
    let tests = format!("{}{which}", tests.expect("a path"));
    let mut command = Command::new(program);
    command.args([&tests, "--skip", "stores::", "--test-threads", THREADS]).env(STORE, "etcd");
    command.envs(etcd.map(|etcd| (testkit::ETCD, etcd)));
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("running 0 tests"), "{said}");
}

#[tokio::test]
async fn the_layout_of_earlier_versions_is_refused() {
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory(store::Options::default()));
    let draft = Draft { bytes: r#"{"metadata":{"name":"a"}}"#.into(), revision_at: 13 };
    let write = Write::Put {
        key: "/registry/core/pods/default/a".to_owned(),
        expect: Expect::Absent,
        draft,
        ttl: None,
    };
    store.write(write).await.unwrap();
    let started = Registry::start(&config(), store, Arc::new(Everyone), CancellationToken::new()).await;
    assert!(matches!(started, Err(StartError::FormerLayout)));
}
