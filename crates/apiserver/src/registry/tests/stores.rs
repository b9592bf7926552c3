//! The tests beside this one once more, with etcd as the store; and stores that are refused.

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
    let program = std::env::current_exe().expect("this program");
    let tests = module_path!().split_once("::").and_then(|(_, path)| path.strip_suffix("stores"));
    let output = Command::new(program)
        .args([tests.expect("a path"), "--skip", "stores::", "--test-threads", THREADS])
        .env(STORE, "etcd")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("running 0 tests"), "{said}");
}

#[tokio::test]
async fn the_layout_of_earlier_versions_is_refused() {
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory(store::Options::default()));
    let draft = Draft { bytes: r#"{"metadata":{"name":"a"}}"#.into(), revision_at: 13 };
    let write = Write::Put { key: "/registry/core/pods/default/a".to_owned(), expect: Expect::Absent, draft };
    store.write(write).await.unwrap();
    let started = Registry::start(&config(), store, Arc::new(Everyone), CancellationToken::new()).await;
    assert!(matches!(started, Err(StartError::FormerLayout)));
}
