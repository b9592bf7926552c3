"""Helm against a server: a release of several kinds with hooks, from its installation to its end.

usage: helm.py HELM KUBECTL CHART KUBECONFIG
"""
import json
import os
import subprocess
import sys

from common import Failed, expect, finish, run, temporary_directory, until

HELM, KUBECTL, CHART, KUBECONFIG = sys.argv[1:]
NAMESPACE, RELEASE = "parity-helm", "shop"
ENVIRONMENT = {**os.environ, "KUBECONFIG": KUBECONFIG, "HOME": temporary_directory()}
WAIT = ["--wait", "--timeout", "120s"]


def helm(*arguments, code=0):
    return run([HELM, "--namespace", NAMESPACE, *arguments], env=ENVIRONMENT, code=code)


def kubectl(*arguments):
    return run([KUBECTL, "--namespace", NAMESPACE, *arguments], env=ENVIRONMENT)


def names(resources):
    return set(kubectl("get", resources, "-o", "name").split())


def value(name, key):
    return json.loads(kubectl("get", "configmap", name, "-o", "json"))["data"][key]


def install():
    dry = helm("install", RELEASE, CHART, "--create-namespace", "--dry-run=server")
    expect("kind: Deployment" in dry, dry)
    done = helm("install", RELEASE, CHART, "--create-namespace", *WAIT)
    expect("STATUS: deployed" in done, done)
    made = names("deployment,service,ingress,cronjob,pdb,role,rolebinding")
    expect(len(made) == 7 and f"deployment.apps/{RELEASE}" in made, f"{made}")
    expect(value(RELEASE, "color") == "red" and value(f"{RELEASE}-before", "color") == "", "values of the first revision")
    hooks_ran("install", "1")
    refused = helm("install", RELEASE, CHART, code=1)
    expect("cannot re-use a name that is still in use" in refused or "cannot reuse a name that is still in use" in refused, refused)


def hooks_ran(event, revision):
    for when in ("pre", "post"):
        expect(value(f"{RELEASE}-{when}-{event}", "revision") == revision, f"hook {when}-{event}")


def upgrade():
    done = helm("upgrade", RELEASE, CHART, "--set", "color=blue,budget=false", *WAIT)
    expect("REVISION: 2" in done, done)
    # What the template looked up was the revision before.
    expect((value(RELEASE, "color"), value(f"{RELEASE}-before", "color")) == ("blue", "red"), "values of the second revision")
    expect(not names("pdb"), "what the second revision does not have is left")
    hooks_ran("upgrade", "2")
    status = json.loads(helm("status", RELEASE, "-o", "json"))
    expect(status["info"]["status"] == "deployed" and status["version"] == 2, f"{status['info']}")
    expect("color: blue" in helm("get", "values", RELEASE), "get values")
    failed = helm("upgrade", RELEASE, CHART, "--set", "replicas=-1", *WAIT, code=1)
    expect("must be greater than or equal to 0" in failed, failed)
    expect(json.loads(helm("history", RELEASE, "-o", "json"))[-1]["status"] == "failed", "a refused upgrade has not failed")


def rollback():
    helm("rollback", RELEASE, "1", *WAIT)
    expect(value(RELEASE, "color") == "red" and names("pdb"), "the first revision is not back")
    history = json.loads(helm("history", RELEASE, "-o", "json"))
    expect([entry["revision"] for entry in history] == [1, 2, 3, 4] and history[-1]["status"] == "deployed", f"{history}")
    expect(RELEASE in helm("list"), "list")


def test():
    """No node runs the pod: this test says that it has succeeded, as a kubelet would."""
    tester = subprocess.Popen([HELM, "--namespace", NAMESPACE, "test", RELEASE, "--timeout", "120s"], env=ENVIRONMENT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: f"pod/{RELEASE}-test" in names("pods"), "helm test makes no pod")
        patch = json.dumps({"status": {"phase": "Succeeded"}})
        kubectl("patch", "pod", f"{RELEASE}-test", "--subresource=status", "--type=merge", "-p", patch)
        output, _ = tester.communicate(timeout=150)
        expect(tester.returncode == 0 and "Succeeded" in output, output)
    finally:
        tester.kill()


def uninstall():
    helm("uninstall", RELEASE, *WAIT)
    left = names("deployment,service,ingress,cronjob,pdb,role,rolebinding,secret")
    expect(not left, f"left: {left}")
    # A rollback brings back the hooks as they were.
    expect(value(f"{RELEASE}-post-delete", "revision") == "1", "hook post-delete")
    expect(helm("list", "-q").strip() == "", "list")


def main():
    failures = []
    for step in (install, upgrade, rollback, test, uninstall):
        try:
            step()
        except (Failed, subprocess.TimeoutExpired) as error:
            failures.append(f"helm {step.__name__}: {error}")
    finish("helm", failures)


main()
