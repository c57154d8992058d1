"""PlantDBClient: filesets and files."""
import io
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from plantdb.client.plantdb_client import PlantDBClient
from plantdb.commons.auth.models import Permission

from table import check, refused, same

from .harness import noise, picture


@check("PlantDBClient.create_fileset", "PlantDBClient.list_scan_filesets")
def filesets(site):
    site.admin.create_scan("sorted_1")
    got = site.admin.create_fileset("images", "sorted_1", {"channels": ["rgb"], "kind": "raw"})
    same("answer", got, {"message": "Fileset created successfully in 'sorted_1'.", "id": "images"})
    site.admin.create_fileset("masks", "sorted_1", {"kind": "made"})
    same("filesets", site.guest.list_scan_filesets("sorted_1"), {"filesets": ["images", "masks"]})
    same("by a filter", site.guest.list_scan_filesets("sorted_1", '{"kind": "made"}'), {"filesets": ["masks"]})
    same("by a regular expression", site.guest.list_scan_filesets("sorted_1", '{"kind": "r.w"}', fuzzy=True), {"filesets": ["images"]})
    refused("Fileset id 'images' already exists in scan 'sorted_1'!", site.admin.create_fileset, "images", "sorted_1")
    refused("Unknown scan id 'no_such_scan'", site.admin.create_fileset, "images", "no_such_scan")
    refused("No authenticated user!", site.guest.create_fileset, "more", "sorted_1")
    refused("User reader does not have required permissions", site.reader.create_fileset, "more", "sorted_1")


@check("PlantDBClient.create_file")
def create_file(site):
    site.scan("filled_1")
    where = {"scan_id": "filled_1", "fileset_id": "images"}
    got = site.admin.create_file(io.BytesIO(picture(1)), "from_memory", ".PNG", metadata={"channel": "rgb"}, **where)
    same("answer", got, {"message": "File created and written successfully in fileset 'images'.", "id": "from_memory"})
    same("bytes", site.bytes("filled_1", "images", "from_memory.png"), picture(1))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "cloud.ply"
        path.write_bytes(b"ply\r\n\x00\xff\n" + noise(2))
        site.admin.create_file(path, "from_path", "ply", **where)
        site.admin.create_file(str(path), "from_text", "ply", metadata="{'a': 'it\\'s', 'b': [True, None]}", **where)
        for name in ("from_path.ply", "from_text.ply"):
            same("bytes", site.bytes("filled_1", "images", name), path.read_bytes())
    same("metadata", site.guest.get_file_metadata("filled_1", "images", "from_text", "b"), {"metadata": [True, None]})
    refused("File id 'from_path' already exists", site.admin.create_file, io.BytesIO(b"x"), "from_path", "txt", **where)
    refused("Invalid file extension. Must be one of: .jpg", site.admin.create_file, io.BytesIO(b"x"), "virus", "exe", **where)
    refused("Invalid metadata format", site.admin.create_file, io.BytesIO(b"x"), "told", "txt", metadata="{", **where)
    refused("Unknown fileset id 'none'", site.admin.create_file, io.BytesIO(b"x"), "lost", "txt", "filled_1", "none")
    refused("No authenticated user!", site.guest.create_file, io.BytesIO(b"x"), "anonymous", "txt", **where)
    refused("User reader does not have required permissions", site.reader.create_file, io.BytesIO(b"x"), "mine", "txt", **where)
    on_disk = sorted(p.name for p in (site.tree / "filled_1" / "images").iterdir())
    same("files on the disk", on_disk, ["from_memory.png", "from_path.ply", "from_text.ply"])


@check("PlantDBClient.create_file")
def create_files_in_parallel(site):
    """The scanner's way: an API token and four uploads at a time."""
    token = site.admin.create_api_token(1800, {"scanned_*": [Permission.READ, Permission.WRITE, Permission.CREATE]})
    site.admin._api_token = None
    scanner = PlantDBClient(site.base, prefix="", api_token=token)
    scanner.create_scan("scanned_1", {"biologicalMaterial": {"biologicalMaterialId": "Col-0_A1"}})
    scanner.create_fileset("images", "scanned_1")
    files = {f"{camera}-{i:05d}": noise(1000 * camera + i) for camera in range(4) for i in range(6)}

    def upload(item):
        name, content = item
        return scanner.create_file(io.BytesIO(content), name, "jpg", "scanned_1", "images", {"channel": "rgb", "name": name})

    with ThreadPoolExecutor(4) as pool:
        same("ids", [got["id"] for got in pool.map(upload, files.items())], list(files))
    same("files", sorted(scanner.list_fileset_files("scanned_1", "images")["files"]), sorted(files))
    for name, content in files.items():
        same("bytes", site.bytes("scanned_1", "images", f"{name}.jpg"), content)
        same("metadata", scanner.get_file_metadata("scanned_1", "images", name, "name"), {"metadata": name})


@check("PlantDBClient.list_fileset_files")
def list_fileset_files(site):
    site.scan("filled_2")
    for n, channel in enumerate(("rgb", "rgb", "mask")):
        site.admin.create_file(io.BytesIO(b"x"), f"{n:05d}_{channel}", "txt", "filled_2", "images", {"channel": channel})
    same("files", site.guest.list_fileset_files("filled_2", "images"), {"files": ["00000_rgb", "00001_rgb", "00002_mask"]})
    same("by a filter", site.guest.list_fileset_files("filled_2", "images", '{"channel": "mask"}'), {"files": ["00002_mask"]})
    same("by a regular expression", site.guest.list_fileset_files("filled_2", "images", '{"channel": "r.b"}', fuzzy=True),
         {"files": ["00000_rgb", "00001_rgb"]})
    refused("Unknown fileset id 'none'", site.guest.list_fileset_files, "filled_2", "none")
