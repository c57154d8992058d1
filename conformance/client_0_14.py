"""Makes every public call of plantdb-client 0.14.5 to a running server.

    client_0_14.py TREE URL URL_BELOW_A_PREFIX

TREE is the directory that both servers serve, so that bytes can be compared
with those on the disk. The client knows no tokens: both servers have a legacy
writer. See table.py for how a check is judged.
"""
import io
import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import requests
import toml
from PIL import Image
from plantdb.client import rest_api, sync
from plantdb.client.plantdb_client import PlantDBClient

from table import ANALYZED, DEMO_SCANS, alike, check, holds, output, public_calls, refused, run, same

# What cannot succeed: words of its failure, and why.
LATER = {
    "rest_api.scan_preview_image_url": (
        "port=5000", "never: the client itself asks port 5000 for the scan, whatever port it was told"),
}


class Site:
    """The servers under test. The client takes its prefix in place of the port."""

    def __init__(self, tree, base, prefixed):
        self.tree, self.base = Path(tree), base
        parts = urlsplit(base)
        self.at = {"host": parts.hostname, "port": parts.port}
        parts = urlsplit(prefixed)
        self.prefixed = {"host": parts.netloc, "prefix": parts.path}
        self.client = PlantDBClient(base, prefix="")
        self.behind = PlantDBClient(f"{parts.scheme}://{parts.netloc}", prefix=parts.path)


@check("PlantDBClient.list_scans", "rest_api.list_scan_names", "rest_api.get_scans_info", "rest_api.parse_scans_info")
def list_scans(site):
    site.client.create_scan("older_listed", {"crop": "older-maize"})
    for client in (site.client, site.behind):
        holds("all scans", DEMO_SCANS | {"older_listed"} <= set(client.list_scans()))
        same("by words", client.list_scans("older-maize"), ["older_listed"])
    for at in (site.at, site.prefixed):
        names = rest_api.list_scan_names(**at)
        same("names", names, sorted(site.client.list_scans()))
        same("infos", [i["id"] for i in rest_api.get_scans_info(**at)], names)
        same("parsed", set(rest_api.parse_scans_info(**at)), set(names))


@check("PlantDBClient.create_scan", "PlantDBClient.get_scan_metadata", "PlantDBClient.update_scan_metadata")
def scans(site):
    got = site.client.create_scan("older_created", {"a": {"b": 1}, "note": "\u2013 \u00e9"})
    same("message", got["message"], "Scan 'older_created' created successfully.")
    refused("Scan id 'older_created' already exists", site.client.create_scan, "older_created")
    refused("Invalid scan identifier", site.client.create_scan, "-older")
    refused("No input data provided", site.client.create_scan, "")
    metadata(site, ("older_created",), "scan")
    refused("Scan not found", site.client.get_scan_metadata, "no_such_scan")


@check("PlantDBClient.list_scan_filesets", "PlantDBClient.create_fileset", "PlantDBClient.get_fileset_metadata",
       "PlantDBClient.update_fileset_metadata", "PlantDBClient.list_fileset_files")
def filesets(site):
    site.client.create_scan("older_filesets")
    got = site.behind.create_fileset("images", "older_filesets", {"a": {"b": 1}, "note": "x"})
    same("message", got["message"], "Fileset 'images' created successfully in 'older_filesets'.")
    same("filesets", site.client.list_scan_filesets("older_filesets")["filesets"], ["images"])
    same("files", site.client.list_fileset_files("older_filesets", "images")["files"], [])
    metadata(site, ("older_filesets", "images"), "fileset")
    refused("Scan not found", site.client.create_fileset, "images", "no_such_scan")
    refused("Fileset not found", site.client.get_fileset_metadata, "older_filesets", "none")


@check("PlantDBClient.create_file", "PlantDBClient.get_file_metadata", "PlantDBClient.update_file_metadata")
def files(site):
    site.client.create_scan("older_files")
    site.client.create_fileset("images", "older_files")
    content = bytes(range(256)) * 100
    got = site.client.create_file(io.BytesIO(content), "one", "ply", "older_files", "images", {"a": {"b": 1}, "note": "x"})
    same("message", got["message"], "File 'one.ply' created and written successfully in fileset 'images'.")
    same("bytes on the disk", (site.tree / "older_files" / "images" / "one.ply").read_bytes(), content)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "two.txt"
        path.write_bytes(b"some text")
        site.behind.create_file(str(path), "two", ".txt", "older_files", "images")
    same("files", site.client.list_fileset_files("older_files", "images")["files"], ["one", "two"])
    metadata(site, ("older_files", "images", "one"), "file")
    refused("File id 'one' already exists", site.client.create_file, io.BytesIO(b"x"), "one", "txt", "older_files", "images")
    refused("File not found", site.client.get_file_metadata, "older_files", "images", "none")


def metadata(site, of, noun):
    """Reads and changes metadata that begins as {"a": {"b": 1}, "note": ...}."""
    get, update = getattr(site.client, f"get_{noun}_metadata"), getattr(site.client, f"update_{noun}_metadata")
    same("metadata", get(*of)["metadata"]["a"], {"b": 1})
    same("one key", get(*of, key="a"), {"metadata": {"b": 1}})
    got = update(*of, {"a": {"c": 2}})["metadata"]
    same("updated", (got["a"], "note" in got), ({"c": 2}, True))
    got = update(*of, {"z": 1}, replace=True)["metadata"]
    same("replaced", (got["z"], "note" in got), (1, False))


@check("rest_api.get_scan_data", "rest_api.scan_url", "rest_api.get_tasks_fileset_from_api")
def get_scan_data(site):
    for at in (site.at, site.prefixed):
        info = rest_api.get_scan_data(ANALYZED, **at)
        same("same scan", info, requests.get(rest_api.scan_url(ANALYZED, **at), timeout=120).json())
        same("tasks", rest_api.get_tasks_fileset_from_api(ANALYZED, **at), info["tasks_fileset"])
        same("skeleton", info["data"]["skeleton"], json.loads(output(site.tree, "CurveSkeleton", "CurveSkeleton.json").read_text()))
        holds("angles are in radians", max(info["data"]["angles"]["angles"]) < 6.29)
        holds("poses are matched", all(p["isMatched"] for p in info["camera"]["poses"]))
    same("of an unknown scan", rest_api.get_scan_data("no_such_scan", **site.at), {})


@check("rest_api.get_scan_image", "rest_api.scan_image_url", "rest_api.list_task_images_uri", "rest_api.get_images_from_task")
def images(site):
    want = [p.read_bytes() for p in sorted((site.tree / ANALYZED / "images").iterdir())]
    for at in (site.at, site.prefixed):
        same("image", rest_api.get_scan_image(ANALYZED, "images", "00000_rgb", **at).content, want[0])
        uris = rest_api.list_task_images_uri(ANALYZED, **at)
        same("images", [requests.get(u, timeout=120).content for u in uris] == want, True)
        thumb = requests.get(rest_api.scan_image_url(ANALYZED, "images", "00000_rgb", size="thumb", **at), timeout=120).content
        same("thumb", Image.open(io.BytesIO(thumb)).size, (150, 113))
    same("parsed", {i.size for i in rest_api.get_images_from_task(ANALYZED, size="thumb", **site.at)}, {(150, 113)})


@check("rest_api.scan_preview_image_url")
def scan_preview_image_url(site):
    rest_api.scan_preview_image_url(ANALYZED, **site.at)


@check("rest_api.get_task_data", "rest_api.get_file_uri", "rest_api.parse_task_requests_data", "rest_api.parse_requests_pcd",
       "rest_api.parse_requests_mesh", "rest_api.parse_requests_skeleton", "rest_api.parse_requests_tree", "rest_api.parse_requests_json",
       "rest_api.get_angles_and_internodes_data")
def task_data(site):
    parse = {"PointCloud": rest_api.parse_requests_pcd, "TriangleMesh": rest_api.parse_requests_mesh,
             "CurveSkeleton": rest_api.parse_requests_skeleton, "TreeGraph": rest_api.parse_requests_tree}
    info = rest_api.get_scan_data(ANALYZED, **site.at)
    for task, function in parse.items():
        name = Path(info["filesUri"][rest_api.task_filesUri_mapping[task]]).name
        want = function(output(site.tree, task, name).read_bytes())
        holds(f"{task} is what lies on the disk", alike(rest_api.get_task_data(ANALYZED, task, **site.at), want))
    text = output(site.tree, "AnglesAndInternodes", "AnglesAndInternodes.json").read_bytes()
    want = rest_api.parse_task_requests_data("AnglesAndInternodes", text)
    same("by the parser itself", rest_api.parse_requests_json(text), want)
    # By name the client puts its URI behind the port without a slash, but not behind a prefix.
    got = rest_api.get_task_data(ANALYZED, "AnglesAndInternodes", filename="AnglesAndInternodes.json", **site.prefixed)
    same("by name", got, want)
    same("URI", rest_api.get_file_uri("s", "f", "x.json"), "files/s/f/x.json")
    for at in (site.at, site.prefixed):
        same("sequences", rest_api.get_angles_and_internodes_data(ANALYZED, **at), {k: want[k] for k in ("angles", "internodes")})


@check("rest_api.download_scan_archive", "rest_api.archive_url")
def archive_download(site):
    want = {str(p.relative_to(site.tree / ANALYZED)): p.read_bytes() for p in (site.tree / ANALYZED).rglob("*") if p.is_file()}
    content, _ = rest_api.download_scan_archive(ANALYZED, **site.at)
    with tempfile.TemporaryDirectory() as temporary:
        path, _ = rest_api.download_scan_archive(ANALYZED, out_dir=temporary, **site.prefixed)
        for archive in (content, path):
            with zipfile.ZipFile(archive) as opened:
                same("first bad file", opened.testzip(), None)
                same("files", {n: opened.read(n) for n in opened.namelist() if n in want} == want, True)
    refused("404", rest_api.download_scan_archive, "no_such_scan", **site.at)


@check("rest_api.upload_scan_archive")
def archive_upload(site):
    with tempfile.TemporaryDirectory() as temporary:
        archive = shutil.make_archive(str(Path(temporary) / "scan"), "zip", site.tree / "real_plant")
        rest_api.upload_scan_archive("older_sent_1", archive, **site.at)
    holds("it is there", "older_sent_1" in site.client.list_scans())
    for name in ("files.json", "images/00000_rgb.jpg"):
        same(name, (site.tree / "older_sent_1" / name).read_bytes(), (site.tree / "real_plant" / name).read_bytes())


@check("rest_api.upload_dataset_file")
def dataset_file_upload(site):
    site.client.create_scan("older_sent_2")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "notes.txt"
        path.write_bytes(b"some notes")
        got = rest_api.upload_dataset_file("older_sent_2", str(path), **site.at)
        holds(got.get("error", ""), "error" not in got)
        same("bytes", (site.tree / "older_sent_2" / "notes.txt").read_bytes(), b"some notes")
        # In pieces the client sends each as the file: only the last would stay.
        got = rest_api.upload_dataset_file("older_sent_2", str(path), chunk_size=4, **site.at)
        holds(f"pieces: {got}", "400 Client Error" in got.get("error", ""))
    same("bytes", (site.tree / "older_sent_2" / "notes.txt").read_bytes(), b"some notes")


@check("rest_api.get_toml_file", "rest_api.get_scan_config", "rest_api.get_reconstruction_config", "rest_api.scan_file_url",
       "rest_api.scan_config_url", "rest_api.scan_reconstruction_url")
def configs(site):
    for function, name in ((rest_api.get_scan_config, "scan.toml"), (rest_api.get_reconstruction_config, "pipeline.toml")):
        want = toml.loads((site.tree / ANALYZED / name).read_text())
        same(name, function(ANALYZED, **site.at), want)
        same(name, rest_api.get_toml_file(ANALYZED, name, **site.prefixed), want)
    for url in (rest_api.scan_config_url(ANALYZED, **site.at), rest_api.scan_reconstruction_url(ANALYZED, **site.at),
                rest_api.scan_file_url(ANALYZED, "metadata/metadata.json", **site.at)):
        same(url, requests.get(url, timeout=120).status_code, 200)


@check("rest_api.refresh", "rest_api.refresh_url", "rest_api.base_url", "rest_api.scans_url", "rest_api.make_api_request",
       "rest_api.test_availability")
def rest(site):
    holds("refresh", rest_api.refresh(**site.at)["message"].startswith("Successfully reloaded entire database"))
    same("of one", rest_api.refresh(ANALYZED, **site.prefixed)["message"], f"Successfully reloaded scan '{ANALYZED}'.")
    refused("404", rest_api.refresh, "no_such_scan", **site.at)
    for at in (site.at, site.prefixed):
        for url in (rest_api.base_url(**at), rest_api.scans_url(**at), rest_api.refresh_url(**at)):
            same(url, rest_api.make_api_request(url).status_code, 200)
    same("test_availability", rest_api.test_availability(site.base), None)


@check("rest_api.sanitize_name", "rest_api.configure_requests_with_certificate")
def without_a_server(_):
    same("sanitize_name", rest_api.sanitize_name(" a/b "), "b")
    try:
        rest_api.configure_requests_with_certificate("/no/such/file")
    except FileNotFoundError:
        return
    raise AssertionError("a certificate that is not there is taken")


@check("sync.FSDBSync")
def fsdb_sync(site):
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "romidb").touch()
        sync.FSDBSync(site.base, temporary).sync(["real_plant"])
        for name in ("files.json", "metadata/metadata.json", "images/00000_rgb.jpg"):
            same(name, (Path(temporary) / "real_plant" / name).read_bytes(), (site.tree / "real_plant" / name).read_bytes())


if __name__ == "__main__":
    sys.exit(run(lambda: Site(*sys.argv[1:]), public_calls(PlantDBClient, {"rest_api": rest_api}), LATER))
