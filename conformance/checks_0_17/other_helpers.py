"""The helper functions that make URLs and read answers, and what else asks a server."""
import base64
import io
import json
import tempfile
from pathlib import Path

import numpy
import requests
import toml
from PIL import Image
from plantdb.client import sync
from plantdb.client import url as client_url
from plantdb.client.rest_api import parsers, urls
from plantdb.client.rest_api import requests as helpers

from table import ANALYZED, check, holds, refused, same


@check("urls.origin_url", "urls.plantdb_url", "urls.login_url", "urls.logout_url", "urls.register_url",
       "urls.token_validation_url", "urls.token_refresh_url", "urls.api_token_url", "urls.scans_url", "urls.scan_url",
       "urls.scan_image_url", "urls.refresh_url", "urls.scan_file_url", "urls.scan_config_url", "urls.scan_reconstruction_url")
def routes(site):
    """Every URL that the client makes is one of the server's, prefix or not."""
    same("plantdb_url", requests.get(urls.plantdb_url(site.host, **site.short_at), timeout=120).json()["name"], "PlantDB REST API")
    for at in (site.at, site.short_at):
        same("origin_url", requests.get(urls.origin_url(site.host, **at), timeout=120).json()["name"], "PlantDB REST API")
        for function in (urls.login_url, urls.logout_url, urls.register_url, urls.token_validation_url,
                         urls.token_refresh_url, urls.api_token_url):
            got = requests.post(function(site.host, **at), json={}, timeout=120)
            holds(f"{function.__name__}: {got.status_code} {got.text}", got.status_code in (400, 401))
        for url in (urls.scans_url(site.host, **at), urls.refresh_url(site.host, **at), urls.scan_url(site.host, ANALYZED, **at),
                    urls.scan_image_url(site.host, ANALYZED, "images", "00000_rgb", **at),
                    urls.scan_file_url(site.host, f"{ANALYZED}/files.json", **at),
                    urls.scan_config_url(site.host, ANALYZED, **at), urls.scan_reconstruction_url(site.host, ANALYZED, **at)):
            same(url, requests.get(url, timeout=120).status_code, 200)


@check("urls.archive_url")
def archive_url(site):
    got = requests.get(urls.archive_url(site.host, ANALYZED, **site.at), timeout=120)
    got.raise_for_status()


@check("urls.scan_preview_image_url", "urls.list_task_images_uri")
def image_urls(site):
    for at in (site.at, site.short_at):
        got = requests.get(urls.scan_preview_image_url(site.host, ANALYZED, **at), timeout=120)
        same("preview", Image.open(io.BytesIO(got.content)).size, (150, 113))
        same("of an unknown scan", urls.scan_preview_image_url(site.host, "no_such_scan", **at), None)
        want = [p.read_bytes() for p in sorted((site.tree / ANALYZED / "images").iterdir())]
        got = [base64.b64decode(requests.get(u, timeout=120).json()["image"]) for u in urls.list_task_images_uri(site.host, ANALYZED, **at)]
        same("images", got == want, True)


# --- helper functions: parsers --------------------------------------------

@check("parsers.parse_scans_info")
def parse_scans_info(site):
    same("scans", set(parsers.parse_scans_info(site.host, **site.at)), set(site.guest.list_scans()))


@check("parsers.parse_task_images")
def parse_task_images(site):
    for size, want in (("orig", (1440, 1080)), ("thumb", (150, 113))):
        got = parsers.parse_task_images(site.host, ANALYZED, size=size, **site.at)
        same("pixels", [image.size for image in got], [want] * len(list((site.tree / ANALYZED / "images").iterdir())))


@check("parsers.get_task_data", "parsers.parse_task_requests_data", "parsers.parse_requests_pcd", "parsers.parse_requests_mesh",
       "parsers.parse_requests_skeleton", "parsers.parse_requests_tree", "parsers.parse_requests_json")
def get_task_data(site):
    info = helpers.request_scan_data(site.host, ANALYZED, **site.at)
    parse = {"PointCloud": parsers.parse_requests_pcd, "TriangleMesh": parsers.parse_requests_mesh,
             "CurveSkeleton": parsers.parse_requests_skeleton, "TreeGraph": parsers.parse_requests_tree}
    for task, function in parse.items():
        uri = Path(info["filesUri"][parsers.task_filesUri_mapping[task]])
        want = function((site.tree / ANALYZED / info["tasks_fileset"][task] / uri.name).read_bytes())
        for at in (site.at, site.short_at):
            got = parsers.get_task_data(site.host, ANALYZED, task, **at)
            holds(f"{task} is what lies on the disk", alike(got, want))
    task, name = "AnglesAndInternodes", "AnglesAndInternodes.json"
    want = parsers.parse_task_requests_data(task, (site.tree / ANALYZED / info["tasks_fileset"][task] / name).read_bytes())
    # By name the client drops the prefix.
    for at in (site.at, site.short_at):
        same(name, parsers.get_task_data(site.host, ANALYZED, task, filename=name, **at), want)
    same("by the parser itself", parsers.parse_requests_json(json.dumps(want)), want)


def alike(got, want):
    if hasattr(want, "nodes"):
        return dict(got.nodes(data=True)) == dict(want.nodes(data=True)) and list(got.edges(data=True)) == list(want.edges(data=True))
    if isinstance(want, dict):
        return set(got) == set(want) and all(alike(got[k], want[k]) for k in want)
    return len(want) > 0 and numpy.array_equal(numpy.array(got), numpy.array(want))


@check("parsers.get_toml_file", "parsers.get_scan_config", "parsers.get_reconstruction_config")
def get_toml_file(site):
    for at in (site.at, site.short_at):
        for function, name in ((parsers.get_scan_config, "scan.toml"), (parsers.get_reconstruction_config, "pipeline.toml")):
            want = toml.loads((site.tree / ANALYZED / name).read_text())
            same(name, function(site.host, ANALYZED, **at), want)
            same(name, parsers.get_toml_file(site.host, f"{ANALYZED}/{name}", **at), want)
    refused("404", parsers.get_scan_config, site.host, "no_such_scan", **site.at)


@check("parsers.get_angles_and_internodes_data")
def get_angles_and_internodes_data(site):
    fileset = helpers.request_scan_tasks_fileset(site.host, ANALYZED, **site.at)["AnglesAndInternodes"]
    want = json.loads((site.tree / ANALYZED / fileset / "AnglesAndInternodes.json").read_text())
    got = parsers.get_angles_and_internodes_data(site.host, ANALYZED, **site.at)
    same("sequences", got, {key: want[key] for key in ("angles", "internodes")})
    refused("404", parsers.get_angles_and_internodes_data, site.host, "real_plant", **site.at)


# --- the rest of the package that talks to a server -----------------------

@check("url.is_server_available")
def is_server_available(site):
    # Its check of the host's name would download a list of bad ones.
    for base in (site.base, site.short, site.short + site.prefix):
        got = client_url.is_server_available(base, validate_host=False)
        same(base, (got.ok, got.status_code), (True, 200))
    got = client_url.is_server_available(f"{site.base}/none", validate_host=False)
    same("of no page", (got.ok, got.status_code), (False, 404))


@check("sync.FSDBSync")
def fsdb_sync(site):
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "romidb").touch()
        sync.FSDBSync(site.base, temporary).sync(["real_plant"])
        if not (Path(temporary) / "real_plant").exists():
            raise AssertionError("the scan was not brought")
