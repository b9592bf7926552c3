"""What the suites share: the table of objects, and failures that say what was wrong."""
import atexit
import copy
import os
import shutil
import subprocess
import tempfile
import time

import yaml

LIMIT = 60


class Failed(Exception):
    """A step went wrong."""


def expect(condition, what):
    if not condition:
        raise Failed(what)


def until(condition, what):
    """Waits for a condition; `what` is it, or a function that says what was seen last."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        expect(time.monotonic() < deadline, what() if callable(what) else what)
        time.sleep(0.02)


def covers(whole, part):
    """Whether every field of `part` is in `whole`."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(covers(whole.get(k), v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) >= len(part) and all(map(covers, whole, part))
    return whole == part


def merge(target, patch):
    """A JSON merge patch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def rows(path, suite, number):
    """Each object with its versions spread out, for this suite."""
    text = open(path).read().replace("{suite}", suite).replace("{n}", number)
    for row in yaml.safe_load(text):
        group, slash, version = row["object"]["apiVersion"].rpartition("/")
        for version in [version, *row.get("also", [])]:
            spread = copy.deepcopy(row)
            spread["object"]["apiVersion"] = group + slash + version
            spread["object"]["metadata"]["labels"] = {"parity.example.com/suite": suite}
            yield spread


def run(command, stdin=None, env=None, code=0):
    """Runs a program to its end; what it printed. Another exit code than `code` is a failure that tells all."""
    done = subprocess.run(command, input=stdin, env=env, text=True, capture_output=True, timeout=5 * LIMIT)
    shown = " ".join(command)[-300:]
    expect(done.returncode == code, f"{shown}: exit code {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout + (done.stderr if code else "")


def temporary_directory():
    """A directory that goes with the program."""
    path = tempfile.mkdtemp(prefix="knarr-parity-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def finish(what, failures):
    """Prints what was wrong and ends the program."""
    for failure in failures:
        print(failure)
    print(f"{what}, {len(failures)} failures", flush=True)
    # The interpreter's own end would meet the client's threads, which may be writing.
    atexit._run_exitfuncs()
    os._exit(bool(failures))
