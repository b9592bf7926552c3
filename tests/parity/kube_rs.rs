//! kube-rs: every kind through the dynamic API while three reflectors follow it (list and watch, streaming list, metadata), and a
//! controller.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use futures::future::{Either, select, try_join_all};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::discovery::{ApiCapabilities, Discovery, Scope};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::objects::{self, Row};

const SUITE: &str = "rs";
const NAMESPACE: &str = "parity-rs";
const SELECTOR: &str = "parity.example.com/suite=rs";
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// Runs the suite on this thread, whose network is the server's.
pub fn run(kubeconfig: &str) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(all(kubeconfig))
}

async fn all(kubeconfig: &str) -> anyhow::Result<()> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let plain = Discovery::new(client.clone()).run().await?;
    let aggregated = Discovery::new(client.clone()).run_aggregated().await?;
    let mut failures = Vec::new();
    for row in objects::rows(SUITE, "3") {
        let outcome = match Walk::new(&client, &plain, &aggregated, row) {
            Ok(walk) => walk.run().await,
            Err(error) => Err(error),
        };
        failures.extend(outcome.err().map(|error| format!("{error:#}")));
    }
    failures.extend(controller(client).await.err().map(|error| format!("controller: {error:#}")));
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// One kind through all verbs.
struct Walk {
    row: Row,
    name: String,
    object: DynamicObject,
    api: Api<DynamicObject>,
    metadata: Api<PartialObjectMeta<DynamicObject>>,
    resource: ApiResource,
    capabilities: ApiCapabilities,
}

impl Walk {
    fn new(client: &Client, plain: &Discovery, aggregated: &Discovery, row: Row) -> anyhow::Result<Self> {
        let object: DynamicObject = serde_json::from_value(row.object.clone())?;
        let known = row.resource();
        let kind = GroupVersionKind::gvk(known.group, known.version, known.kind);
        let (resource, capabilities) = aggregated
            .resolve_gvk(&kind)
            .with_context(|| format!("{kind:?} is not in aggregated discovery"))?;
        let (same, _) = plain.resolve_gvk(&kind).with_context(|| format!("{kind:?} is not in discovery"))?;
        ensure!(resource == same, "discovery tells {same:?}, aggregated {resource:?}");
        let client = client.clone();
        let (api, metadata) = if capabilities.scope == Scope::Namespaced {
            let api = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
            (api, Api::namespaced_with(client, NAMESPACE, &resource))
        } else {
            (Api::all_with(client.clone(), &resource), Api::all_with(client, &resource))
        };
        Ok(Self { name: object.name_any(), row, object, api, metadata, resource, capabilities })
    }

    /// Walks while the reflectors follow.
    async fn run(self) -> anyhow::Result<()> {
        let config = watcher::Config::default().labels(SELECTOR);
        let (listed, follow_list) = followed(watcher(self.api.clone(), config.clone()), &self.resource);
        let (streamed, follow_stream) =
            followed(watcher(self.api.clone(), config.clone().streaming_lists()), &self.resource);
        let (metadata, follow_metadata) = followed(watcher(self.metadata.clone(), config), &self.resource);
        let stores = [Seen::of(listed), Seen::of(streamed), Seen::of(metadata)];
        let following = try_join_all([follow_list, follow_stream, follow_metadata]);
        let kind = format!("{} {}", self.resource.api_version, self.resource.kind);
        let walking = tokio::time::timeout(3 * LIMIT, self.steps(&stores));
        match select(Box::pin(walking), following).await {
            Either::Left((outcome, _)) => outcome.map_err(|_| anyhow!("not within {LIMIT:?}"))?.context(kind),
            Either::Right((Err(error), _)) => Err(error.context(format!("{kind}: watch"))),
            Either::Right((Ok(_), _)) => bail!("{kind}: a watch ended"),
        }
    }

    async fn steps(&self, stores: &[Seen; 3]) -> anyhow::Result<()> {
        for seen in stores {
            (seen.ready)().await.context("a first list")?;
        }
        let post = PostParams { field_manager: Some("maker".into()), ..PostParams::default() };
        let dry = PostParams { dry_run: true, ..post.clone() };
        self.api.create(&dry, &self.object).await.context("create, dry run")?;
        ensure!(self.api.get_opt(&self.name).await?.is_none(), "a dry run made the object");
        let made = self.api.create(&post, &self.object).await.context("create")?;
        self.seen(stores, Some(&made)).await.context("watch of the creation")?;

        let listed = self.api.list(&ListParams::default().labels(SELECTOR)).await.context("list")?;
        ensure!(listed.items.len() == 1 && listed.items[0].uid() == made.uid(), "list: {:?}", listed.items);
        ensure!(self.api.get_metadata(&self.name).await?.uid() == made.uid(), "get of metadata");

        let patch = PatchParams::default();
        let mut change = self.row.change.clone();
        change["metadata"]["labels"]["merge"] = json!("yes");
        let merged =
            self.api.patch(&self.name, &patch, &Patch::Merge(&change)).await.context("merge patch")?;
        ensure!(merged.labels().get("merge").is_some_and(|v| v == "yes"), "merge patch: {merged:?}");
        let change = json!({"metadata": {"annotations": {"strategic": "yes"}}});
        self.api
            .patch(&self.name, &patch, &Patch::Strategic(&change))
            .await
            .context("strategic merge patch")?;
        self.apply().await.context("apply")?;
        let replaced = self.replace().await.context("update")?;
        self.status().await.context("status")?;
        self.scale().await.context("scale")?;
        if self.row.status.is_null() {
            self.seen(stores, Some(&replaced)).await.context("watch of the update")?;
        }

        self.api.delete(&self.name, &DeleteParams::background()).await.context("delete")?;
        self.seen(stores, None).await.context("watch of the deletion")?;
        self.collection().await.context("deletecollection")?;
        self.seen(stores, None).await.context("watch of the collection's deletion")
    }

    async fn apply(&self) -> anyhow::Result<()> {
        let head = json!({"apiVersion": self.resource.api_version, "kind": self.resource.kind});
        let mut mine = head.clone();
        mine["metadata"]["labels"]["apply"] = json!("yes");
        let applied =
            self.api.patch(&self.name, &PatchParams::apply("applier"), &Patch::Apply(&mine)).await?;
        ensure!(applied.labels().contains_key("apply"), "{applied:?}");
        let mut taken = head;
        taken["metadata"]["labels"]["merge"] = json!("mine");
        let refused = self.api.patch(&self.name, &PatchParams::apply("other"), &Patch::Apply(&taken)).await;
        ensure!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 409), "{refused:?}");
        self.api.patch(&self.name, &PatchParams::apply("other").force(), &Patch::Apply(&taken)).await?;
        Ok(())
    }

    /// PUT of what is there; a controller may write in between.
    async fn replace(&self) -> anyhow::Result<DynamicObject> {
        for _ in 0..10 {
            let mut object = self.api.get(&self.name).await?;
            object.labels_mut().insert("update".into(), "yes".into());
            match self.api.replace(&self.name, &PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                outcome => return Ok(outcome?),
            }
        }
        bail!("a conflict each time")
    }

    async fn status(&self) -> anyhow::Result<()> {
        if self.row.status.is_null() {
            return Ok(());
        }
        let patch = Patch::Merge(&self.row.status);
        let written = self.api.patch_status(&self.name, &PatchParams::default(), &patch).await?;
        let written = serde_json::to_value(written)?;
        ensure!(covers(&written, &self.row.status), "sent {}, got {written}", self.row.status);
        self.api.get_status(&self.name).await?;
        Ok(())
    }

    async fn scale(&self) -> anyhow::Result<()> {
        if !self.capabilities.subresources.iter().any(|(sub, _)| sub.plural.ends_with("scale")) {
            ensure!(self.row.resource().subresource("scale").is_none(), "discovery does not tell of it");
            return Ok(());
        }
        let patch = Patch::Merge(json!({"spec": {"replicas": 1}}));
        self.api.patch_scale(&self.name, &PatchParams::default(), &patch).await?;
        let scale = self.api.get_scale(&self.name).await?;
        ensure!(scale.spec.as_ref().and_then(|spec| spec.replicas) == Some(1), "{scale:?}");
        Ok(())
    }

    async fn collection(&self) -> anyhow::Result<()> {
        self.api.create(&PostParams::default(), &self.object).await?;
        if self.row.resource().allows("deletecollection") {
            let params = DeleteParams::background();
            self.api.delete_collection(&params, &ListParams::default().labels(SELECTOR)).await?;
        } else {
            self.api.delete(&self.name, &DeleteParams::background()).await?;
        }
        while self.api.get_opt(&self.name).await?.is_some() {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until every store has this state of the object, or a newer one of a kind that controllers write.
    async fn seen(&self, stores: &[Seen; 3], object: Option<&DynamicObject>) -> anyhow::Result<()> {
        let wanted = object.and_then(|object| object.resource_version());
        for (seen, how) in stores.iter().zip(["list and watch", "streaming list", "metadata"]) {
            let fits = |version: Option<String>| {
                version == wanted || (!self.row.status.is_null() && version.is_some() && wanted.is_some())
            };
            let waiting = async {
                while !fits((seen.version)(&self.name)) {
                    tokio::time::sleep(POLL).await;
                }
            };
            let outcome = tokio::time::timeout(LIMIT, waiting).await;
            outcome.map_err(|_| anyhow!("{how}: wanted {wanted:?}, has {:?}", (seen.version)(&self.name)))?;
        }
        Ok(())
    }
}

type Waiting<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// The version that a store holds of a named object.
type VersionOf = Box<dyn Fn(&str) -> Option<String>>;

/// What a reflector's store has, whatever it is of.
struct Seen {
    version: VersionOf,
    ready: Box<dyn Fn() -> Waiting<'static>>,
}

impl Seen {
    fn of<K>(store: reflector::Store<K>) -> Self
    where
        K: Resource<DynamicType = ApiResource> + Clone + 'static,
    {
        let waiting = store.clone();
        Self {
            version: Box::new(move |name| {
                store.state().iter().find(|object| object.name_any() == name)?.resource_version()
            }),
            ready: Box::new(move || {
                let store = waiting.clone();
                Box::pin(async move {
                    tokio::time::timeout(LIMIT, store.wait_until_ready()).await.context("not in time")??;
                    Ok(())
                })
            }),
        }
    }
}

/// A store, and the work that keeps it up to date. An error of the watch ends it: there is no reason for one here.
fn followed<K>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + 'static,
    resource: &ApiResource,
) -> (reflector::Store<K>, Waiting<'static>)
where
    K: Resource<DynamicType = ApiResource> + Clone + Debug + 'static,
{
    let writer = reflector::store::Writer::new(resource.clone());
    let store = writer.as_reader();
    let follow = async move {
        let mut objects = Box::pin(reflector(writer, events).applied_objects());
        while let Some(object) = objects.next().await {
            object?;
        }
        Ok(())
    };
    (store, Box::pin(follow))
}

/// Whether every field of `part` is in `whole`.
fn covers(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| covers(whole, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() >= part.len() && whole.iter().zip(part).all(|(whole, part)| covers(whole, part))
        }
        _ => whole == part,
    }
}

/// A controller that marks ConfigMaps, until both of two are marked.
async fn controller(client: Client) -> anyhow::Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    for name in ["one", "two"] {
        let object: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"controlled": "yes"}}}))?;
        api.create(&PostParams::default(), &object).await?;
    }
    let reconcile = |object: Arc<ConfigMap>, api: Arc<Api<ConfigMap>>| async move {
        let patch = Patch::Merge(json!({"data": {"marked": "yes"}}));
        api.patch(&object.name_any(), &PatchParams::default(), &patch).await?;
        Ok::<_, kube::Error>(Action::await_change())
    };
    let config = watcher::Config::default().labels("controlled=yes");
    let outcomes = Controller::new(api.clone(), config).run(
        reconcile,
        |_, _, _| Action::requeue(POLL),
        Arc::new(api.clone()),
    );
    let marked = async {
        loop {
            let list = api.list(&ListParams::default().labels("controlled=yes")).await?;
            if list.items.iter().all(|object| object.data.is_some()) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let running = outcomes.for_each(|_| std::future::ready(()));
    match tokio::time::timeout(LIMIT, select(Box::pin(marked), Box::pin(running))).await {
        Ok(Either::Left((outcome, _))) => outcome,
        Ok(Either::Right(_)) => bail!("it ended"),
        Err(_) => bail!("it has not marked what it watches"),
    }
}
