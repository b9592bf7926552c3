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
        grpc::unary::<Nothing>(&mut connection, &path, &request, PATIENCE).await.unwrap();
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
