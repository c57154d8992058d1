"""PlantDBClient: scans, metadata and timelapses."""
import io
import shutil

from plantdb.client.rest_api import requests as helpers

from table import ANALYZED, DEMO_SCANS, check, holds, refused, same

from .harness import picture


@check("PlantDBClient.refresh")
def refresh(site):
    shutil.copytree(site.tree / "real_plant", site.tree / "brought_1")
    same("refresh", site.guest.refresh(), True)
    holds("a scan put into the directory is there", "brought_1" in site.guest.list_scans())
    shutil.copytree(site.tree / "real_plant", site.tree / "brought_2")
    same("refresh of one scan", site.guest.refresh("brought_2"), True)
    holds("it is there", "brought_2" in site.guest.list_scans())
    same("refresh of an unknown scan", site.guest.refresh("no_such_scan"), False)


@check("PlantDBClient.list_scans")
def list_scans(site):
    site.scan("listed_1", crop="maize", rows=12)
    site.scan("listed_2", crop="wheat", rows=12)
    for client in (site.guest, site.reader, site.admin):
        holds("all scans", DEMO_SCANS | {"listed_1", "listed_2"} <= set(client.list_scans()))
    same("by a filter", site.guest.list_scans('{"crop": "maize"}'), ["listed_1"])
    same("by a regular expression", site.guest.list_scans('{"crop": "m.*e"}', fuzzy=True), ["listed_1"])
    same("by two keys", site.guest.list_scans('{"crop": "wheat", "rows": 12}'), ["listed_2"])
    same("by a filter of nothing", site.guest.list_scans('{"crop": "rye"}'), [])
    same("by words", site.guest.list_scans("maize"), ["listed_1"])
    # requests makes the keys of a dict out of it
    same("by a dict", set(site.guest.list_scans({"crop": "rye"})), {"listed_1", "listed_2"})
    refused("Invalid JSON format", site.guest.list_scans, '{"crop": ')


@check("PlantDBClient.list_scans_info")
def list_scans_info(site):
    infos = {info["id"]: info for info in site.guest.list_scans_info()}
    same("ids", set(infos), set(site.guest.list_scans()))
    same("info", helpers.request_scan_data(site.host, ANALYZED, **site.at), infos[ANALYZED])
    info = infos[ANALYZED]
    same("images", info["images"], sorted(p.name for p in (site.tree / ANALYZED / "images").iterdir()))
    same("nbPhotos", info["metadata"]["nbPhotos"], len(info["images"]))
    same("species", info["metadata"]["species"], "Arabidopsis thaliana")
    holds("facts", info["hasPointCloud"] and info["hasTriangleMesh"] and info["hasCurveSkeleton"]
          and info["hasTreeGraph"] and info["hasAnglesAndInternodes"] and not info["isVirtual"])
    same("poses", len(info["camera"]["poses"]), len(info["images"]))
    site.scan("informed_1", plot="north")
    same("by a filter", [i["id"] for i in site.guest.list_scans_info({"plot": "north"})], ["informed_1"])
    same("by a regular expression", [i["id"] for i in site.guest.list_scans_info({"plot": "n.*"}, fuzzy=True)], ["informed_1"])
    same("by a filter of nothing", site.guest.list_scans_info({"plot": "south"}), [])


@check("PlantDBClient.create_scan")
def create_scan(site):
    got = site.admin.create_scan("created_1", {"note": "\u2013 \u00e9 \U0001f331", "deep": {"n": [1, 2.5, None, True]}})
    same("answer", (got["message"], got["id"]), ("Scan created successfully", "created_1"))
    read = site.guest.get_scan_metadata("created_1")["metadata"]
    same("metadata", {k: read[k] for k in ("note", "deep", "owner")},
         {"note": "\u2013 \u00e9 \U0001f331", "deep": {"n": [1, 2.5, None, True]}, "owner": "admin"})
    refused("Scan id 'created_1' already exists", site.admin.create_scan, "created_1")
    refused("Invalid scan identifier", site.admin.create_scan, "-created")
    refused("No authenticated user!", site.guest.create_scan, "created_2")
    refused("User reader does not have required permissions", site.reader.create_scan, "created_2")
    refused("Unknown timelapse id 'no_such_series'", site.admin.create_scan, "created_2", {"timelapse": {"id": "no_such_series"}})
    holds("what was refused is not there", not (site.tree / "created_2").exists())


@check("PlantDBClient.get_scan_metadata", "PlantDBClient.update_scan_metadata")
def scan_metadata(site):
    site.scan("described_1", a={"b": 1, "c": 2}, kept=1)
    metadata(site, ("described_1",), "scan")


@check("PlantDBClient.get_fileset_metadata", "PlantDBClient.update_fileset_metadata")
def fileset_metadata(site):
    site.scan("described_2")
    site.admin.create_fileset("told", "described_2", {"a": {"b": 1, "c": 2}, "kept": 1})
    metadata(site, ("described_2", "told"), "fileset")


@check("PlantDBClient.get_file_metadata", "PlantDBClient.update_file_metadata")
def file_metadata(site):
    site.scan("described_3")
    site.admin.create_file(io.BytesIO(b"text"), "told", "txt", "described_3", "images", {"a": {"b": 1, "c": 2}, "kept": 1})
    metadata(site, ("described_3", "images", "told"), "file")


def metadata(site, where, noun):
    """Reads and changes the metadata of a noun that has a, kept and no z."""
    def read(*args):
        return getattr(site.guest, f"get_{noun}_metadata")(*where, *args)

    def update(client, *args, **kwargs):
        return getattr(client, f"update_{noun}_metadata")(*where, *args, **kwargs)

    same("a", read()["metadata"]["a"], {"b": 1, "c": 2})
    same("a by key", read("a"), {"metadata": {"b": 1, "c": 2}})
    same("a missing key", read("z"), {"metadata": {}})
    got = update(site.admin, {"a": {"b": 9}, "z": None})["metadata"]
    same("answer", got, read()["metadata"])
    same("metadata", (got["a"], got["kept"], got["z"]), ({"b": 9}, 1, None))
    created = got["created"]
    got = update(site.admin, {"a": 1, "created": "yesterday"}, replace=True)["metadata"]
    holds("the other keys are gone", "kept" not in got and "z" not in got)
    same("metadata", (got["a"], got["created"]), (1, created))
    refused("No authenticated user!", update, site.guest, {"a": 2})
    refused("User reader does not have required permissions", update, site.reader, {"a": 2})
    refused("Metadata must be a dictionary", update, site.admin, "text")
    same("a", read("a"), {"metadata": 1})
    refused("Unknown scan id 'no_such_scan'", getattr(site.guest, f"get_{noun}_metadata"), "no_such_scan", *where[1:])


@check("PlantDBClient.list_timelapses", "PlantDBClient.create_timelapse", "PlantDBClient.get_timelapse")
def timelapses(site):
    got = site.admin.create_timelapse("series_1", {"interval": "a day"})
    same("answer", (got["id"], got["owner"], got["scans"], got["counts"]), ("series_1", "admin", [], {"scans": 0}))
    for index, hour in ((1, "11"), (0, "09")):
        scheduled = f"2026-09-03T{hour}:00:00Z"
        site.admin.create_scan(f"member_{index}", {"timelapse": {"id": "series_1", "scheduled": scheduled, "index": index}})
    same("timelapses", site.guest.list_timelapses(), ["growth_series", "series_1"])
    got = site.guest.get_timelapse("series_1")
    same("timelapse", (got["scans"], got["counts"], got["metadata"]["interval"]), (["member_1", "member_0"], {"scans": 2}, "a day"))
    same("scans by time", site.guest.list_scans(timelapse_id="series_1", sort="timelapse.scheduled"), ["member_0", "member_1"])
    infos = site.guest.list_scans_info(timelapse_id="series_1", sort="timelapse.scheduled")
    same("infos by time", [i["id"] for i in infos], ["member_0", "member_1"])
    refused("Timelapse id 'series_1' already exists", site.admin.create_timelapse, "series_1")
    refused("Timelapse id 'member_0' already exists", site.admin.create_timelapse, "member_0")
    refused("Unknown timelapse id 'no_such_series'", site.guest.get_timelapse, "no_such_series")
    refused("No authenticated user!", site.guest.create_timelapse, "series_2")
    # The bytes of a member, which on the disk lies in the timelapse.
    site.admin.create_fileset("images", "member_0")
    site.admin.create_file(io.BytesIO(picture(5)), "a", "png", "member_0", "images")
    _, _, got = helpers.request_scan_image(site.host, "member_0", "images", "a", **site.at)
    same("bytes", got, (site.tree / "series_1" / "member_0" / "images" / "a.png").read_bytes())


@check("PlantDBClient.delete_timelapse")
def delete_timelapse(site):
    site.admin.create_timelapse("series_to_delete")
    site.admin.create_scan("member_to_delete", {"timelapse": {"id": "series_to_delete"}})
    refused("Timelapse 'series_to_delete' is not empty", site.admin.delete_timelapse, "series_to_delete")
    refused("User reader does not have required permissions", site.reader.delete_timelapse, "series_to_delete", recursive=True)
    refused("Unknown timelapse id 'no_such_series'", site.admin.delete_timelapse, "no_such_series")
    same("delete_timelapse", site.admin.delete_timelapse("series_to_delete", recursive=True), True)
    holds("it is gone", "series_to_delete" not in site.guest.list_timelapses())
    holds("its scan is gone", "member_to_delete" not in site.guest.list_scans())
