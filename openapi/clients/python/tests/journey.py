"""Does with the generated client what programs do, against the server at the given address.

    journey.py URL SCAN ELSEWHERE FULL CODE EXPIRED

The server runs with --test. SCAN is a name that nothing has yet, ELSEWHERE the address
of a server that is no PlantDB, with a line that breaks below /cut, FULL that of one
that has no room and says so by CODE, and EXPIRED an access token whose time is over.
"""
import io
import json
import os
import re
import sys
import tempfile
import time

import plantdb_api

from plantdb_api.exceptions import ApiException, ConflictException, ForbiddenException, NotFoundException, UnauthorizedException

# What a refusal says of what to do, by its code.
ADVICE = {"token_revoked": "log in again", "no_space": "Free space on the disk", "quota_exceeded": "Empty the trash"}
JPEG_MAGIC = b"\xff\xd8\xff"


class Api:
    """The operations, by nouns, with the token of one user."""

    def __init__(self, url, token=None):
        self.client = plantdb_api.ApiClient(plantdb_api.Configuration(host=url, access_token=token))
        self.assets = plantdb_api.AssetsApi(self.client)
        self.auth = plantdb_api.AuthApi(self.client)
        self.events = plantdb_api.EventsApi(self.client)
        self.files = plantdb_api.FilesApi(self.client)
        self.filesets = plantdb_api.FilesetsApi(self.client)
        self.scans = plantdb_api.ScansApi(self.client)


class Disturbed(io.FileIO):
    """A file that somebody changes before all of it is read."""

    def __init__(self, name, change):
        super().__init__(name)
        self.change = change

    def read(self):
        begin = super().read(1000)
        self.change(self.name)
        return begin + super().read()


def refusal(kind, code, call, advice=""):
    """The problem of a call that has to be refused so, with a text for people."""
    try:
        answer = call()
    except kind as e:
        problem = e.data
        assert isinstance(problem, plantdb_api.Problem), f"data = {problem!r}, want a Problem"
        assert problem.code == code, f"code = {problem.code!r}, want {code!r}"
        assert problem.message and problem.detail.startswith(problem.message) and problem.status == e.status, f"problem = {problem!r}"
        assert advice in problem.detail, f"detail = {problem.detail!r}, want {advice!r} in it"
        return problem
    raise AssertionError(f"answer = {answer!r}, want {kind.__name__} with {code}")


def pages(list_page, **filters):
    """All items, page by page, and how many pages there were."""
    found, number, after = [], 0, None
    while True:
        answer = list_page(after=after, **filters)
        found, number = found + answer.data, number + 1
        following = re.search(r'[?&]after=([^&>]+)[^>]*>; rel="next"', (answer.headers or {}).get("Link", ""))
        if not following:
            return found, number
        after = following[1]


def follow(events, after, kind, **filters):
    """The first event of a kind after a position, once it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        page = events.stream_events(after=after, **filters)
        for event in page.events:
            if event.kind == kind:
                return event
        after = page.next
        if not page.more:
            time.sleep(0.1)
    raise AssertionError(f"no event {kind}")


def main(url, scan, elsewhere, full, code, expired):
    guest = Api(url)
    login = guest.auth.login(plantdb_api.Credentials(username="admin", password="admin"))
    assert login.user.username == "admin" and login.access_token, f"login = {login!r}"
    api = Api(url, login.access_token)

    # What is there: a filter, and pages.
    everything = api.scans.list_scans()
    assert len(everything) > 2, f"list_scans() = {everything}"
    found, number = pages(api.scans.list_scans_with_http_info, limit=2)
    assert sorted(found) == sorted(everything) and number > 1, f"{number} pages with {found}, want {everything}"
    some = api.scans.list_scans(where='id = "real_plant"')
    assert some == ["real_plant"], f"list_scans(where) = {some}"
    assert api.scans.get_scan("real_plant").images, "get_scan(real_plant) shows no image"

    # A scan, a fileset and a file, and all of it back.
    now = api.events.stream_events(after="now").next
    metadata = {"study": {"title": "Journey"}, "count": 12345678901234567, "list": [1, 2.5, None]}
    created = api.scans.create_scan(scan, plantdb_api.NewScan(metadata=metadata))
    assert created.id == scan, f"create_scan = {created!r}"
    api.filesets.create_fileset(scan, "images")
    photo = api.assets.get_image("real_plant", "images", "00000_rgb", size="orig")
    assert photo.startswith(JPEG_MAGIC), "the image of the sample is no JPEG"
    api.files.create_file(scan, "images", "00000_rgb", ext="jpg", file=("plant.jpg", photo), metadata=json.dumps({"channel": "rgb"}))
    kept = api.scans.get_scan_metadata(scan).metadata
    assert {k: kept[k] for k in metadata} == metadata and kept["owner"] == "admin", f"metadata = {kept}"
    assert api.files.get_file_metadata(scan, "images", "00000_rgb").metadata["channel"] == "rgb"
    patched = api.scans.patch_scan_metadata(scan, {"count": None, "note": "Grüße"}).metadata
    assert "count" not in patched and patched["note"] == "Grüße", f"patched = {patched}"
    listed = api.filesets.list_files(scan, "images").files
    assert listed == ["00000_rgb"], f"list_files = {listed}"
    thumbnail = api.assets.get_image(scan, "images", "00000_rgb", size="thumb")
    assert thumbnail.startswith(JPEG_MAGIC) and len(thumbnail) < len(photo), "the thumbnail is no smaller JPEG"
    assert api.files.get_file(scan, "images", "00000_rgb") == photo, "the bytes came back changed"
    streamed = api.files.get_file_without_preload_content(scan, "images", "00000_rgb")
    assert b"".join(streamed.stream(4096)) == photo, "the bytes came back changed in pieces"

    # A download in two parts, of a file that changes between them.
    parts = (scan, "images", "parts")
    old, changed = b"[" + b"1, " * 1000 + b"1]", b"[2]"
    api.files.create_file(*parts, ext="json", file=("parts.json", old))
    first = api.files.get_file_with_http_info(*parts, range="bytes=0-999")
    assert (first.status_code, first.data) == (206, old[:1000]), f"the first part = {first!r}"
    tag = first.headers["ETag"]
    assert api.files.get_file(*parts, range="bytes=1000-", if_match=tag) == old[1000:], "the second part is another"
    refusal(ApiException, "not_modified", lambda: api.files.get_file(*parts, if_none_match=tag))
    refusal(ApiException, "range_not_satisfiable", lambda: api.files.get_file(*parts, range="bytes=1000000-"))
    api.files.delete_file(*parts)
    api.files.create_file(*parts, ext="json", file=("parts.json", changed))
    said = refusal(ApiException, "precondition_failed", lambda: api.files.get_file(*parts, range="bytes=1000-", if_match=tag))
    assert said.status == 412 and "changed" in said.message and "begin again" in said.message, f"said = {said!r}"
    assert api.files.get_file(*parts) == changed, "the new file did not come"

    # Of a file that changes while it is read nothing is kept.
    for change in (lambda name: os.truncate(name, 100), lambda name: os.truncate(name, 3000), lambda name: os.utime(name, (0, 0))):
        with tempfile.TemporaryDirectory() as directory:
            name = os.path.join(directory, "changes.txt")
            with open(name, "wb") as f:
                f.write(bytes(2000))
            plantdb_api.api_client.open = lambda name, _: Disturbed(name, change)
            refusal(ApiException, "file_changed", lambda: api.files.create_file(scan, "images", "changes", ext="txt", file=name), "upload it again")
            del plantdb_api.api_client.open
            refusal(NotFoundException, "unknown_file", lambda: api.files.get_file(scan, "images", "changes"))
            api.files.create_file(scan, "images", "changes", ext="txt", file=name)
            api.files.delete_file(scan, "images", "changes")

    event = follow(api.events, now, "file.created", scan=scan)
    assert (event.fileset, event.file, event.user) == ("images", "00000_rgb", "admin"), f"event = {event!r}"

    # The next pair of tokens; the old one is void.
    pair = guest.auth.refresh_token(plantdb_api.RefreshRequest(refresh_token=login.refresh_token))
    refusal(UnauthorizedException, "token_revoked", lambda: api.auth.get_profile(), ADVICE["token_revoked"])
    api = Api(url, pair.access_token)
    assert api.auth.get_profile().username == "admin"
    said = refusal(UnauthorizedException, "token_expired", lambda: Api(url, expired).auth.get_profile())
    assert said.message == "Signature has expired" and "log in again" in said.detail, f"said = {said!r}"

    # Refusals.
    refusal(UnauthorizedException, "token_missing", lambda: guest.scans.create_scan(scan + "_2"))
    reader = guest.auth.login(plantdb_api.Credentials(username="guest", password="guest"))
    refusal(ForbiddenException, "forbidden", lambda: Api(url, reader.access_token).scans.create_scan(scan + "_2"))
    refusal(NotFoundException, "unknown_scan", lambda: api.scans.get_scan_metadata("no_such_scan"))
    refusal(ConflictException, "scan_exists", lambda: api.scans.create_scan(scan))
    refusal(ApiException, "bad_where", lambda: api.scans.list_scans(where="id ="))
    refusal(ApiException, "precondition_failed", lambda: api.scans.patch_scan_metadata(scan, {"a": 1}, if_match='"stale"'))

    # What is no PlantDB, and nobody.
    for call in (
        lambda: Api(elsewhere).scans.list_scans(),
        lambda: Api(elsewhere).scans.create_scan(scan),
        lambda: Api(elsewhere).files.get_file(scan, "images", "00000_rgb"),
        lambda: Api(elsewhere + "/missing").scans.list_scans(),
        lambda: Api(elsewhere + "/json").scans.list_scans(),
        lambda: Api(elsewhere + "/json/number").scans.list_scans(),
        lambda: Api(elsewhere + "/json").files.get_file(scan, "images", "00000_rgb"),
    ):
        refusal(ApiException, "no_plantdb", call, "look at the address")
    nobody = refusal(ApiException, "no_answer", lambda: Api("http://127.0.0.1:1").scans.list_scans(), "look at the address")
    assert "127.0.0.1" in nobody.message and "refused" in nobody.message, f"nobody = {nobody!r}"

    # Half a file is never taken for whole.
    half = refusal(ApiException, "no_answer", lambda: Api(elsewhere + "/cut").files.get_file("real_plant", "images", "00000_rgb"))
    assert "IncompleteRead" in half.message, f"half a file = {half!r}"

    # No room.
    login = Api(full).auth.login(plantdb_api.Credentials(username="admin", password="admin"))
    crammed = Api(full, login.access_token)
    refusal(ApiException, code, lambda: crammed.files.create_file("full", "images", "large", ext="jpg", file=("large.jpg", bytes(1 << 20))),
            ADVICE[code])

    api.auth.logout()
    refusal(UnauthorizedException, "session_ended", lambda: api.auth.get_profile())


if __name__ == "__main__":
    main(*sys.argv[1:])
