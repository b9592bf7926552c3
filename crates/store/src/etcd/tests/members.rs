//! An etcd of several members, of which some are down.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn any_member_may_die_the_leader_too() {
    let mut members = testkit::Etcd::start_cluster(3).unwrap_or_else(|error| panic!("{error:#}"));
    let ports: Vec<_> = members.iter().map(|member| format!("127.0.0.1:{}", member.port())).collect();
    // The first is down at the start.
    members[0].kill().unwrap();
    let store = Etcd::open(options(&format!("etcd://{}", ports.join(",")))).await.unwrap();
    let mut watch = store.watch("/", 1).await.unwrap();
    let mut told = Vec::new();
    for (round, dead) in [0, 1, 2].into_iter().enumerate() {
        for _ in 0..5 {
            match store.write(put("/a", Expect::Any, round)).await {
                Ok(entry) => told.push(entry.revision),
                // The leader has died with it: nobody can tell.
                Err(WriteError::Unknown(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(store.get("/a").await.unwrap().is_some());
        tokio::task::block_in_place(|| members[dead].restart()).unwrap();
        // Each of them is the leader in one of the rounds, or was before another died.
        members[(dead + 1) % 3].kill().unwrap();
    }
    let end = loop {
        match store.write(put("/end", Expect::Any, "end")).await {
            Ok(entry) => break entry.revision,
            Err(WriteError::Unknown(_)) => {}
            Err(error) => panic!("{error}"),
        }
    };
    fed(&store, end).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&end) {
        match tokio::time::timeout(PATIENCE, watch.next()).await.unwrap() {
            Some(Ok(Update::Event(event))) => seen.push(event.entry.revision),
            Some(Ok(Update::Progress(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (2..=end).collect::<Vec<_>>(), "each revision once, in order");
    assert!(told.iter().all(|revision| seen.contains(revision)));
}
