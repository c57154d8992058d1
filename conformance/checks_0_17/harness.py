"""What the checks of 0.17 share beside table.py: the servers, and data to send."""
import io
import time
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import numpy
import requests
from PIL import Image
from plantdb.client.plantdb_client import PlantDBClient

from table import holds, same


class Site:
    """The servers under test and the people who use them."""

    def __init__(self, tree, base, short):
        self.tree = Path(tree)
        self.base = base
        parts = urlsplit(short)
        self.short, self.prefix = f"{parts.scheme}://{parts.netloc}", parts.path
        parts = urlsplit(base)
        self.host = parts.hostname
        self.at = {"port": parts.port, "prefix": "", "ssl": False}
        parts = urlsplit(short)
        self.short_at = {"port": parts.port, "prefix": parts.path, "ssl": False}
        self.admin = self.client("admin")
        self.guest = PlantDBClient(base, prefix="")
        holds("a user can be made", self.admin.create_user("reader", "reader-pass", "Read Only"))
        self.reader = self.client("reader", "reader-pass")

    def client(self, user, password=None):
        client = PlantDBClient(self.base, prefix="")
        holds(f"{user} can log in", client.login(user, password or user))
        return client

    def short_client(self):
        client = PlantDBClient(self.short, prefix=self.prefix)
        holds("admin can log in", client.login("admin", "admin"))
        return client

    def token(self):
        """The session token of the admin, for the helpers."""
        return {"session_token": self.admin._access_token, **self.at}

    def scan(self, name, **metadata):
        self.admin.create_scan(name, metadata)
        self.admin.create_fileset("images", name)
        return name

    def bytes(self, scan, fileset, file, **at):
        """The bytes that the server sends, which have to be those on the disk."""
        got = requests.get(f"{self.base}/api/v1/files/{scan}/{fileset}/{Path(file).stem}", timeout=120)
        got.raise_for_status()
        same("bytes on the disk", (self.tree / scan / fileset / file).read_bytes(), got.content)
        return got.content


def expire(token):
    """Waits until a token has run out."""
    end = jwt.decode(token, options={"verify_signature": False})["exp"]
    while time.time() <= end:
        time.sleep(max(0.0, end - time.time()) + 0.01)


def noise(seed, size=136_000):
    return numpy.random.default_rng(seed).bytes(size)


def picture(seed):
    pixels = numpy.frombuffer(noise(seed, 60 * 40 * 3), numpy.uint8).reshape(40, 60, 3)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
