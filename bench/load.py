"""Load on the API server of the current context: durable creates, a long list, and the time from a pod's creation to Running.

Only the standard library; HTTP/1.1 with keep-alive, one connection a client.
"""

import base64
import http.client
import json
import os
import ssl
import subprocess
import tempfile
import threading
import time


def kubeconfig():
    text = subprocess.run(["kubectl", "config", "view", "--raw", "--minify", "-o", "json"], check=True, capture_output=True)
    config = json.loads(text.stdout)
    return config["clusters"][0]["cluster"], config["users"][0]["user"]


CLUSTER, USER = kubeconfig()


def context():
    tls = ssl.create_default_context(cadata=base64.b64decode(CLUSTER["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as cert, tempfile.NamedTemporaryFile() as key:
        for file, field in ((cert, "client-certificate-data"), (key, "client-key-data")):
            file.write(base64.b64decode(USER[field]))
            file.flush()
        tls.load_cert_chain(cert.name, key.name)
    return tls


TLS = context()
HOST = CLUSTER["server"].removeprefix("https://")


def connect():
    return http.client.HTTPSConnection(HOST, context=TLS)


def call(connection, method, path, body=None):
    headers = {"Content-Type": "application/json"} if body else {}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {data[:300]!r}")
    return data


def figure(name, value):
    print(f"{name:<44} {value}", flush=True)


def config_map(name):
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "x" * 1300}})


def creates(clients, total):
    """Durable creates per second with so many clients, each one request at a time."""
    namespace = f"creates-{clients}"
    call(connect(), "POST", "/api/v1/namespaces", json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    ready = threading.Barrier(clients + 1)

    def client(number):
        connection = connect()
        connection.connect()
        ready.wait()
        for i in range(total // clients):
            call(connection, "POST", path, config_map(f"c-{number}-{i}"))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = time.monotonic()
    for thread in threads:
        thread.join()
    figure(f"durable creates, {clients} clients (python)", f"{total / (time.monotonic() - begun):.0f} /s")


def long_list():
    """A list of 10,000 pods that no node runs."""
    connection = connect()
    call(connection, "POST", "/api/v1/namespaces", json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "many"}}))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "p-"},
        "spec": {
            "schedulerName": "nobody",
            "automountServiceAccountToken": False,
            "containers": [{"name": "c", "image": "i:1"}],
        },
    }
    body = json.dumps(pod)
    until = time.monotonic() + 10
    while True:
        try:
            call(connection, "GET", "/api/v1/namespaces/many/serviceaccounts/default")
            break
        except SystemExit:
            if time.monotonic() > until:
                raise
    for _ in range(10_000):
        call(connection, "POST", "/api/v1/namespaces/many/pods", body)
    times = []
    for _ in range(5):
        begun = time.monotonic()
        size = len(call(connection, "GET", "/api/v1/namespaces/many/pods"))
        times.append(time.monotonic() - begun)
    figure("list of 10,000 pods", f"{sorted(times)[2] * 1000:.0f} ms ({size / 1e6:.1f} MB)")
    call(connection, "DELETE", "/api/v1/namespaces/many/pods?gracePeriodSeconds=0")


def pod_start():
    """From the answer to a pod's creation to its phase Running, seen by a watch."""
    times = []
    for i in range(5):
        name = f"start-{i}"
        watch = connect()
        watch.request("GET", f"/api/v1/namespaces/default/pods?watch=1&fieldSelector=metadata.name%3D{name}")
        events = watch.getresponse()
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "knarr.local/demo:1"}]}}
        begun = time.monotonic()
        call(connect(), "POST", "/api/v1/namespaces/default/pods", json.dumps(pod))
        while json.loads(events.readline())["object"].get("status", {}).get("phase") != "Running":
            pass
        times.append(time.monotonic() - begun)
        call(connect(), "DELETE", f"/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0")
        watch.close()
    figure("pod create to Running, local image", f"{sorted(times)[2] * 1000:.0f} ms")


pod_start()
creates(1, 2000)
creates(64, 12800)
long_list()
os.sync()
