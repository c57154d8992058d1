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
import sys

from plantdb.client.plantdb_client import PlantDBClient
from plantdb.client.rest_api import parsers, urls
from plantdb.client.rest_api import requests as helpers

import checks_0_17  # noqa: F401
from checks_0_17.harness import Site
from table import public_calls, run

# What cannot succeed today: words of its failure, and why.
LATER = {
    "requests.request_archive_upload": (
        "An error occurred during the upload", "never: the client itself drops the file and sends {}"),
    "requests.request_dataset_file_upload": (
        "Client Error", "never: the client itself sends {} in place of the file"),
    "sync.FSDBSync": (
        "got multiple values for argument", "never: the client itself raises TypeError before any transfer"),
}

MODULES = {"requests": helpers, "parsers": parsers, "urls": urls}


def main(tree, base, short):
    return run(lambda: Site(tree, base, short), public_calls(PlantDBClient, MODULES), LATER)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
