"""Write into a tree as a program of PlantDB does that has it open, and say what
must be there afterwards.

outside.py DIR WHO COUNT     begins at the first line on stdin
"""
import json
import sys

from plantdb.commons.fsdb.core import FSDB

root, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
try:
    db, locks = FSDB(root, no_auth=True), True
except TypeError:  # 0.14, which takes no locks: of what others write it may only read
    db, locks = FSDB(root), False
db.connect()
shared = db.get_scan("shared")  # in memory from here on, whatever others write
images = shared.get_fileset("images")
print("ready", flush=True)
sys.stdin.readline()

there = {}


def add(fileset, name, n):
    f = fileset.create_file(name)
    f.write(f"{name} of {who}", "txt")
    f.set_metadata({"n": n})
    there[f"{fileset.scan.id}/{fileset.id}/{name}"] = f"{name} of {who}"


own = db.create_scan("of_" + who)
inner = own.create_fileset("images")
filesets = (images, shared.create_fileset("set_" + who), inner) if locks else (inner,)
for n in range(count):
    for fileset in filesets:
        add(fileset, f"{who}_{n}", n)
    own.set_metadata({"n": n})
    if not locks:
        db.reload("shared")
        for f in db.get_scan("shared").get_fileset("images").get_files():
            assert f.read_raw(), f.id
    elif n % 4 == 3:
        images.delete_file(f"{who}_{n - 1}")
        del there[f"shared/images/{who}_{n - 1}"]
db.delete_scan("doomed_" + who)
print(json.dumps(there), flush=True)
