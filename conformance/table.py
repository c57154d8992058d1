"""What the checks of all clients share: each call has a check, and a
table says at the end how each went. The exit code is 1 unless all went as they
should.

A call that cannot succeed stands in a script's LATER with the words it fails
with and the reason, and has its check all the same: once that passes, or fails
otherwise, the entry is wrong.
"""
import inspect
import json
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
        where, got, want = first_difference(what, got, want)
        raise AssertionError(f"{where} = {got!r:.300}, want {want!r:.300}")


def first_difference(where, got, want):
    """The innermost values of two documents that are not the same."""
    if isinstance(got, dict) and isinstance(want, dict) and got.keys() == want.keys():
        pairs = [(key, got[key], want[key]) for key in got]
    elif isinstance(got, list) and isinstance(want, list) and len(got) == len(want):
        pairs = [(i, *pair) for i, pair in enumerate(zip(got, want))]
    else:
        return where, got, want
    return next(first_difference(f"{where}[{key!r}]", a, b) for key, a, b in pairs if a != b)


def holds(what, condition):
    if not condition:
        raise AssertionError(f"not so: {what}")


def refused(words, call, *args, **kwargs):
    """Checks that a call raises the server's words, or status, as its error."""
    try:
        got = call(*args, **kwargs)
    except requests.RequestException as err:
        text = str(err)
        if isinstance(err, requests.HTTPError) and err.response is not None:  # the helpers drop the body
            text += f": {err.response.status_code} {err.response.json()['message']}"
        if words not in text:
            raise AssertionError(f"{call.__name__} was refused with {text!r:.300}, want {words!r}") from err
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
    """Looks at every answer of the servers that is an error."""

    def __init__(self):
        self.faults, self.seen, self.secrets = [], 0, set()
        send = requests.Session.send

        def watched(session, request, **kwargs):
            response = send(session, request, **kwargs)
            self.look(request, response)
            return response

        requests.Session.send = watched

    def look(self, request, response):
        self.remember(request, response)
        if response.status_code < 400:
            return
        self.seen += 1
        what = f"{request.method} {request.path_url}: {response.status_code}"
        try:
            body = response.json()
            if not (body["message"] and body["message"] == body["error"] and body["code"]):
                self.faults.append(f"{what} has not message, error and code: {response.text:.200}")
        except (ValueError, KeyError, TypeError):
            self.faults.append(f"{what} is not JSON with message, error and code: {response.text:.200}")
        if response.status_code == 401 and not response.headers.get("WWW-Authenticate", "").startswith("Bearer"):
            self.faults.append(f"{what} has no WWW-Authenticate")
        if any(secret in response.text for secret in self.secrets):
            self.faults.append(f"{what} tells a password or a token")

    def remember(self, request, response):
        """Keeps the tokens and passwords that were sent."""
        token = request.headers.get("Authorization", "")[len("Bearer "):]
        sent = [token]
        if "json" in request.headers.get("Content-Type", "") and request.body:
            body = json.loads(request.body)
            sent += [body.get("password"), body.get("refresh_token")]
        # A password such as "reader" is a user's name as well.
        self.secrets.update(s for s in sent if isinstance(s, str) and len(s) > 8)


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


def run(make_site, calls, later):
    """Runs every check on the site that is made, and returns the exit code."""
    logging.disable(logging.CRITICAL)  # what is refused on purpose is no news
    errors = Errors()
    site = make_site()
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
        rows.append(("every error", "ok", f"{errors.seen} of them have message, error and code, and tell no secret", True, 0))
    for call, state, reason, _, took in rows:
        print(f"{call:42} {state:8} {took:5.2f} s  {' '.join(reason.split())}".rstrip())
    return 0 if all(right for *_, right, _ in rows) else 1
