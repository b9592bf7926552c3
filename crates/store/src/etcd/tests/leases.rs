//! What is written to last only for a time.

use prost::Message;

use super::*;
use crate::etcd::wire::{Call, KeyValue, LeaseGrantResponse, RangeRequest};

const HOUR: Duration = Duration::from_secs(3_600);
/// About the shortest that etcd takes.
const SHORT: Duration = Duration::from_secs(2);

pub(super) fn put_for(key: &str, ttl: Option<Duration>) -> Write {
    Write::Put { key: key.to_owned(), expect: Expect::Any, draft: draft(1), ttl }
}

async fn pair(store: &Etcd, key: &str) -> KeyValue {
    let request = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    let answer = store.shared.client.call(&request, Repeat::Always).await.unwrap();
    answer.kvs.into_iter().next().unwrap()
}

#[tokio::test]
async fn etcd_removes_what_was_written_for_a_time() {
    let etcd = etcd();
    let store = open(&etcd).await;
    assert!(store.expires());
    let mut watch = store.watch("/", store.revision()).await.unwrap();
    for key in ["/goes", "/stays", "/lasts"] {
        store.write(put_for(key, Some(SHORT))).await.unwrap();
    }
    // The last write counts.
    store.write(put_for("/stays", None)).await.unwrap();
    store.write(put_for("/lasts", Some(HOUR))).await.unwrap();
    let removed = async {
        loop {
            match watch.next().await.unwrap().unwrap() {
                crate::Update::Event(event) if event.kind == EventKind::Deleted => return event,
                _ => {}
            }
        }
    };
    let removed = tokio::time::timeout(PATIENCE, removed).await.unwrap();
    assert_eq!(&*removed.entry.key, "/goes");
    assert_eq!(removed.entry.bytes, object(1, removed.entry.revision));
    fed(&store, removed.entry.revision).await;
    for (key, leased) in [("/stays", false), ("/lasts", true)] {
        assert_eq!(pair(&store, key).await.lease != 0, leased, "{key}");
    }
    assert_eq!(store.get("/goes").await, Ok(None));
}

#[tokio::test]
async fn objects_share_a_lease_that_is_replaced_when_it_is_gone() {
    #[derive(Clone, PartialEq, Message)]
    struct Revoke {
        #[prost(int64, tag = "1")]
        id: i64,
    }

    impl Call for Revoke {
        const PATH: &'static str = "/etcdserverpb.Lease/LeaseRevoke";
        // It has a header, as this has.
        type Answer = LeaseGrantResponse;
    }

    let etcd = etcd();
    let store = open(&etcd).await;
    for key in ["/a", "/b", "/c"] {
        store.write(put_for(key, (key != "/c").then_some(HOUR))).await.unwrap();
    }
    let lease = pair(&store, "/a").await.lease;
    assert!(lease != 0 && lease == pair(&store, "/b").await.lease);

    store.shared.client.call(&Revoke { id: lease }, Repeat::Always).await.unwrap();
    let left = store.list("/", ListOptions::default()).await.unwrap();
    assert_eq!(left.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["/c"]);
    store.write(put_for("/a", Some(HOUR))).await.unwrap();
    store.write(put_for("/b", Some(HOUR))).await.unwrap();
    let again = pair(&store, "/a").await.lease;
    assert!(again != 0 && again != lease && again == pair(&store, "/b").await.lease);
}
