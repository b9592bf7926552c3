//! What objects of a kind go through, and two watches with them: of their namespace and of all namespaces.

use serde_json::{Value, json};

use super::super::harness::{Events, Harness};
use super::operations::Kind;
use super::{changed, includes, items, name, text, version};

const NAMESPACE: &str = "default";
pub(super) const OTHER_NAMESPACE: &str = "kube-system";
/// Objects of a kind that live in one namespace, or in none.
const COUNT: usize = 3;

pub(super) struct Life<'a> {
    h: &'a Harness,
    kind: &'a Kind,
    /// Where the objects are.
    at: String,
    here: Events,
    everywhere: Events,
}

impl<'a> Life<'a> {
    /// Nothing of the kind is there yet, and whatever comes is watched.
    pub async fn begin(h: &'a Harness, kind: &'a Kind) -> Self {
        let at = kind.at(NAMESPACE);
        let ours = selector(kind, "");
        let empty = h.get(&format!("{at}?{ours}")).await;
        assert!(items(&empty).is_empty(), "{empty}");
        let watched = format!("watch=true&{ours}&resourceVersion={}", version(&empty));
        let here = h.watch(&format!("{at}?{watched}")).await;
        let everywhere = h.watch(&format!("{}?{watched}", kind.everywhere())).await;
        Self { h, kind, at, here, everywhere }
    }

    pub async fn live(mut self) {
        let mut all = Vec::new();
        for place in 0..COUNT {
            all.push(self.create(place).await);
        }
        let elsewhere = self.create_elsewhere().await;
        self.has("", COUNT, usize::from(elsewhere.is_some())).await;
        let first = self.change(&all[0]).await;
        self.write_status(&first).await;
        self.write_scale(&first).await;
        self.delete(&first, &all[1], &all[2]).await;
        if let Some(elsewhere) = elsewhere {
            let at = self.kind.at(OTHER_NAMESPACE);
            self.remove(&format!("{at}/{}?{}", name(&elsewhere), self.policy())).await;
            ended(&mut self.everywhere, &elsewhere).await;
        }
        self.has("", 0, 0).await;
    }

    fn template(&self, namespace: &str, place: usize) -> Value {
        let created = self.kind.row["create"].to_string().replace("{namespace}", namespace);
        let mut object: Value = serde_json::from_str(&created).expect("JSON");
        object["apiVersion"] = self.kind.api_version().into();
        object["kind"] = self.kind.row["kind"].clone();
        object["metadata"] = match self.kind.row["names"][place].as_str() {
            Some(name) => json!({ "name": name }),
            None => json!({"generateName": "test-"}),
        };
        object["metadata"]["labels"] = json!({"conformance": self.kind.plural()});
        object
    }

    async fn create(&mut self, place: usize) -> Value {
        let sent = self.template(NAMESPACE, place);
        let made = self.h.must(201, "POST", &self.at, sent.clone()).await;
        assert!(includes(&made, &sent) && !text(&made, "/metadata/uid").is_empty(), "{made}");
        self.is_there(&made).await;
        self.seen("ADDED", &made).await;
        let mut again = sent;
        again["metadata"]["name"] = name(&made).into();
        let refused = self.h.must(409, "POST", &self.at, again).await;
        assert_eq!(refused["reason"], "AlreadyExists");
        made
    }

    async fn create_elsewhere(&mut self) -> Option<Value> {
        if !self.kind.is_namespaced() {
            return None;
        }
        let at = self.kind.at(OTHER_NAMESPACE);
        let made = self.h.must(201, "POST", &at, self.template(OTHER_NAMESPACE, 0)).await;
        told(&mut self.everywhere, "ADDED", &made).await;
        Some(made)
    }

    /// Patches of two types, and an update: each is a later version that reads and watches agree on.
    async fn change(&mut self, object: &Value) -> Value {
        let path = format!("{}/{}", self.at, name(object));
        let marks = json!({"metadata": {"annotations": {"patched": "true"}}});
        let patch = changed(&marks, &self.kind.row["patch"]);
        let patched = self.patched("merge-patch+json", &path, &patch, object).await;
        let label = json!({"metadata": {"labels": {"patched": "true"}}});
        let labelled = self.patched("strategic-merge-patch+json", &path, &label, &patched).await;
        self.has(",patched=true", 1, 0).await;

        let marks = json!({"metadata": {"annotations": {"updated": "true"}, "labels": {"updated": "true"}}});
        let update = changed(&marks, &self.kind.row["update"]);
        let updated = self.updated(&path, &update, &labelled).await;
        assert_eq!(updated["metadata"]["annotations"]["patched"], "true");
        updated
    }

    async fn patched(&mut self, format: &str, path: &str, patch: &Value, before: &Value) -> Value {
        let (code, after) = self.h.patch(format, path, patch.clone()).await;
        assert_eq!(code, 200, "{after}");
        self.follows(before, patch, &after).await;
        after
    }

    async fn updated(&mut self, path: &str, update: &Value, before: &Value) -> Value {
        let after = self.h.must(200, "PUT", path, changed(before, update)).await;
        self.follows(before, update, &after).await;
        after
    }

    async fn follows(&mut self, before: &Value, change: &Value, after: &Value) {
        assert!(includes(after, change), "{change} is not in {after}");
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
        assert!(version(after) > version(before), "{after}");
        self.is_there(after).await;
        self.seen("MODIFIED", after).await;
    }

    /// The status is read, patched and updated by itself; the rest stays as it is.
    async fn write_status(&mut self, object: &Value) {
        let Some(status) = self.kind.row.get("status") else { return };
        let path = format!("{}/{}/status", self.at, name(object));
        let read = self.h.get(&path).await;
        assert_eq!((&read["kind"], &read["apiVersion"]), (&object["kind"], &object["apiVersion"]));
        assert_eq!(read["metadata"]["uid"], object["metadata"]["uid"]);
        assert!(includes(&read["status"], status.get("first").unwrap_or(&json!({}))), "{read}");
        let before = self.h.get(&format!("{}/{}", self.at, name(object))).await;
        let patched = self.patched("merge-patch+json", &path, &status["patch"], &before).await;
        assert_eq!(patched["spec"], before["spec"]);
        let Some(update) = status.get("update") else {
            // It is final: an update leaves it as it is.
            assert_eq!(self.h.must(200, "PUT", &path, patched.clone()).await, patched);
            return;
        };
        let updated = self.updated(&path, update, &patched).await;
        assert_eq!(updated["spec"], before["spec"]);
    }

    /// The scale is that of the object; it is read, updated and patched.
    async fn write_scale(&mut self, object: &Value) {
        if self.kind.row.get("scale").is_none() {
            return;
        }
        let object_path = format!("{}/{}", self.at, name(object));
        let path = format!("{object_path}/scale");
        let mut scale = self.h.get(&path).await;
        assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
        scale["spec"]["replicas"] = 2.into();
        let updated = self.h.must(200, "PUT", &path, scale).await;
        assert_eq!(updated["spec"]["replicas"], 2);
        let scaled = self.h.get(&object_path).await;
        self.seen("MODIFIED", &scaled).await;
        let (code, patched) = self.h.patch("merge-patch+json", &path, json!({"spec": {"replicas": 4}})).await;
        assert_eq!((code, &patched["spec"]["replicas"]), (200, &json!(4)));
        let scaled = self.h.get(&object_path).await;
        assert_eq!((&scaled["spec"]["replicas"], self.h.get(&path).await), (&json!(4), patched));
        self.seen("MODIFIED", &scaled).await;
    }

    /// One goes by its name, one as what was updated, one as what is left.
    async fn delete(&mut self, first: &Value, second: &Value, third: &Value) {
        let others = usize::from(self.kind.is_namespaced());
        let path = format!("{}/{}", self.at, name(first));
        self.remove(&format!("{path}?{}", self.policy())).await;
        self.gone(first).await;
        self.has("", 2, others).await;

        let path = format!("{}/{}", self.at, name(second));
        let label = json!({"metadata": {"labels": {"updated": "true"}}});
        self.updated(&path, &label, second).await;
        self.has(",updated=true", 1, 0).await;
        for (selected, goes, left) in [(",updated=true", second, 1), ("", third, 0)] {
            let ours = selector(self.kind, selected);
            self.remove(&format!("{}?{ours}&{}", self.at, self.policy())).await;
            self.gone(goes).await;
            self.has("", left, others).await;
        }
    }

    /// How dependents are treated, where the kind's own way is to wait for them.
    fn policy(&self) -> &str {
        text(&self.kind.row, "/delete")
    }

    async fn remove(&self, target: &str) {
        self.h.must(200, "DELETE", target, Value::Null).await;
    }

    async fn gone(&mut self, object: &Value) {
        let path = format!("{}/{}", self.at, name(object));
        let missing = self.h.must(404, "GET", &path, Value::Null).await;
        assert_eq!(missing["reason"], "NotFound");
        ended(&mut self.here, object).await;
        ended(&mut self.everywhere, object).await;
    }

    async fn is_there(&self, object: &Value) {
        let read = self.h.get(&format!("{}/{}", self.at, name(object))).await;
        assert_eq!(&read, object);
    }

    /// Counts what a selection has in the namespace, and in others.
    async fn has(&self, selected: &str, here: usize, elsewhere: usize) {
        let ours = selector(self.kind, selected);
        for (at, count) in [(&self.at, here), (&self.kind.everywhere(), here + elsewhere)] {
            let list = self.h.get(&format!("{at}?{ours}")).await;
            assert_eq!(items(&list).len(), count, "{at}?{ours}: {list}");
        }
    }

    async fn seen(&mut self, what: &str, object: &Value) {
        told(&mut self.here, what, object).await;
        told(&mut self.everywhere, what, object).await;
    }
}

fn selector(kind: &Kind, selected: &str) -> String {
    format!("labelSelector=conformance={}{selected}", kind.plural())
}

async fn told(watch: &mut Events, what: &str, object: &Value) {
    let event = watch.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]), (&json!(what), object));
}

async fn ended(watch: &mut Events, object: &Value) {
    let mut event = watch.next().await.expect("an event");
    // Pods are seen with their last grace before.
    if event["type"] == "MODIFIED" && event["object"]["metadata"]["deletionTimestamp"].is_string() {
        event = watch.next().await.expect("an event");
    }
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["uid"]),
        (&json!("DELETED"), &object["metadata"]["uid"])
    );
    assert!(version(&event["object"]) > version(object), "{event}");
}
