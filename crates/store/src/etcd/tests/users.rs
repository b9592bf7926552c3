//! An etcd that asks who its clients are (messages: etcd `api/etcdserverpb/rpc.proto`).

use prost::Message;

use super::*;

#[derive(Clone, PartialEq, Message)]
struct Add {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, Message)]
struct Grant {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(string, tag = "2")]
    role: String,
}

#[derive(Clone, PartialEq, Message)]
struct Role {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// Has etcd ask who its clients are.
async fn turn_users_on(store: &Etcd) {
    async fn ask(store: &Etcd, method: &str, request: impl prost::Message) {
        let mut connection = store.shared.client.dedicated().await.unwrap();
        let path = format!("/etcdserverpb.Auth/{method}");
        grpc::unary::<Nothing>(&mut connection, &path, &request, PATIENCE, None).await.unwrap();
    }
    ask(store, "UserAdd", Add { name: "root".into(), password: "secret".into() }).await;
    ask(store, "RoleAdd", Role { name: "root".into() }).await;
    ask(store, "UserGrantRole", Grant { user: "root".into(), role: "root".into() }).await;
    ask(store, "AuthEnable", Nothing {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_so() {
    let etcd = etcd();
    let store = open(&etcd).await;
    store.write(put("/a", Expect::Absent, 1)).await.unwrap();
    turn_users_on(&store).await;
    let refused = store.write(put("/a", Expect::Any, 2)).await.unwrap_err();
    assert!(
        matches!(&refused, WriteError::Unreachable(why) if why == "etcdserver: user name is empty"),
        "{refused}"
    );
    let refused = store.get("/a").await.unwrap_err();
    assert!(refused.to_string().contains("etcdserver: user name is empty"), "{refused}");
    let refused = Etcd::open(options(&etcd.url())).await.err().unwrap();
    assert!(refused.to_string().contains("etcdserver: user name is empty"), "{refused}");
}

fn as_root(etcd: &testkit::Etcd, password: &str) -> EtcdOptions {
    let user = EtcdUser { name: "root".to_owned(), password: password.to_owned() };
    EtcdOptions { user: Some(user), ..options(&etcd.url()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_let_in_and_goes_on_when_its_token_is_no_longer_good() {
    let mut etcd = etcd();
    let store = Etcd::open(as_root(&etcd, "secret")).await.unwrap();
    let first = store.write(put("/a", Expect::Absent, 1)).await.unwrap();
    // Users are turned on under its feet.
    turn_users_on(&store).await;
    let second = store.write(put("/a", Expect::Revision(first.revision), 2)).await.unwrap();
    assert_eq!(store.get("/a").await.unwrap(), Some(second));
    let wrong = Etcd::open(as_root(&etcd, "guess")).await.err().unwrap();
    assert!(wrong.to_string().contains("invalid user ID or password"), "{wrong}");

    // A restarted etcd has forgotten its tokens.
    let mut watch = store.watch("/", 1).await.unwrap();
    etcd.kill().unwrap();
    tokio::task::block_in_place(|| etcd.restart()).unwrap();
    let third = store.write(leases::put_for("/b", Some(PATIENCE))).await.unwrap();
    fed(&store, third.revision).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&third.revision) {
        match tokio::time::timeout(PATIENCE, watch.next()).await.unwrap() {
            Some(Ok(Update::Event(event))) => seen.push(event.entry.revision),
            Some(Ok(Update::Progress(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (2..=third.revision).collect::<Vec<_>>());
}
