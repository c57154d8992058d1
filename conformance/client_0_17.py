"""Makes every public call of plantdb-client 0.17.0 to a running server.

    client_0_17.py TREE URL URL_OF_SHORT_TOKENS

TREE is the directory that both servers serve, so that bytes can be compared
with those on the disk. The second server gives access tokens that live for two
seconds without leeway, and answers below a deploy prefix.

Each call has a check. Every public method of PlantDBClient and every public
function of the modules in MODULES has to have one, so none is left out
silently. A call that cannot succeed stands in LATER with the words it fails
with, and has its check all the same: once that passes, or fails otherwise, the
entry is wrong. At the end a table says how each call went; the exit code is 1
unless all went as they should.
"""
import inspect
import logging
import sys
import time

from plantdb.client.plantdb_client import PlantDBClient
from plantdb.client.rest_api import parsers, urls
from plantdb.client.rest_api import requests as helpers

import checks_0_17  # noqa: F401
from checks_0_17.harness import CHECKS, Errors, Site

# What cannot succeed today: words of its failure, and why.
LATER = {
    "PlantDBClient.delete_timelapse": ("The method is not allowed", "DELETE /timelapses/{id} comes later"),
    "requests.request_archive_upload": (
        "An error occurred during the upload", "never: the client itself drops the file and sends {}"),
    "requests.request_dataset_file_upload": (
        "Client Error", "never: the client itself sends {} in place of the file"),
    "sync.FSDBSync": (
        "got multiple values for argument", "never: the client itself raises TypeError before any transfer"),
}

MODULES = {"requests": helpers, "parsers": parsers, "urls": urls}


def public_calls():
    """Every call that has to have a check."""
    calls = [f"PlantDBClient.{name}" for name, _ in inspect.getmembers(PlantDBClient, inspect.isfunction) if not name.startswith("_")]
    for module_name, module in MODULES.items():
        calls += [f"{module_name}.{name}" for name, function in inspect.getmembers(module, inspect.isfunction)
                  if not name.startswith("_") and function.__module__ == module.__name__]
    return calls


def judge(calls, error):
    """Says of each call of a check how it went and whether that is right."""
    for call in calls:
        if call not in LATER:
            yield call, ("failed" if error else "ok"), error, not error
            continue
        words, reason = LATER[call]
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


def main(tree, base, short):
    # What is refused on purpose is no news.
    logging.disable(logging.CRITICAL)
    errors = Errors()
    site = Site(tree, base, short)
    rows = []
    for calls, function in CHECKS:
        began = time.monotonic()
        error = attempt(function, site)
        took = time.monotonic() - began
        rows += [(*row, took) for row in judge(calls, error)]
    rows += [(call, "missing", "it has no check", False, 0) for call in public_calls() if all(call != row[0] for row in rows)]
    rows += [(call, "unknown", "LATER names a call without check", False, 0) for call in LATER if all(call != row[0] for row in rows)]
    rows += [("every error", "failed", fault, False, 0) for fault in errors.faults]
    if not errors.faults:
        rows.append(("every error", "ok", f"{errors.seen} of them have message, error and code, and tell no secret", True, 0))
    for call, state, reason, _, took in rows:
        print(f"{call:42} {state:8} {took:5.2f} s  {' '.join(reason.split())}".rstrip())
    return 0 if all(right for *_, right, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
