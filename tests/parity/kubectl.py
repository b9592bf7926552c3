"""Upstream's kubectl against a server: every kind of objects.yaml through every command that reads or writes objects, then the
commands that make something of them.

usage: kubectl.py KUBECTL SUITE NUMBER OBJECTS_YAML KUBECONFIG
"""
import functools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict

from common import LIMIT, Failed, covers, expect, finish, merge, rows, run, temporary_directory, until

KUBECTL, SUITE, NUMBER, OBJECTS, KUBECONFIG = sys.argv[1:]
NAMESPACE = f"parity-{SUITE}"
HOME = temporary_directory()
ENVIRONMENT = {**os.environ, "KUBECONFIG": KUBECONFIG, "HOME": HOME, "KUBE_EDITOR": ""}
POD = {"containers": [{"name": "main", "image": "example.com/none:1"}], "nodeSelector": {"parity": "none"}}


def kubectl(line, *more, stdin=None, code=0, **environment):
    """Runs kubectl with arguments split at spaces, and `more` as they are; what it printed."""
    command = [KUBECTL, "-n", NAMESPACE, *line.split(), *more]
    return run(command, stdin=stdin, env={**ENVIRONMENT, **environment}, code=code)


def said(text, words, count):
    """That so many lines of what was printed end with the words."""
    lines = [line for line in text.splitlines() if line.rstrip().endswith(words)]
    rest = [line for line in text.splitlines() if not line.rstrip().endswith(words)]
    expect(len(lines) == count, f"{len(lines)} of {count} {words!r}; others: {rest[:10]}")


class Batch:
    """Objects that go through each command together: one version of each kind."""

    def __init__(self, batch):
        self.rows, self.count = batch, len(batch)
        self.objects = [row["object"] for row in batch]
        self.file = self.write("objects", self.objects)
        self.changed = self.write("changed", [merge(row["object"], row.get("change", {})) for row in batch])

    def write(self, name, objects):
        path = os.path.join(HOME, f"{name}-{id(self)}.json")
        with open(path, "w") as file:
            json.dump({"apiVersion": "v1", "kind": "List", "items": objects}, file)
        return path

    def walk(self):
        """Every step; what each failure says."""
        for step in (self.dry_run, self.create, self.get, self.describe, self.label_annotate, self.patch, self.replace, self.edit,
                     self.apply, self.diff, self.apply_server_side, self.status, self.delete):
            begun = time.monotonic()
            try:
                step()
                print(f"{self.count} kinds: {step.__name__}: {time.monotonic() - begun:.1f} s", flush=True)
            except Failed as error:
                yield f"{step.__name__}: {error}"

    def items(self):
        return json.loads(kubectl(f"get -f {self.file} -o json"))["items"]

    def dry_run(self):
        said(kubectl(f"create -f {self.file} --dry-run=server"), "created (server dry run)", self.count)
        said(kubectl(f"get -f {self.file} --ignore-not-found -o name"), "", 0)

    def create(self):
        said(kubectl(f"create -f {self.file} --validate=strict"), " created", self.count)
        again = kubectl(f"create -f {self.file}", code=1)
        expect(again.count("(AlreadyExists)") == self.count, again)

    def get(self):
        names = [o["metadata"]["name"] for o in self.objects]
        for item, sent in zip(self.items(), self.objects):
            expect(covers(item, sent), f"sent {sent}, got {item}")
        listed = kubectl("get", self.kinds(), "-A", "-l", f"parity.example.com/suite={SUITE}", "-o", "wide")
        missing = [name for name in names if name not in listed]
        expect(not missing, f"not in the table: {missing}\n{listed}")
        expect(listed.count("NAME") >= self.count, f"tables are missing in {listed}")
        columns = f"get -f {self.file} --no-headers -o custom-columns=N:.metadata.name"
        expect(kubectl(columns).split() == names, "custom-columns")

    def kinds(self):
        """Every resource of the batch, as `get` takes them: Kind.version.group."""
        def full(o):
            group, _, version = o["apiVersion"].rpartition("/")
            return f"{o['kind']}.{version}.{group}"
        return ",".join(full(o) for o in self.objects)

    def describe(self):
        # kubectl 1.33 describes these classes by a version that is gone.
        objects = [o for o in self.objects if "1.33" not in client() or o["kind"] != "VolumeAttributesClass"]
        text = kubectl(f"describe -f {self.write('described', objects)}")
        for o in objects:
            expect(o["metadata"]["name"] in text, f"{o['kind']} is not described")

    def label_annotate(self):
        said(kubectl(f"label -f {self.file} word=a"), " labeled", self.count)
        said(kubectl(f"annotate -f {self.file} word=a"), " annotated", self.count)

    def patch(self):
        annotation = '{"metadata":{"annotations":{"patch":"%s"}}}'
        for kind in ("strategic", "merge"):
            said(kubectl(f"patch -f {self.file} --type={kind} -p", annotation % kind), " patched", self.count)
        operations = '[{"op":"replace","path":"/metadata/annotations/patch","value":"json"}]'
        said(kubectl(f"patch -f {self.file} --type=json -p", operations), " patched", self.count)
        for item in self.items():
            expect(item["metadata"]["annotations"]["patch"] == "json", f"{item}")

    def replace(self):
        def replaced():
            items = self.items()
            for item in items:
                item["metadata"]["annotations"]["word"] = "replaced"
            try:
                said(kubectl("replace -f -", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})), " replaced", self.count)
            except Failed as error:
                # A controller may have written in between.
                if "(Conflict)" in str(error) or "the object has been modified" in str(error):
                    return False
                raise
            return True
        until(replaced, "replace met a conflict each time")

    def edit(self):
        editor = os.path.join(HOME, "editor")
        with open(editor, "w") as file:
            file.write("#!/bin/sh\nexec sed -i 's/word: replaced/word: edited/' \"$1\"\n")
        os.chmod(editor, 0o755)
        said(kubectl(f"edit -f {self.file}", KUBE_EDITOR=editor), " edited", self.count)
        for item in self.items():
            expect(item["metadata"]["annotations"]["word"] == "edited", f"{item}")

    def delete(self):
        watcher = subprocess.Popen([KUBECTL, "wait", "--for=delete", "--timeout=60s", "-n", NAMESPACE, "-f", self.file],
                                   env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = kubectl(f"delete -f {self.file} --wait --timeout=60s")
        expect(text.count(" deleted") == self.count, text)
        output, _ = watcher.communicate(timeout=120)
        expect(watcher.returncode == 0 or "NotFound" in output, f"wait --for=delete: {output}")
        said(kubectl(f"get -f {self.file} --ignore-not-found -o name"), "", 0)

    def apply(self):
        """What was created is taken over; the same again writes nothing; a change is sent as a patch."""
        kubectl(f"apply -f {self.file}")
        before = self.versions()
        kubectl(f"apply -f {self.file}")
        # What kubectl says is of no use here: it sends lists without merge keys, and a budget's selector, each time.
        expect(self.versions() == before, "an apply of the same wrote an object")
        kubectl(f"apply -f {self.changed}")
        for item, row in zip(self.items(), self.rows):
            expect(covers(item, row.get("change", {})), f"changed {row.get('change')}, got {item}")

    def versions(self):
        """Versions of the objects that no controller writes to."""
        return {i["kind"]: i["metadata"]["resourceVersion"] for i, row in zip(self.items(), self.rows) if "status" not in row}

    def diff(self):
        annotation = {"metadata": {"annotations": {"diff": "yes"}}}
        file = self.write("different", [merge(merge(row["object"], row.get("change", {})), annotation) for row in self.rows])
        shown = kubectl(f"diff -f {file}", code=1)
        expect(shown.count("+    diff: \"yes\"") == self.count, shown[-2000:])

    def apply_server_side(self):
        # What may not be taken back stays: the objects are as the last apply left them.
        with_label = [merge(merge(row["object"], row.get("change", {})), {"metadata": {"labels": {"applied": "yes"}}}) for row in self.rows]
        file = self.write("applied", with_label)
        said(kubectl(f"apply --server-side -f {file} --force-conflicts"), " serverside-applied", self.count)
        for item in json.loads(kubectl(f"get -f {self.file} -o json --show-managed-fields"))["items"]:
            managers = {(m["manager"], m["operation"]) for m in item["metadata"].get("managedFields", [])}
            expect(("kubectl", "Apply") in managers, f"{item['kind']}: {managers}")
            # What client-side apply owned has been handed over.
            expect(("kubectl-client-side-apply", "Update") not in managers, f"{item['kind']}: {managers}")
        said(kubectl(f"apply --server-side -f {self.changed}"), " serverside-applied", self.count)
        for item in self.items():
            expect("applied" not in item["metadata"]["labels"], f"{item['kind']}: no longer applied, still there")
        with_label = [merge(o, {"metadata": {"labels": {"parity.example.com/suite": "other"}}}) for o in self.objects]
        refused = kubectl(f"apply --server-side --field-manager=other -f {self.write('taken', with_label)}", code=1)
        expect(refused.count("Apply failed with") == self.count, refused)

    def status(self):
        for row in self.rows:
            if "status" in row and row["object"]["kind"] in ("Deployment", "Pod", "Node", "Namespace", "Service", "Job"):
                o = row["object"]
                patch = json.dumps(row["status"])
                said(kubectl(f"patch {o['kind']} {o['metadata']['name']} --subresource=status --type=merge -p", patch), " patched", 1)
                kubectl(f"get {o['kind']} {o['metadata']['name']} --subresource=status")


def batches():
    """The kinds' first versions, then their second ones, and so on: versions of a kind are the same objects."""
    found, versions = defaultdict(list), defaultdict(int)
    for row in rows(OBJECTS, SUITE, NUMBER):
        o = row["object"]
        key = (o["apiVersion"].rpartition("/")[0], o["kind"])
        found[versions[key]].append(row)
        versions[key] += 1
    return [Batch(batch) for batch in found.values()]


def discovery():
    resources = kubectl("api-resources --no-headers")
    for word in ("deployments", "poddisruptionbudgets", "customresourcedefinitions"):
        expect(word in resources, resources)
    expect("deployments.apps" in kubectl("api-resources --namespaced=true --verbs=list,watch -o name --api-group=apps").split(), "api-resources")
    expect({"v1", "apps/v1", "batch/v1"} <= set(kubectl("api-versions").split()), "api-versions")
    for side in ("Client", "Server"):
        expect(re.search(rf"{side} Version: v\d\.\d+\.[\w.+-]+", kubectl("version")), f"version of the {side}")
    versions = json.loads(kubectl("version -o json"))
    for side in ("clientVersion", "serverVersion"):
        expect(all(versions[side].get(key) for key in ("major", "minor", "gitVersion", "platform")), f"{versions}")
    expect(versions["serverVersion"]["gitVersion"].startswith("v1.37"), f"{versions}")
    info = kubectl("cluster-info")
    expect("Kubernetes control plane" in info and "is running at" in info, info)
    for path, word in (("pod.spec.containers.resources", "limits"), ("deployments.spec", "replicas"), ("ingress.spec.rules", "http"),
                       ("hpa.spec --api-version=autoscaling/v1", "targetCPU"), ("crd.spec", "names"), ("resourceslices", "devices")):
        expect(word.lower() in kubectl(f"explain {path}").lower(), f"explain {path}")
    expect("resizePolicy" in kubectl("explain pod --recursive"), "explain --recursive")


def access():
    expect(kubectl("auth can-i create pods").strip() == "yes", "can-i")
    expect(kubectl("auth can-i create pods --as=nobody", code=1).strip().startswith("no"), "can-i of nobody")
    expect("*.*" in kubectl("auth can-i --list"), "can-i --list")
    expect("kubernetes-admin" in kubectl("auth whoami"), "whoami")
    kubectl("create serviceaccount robot")
    token = kubectl("create token robot --duration=1h").strip()
    expect(token.count(".") == 2, token)
    expect("system:serviceaccount" in kubectl("auth whoami --token", token, KUBECONFIG=without_user()), "whoami by token")
    kubectl("create role reader --verb=get,list --resource=configmaps")
    kubectl(f"create rolebinding reader --role=reader --serviceaccount={NAMESPACE}:robot")
    until(lambda: "yes" in kubectl(f"auth can-i list configmaps --as=system:serviceaccount:{NAMESPACE}:robot"), "the role has no effect")
    kubectl("auth reconcile -f -", stdin=kubectl("get role,rolebinding reader -o yaml"))
    kubectl("delete sa/robot role/reader rolebinding/reader")


def without_user():
    """The kubeconfig without its client certificate."""
    config = json.loads(kubectl("config view --raw --flatten -o json"))
    config["users"] = [{"name": user["name"], "user": {}} for user in config["users"]]
    path = os.path.join(HOME, "without-user")
    with open(path, "w") as file:
        json.dump(config, file)
    return path


def generators():
    """Commands that make objects, and change them in a way of their own."""
    made = ["configmap made --from-literal=a=b", "secret generic made --from-literal=a=b",
            "secret docker-registry made-registry --docker-server=example.com --docker-username=a --docker-password=b",
            "deployment made --image=example.com/none:1 --replicas=0", "service clusterip made --tcp=80:8080",
            "service nodeport made-node --tcp=80:8080", "service externalname made-name --external-name example.com",
            "job made --image=example.com/none:1", "cronjob made --image=example.com/none:1 --schedule=0_3_*_*_*",
            "ingress made --rule=example.com/*=made:80", "quota made --hard=count/secrets=100",
            "poddisruptionbudget made --selector=a=b --min-available=1"]
    for line in made:
        kubectl("create", *[word.replace("_", " ") for word in line.split()])
    kubectl("expose deployment made --name=exposed --port=80")
    kubectl("autoscale deployment made --min=1 --max=3 --cpu-percent=50" if "1.33" in client() else "autoscale deployment made --min=1 --max=3 --cpu=50%")
    kubectl("run made --image=example.com/none:1", f"--overrides={json.dumps({'spec': POD})}")
    kubectl("set image deployment/made none=example.com/none:2")
    kubectl("set env deployment/made A=b")
    kubectl("set resources deployment/made --limits=cpu=1")
    kubectl("set serviceaccount deployment made default")
    kubectl("set selector service made a=b")
    spec = json.loads(kubectl("get deployment made -o json"))["spec"]["template"]["spec"]
    container = spec["containers"][0]
    expect((container["image"], container["env"], container["resources"], spec["serviceAccountName"]) ==
           ("example.com/none:2", [{"name": "A", "value": "b"}], {"limits": {"cpu": "1"}}, "default"), f"{spec}")
    all_of_them = kubectl("get all")
    for word in ("pod/made", "service/made", "deployment.apps/made", "replicaset.apps/made", "job.batch/made", "cronjob.batch/made",
                 "horizontalpodautoscaler.autoscaling/made"):
        expect(word in all_of_them, f"no {word} in {all_of_them}")
    kubectl("create job from-cron --from=cronjob/made")
    made_kinds = "deployment,service,secret,job,cronjob,ingress,quota,pdb,hpa,pod"
    kubectl(f"delete {made_kinds} --all --timeout=60s")
    kubectl("delete configmap made")


@functools.cache
def client():
    return json.loads(kubectl("version --client -o json"))["clientVersion"]["gitVersion"]


def rollout():
    kubectl("create deployment rolled --image=example.com/none:1 --replicas=0")
    kubectl("rollout status deployment/rolled --timeout=60s")
    kubectl("set image deployment/rolled none=example.com/none:2")
    kubectl("rollout status deployment/rolled --timeout=60s")
    until(lambda: kubectl("rollout history deployment/rolled").count("\n") >= 4, "the history has no two revisions")
    kubectl("rollout undo deployment/rolled")
    until(lambda: "3" in kubectl("rollout history deployment/rolled"), "no third revision")
    expect("none:1" in kubectl("rollout history deployment/rolled --revision=3"), "the third revision is not the first")
    kubectl("rollout restart deployment/rolled")
    kubectl("rollout pause deployment/rolled")
    expect("paused" in kubectl("rollout pause deployment/rolled", code=1), "paused twice")
    kubectl("rollout resume deployment/rolled")
    kubectl("delete deployment rolled --cascade=foreground --timeout=60s")


def scaled():
    """kubectl scale of every kind that has it."""
    def of(api_version, kind):
        labels = {"scaled": kind}
        selector = labels if kind == "ReplicationController" else {"matchLabels": labels}
        extra = {"serviceName": "none"} if kind == "StatefulSet" else {}
        return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "scaled", "labels": labels},
                "spec": {"replicas": 0, "selector": selector, "template": {"metadata": {"labels": labels}, "spec": POD}, **extra}}
    kinds = [("v1", "ReplicationController"), ("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet")]
    kubectl("create -f -", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [of(*kind) for kind in kinds]}))
    names = " ".join(f"{kind.lower()}/scaled" for _, kind in kinds)
    said(kubectl(f"scale {names} --replicas=1"), " scaled", 4)
    refused = kubectl(f"scale {names} --current-replicas=7 --replicas=2", code=1)
    expect("xpected replicas to be 7" in refused, refused)
    kubectl(f"wait {names} --for=jsonpath={{.spec.replicas}}=1 --timeout=60s")
    for verb in ("get", "patch"):
        more = ["--type=merge", "-p", '{"spec":{"replicas":0}}'] if verb == "patch" else []
        kubectl(f"{verb} deployment scaled --subresource=scale", *more)
    kubectl(f"delete {names} --timeout=60s")


def tried():
    """What would be is shown, and nothing is changed: of a pod and of a deployment."""
    kubectl("run tried --image=example.com/none:1 --restart=Never --overrides", json.dumps({"spec": {"nodeSelector": {"parity": "none"}}}))
    def is_as_made():
        spec = json.loads(kubectl("get pod tried -o json"))["spec"]
        expect(([c["image"] for c in spec["containers"]], spec["restartPolicy"]) == (["example.com/none:1"], "Never"), f"{spec}")
    is_as_made()
    other = {"spec": {"containers": [{"name": "tried", "image": "example.com/none:2"}]}}
    shown = kubectl("patch pod tried --dry-run=server -o json -p", json.dumps(other))
    expect('"image": "example.com/none:2"' in shown, shown)
    is_as_made()
    declared = kubectl("create deployment tried --image=example.com/none:1 --replicas=0 --dry-run=client -o json")
    kubectl("create -f -", stdin=declared)
    shown = kubectl("diff -f -", stdin=declared.replace("none:1", "none:2"), code=1)
    expect("example.com/none:1" in shown and "example.com/none:2" in shown, shown)
    kubectl("delete pod/tried deployment/tried --timeout=60s")


def proxied():
    """`proxy` on a port that it picks, and on a socket."""
    path = os.path.join(HOME, "proxy")
    for where in ("--port=0", f"--unix-socket={path}"):
        proxy = subprocess.Popen([KUBECTL, "proxy", where], env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            port = next_line(proxy, "Starting to serve on").rpartition(":")[2]
            if where == "--port=0":
                connection = socket.create_connection(("127.0.0.1", int(port)), LIMIT)
            else:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(path)
            with connection:
                connection.sendall(b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
            expect("v1" in json.loads(answer.partition("\r\n\r\n")[2])["versions"], answer)
        finally:
            proxy.kill()
            proxy.wait()


def watched():
    """`get -w` tells every event, in each output."""
    for output in ("", "-o=wide", "-o=json"):
        command = [KUBECTL, "-n", NAMESPACE, "get", "configmaps", "-l", "watched=yes", "-w", "--output-watch-events", *filter(None, [output])]
        watcher = subprocess.Popen(command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            kubectl("create -f -", stdin=json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched", "labels": {"watched": "yes"}}}))
            line = next_line(watcher, "ADDED")
            kubectl("annotate configmap watched a=b")
            next_line(watcher, "MODIFIED")
            kubectl("label configmap watched watched-")
            next_line(watcher, "DELETED")
            expect("watched" in line or output == "-o=json", line)
        finally:
            watcher.kill()
            watcher.wait()
        kubectl("delete configmap watched")


def next_line(watcher, word):
    silent = threading.Timer(LIMIT, watcher.kill)
    silent.start()
    try:
        for line in watcher.stdout:
            if word in line:
                return line
    finally:
        silent.cancel()
    raise Failed(f"the watch ended before {word}")


def printed():
    """Each form of output, and labels taken away."""
    kubectl("create configmap printed --from-literal=color=red")
    for output, wanted in (("yaml", "color: red"), ("json", '"color": "red"'), ("name", "configmap/printed"), ("jsonpath={.data.color}", "red"),
                           ("go-template={{.data.color}}", "red"), ("wide", "printed")):
        shown = kubectl("get configmap printed", "-o", output)
        expect(wanted in shown, f"{output}: {shown}")
    kubectl("label configmap printed word=a")
    kubectl("label configmap printed word=b --overwrite")
    said(kubectl("label configmap printed word-"), " unlabeled", 1)
    again = kubectl("patch configmap printed --type=merge -p", '{"data":{"color":"red"}}')
    said(again, " patched (no change)", 1)
    manifest = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "printed"}, "data": {"color": "red"}})
    kubectl("apply -f -", stdin=manifest)
    expect(not kubectl("diff -f -", stdin=manifest), "diff of what is there")
    kubectl("delete configmap printed")


def client_side():
    """What only client-side apply does: the last applied state, and pruning."""
    def manifest(*names):
        items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"pruned": "yes"}}, "data": {"a": name}} for name in names]
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    kubectl("apply -f -", stdin=manifest("one", "two"))
    expect("a: one" in kubectl("apply view-last-applied configmap/one"), "view-last-applied")
    pruned = kubectl("apply --prune -l pruned=yes --prune-allowlist=core/v1/ConfigMap -f -", stdin=manifest("two"))
    expect("configmap/one pruned" in pruned, pruned)
    kubectl("apply set-last-applied -f -", stdin=manifest("two"))
    kubectl("delete configmap -l pruned=yes")
    wrong = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "wrong"}, "dat": {}})
    refused = kubectl("create -f -", stdin=wrong, code=1)
    expect('unknown field "dat"' in refused, refused)
    warned = run([KUBECTL, "-n", NAMESPACE, "create", "--validate=warn", "-f", "-"], stdin=wrong, env=ENVIRONMENT)
    expect("created" in warned, warned)
    kubectl("delete configmap wrong")


def cluster():
    """Commands for nodes, certificates, events and pages."""
    kubectl("create -f -", stdin=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"other-{SUITE}"}}))
    node = f"other-{SUITE}"
    kubectl(f"cordon {node}")
    kubectl(f"taint nodes {node} a=b:NoSchedule")
    kubectl(f"drain {node} --ignore-daemonsets --timeout=60s")
    kubectl(f"uncordon {node}")
    expect("Unschedulable:      false" in kubectl(f"describe node {node}"), "still unschedulable")
    kubectl(f"delete node {node}")
    csr = next(row["object"] for row in rows(OBJECTS, SUITE, NUMBER) if row["object"]["kind"] == "CertificateSigningRequest")
    kubectl("create -f -", stdin=json.dumps(csr))
    kubectl(f"certificate approve {csr['metadata']['name']}")
    expect("Approved" in kubectl(f"get csr {csr['metadata']['name']}"), "not approved")
    kubectl(f"delete csr {csr['metadata']['name']}")
    for i in range(5):
        kubectl(f"create configmap page-{i}")
    pages = kubectl("get configmaps --chunk-size=2 -o name --sort-by=.metadata.name").split()
    expect([f"configmap/page-{i}" for i in range(5)] == [name for name in pages if "page-" in name], f"{pages}")
    kubectl("delete", "configmap", *[f"page-{i}" for i in range(5)])
    kubectl("events")
    expect(kubectl("get --raw /readyz") == "ok", "readyz")


def main():
    run([KUBECTL, "create", "namespace", NAMESPACE], env=ENVIRONMENT)
    failures, walked = [], 0
    for batch in batches():
        failures += batch.walk()
        walked += batch.count
    for work in (discovery, access, generators, rollout, scaled, tried, proxied, watched, printed, client_side, cluster):
        print(work.__name__, flush=True)
        try:
            work()
        except Failed as error:
            failures.append(f"{work.__name__}: {error}")
    finish(f"{walked} kinds", failures)


main()
