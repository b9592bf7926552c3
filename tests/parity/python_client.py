"""Upstream's Python client against a server: every kind of objects.yaml through the dynamic client, and the typed clients,
watches, informers, leader election and manifests of the most used kinds.

usage: python_client.py OBJECTS_YAML KUBECONFIG
"""
import copy
import logging
import sys
import tempfile
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import DynamicApiError
from kubernetes.informer import ADDED, DELETED, MODIFIED, SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from common import LIMIT, Failed, covers, expect, finish, rows, until

SUITE, NUMBER = "py", "1"
NAMESPACE = f"parity-{SUITE}"
SELECTOR = f"parity.example.com/suite={SUITE}"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


WRONG = (Failed, DynamicApiError, ApiException, KeyError, TypeError, AttributeError)


def refused(code, words, call, *args, **kwargs):
    """That the call is answered with this code and these words."""
    try:
        answer = call(*args, **kwargs)
    except (ApiException, DynamicApiError) as error:
        expect(error.status == code and words in says(error), f"wanted {code} {words!r}, got {error.status} {says(error)}")
    else:
        raise Failed(f"wanted {code} {words!r}, got {type(answer).__name__}")


def says(error):
    body = error.body
    return body.decode(errors="replace") if isinstance(body, bytes) else str(body)


class Walk:
    """One kind through all verbs."""

    def __init__(self, dyn, row):
        self.row, self.object = row, row["object"]
        self.name = self.object["metadata"]["name"]
        self.api = dyn.resources.get(api_version=self.object["apiVersion"], kind=self.object["kind"])
        self.where = {"namespace": NAMESPACE} if self.api.namespaced else {}

    def __call__(self):
        """Every step, so that one run tells all that is wrong; what each failure says."""
        for step in (self.dry_run, self.create, self.managed_fields, self.read, self.patch_merge, self.patch_strategic, self.patch_json,
                     self.replace, self.apply, self.status, self.scale, self.delete, self.watched, self.delete_collection):
            try:
                step()
            except WRONG as error:
                yield f"{self.object['apiVersion']} {self.object['kind']}: {step.__name__}: {describe(error)}"

    def get(self):
        return self.api.get(name=self.name, **self.where).to_dict()

    def patch(self, body, content_type, **more):
        answer = self.api.patch(body=body, name=self.name, content_type=content_type, **self.where, **more).to_dict()
        return answer

    def absent(self):
        try:
            self.get()
        except DynamicApiError as error:
            expect(error.status == 404 and '"reason":"NotFound"' in says(error), f"{error.status} {says(error)}")
            return True
        return False

    def dry_run(self):
        made = self.api.create(body=self.object, dry_run="All", **self.where).to_dict()
        expect(made["metadata"].get("uid"), f"no uid in {made}")
        expect(self.absent(), "a dry run made the object")

    def create(self):
        self.since = self.api.get(label_selector=SELECTOR, **self.where).metadata.resourceVersion
        made = self.api.create(body=self.object, field_manager="maker", **self.where).to_dict()
        expect(covers(made, self.object), f"sent {self.object}, got {made}")
        for field in ("uid", "resourceVersion", "creationTimestamp"):
            expect(made["metadata"].get(field), f"no {field} in {made}")
        refused(409, "AlreadyExists", self.api.create, body=self.object, **self.where)

    def managed_fields(self):
        managed = self.get()["metadata"].get("managedFields")
        expect(("maker", "Update") in [(m["manager"], m["operation"]) for m in managed or []], f"{managed}")

    def read(self):
        one = self.get()
        expect((one["apiVersion"], one["kind"]) == (self.object["apiVersion"], self.object["kind"]), f"{one}")
        listed = self.api.get(label_selector=SELECTOR, **self.where).to_dict()
        expect(listed["kind"] == self.object["kind"] + "List", listed["kind"])
        names = [item["metadata"]["name"] for item in listed["items"]]
        expect(names == [self.name], f"listed {names}")
        named = self.api.get(field_selector=f"metadata.name={self.name}", limit=500, **self.where).to_dict()["items"]
        expect(len(named) == 1, f"by name: {named}")

    def patch_merge(self):
        body = {**self.row.get("change", {}), "metadata": {"labels": {"merge": "yes"}}}
        got = self.patch(body, MERGE)
        expect(covers(got, body), f"sent {body}, got {got}")

    def patch_strategic(self):
        body = {"metadata": {"annotations": {"strategic": "yes"}}}
        got = self.patch(body, STRATEGIC)
        expect(covers(got, body), f"sent {body}, got {got}")

    def patch_json(self):
        body = [{"op": "test", "path": "/metadata/name", "value": self.name},
                {"op": "replace", "path": "/metadata/annotations/strategic", "value": "json"}]
        got = self.patch(body, JSON)
        expect(got["metadata"]["annotations"]["strategic"] == "json", f"{got}")
        refused(422, "", self.patch, [{"op": "test", "path": "/metadata/name", "value": "other"}], JSON)

    def replace(self):
        stale = self.get()
        for attempt in range(10):
            body = self.get()
            body["metadata"]["labels"]["replace"] = "yes"
            try:
                got = self.api.replace(body=body, **self.where).to_dict()
                break
            except DynamicApiError as error:
                # A controller may write in between.
                expect(error.status == 409 and attempt < 9, f"{error.status} {says(error)}")
        expect(got["metadata"]["labels"]["replace"] == "yes", f"{got}")
        stale["metadata"]["labels"]["replace"] = "stale"
        refused(409, "the object has been modified", self.api.replace, body=stale, **self.where)

    def apply(self):
        body = {"apiVersion": self.object["apiVersion"], "kind": self.object["kind"],
                "metadata": {"name": self.name, "labels": {"apply": "yes"}}}
        applied = self.api.server_side_apply(body=body, name=self.name, field_manager="applier", **self.where).to_dict()
        expect(applied["metadata"]["labels"]["apply"] == "yes", f"{applied}")
        owned = [m for m in applied["metadata"]["managedFields"] if m["manager"] == "applier"]
        expect(len(owned) == 1 and owned[0]["operation"] == "Apply"
               and owned[0]["fieldsV1"] == {"f:metadata": {"f:labels": {"f:apply": {}}}}, f"{applied['metadata']['managedFields']}")
        again = self.api.server_side_apply(body=body, name=self.name, field_manager="applier", **self.where).to_dict()
        expect(self.row["object"]["kind"] in ("Node",)
               or again["metadata"]["resourceVersion"] == applied["metadata"]["resourceVersion"], "an apply of the same changed the object")
        taken = copy.deepcopy(body)
        taken["metadata"]["labels"] = {"merge": "mine"}
        refused(409, ".metadata.labels.merge", self.api.server_side_apply, body=taken, name=self.name, field_manager="other", **self.where)
        forced = self.api.server_side_apply(body=taken, name=self.name, field_manager="other", force_conflicts=True, **self.where).to_dict()
        expect(forced["metadata"]["labels"]["merge"] == "mine", f"{forced}")
        del body["metadata"]["labels"]
        gone = self.api.server_side_apply(body=body, name=self.name, field_manager="applier", **self.where).to_dict()
        expect("apply" not in gone["metadata"]["labels"], f"no longer applied, still there: {gone}")

    def status(self):
        if "status" not in self.row:
            return
        sub = self.api.subresources["status"]
        before = sub.get(name=self.name, **self.where).to_dict()
        got = sub.patch(body=self.row["status"], name=self.name, content_type=MERGE, **self.where).to_dict()
        expect(covers(got, self.row["status"]), f"sent {self.row['status']}, got {got}")
        expect(got.get("spec") == before.get("spec"), f"the spec changed: {got}")
        expect(got["metadata"].get("generation") == before["metadata"].get("generation"), f"generation changed: {got}")

    def scale(self):
        if "scale" not in self.api.subresources:
            return
        sub = self.api.subresources["scale"]
        scale = sub.get(name=self.name, **self.where).to_dict()
        expect(scale["kind"] == "Scale" and scale["spec"].get("replicas", 0) == 0, f"{scale}")
        got = sub.patch(body={"spec": {"replicas": 1}}, name=self.name, content_type=MERGE, **self.where).to_dict()
        expect(got["spec"]["replicas"] == 1, f"{got}")
        expect(self.get()["spec"]["replicas"] == 1, "the object was not scaled")

    def delete(self):
        self.uid = self.get()["metadata"]["uid"]
        self.api.delete(name=self.name, body={"propagationPolicy": "Background", "preconditions": {"uid": self.uid}}, **self.where)

    def watched(self):
        """Everything that happened, told from the beginning."""
        seen, deadline = [], time.monotonic() + LIMIT
        while not seen or seen[-1] != "DELETED":
            expect(time.monotonic() < deadline, f"events {seen}")
            stream = watch.Watch()
            for event in self.api.watch(label_selector=SELECTOR, resource_version=self.since, timeout=10, watcher=stream, **self.where):
                raw = event["raw_object"]
                expect(event["type"] in ("ADDED", "MODIFIED", "DELETED"), f"{event['type']}: {raw}")
                if raw["metadata"]["name"] != self.name:
                    continue
                seen.append(event["type"])
                self.since = raw["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    stream.stop()
        expect(seen[0] == "ADDED" and "MODIFIED" in seen, f"events {seen}")
        expect(self.absent(), "still there after DELETED")

    def delete_collection(self):
        self.api.create(body=self.object, **self.where)
        if self.object["kind"] == "Namespace":  # It has no deletecollection.
            self.api.delete(name=self.name)
        else:
            self.api.delete(label_selector=SELECTOR, **self.where)
        until(self.absent, "not gone")


def typed_core():
    """CoreV1Api: typed objects there and back, pagination, patch and deletion."""
    core = client.CoreV1Api()
    for i in range(5):
        core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(
            metadata=client.V1ObjectMeta(name=f"typed-{i}", labels={"typed": "yes"}), data={"i": str(i)}))
    names, more = [], None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="typed=yes", limit=2, _continue=more)
        names += [item.metadata.name for item in page.items]
        more = page.metadata._continue
        if not more:
            break
        expect(page.metadata.remaining_item_count == 5 - len(names) if page.metadata.remaining_item_count else True, f"{page.metadata}")
    expect(names == [f"typed-{i}" for i in range(5)], f"{names}")
    changed = core.patch_namespaced_config_map("typed-0", NAMESPACE, {"data": {"i": "new"}})
    expect(changed.data == {"i": "new"}, f"{changed}")
    secret = core.create_namespaced_secret(NAMESPACE, client.V1Secret(
        metadata=client.V1ObjectMeta(generate_name="typed-"), string_data={"a": "b"}))
    expect(secret.data == {"a": "Yg=="} and len(secret.metadata.name) == len("typed-") + 5, f"{secret}")
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="typed=yes")
    expect(not core.list_namespaced_config_map(NAMESPACE, label_selector="typed=yes").items, "typed ConfigMaps are left")


def typed_watch():
    """watch.Watch over a typed list: what is there, then what happens, from the list's own version on."""
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    core.create_namespaced_service(NAMESPACE, client.V1Service(
        metadata=client.V1ObjectMeta(name="typed"), spec=client.V1ServiceSpec(ports=[client.V1ServicePort(port=80)])))
    labels = {"typed": "yes"}
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(
        metadata=client.V1ObjectMeta(name="typed"),
        spec=client.V1DeploymentSpec(replicas=0, selector=client.V1LabelSelector(match_labels=labels), template=client.V1PodTemplateSpec(
            metadata=client.V1ObjectMeta(labels=labels),
            spec=client.V1PodSpec(containers=[client.V1Container(name="main", image="example.com/none:1")])))))
    apps.patch_namespaced_deployment_scale("typed", NAMESPACE, {"spec": {"replicas": 0}})
    for listing, delete in ((core.list_namespaced_service, core.delete_namespaced_service),
                            (apps.list_namespaced_deployment, apps.delete_namespaced_deployment)):
        stream, seen = watch.Watch(), []
        for event in stream.stream(listing, NAMESPACE, field_selector="metadata.name=typed", timeout_seconds=LIMIT):
            seen.append(event["type"])
            if len(seen) == 1:
                delete("typed", NAMESPACE)
            if event["type"] == "DELETED":
                stream.stop()
        expect(seen[0] == "ADDED" and seen[-1] == "DELETED", f"{listing.__name__}: {seen}")


def informer():
    """SharedInformer: lists, then follows; its cache is what the server has."""
    core, told = client.CoreV1Api(), []
    cache = SharedInformer(core.list_namespaced_config_map, namespace=NAMESPACE, label_selector="informer=yes")
    for kind in (ADDED, MODIFIED, DELETED):
        cache.add_event_handler(kind, lambda _object, kind=kind: told.append(kind))
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="informer", labels={"informer": "yes"}), data={"a": "1"})
    core.create_namespaced_config_map(NAMESPACE, body)
    cache.start()
    try:
        until(lambda: ADDED in told, lambda: f"informer: {told}")
        core.patch_namespaced_config_map("informer", NAMESPACE, {"data": {"a": "2"}})
        until(lambda: MODIFIED in told, lambda: f"informer: {told}")
        cached = cache.cache.list()
        expect([c.data for c in cached] == [{"a": "2"}], f"informer's cache: {cached}")
        core.delete_namespaced_config_map("informer", NAMESPACE)
        until(lambda: DELETED in told, lambda: f"informer: {told}")
        expect(not cache.cache.list(), f"informer's cache: {cache.cache.list()}")
    finally:
        cache.stop()


def manifests():
    """utils.create_from_yaml and delete of several kinds in one file."""
    text = """
apiVersion: v1
kind: ConfigMap
metadata: {name: from-yaml}
data: {a: b}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: from-yaml}
spec:
  replicas: 0
  selector: {matchLabels: {from: yaml}}
  template: {metadata: {labels: {from: yaml}}, spec: {containers: [{name: main, image: "example.com/none:1"}]}}
---
apiVersion: v1
kind: Service
metadata: {name: from-yaml}
spec: {selector: {from: yaml}, ports: [{port: 80}]}
"""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        made = utils.create_from_yaml(client.ApiClient(), file.name, namespace=NAMESPACE)
        expect(len(made) == 3, f"{made}")
        try:
            utils.create_from_yaml(client.ApiClient(), file.name, namespace=NAMESPACE)
        except utils.FailToCreateError as error:
            expect([e.status for e in error.api_exceptions] == [409, 409, 409], f"{error}")
        else:
            raise Failed("created twice")
    client.AppsV1Api().delete_namespaced_deployment("from-yaml", NAMESPACE, propagation_policy="Foreground")
    until(lambda: not client.AppsV1Api().list_namespaced_deployment(NAMESPACE, field_selector="metadata.name=from-yaml").items,
          lambda: "the Deployment deleted in the foreground is left")


def leader_election():
    """Two candidates on one Lease: one leads, the other waits."""
    led, first = [], threading.Event()

    def run(identity, callback):
        lock = LeaseLock("elected", NAMESPACE, identity)
        leaderelection.LeaderElection(electionconfig.Config(
            lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=callback, onstopped_leading=lambda: None)).run()

    def lead(identity):
        led.append(identity)
        first.set()

    threading.Thread(target=run, args=("one", lambda: lead("one")), daemon=True).start()
    expect(first.wait(LIMIT), "nobody leads")
    lease = client.CoordinationV1Api().read_namespaced_lease("elected", NAMESPACE)
    expect(lease.spec.holder_identity == "one", f"{lease}")
    threading.Thread(target=run, args=("two", lambda: lead("two")), daemon=True).start()
    expect(led == ["one"], f"{led}")


def main():
    objects, kubeconfig = sys.argv[1:]
    # An informer that is stopped says that its connection was closed.
    logging.disable(logging.ERROR)
    config.load_kube_config(kubeconfig)
    dyn = dynamic.DynamicClient(client.ApiClient())
    client.CoreV1Api().create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    failures, walked = [], 0
    for row in rows(objects, SUITE, NUMBER):
        failures += Walk(dyn, row)()
        walked += 1
    for work in (typed_core, typed_watch, informer, manifests, leader_election):
        try:
            work()
        except WRONG as error:
            failures.append(f"{work.__name__}: {describe(error)}")
    finish(f"{walked} kinds", failures)


def describe(error):
    if isinstance(error, Failed):
        return str(error)
    return f"{error.status} {says(error)}" if hasattr(error, "body") else f"{type(error).__name__} {error}"


main()
