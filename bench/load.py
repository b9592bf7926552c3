"""Requests to the API server of the current context, with the standard library only; by itself it measures the time from a pod's
creation to Running.
"""

import base64
import http.client
import json
import ssl
import subprocess
import tempfile
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


if __name__ == "__main__":
    pod_start()
