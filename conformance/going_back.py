"""Use a tree by plantdb-commons 0.14.5, 0.15.1 or 0.17.0, as programs of a lab do.

    going_back.py make DIR PASSWORD    makes a tree with an account, alice, and a scan
    going_back.py look DIR PASSWORD    tells what is in it, and fails if alice cannot log in
    going_back.py write DIR PASSWORD   writes into it

What it tells is an object on the last line: of each scan, scan/fileset and
scan/fileset/file the metadata, and of files the SHA-256 too.
"""
import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

from plantdb.commons.fsdb.core import FSDB

OLDEST = version("plantdb-commons").startswith("0.14")  # which has neither roles nor sessions


def connect(path, password):
    if OLDEST:
        db = FSDB(path)
        db.connect("alice", password)
    else:
        db = FSDB(path, no_auth=True)
        db.connect()
    return db


def make(path, password):
    (Path(path) / "romidb").touch()
    db = FSDB(path)
    if OLDEST:
        db.create_user("alice", "Alice Martin", password)
        db.connect("alice", password)
    else:
        db.connect()
        db.login("admin", "admin")
        db.create_user("alice", "Alice Martin", password)
    add(db.create_scan("before", {"object": {"species": "Mirabilis jalapa"}, "season": 1}))


def add(scan):
    images = scan.create_fileset("images")
    images.set_metadata({"channels": ["rgb"]})
    add_file(images, "one")


def add_file(fileset, name):
    f = fileset.create_file(name)
    f.write(f"{name} of {fileset.scan.id}", "txt")
    f.set_metadata({"shot_id": name})


def write(path, password):
    db = connect(path, password)
    add(db.create_scan("by_python", {"season": 2}))
    for name in ("plain", "with.dots", "night_1"):
        scan = db.get_scan(name)
        scan.set_metadata({"seen": "by Python"})
        images = scan.get_fileset("images")
        images.set_metadata({"seen": ["by", "Python"]})
        images.get_file("00000_rgb").set_metadata({"seen": {"by": "Python"}})
        add_file(images, "by_python")
    db.get_scan("copied").get_fileset("images").delete_file("00000_rgb")


def look(path, password):
    db = connect(path, password)
    if OLDEST:
        assert db.validate_user("alice", password), "alice cannot log in"
        assert not db.validate_user("admin", password), "admin has a password here"
        # Programs of 0.14 list what is their user's, unless they ask for all.
        assert "before" in db.list_scans() and "plain" not in db.list_scans(), db.list_scans()
        listed = db.list_scans(owner_only=False)
    else:
        own = FSDB(path)
        own.connect()
        assert own.login("alice", password), "alice cannot log in"
        listed = own.list_scans(owner_only=False)
    assert sorted(listed) == sorted(db.scans), listed
    told = {}
    for scan in db.scans.values():
        told[scan.id] = {"metadata": scan.get_metadata()}
        for fileset in scan.get_filesets():
            told[f"{scan.id}/{fileset.id}"] = {"metadata": fileset.get_metadata()}
            for f in fileset.get_files():
                told[f"{scan.id}/{fileset.id}/{f.id}"] = {
                    "metadata": f.get_metadata(), "sha256": hashlib.sha256(f.read_raw()).hexdigest()}
    print(json.dumps(told))


if __name__ == "__main__":
    {"make": make, "look": look, "write": write}[sys.argv[1]](*sys.argv[2:])
