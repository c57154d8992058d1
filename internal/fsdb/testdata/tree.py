"""Tell what upstream's FSDB finds in a tree, as JSON.

tree.py tell DIR          all scans and timelapses
tree.py watch DIR N       reload N times and fail if a scan is ever less than whole
tree.py dump              the documents on stdin as json.dump writes them
"""
import hashlib
import json
import sys

# Filled in by upstream when it loads a scan, whatever is on disk.
FILLED = ("object", "hardware", "acquisition_date")


def connect(path):
    from plantdb.commons.fsdb.core import FSDB

    try:
        db = FSDB(path, no_auth=True)
        db.connect()
    except TypeError:  # 0.14 knows no such thing, and lets anybody read
        db = FSDB(path)
        db.connect("anybody")
    return db


def tell(path):
    db = connect(path)
    scans = {}
    for scan in db.scans.values():
        scans[scan.id] = {
            "metadata": {k: v for k, v in scan.metadata.items() if k not in FILLED},
            "filesets": [
                {
                    "id": fs.id,
                    "metadata": fs.metadata,
                    "files": [
                        {
                            "id": f.id,
                            "name": f.filename,
                            "metadata": f.metadata,
                            "sha256": hashlib.sha256(f.read_raw()).hexdigest(),
                        }
                        for f in fs.files.values()
                    ],
                }
                for fs in scan.filesets.values()
            ],
        }
    timelapses = {}
    if hasattr(db, "list_timelapses"):
        for tl in map(db.get_timelapse, db.list_timelapses()):
            timelapses[tl.id] = {"created_at": tl.created_at, "owner": tl.owner, "metadata": tl.metadata}
    json.dump({"scans": scans, "timelapses": timelapses}, sys.stdout)


def watch(path, times):
    db = connect(path)
    seen = 0
    for _ in range(times):
        db.reload()
        scan = db.scans["busy"]
        files = scan.filesets["images"].files
        assert scan.metadata["payload"] == "x" * scan.metadata["length"], "half of the metadata"
        assert len(files) >= seen, f"{len(files)} files after {seen}"
        for f in files.values():
            assert f.metadata["n"] == int(f.read_raw().split()[-1]), "half of a file"
        seen = len(files)
    json.dump({"seen": seen}, sys.stdout)


def dump():
    documents = json.load(sys.stdin)
    json.dump([[json.dumps(d, sort_keys=True, indent=4, separators=(",", ": ")), json.dumps(d, indent=4)] for d in documents], sys.stdout)


if __name__ == "__main__":
    if sys.argv[1] == "tell":
        tell(sys.argv[2])
    elif sys.argv[1] == "watch":
        watch(sys.argv[2], int(sys.argv[3]))
    else:
        dump()
