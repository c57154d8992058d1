"""Makes every public call of plantdb-client 0.15.1 to a running server.

    client_0_15.py TREE URL URL_BELOW_A_PREFIX

TREE is the directory that both servers serve, so that bytes can be compared
with those on the disk. See table.py for how a check is judged.
"""
import base64
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
from plantdb.client import api_endpoints, rest_api, sync
from plantdb.client.plantdb_client import PlantDBClient
from plantdb.commons.auth.models import Permission

from table import ANALYZED, DEMO_SCANS, alike, check, holds, output, public_calls, refused, run, same

# What cannot succeed: words of its failure, and why.
LATER = {
    "PlantDBClient.create_user": (
        "has no attribute 'create_user'", "never: the client itself asks its module of paths for one that it has not"),
    "rest_api.request_archive_upload": (
        "An error occurred during the upload", "never: the client itself drops the file and sends {}"),
    "rest_api.request_dataset_file_upload": (
        "Client Error", "never: the client itself sends {} in place of the file"),
    "sync.FSDBSync": (
        "got multiple values for argument", "never: the client itself raises TypeError before any transfer"),
}


class Site:
    """The servers under test and the people who use them."""

    def __init__(self, tree, base, prefixed):
        self.tree, self.base = Path(tree), base
        parts = urlsplit(base)
        self.host = parts.hostname
        self.at = {"port": parts.port, "ssl": False}
        parts = urlsplit(prefixed)
        self.prefixed = {"port": parts.port, "prefix": parts.path, "ssl": False}
        self.behind = f"{parts.scheme}://{parts.netloc}", parts.path
        self.admin = self.client("admin", "admin")
        self.guest = PlantDBClient(base, prefix="")
        holds("a user can be made", rest_api.request_new_user(self.host, "old-reader", "reader-pass", "Read Only", **self.token()))
        self.reader = self.client("old-reader", "reader-pass")

    def client(self, user, password):
        client = PlantDBClient(self.base, prefix="")
        holds(f"{user} can log in", client.login(user, password))
        return client

    def token(self):
        return {"session_token": self.admin._access_token, **self.at}

    def scan(self, name, **metadata):
        self.admin.create_scan(name, metadata)
        self.admin.create_fileset("images", name)
        return name


# --- accounts -------------------------------------------------------------

@check("PlantDBClient.login", "PlantDBClient.logout", "PlantDBClient.validate_token", "PlantDBClient.refresh_token")
def sessions(site):
    client = site.client("old-reader", "reader-pass")
    same("wrong password", PlantDBClient(site.base, prefix="").login("old-reader", "wrong-password"), False)
    same("own token", client.validate_token(client._access_token), True)
    before = client._access_token
    same("refresh_token", client.refresh_token(), True)
    holds("the token is new", client._access_token != before)
    same("logout", client.logout(), True)
    same("second logout", client.logout(), False)


@check("PlantDBClient.create_user")
def create_user(site):
    same("create_user", site.admin.create_user("old-alice", "alice-pass", "Alice"), True)


@check("PlantDBClient.create_api_token")
def create_api_token(site):
    token = site.admin.create_api_token(3600, {"old_field_*": (Permission.READ, Permission.WRITE, Permission.CREATE)})
    site.admin._api_token = None  # making one does not mean using it
    robot = PlantDBClient(site.base, prefix="", api_token=token)
    same("id", robot.create_scan("old_field_1")["id"], "old_field_1")
    refused("Token from User admin does not have required permissions", robot.create_scan, "old_house_1")


@check("rest_api.request_login", "rest_api.request_check_username", "rest_api.request_logout", "rest_api.request_token_validation",
       "rest_api.request_token_refresh", "rest_api.request_new_user", "rest_api.request_api_token")
def account_helpers(site):
    same("admin", rest_api.request_check_username(site.host, "admin", **site.at), True)
    same("nobody", rest_api.request_check_username(site.host, "nobody-at-all", **site.at), False)
    got = rest_api.request_login(site.host, "old-reader", "reader-pass", **site.at)
    same("user", got["user"], {"username": "old-reader", "fullname": "Read Only"})
    refused("401", rest_api.request_login, site.host, "old-reader", "wrong-password", **site.at)
    got = rest_api.request_token_refresh(site.host, refresh_token=got["refresh_token"], **site.at)
    own = {"session_token": got["access_token"], **site.at}
    same("whose token", rest_api.request_token_validation(site.host, **own)["user"]["username"], "old-reader")
    refused("403", rest_api.request_new_user, site.host, "x", "long-enough", "X", **own)
    same("new user", rest_api.request_new_user(site.host, "old-bob", "bob-password", "Bob", **site.token()), True)
    holds("an API token", rest_api.request_api_token(site.host, 60, {"*": ["read"]}, **site.token())["api_token"])
    same("logout", rest_api.request_logout(site.host, **own), (True, "Logout successful from old-reader"))
    refused("400", rest_api.request_token_refresh, site.host, **site.at)


# --- scans, filesets, files -----------------------------------------------

@check("PlantDBClient.refresh", "rest_api.request_refresh")
def refresh(site):
    shutil.copytree(site.tree / "real_plant", site.tree / "old_brought")
    same("refresh of one scan", site.guest.refresh("old_brought"), True)
    holds("it is there", "old_brought" in site.guest.list_scans())
    same("refresh of an unknown scan", site.guest.refresh("no_such_scan"), False)
    ok, message = rest_api.request_refresh(site.host, **site.at)
    holds(message, ok and message.startswith("Successfully reloaded entire database with "))


@check("PlantDBClient.list_scans", "PlantDBClient.list_scans_info", "rest_api.request_scan_names_list", "rest_api.request_scans_info",
       "rest_api.parse_scans_info")
def list_scans(site):
    site.scan("old_listed", crop="old-maize")
    holds("all scans", DEMO_SCANS | {"old_listed"} <= set(site.guest.list_scans()))
    same("by words", site.guest.list_scans("old-maize"), ["old_listed"])
    same("by a filter", [i["id"] for i in site.guest.list_scans_info({"crop": "old-maize"})], ["old_listed"])
    same("by a regular expression", [i["id"] for i in site.guest.list_scans_info({"crop": "old-m.*"}, fuzzy=True)], ["old_listed"])
    names = rest_api.request_scan_names_list(site.host, **site.at)
    same("names", set(names), set(site.guest.list_scans()))
    same("infos", [i["id"] for i in rest_api.request_scans_info(site.host, **site.at)], names)
    same("parsed", set(rest_api.parse_scans_info(site.host, **site.at)), set(names))


@check("PlantDBClient.create_scan", "PlantDBClient.get_scan_metadata", "PlantDBClient.update_scan_metadata")
def scans(site):
    got = site.admin.create_scan("old.created_1", {"a": {"b": 1}, "note": "\u2013 \u00e9"})
    same("answer", (got["message"], got["id"]), ("Scan created successfully", "old.created_1"))
    refused("Scan id 'old.created_1' already exists", site.admin.create_scan, "old.created_1")
    refused("No authenticated user!", site.guest.create_scan, "old_created_2")
    metadata(site, ("old.created_1",), "scan")
    refused("Unknown scan id 'no_such_scan'", site.guest.get_scan_metadata, "no_such_scan")


@check("PlantDBClient.list_scan_filesets", "PlantDBClient.create_fileset", "PlantDBClient.get_fileset_metadata",
       "PlantDBClient.update_fileset_metadata", "PlantDBClient.list_fileset_files")
def filesets(site):
    site.admin.create_scan("old_filesets")
    got = site.admin.create_fileset("images", "old_filesets", {"a": {"b": 1}, "note": "x"})
    same("answer", (got["message"], got["id"]), ("Fileset created successfully in 'old_filesets'.", "images"))
    same("filesets", site.guest.list_scan_filesets("old_filesets")["filesets"], ["images"])
    same("files", site.guest.list_fileset_files("old_filesets", "images")["files"], [])
    same("files of a sample", len(site.guest.list_fileset_files(ANALYZED, "images")["files"]), len(list((site.tree / ANALYZED / "images").iterdir())))
    metadata(site, ("old_filesets", "images"), "fileset")
    refused("Unknown fileset id 'none'", site.guest.get_fileset_metadata, "old_filesets", "none")


@check("PlantDBClient.create_file", "PlantDBClient.get_file_metadata", "PlantDBClient.update_file_metadata")
def files(site):
    site.scan("old_files")
    content = bytes(range(256)) * 100
    got = site.admin.create_file(io.BytesIO(content), "one", "ply", "old_files", "images", {"a": {"b": 1}, "note": "x"})
    same("answer", (got["message"], got["id"]), ("File created and written successfully in fileset 'images'.", "one"))
    same("bytes on the disk", (site.tree / "old_files" / "images" / "one.ply").read_bytes(), content)
    same("bytes", requests.get(f"{site.base}/file/old_files/images/one", timeout=120).content, content)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "two.txt"
        path.write_bytes(b"some text")
        site.admin.create_file(path, "two", ".txt", "old_files", "images")
    same("files", site.guest.list_fileset_files("old_files", "images")["files"], ["one", "two"])
    metadata(site, ("old_files", "images", "one"), "file")
    refused("File id 'one' already exists", site.admin.create_file, io.BytesIO(b"x"), "one", "txt", "old_files", "images")


def metadata(site, of, noun):
    """Reads and changes metadata that begins as {"a": {"b": 1}, "note": ...}."""
    get, update = getattr(site.guest, f"get_{noun}_metadata"), getattr(site.admin, f"update_{noun}_metadata")
    same("metadata", get(*of)["metadata"]["a"], {"b": 1})
    same("one key", get(*of, key="a"), {"metadata": {"b": 1}})
    same("a missing key", get(*of, key="none"), {"metadata": {}})
    got = update(*of, {"a": {"c": 2}})["metadata"]
    same("updated", (got["a"], "note" in got), ({"c": 2}, True))
    refused("No authenticated user!", getattr(site.guest, f"update_{noun}_metadata"), *of, {"a": 1})


# --- assets ---------------------------------------------------------------

@check("rest_api.request_scan_data", "rest_api.request_scan_tasks_fileset")
def request_scan_data(site):
    for at in (site.at, site.prefixed):
        info = rest_api.request_scan_data(site.host, ANALYZED, **at)
        same("thumbnailUri", info["thumbnailUri"], f"/image/{ANALYZED}/images/00000_rgb?size=thumb")
        same("archive", info["metadata"]["files"]["archive"], f"/archive/{ANALYZED}")
        same("tasks", rest_api.request_scan_tasks_fileset(site.host, ANALYZED, **at), info["tasks_fileset"])
        same("poses", len(info["camera"]["poses"]), len(info["images"]))
    refused("404", rest_api.request_scan_data, site.host, "no_such_scan", **site.at)


@check("rest_api.request_scan_image", "rest_api.scan_image_url", "rest_api.scan_preview_image_url", "rest_api.list_task_images_uri",
       "rest_api.parse_task_images")
def images(site):
    want = [p.read_bytes() for p in sorted((site.tree / ANALYZED / "images").iterdir())]
    for at in (site.at, site.prefixed):
        kind, encoding, content = rest_api.request_scan_image(site.host, ANALYZED, "images", "00000_rgb", **at)
        same("image", (kind, encoding, content), ("image/jpeg", "binary", want[0]))
        kind, encoding, text = rest_api.request_scan_image(site.host, ANALYZED, "images", "00000_rgb", as_base64=True, **at)
        same("as text", (kind, encoding, base64.b64decode(text)), ("image/jpeg", "base64", want[0]))
    preview = requests.get(rest_api.scan_preview_image_url(site.host, ANALYZED, **site.at), timeout=120).content
    same("preview", Image.open(io.BytesIO(preview)).size, (150, 113))
    uris = rest_api.list_task_images_uri(site.host, ANALYZED, **site.at)
    same("images", [base64.b64decode(requests.get(u, timeout=120).json()["image"]) for u in uris] == want, True)
    same("parsed", {i.size for i in rest_api.parse_task_images(site.host, ANALYZED, size="large", **site.at)}, {(1440, 1080)})


@check("rest_api.get_task_data", "rest_api.parse_task_requests_data", "rest_api.parse_requests_pcd", "rest_api.parse_requests_mesh",
       "rest_api.parse_requests_skeleton", "rest_api.parse_requests_tree", "rest_api.parse_requests_json",
       "rest_api.get_angles_and_internodes_data")
def task_data(site):
    parse = {"PointCloud": rest_api.parse_requests_pcd, "TriangleMesh": rest_api.parse_requests_mesh,
             "CurveSkeleton": rest_api.parse_requests_skeleton, "TreeGraph": rest_api.parse_requests_tree}
    info = rest_api.request_scan_data(site.host, ANALYZED, **site.at)
    for task, function in parse.items():
        name = Path(info["filesUri"][rest_api.task_filesUri_mapping[task]]).name
        want = function(output(site.tree, task, name).read_bytes())
        holds(f"{task} is what lies on the disk", alike(rest_api.get_task_data(site.host, ANALYZED, task, **site.at), want))
    text = output(site.tree, "AnglesAndInternodes", "AnglesAndInternodes.json").read_bytes()
    want = rest_api.parse_task_requests_data("AnglesAndInternodes", text)
    same("by the parser itself", rest_api.parse_requests_json(text), want)
    got = rest_api.get_task_data(site.host, ANALYZED, "AnglesAndInternodes", filename="AnglesAndInternodes.json", **site.at)
    same("by name", got, want)
    same("sequences", rest_api.get_angles_and_internodes_data(site.host, ANALYZED, **site.at), {k: want[k] for k in ("angles", "internodes")})


@check("rest_api.request_archive_download", "rest_api.archive_url")
def archive_download(site):
    want = {str(p.relative_to(site.tree / ANALYZED)): p.read_bytes() for p in (site.tree / ANALYZED).rglob("*") if p.is_file()}
    content, _ = rest_api.request_archive_download(site.host, ANALYZED, **site.at)
    with tempfile.TemporaryDirectory() as temporary:
        path, _ = rest_api.request_archive_download(site.host, ANALYZED, out_dir=temporary, **site.prefixed)
        for archive in (content, path):
            with zipfile.ZipFile(archive) as opened:
                same("first bad file", opened.testzip(), None)
                same("files", {n: opened.read(n) for n in opened.namelist() if n in want} == want, True)
    refused("404", rest_api.request_archive_download, site.host, "no_such_scan", **site.at)


@check("rest_api.request_archive_upload")
def archive_upload(site):
    with tempfile.TemporaryDirectory() as temporary:
        archive = shutil.make_archive(str(Path(temporary) / "scan"), "zip", site.tree / "real_plant")
        rest_api.request_archive_upload(site.host, "old_sent_1", archive, **site.token())


@check("rest_api.request_dataset_file_upload")
def dataset_file_upload(site):
    site.scan("old_sent_2")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "notes.txt"
        path.write_bytes(b"some notes")
        got = rest_api.request_dataset_file_upload(site.host, "old_sent_2", str(path), **site.token())
    holds(got.get("error", ""), "error" not in got)
    same("bytes", (site.tree / "old_sent_2" / "notes.txt").read_bytes(), b"some notes")


@check("rest_api.get_toml_file", "rest_api.get_scan_config", "rest_api.get_reconstruction_config", "rest_api.scan_file_url",
       "rest_api.scan_config_url", "rest_api.scan_reconstruction_url")
def configs(site):
    for function, name in ((rest_api.get_scan_config, "scan.toml"), (rest_api.get_reconstruction_config, "pipeline.toml")):
        want = toml.loads((site.tree / ANALYZED / name).read_text())
        same(name, function(site.host, ANALYZED, **site.at), want)
        same(name, rest_api.get_toml_file(site.host, ANALYZED, name, **site.prefixed), want)
    for url in (rest_api.scan_config_url, rest_api.scan_reconstruction_url):
        same("status", requests.get(url(site.host, ANALYZED, **site.at), timeout=120).status_code, 200)
    url = rest_api.scan_file_url(site.host, ANALYZED, "metadata/metadata.json", **site.at)
    same("metadata.json", requests.get(url, timeout=120).json(), json.loads((site.tree / ANALYZED / "metadata" / "metadata.json").read_text()))


@check("rest_api.origin_url", "rest_api.plantdb_url", "rest_api.login_url", "rest_api.logout_url", "rest_api.register_url",
       "rest_api.token_validation_url", "rest_api.token_refresh_url", "rest_api.api_token_url", "rest_api.scans_url", "rest_api.scan_url",
       "rest_api.refresh_url", "rest_api.make_api_request")
def urls(site):
    """Every URL that the client makes is one of the server's, prefix or not."""
    for at in (site.at, site.prefixed):
        same("origin_url", requests.get(rest_api.origin_url(site.host, **at), timeout=120).json()["name"], "PlantDB REST API")
        for function in (rest_api.login_url, rest_api.logout_url, rest_api.register_url, rest_api.token_validation_url,
                         rest_api.token_refresh_url, rest_api.api_token_url):
            got = requests.post(function(site.host, **at), json={}, timeout=120)
            holds(f"{function.__name__}: {got.status_code} {got.text}", got.status_code in (400, 401))
        for url in (rest_api.scans_url(site.host, **at), rest_api.scan_url(site.host, ANALYZED, **at), rest_api.refresh_url(site.host, **at)):
            same(url, rest_api.make_api_request(url).status_code, 200)
    same("plantdb_url", requests.get(rest_api.plantdb_url(site.host, **site.prefixed), timeout=120).json()["name"], "PlantDB REST API")
    client = PlantDBClient(site.behind[0], prefix=site.behind[1])
    holds("a client behind a prefix", DEMO_SCANS <= set(client.list_scans()))


@check("api_endpoints")
def endpoints(site):
    """The routes that only this module names."""
    cloud, mesh = output(site.tree, "PointCloud", "PointCloud.ply"), output(site.tree, "TriangleMesh", "TriangleMesh.ply")
    for path, want in (
        (api_endpoints.pointcloud(ANALYZED, cloud.parent.name, "PointCloud") + "?size=orig", cloud.read_bytes()),
        (api_endpoints.pc_ground_truth(ANALYZED, cloud.parent.name, "PointCloud") + "?size=orig", cloud.read_bytes()),
        (api_endpoints.mesh(ANALYZED, mesh.parent.name, "TriangleMesh"), mesh.read_bytes()),
    ):
        same(path, requests.get(site.base + path, timeout=120).content == want, True)
    same("skeleton", requests.get(site.base + api_endpoints.skeleton(ANALYZED), timeout=120).json(),
         json.loads(output(site.tree, "CurveSkeleton", "CurveSkeleton.json").read_text()))
    same("sequence", requests.get(site.base + api_endpoints.sequence(ANALYZED, "angles"), timeout=120).json(),
         json.loads(output(site.tree, "AnglesAndInternodes", "AnglesAndInternodes.json").read_text())["angles"])
    same("health", requests.get(site.base + api_endpoints.health(), timeout=120).json()["status"], "healthy")


@check("sync.FSDBSync")
def fsdb_sync(site):
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "romidb").touch()
        sync.FSDBSync(site.base, temporary).sync(["real_plant"])
        holds("the scan was not brought", (Path(temporary) / "real_plant").exists())


if __name__ == "__main__":
    sys.exit(run(lambda: Site(*sys.argv[1:]), public_calls(PlantDBClient, {"rest_api": rest_api}), LATER))
