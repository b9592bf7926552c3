"""Load on the API server of the current context, by h2load (Debian's nghttp2-client), with ConfigMaps of 1.4 KB.

usage: `api.py requests`: durable creates with one client and with 8 connections of 8 streams, gets, a long list from the cache and
a consistent one, and 1,000 watchers by the program that $WATCHERS names; `api.py fill NUMBER`: creates so many.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time

from load import CLUSTER, call, connect, figure

CREATES_ALONE, CREATES, GETS, LISTED = 3_000, 20_000, 50_000, 8_500
PATH = "/api/v1/namespaces/{}/configmaps"


def kubectl(*arguments):
    return subprocess.run(["kubectl", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def namespace(name):
    call(connect(), "POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": name}}))


def token():
    if not kubectl("get", "serviceaccount", "bench", "--namespace", "default", "--ignore-not-found"):
        kubectl("create", "serviceaccount", "bench", "--namespace", "default")
        kubectl("create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin", "--serviceaccount=default:bench")
    return kubectl("create", "token", "bench", "--namespace", "default", "--duration=1h")


def body(size=1_400):
    """A ConfigMap whose stored JSON has about so many bytes."""
    return json.dumps({"metadata": {"generateName": "c-"}, "data": {"a": "x" * (size - 370)}})


class H2load:
    def __init__(self, work, bearer):
        self.work, self.bearer = work, bearer

    def run(self, path, requests, connections, streams, post=None):
        """Requests per second and the 99th percentile of their times in ms; `post` is the body to be sent."""
        log = os.path.join(self.work, "log")
        if os.path.exists(log):
            os.remove(log)
        command = ["h2load", "-n", str(requests), "-c", str(connections), "-m", str(streams), "-t", "1", "--log-file", log]
        command += ["-H", f"authorization: Bearer {self.bearer}"]
        if post:
            sent = os.path.join(self.work, "body")
            with open(sent, "w", encoding="utf-8") as file:
                file.write(post)
            command += ["-d", sent, "-H", "content-type: application/json"]
        begun = time.monotonic()
        printed = subprocess.run([*command, CLUSTER["server"] + path], check=True, capture_output=True, text=True).stdout
        took = time.monotonic() - begun
        if f" {requests} succeeded" not in printed:
            raise SystemExit(f"h2load {path}:\n{printed}")
        with open(log, encoding="utf-8") as file:
            times = sorted(int(line.split()[2]) for line in file)
        return requests / took, times[len(times) * 99 // 100] / 1_000


def lists(path):
    """The list answered from the cache, and one as new as the newest write."""
    for name, query in (("any version", "?resourceVersion=0"), ("consistent", "")):
        times = []
        for _ in range(7):
            connection = connect()
            connection.connect()
            begun = time.monotonic()
            size = len(call(connection, "GET", path + query))
            times.append(time.monotonic() - begun)
            connection.close()
        figure(f"list of {LISTED} ConfigMaps, {name}", f"{sorted(times)[3] * 1000:.0f} ms ({size / 1e6:.1f} MB)")


def watchers(work, bearer):
    """How many events reach 1,000 watchers, and how late."""
    namespace("watched")
    ca = os.path.join(work, "ca")
    with open(ca, "wb") as file:
        file.write(base64.b64decode(CLUSTER["certificate-authority-data"]))
    command = [os.environ["WATCHERS"], CLUSTER["server"], ca, bearer, "watched", "1000", "500", "10"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        figure("1,000 watchers, 500 updates/s wanted", f"failed: {done.stderr.strip()}")
        return
    delivered, age = done.stdout.strip().split("\n")
    figure("1,000 watchers, 500 updates/s wanted", delivered)
    figure("1,000 watchers, events' age on arrival", age.partition(": ")[2])


def requests(load):
    for name in ("alone", "many", "listed"):
        namespace(name)
    rate, late = load.run(PATH.format("alone"), CREATES_ALONE, 1, 1, body())
    figure("durable creates, 1 client", f"{rate:.0f} /s (p99 {late:.1f} ms)")
    rate, late = load.run(PATH.format("many"), CREATES, 8, 8, body())
    figure("durable creates, 8 x 8 streams", f"{rate:.0f} /s (p99 {late:.1f} ms)")
    path = PATH.format("alone")
    one = json.loads(call(connect(), "GET", path + "?limit=1"))["items"][0]["metadata"]["name"]
    rate, late = load.run(f"{path}/{one}", GETS, 8, 8)
    figure("gets, 8 x 8 streams", f"{rate:.0f} /s (p99 {late:.1f} ms)")
    # Larger ones, so that the list has the size that upstream's had: 18 MB.
    load.run(PATH.format("listed"), LISTED, 8, 8, body(2_120))
    lists(PATH.format("listed"))


def main():
    what, *numbers = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        load = H2load(work, token())
        if what == "requests":
            requests(load)
            watchers(work, load.bearer)
        else:
            namespace("filled")
            load.run(PATH.format("filled"), int(numbers[0]), 8, 8, body())


main()
