"""What the checks of the older clients share: each call has a check, and a
table says at the end how each went. The exit code is 1 unless all went as they
should.

A call that cannot succeed stands in a script's LATER with the words it fails
with and the reason, and has its check all the same: once that passes, or fails
otherwise, the entry is wrong.
"""
import inspect
import logging
import time
from pathlib import Path

import requests

ANALYZED = "real_plant_analyzed"
DEMO_SCANS = {"arabidopsis000", "real_plant", ANALYZED, "virtual_plant", "virtual_plant_analyzed"}

CHECKS = []


def check(*calls):
    """Registers a function as the check of calls."""
    def register(function):
        CHECKS.append((calls, function))
        return function
    return register


def same(what, got, want):
    if got != want:
        raise AssertionError(f"{what} = {got!r:.300}, want {want!r:.300}")


def holds(what, condition):
    if not condition:
        raise AssertionError(f"not so: {what}")


def refused(words, call, *args, **kwargs):
    """Checks that a call raises the server's words, or status, as its error."""
    try:
        got = call(*args, **kwargs)
    except requests.RequestException as err:
        if words not in str(err):
            raise AssertionError(f"{call.__name__} was refused with {str(err)!r:.300}, want {words!r}") from err
        return
    raise AssertionError(f"{call.__name__} = {got!r:.300}, want it refused with {words!r}")


def output(tree, task, name):
    """The file of a task of the analyzed scan."""
    return next((Path(tree) / ANALYZED).glob(f"{task}_*")) / name


def alike(got, want):
    """Equality of what the parsers return: arrays, graphs and nested dicts."""
    if hasattr(want, "nodes"):
        return dict(got.nodes(data=True)) == dict(want.nodes(data=True)) and list(got.edges) == list(want.edges)
    if isinstance(want, dict):
        return set(got) == set(want) and all(alike(got[k], want[k]) for k in want)
    if isinstance(want, (list, tuple)):
        return len(got) == len(want) and all(alike(g, w) for g, w in zip(got, want))
    return bool((got == want).all()) if hasattr(want, "all") else got == want


def public_calls(client, modules):
    """Every public method of the client and function of the modules."""
    calls = [f"PlantDBClient.{name}" for name, _ in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")]
    for module_name, module in modules.items():
        calls += [f"{module_name}.{name}" for name, function in inspect.getmembers(module, inspect.isfunction)
                  if not name.startswith("_") and function.__module__ == module.__name__]
    return calls


class Errors:
    """Looks at every answer of the servers that is an error: these clients read its message."""

    def __init__(self):
        self.faults, self.seen = [], 0
        send = requests.Session.send

        def watched(session, request, **kwargs):
            response = send(session, request, **kwargs)
            if response.status_code >= 400:
                self.look(request, response)
            return response

        requests.Session.send = watched

    def look(self, request, response):
        self.seen += 1
        try:
            body = response.json()
            fit = body["message"] and body["message"] == body["error"] and body["code"]
        except (ValueError, KeyError, TypeError):
            fit = False
        if not fit:
            self.faults.append(f"{request.method} {request.path_url}: {response.status_code} {response.text:.200}")


def judge(calls, error, later):
    """Says of each call of a check how it went and whether that is right."""
    for call in calls:
        if call not in later:
            yield call, ("failed" if error else "ok"), error, not error
            continue
        words, reason = later[call]
        if not error:
            yield call, "works", "it stands in LATER, and works: take it out", False
        elif words not in error:
            yield call, "failed", f"not with {words!r}, as LATER has it: {error}", False
        else:
            yield call, "later", reason, True


def attempt(function, site):
    try:
        function(site)
    except Exception as err:  # whatever a call of the client raises
        return f"{type(err).__name__}: {err}" or "failed"
    return ""


def run(site, calls, later):
    """Runs every check and returns the exit code."""
    logging.disable(logging.CRITICAL)
    errors = Errors()
    rows = []
    for names, function in CHECKS:
        began = time.monotonic()
        error = attempt(function, site)
        took = time.monotonic() - began
        rows += [(*row, took) for row in judge(names, error, later)]
    checked = {row[0] for row in rows}
    rows += [(call, "missing", "it has no check", False, 0) for call in calls if call not in checked]
    rows += [(call, "unknown", "LATER names a call without check", False, 0) for call in later if call not in checked]
    rows += [("every error", "failed", fault, False, 0) for fault in errors.faults]
    if not errors.faults:
        rows.append(("every error", "ok", f"{errors.seen} of them have message, error and code", True, 0))
    for call, state, reason, _, took in rows:
        print(f"{call:42} {state:8} {took:5.2f} s  {' '.join(reason.split())}".rstrip())
    return 0 if all(right for *_, right, _ in rows) else 1
