"""Use a tree by plantdb-commons 0.14.5, 0.15.1 or 0.17.0, as programs of a lab do.

    going_back.py make DIR PASSWORD    makes a tree with an account, alice, and a scan
    going_back.py look DIR PASSWORD    tells what is in it, and fails if alice cannot log in
    going_back.py write DIR PASSWORD   writes into it
    going_back.py ask URL              lists, reads and writes it by the client, at the server of the generation

What it tells is an object on the last line: of each scan, scan/fileset and
scan/fileset/file the metadata, and of files the SHA-256 too.
"""
import hashlib
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path

import requests
from plantdb.client.plantdb_client import PlantDBClient
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


def ask(url):
    client = PlantDBClient(url, prefix="")
    newest = version("plantdb-commons").startswith("0.17")
    infos = requests.get(url + ("/api/v1/scans/info" if newest else "/scans_info")).json()
    scans = {"before", "plain", "with.dots", "migrated", "gone", "copied", "night_1"}
    assert {info["id"] for info in infos} == set(client.list_scans()) == scans, infos
    image = requests.get(url + ("/api/v1/assets" if newest else "") + "/image/night_1/images/00000_rgb?size=thumb")
    assert image.status_code == 200 and image.content.startswith(b"\xff\xd8"), image
    assert client.get_scan_metadata("plain")["metadata"]["object"]["plant_id"] == "p7"
    if not OLDEST:
        assert client.login("admin", "admin")
    client.create_scan("by_client", {"season": 4})
    client.create_fileset("images", "by_client")
    client.create_file(io.BytesIO(b"one"), "one", "txt", "by_client", "images", {"shot_id": "one"})
    client.update_scan_metadata("plain", {"asked": True})


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
    {"make": make, "look": look, "write": write, "ask": ask}[sys.argv[1]](*sys.argv[2:])
