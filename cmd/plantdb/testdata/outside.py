"""Write into a tree as a program of PlantDB does that has it open, and say what
must be there afterwards.

outside.py DIR WHO COUNT     begins at the first line on stdin
"""
import json
import sys

from plantdb.commons.fsdb.core import FSDB

root, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = FSDB(root, no_auth=True)
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
outer = shared.create_fileset("set_" + who)
for n in range(count):
    for fileset in (images, outer, inner):
        add(fileset, f"{who}_{n}", n)
    own.set_metadata({"n": n})
    if n % 4 == 3:
        images.delete_file(f"{who}_{n - 1}")
        del there[f"shared/images/{who}_{n - 1}"]
db.delete_scan("doomed_" + who)
print(json.dumps(there), flush=True)
