"""The helper functions of plantdb.client.rest_api.requests."""
import base64
import io
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from PIL import Image
from plantdb.client.rest_api import requests as helpers

from table import ANALYZED, check, holds, refused, same


@check("requests.make_api_request")
def make_api_request(site):
    url = f"{site.base}/api/v1/scans"
    same("GET", helpers.make_api_request(url, params={"timelapse_id": "growth_series"}).json(),
         ["growth_day_28", "growth_day_35", "growth_day_42"])
    refused("401 No authenticated user!", helpers.make_api_request, f"{url}/none", method="POST")
    refused("405 The method is not allowed for the requested URL.", helpers.make_api_request, url, method="PUT")
    refused("405 The method is not allowed for the requested URL.", helpers.make_api_request, url, method="DELETE")
    refused("404 The requested URL was not found", helpers.make_api_request, f"{site.base}/api/v1/none")
    refused("401", helpers.make_api_request, url, session_token="garbage")
    # Without a token the helpers send "Bearer None".
    holds("Bearer None is nobody", helpers.make_api_request(url, session_token=None).ok)


@check("requests.request_login")
def request_login(site):
    got = helpers.request_login(site.host, "reader", "reader-pass", **site.at)
    same("answer", (got["message"], got["user"]), ("Login successful", {"username": "reader", "fullname": "Read Only"}))
    refused("401 Invalid credentials", helpers.request_login, site.host, "nobody", "wrong", **site.at)
    refused("400 Missing username or password", helpers.request_login, site.host, "reader", "", **site.at)


@check("requests.request_check_username")
def request_check_username(site):
    same("reader", helpers.request_check_username(site.host, "reader", **site.at), True)
    same("READER", helpers.request_check_username(site.host, "READER", **site.at), True)
    same("nobody", helpers.request_check_username(site.host, "nobody", **site.at), False)


@check("requests.request_logout", "requests.request_token_validation", "requests.request_token_refresh")
def session(site):
    first = helpers.request_login(site.host, "reader", "reader-pass", **site.at)
    second = helpers.request_token_refresh(site.host, refresh_token=first["refresh_token"], **site.at)
    same("refreshed", second["message"], "Token refreshed successfully")
    token = {"session_token": second["access_token"], **site.at}
    got = helpers.request_token_validation(site.host, **token)
    same("validated", (got["message"], got["user"]["username"]), ("Token validation successful", "reader"))
    refused("401 Token validation failed", helpers.request_token_validation, site.host, session_token="garbage", **site.at)
    refused("401 Token validation failed", helpers.request_token_validation, site.host, session_token=second["refresh_token"], **site.at)
    refused("401 Invalid or expired refresh token", helpers.request_token_refresh, site.host, **site.at)
    same("logged out", helpers.request_logout(site.host, **token), (True, "Logout successful from reader"))
    refused("401 Logout failed", helpers.request_logout, site.host, **token)
    refused("401 Logout failed, no active session!", helpers.request_logout, site.host, **site.at)


@check("requests.request_api_token")
def request_api_token(site):
    got = helpers.request_api_token(site.host, 60, {"api_*": ["READ", "write"]}, **site.token())
    same("answer", (got["message"], "expiration date" in got), ("API Token generated successfully", True))
    holds("it is valid", helpers.request_token_validation(site.host, session_token=got["api_token"], **site.at))
    refused("400", helpers.request_api_token, site.host, 60, {"api_*": ["fly"]}, **site.token())
    refused('400 Missing "datasets" field', helpers.request_api_token, site.host, 60, None, **site.token())
    refused("401", helpers.request_api_token, site.host, 60, {"api_*": ["READ"]}, **site.at)


@check("requests.request_new_user")
def request_new_user(site):
    same("request_new_user", helpers.request_new_user(site.host, "carol", "carol-pass", "Carol", **site.token()), True)
    refused("409 Failed to create user: User 'carol' already exists",
            helpers.request_new_user, site.host, "carol", "carol-pass", "Carol", **site.token())
    refused("403", helpers.request_new_user, site.host, "dave", "dave-pass", "Dave",
            session_token=site.reader._access_token, **site.at)


@check("requests.request_scan_names_list", "requests.request_scans_info")
def request_scan_names_list(site):
    names = helpers.request_scan_names_list(site.host, **site.at)
    same("names", names, site.guest.list_scans())
    infos, again = helpers.request_scans_info(site.host, **site.token()), site.guest.list_scans_info()
    for info in infos + again:
        # That of the directory, where none was recorded: it moves when files.json is written, seconds after an upload.
        time.strptime(info["metadata"].pop("date"), "%Y-%m-%d %H:%M:%S")
    same("infos", infos, again)


@check("requests.request_scan_data", "requests.request_scan_tasks_fileset")
def request_scan_data(site):
    info = helpers.request_scan_data(site.host, ANALYZED, **site.at)
    same("id", info["id"], ANALYZED)
    same("tasks", helpers.request_scan_tasks_fileset(site.host, ANALYZED, **site.at), info["tasks_fileset"])
    refused("404 Unknown scan id 'no_such_scan'", helpers.request_scan_data, site.host, "no_such_scan", **site.at)
    prefixed = helpers.request_scan_data(site.host, ANALYZED, **site.short_at)
    same("thumbnailUri below a prefix", prefixed["thumbnailUri"], site.prefix + info["thumbnailUri"])


@check("requests.request_scan_image")
def request_scan_image(site):
    for path in sorted((site.tree / "real_plant" / "images").iterdir()):
        got = helpers.request_scan_image(site.host, "real_plant", "images", path.stem, **site.at)
        same(path.name, got, ("image/jpeg", "binary", path.read_bytes()))
    image = {"host": site.host, "scan_id": "real_plant", "fileset_id": "images", "file_id": "00000_rgb"}
    for size, want in (("thumb", (150, 113)), ("large", (1440, 1080)), (300, (300, 225)), ("96", (96, 72))):
        kind, encoding, content = helpers.request_scan_image(size=size, **image, **site.at)
        same("kind", (kind, encoding), ("image/jpeg", "binary"))
        same(f"pixels of {size}", Image.open(io.BytesIO(content)).size, want)
        text = helpers.request_scan_image(size=size, as_base64=True, **image, **site.at)
        same("as text", (text[0], text[1], base64.b64decode(text[2])), (kind, "base64", content))
    refused("400", helpers.request_scan_image, size="big", **image, **site.at)
    refused("404 Unknown scan id", helpers.request_scan_image, site.host, "no_such_scan", "images", "00000_rgb", **site.at)


@check("requests.request_refresh")
def request_refresh(site):
    ok, message = helpers.request_refresh(site.host, **site.at)
    holds(message, ok and message.startswith("Successfully reloaded entire database with "))
    same("one", helpers.request_refresh(site.host, ANALYZED, **site.at), (True, f"Successfully reloaded scan '{ANALYZED}'."))
    refused("404", helpers.request_refresh, site.host, "no_such_scan", **site.at)


@check("requests.request_archive_download")
def request_archive_download(site):
    want = {str(p.relative_to(site.tree / ANALYZED)): p.read_bytes() for p in (site.tree / ANALYZED).rglob("*") if p.is_file()}
    content, _ = helpers.request_archive_download(site.host, ANALYZED, **site.at)
    with tempfile.TemporaryDirectory() as temporary:
        path, _ = helpers.request_archive_download(site.host, ANALYZED, out_dir=temporary, **site.short_at)
        same("path", path, str(Path(temporary) / f"{ANALYZED}.zip"))
        for archive in (content, path):
            with zipfile.ZipFile(archive) as opened:
                same("first bad file", opened.testzip(), None)
                got = {name: opened.read(name) for name in opened.namelist() if name in want}
            holds("the archive has every file of the scan", got == want)
    refused("404 Could not find a scan named `no_such_scan`!", helpers.request_archive_download, site.host, "no_such_scan", **site.at)


@check("requests.request_archive_upload")
def request_archive_upload(site):
    with tempfile.TemporaryDirectory() as temporary:
        archive = shutil.make_archive(str(Path(temporary) / "scan"), "zip", site.tree / "real_plant")
        helpers.request_archive_upload(site.host, "sent_1", archive, **site.token())
    holds("it is there", "sent_1" in site.guest.list_scans())


@check("requests.request_dataset_file_upload")
def request_dataset_file_upload(site):
    site.scan("sent_2")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "notes.txt"
        path.write_bytes(b"some notes")
        got = helpers.request_dataset_file_upload(site.host, "sent_2", str(path), **site.token())
        holds(got.get("error", ""), "error" not in got)
    same("bytes", (site.tree / "sent_2" / "notes.txt").read_bytes(), b"some notes")
