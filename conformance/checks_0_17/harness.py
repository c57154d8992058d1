"""What the checks share: the servers, comparisons, and a look at every error."""
import io
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import numpy
import requests
from PIL import Image
from plantdb.client.plantdb_client import PlantDBClient
from requests import RequestException

ANALYZED = "real_plant_analyzed"
DEMO_SCANS = {"arabidopsis000", "real_plant", ANALYZED, "virtual_plant", "virtual_plant_analyzed"}

CHECKS = []


def check(*calls):
    """Registers a function as the check of calls."""
    def register(function):
        CHECKS.append((calls, function))
        return function
    return register


def same(what, got, want):
    if got != want:
        raise AssertionError(f"{what} = {got!r:.300}, want {want!r:.300}")


def holds(what, condition):
    if not condition:
        raise AssertionError(f"not so: {what}")


def refused(words, call, *args, **kwargs):
    """Checks that a call raises the server's words as its error."""
    try:
        got = call(*args, **kwargs)
    except RequestException as err:
        text = str(err)
        if isinstance(err, requests.HTTPError):  # the helpers drop the body
            text = f"{err.response.status_code} {err.response.json()['message']}"
        if words not in text:
            raise AssertionError(f"{call.__name__} was refused with {text!r:.300}, want {words!r}") from err
        return
    raise AssertionError(f"{call.__name__} = {got!r:.300}, want it refused with {words!r}")


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
        got = requests.get(f"{self.base}/api/v1/files/{scan}/{fileset}/{Path(file).stem}", timeout=10)
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


class Errors:
    """Looks at every answer of the servers that is an error."""

    def __init__(self):
        self.faults, self.seen, self.secrets = [], 0, set()
        send = requests.Session.send

        def watched(session, request, **kwargs):
            response = send(session, request, **kwargs)
            self.look(request, response)
            return response

        requests.Session.send = watched

    def look(self, request, response):
        self.remember(request, response)
        if response.status_code < 400:
            return
        self.seen += 1
        what = f"{request.method} {request.path_url}: {response.status_code}"
        try:
            body = response.json()
            if not (body["message"] and body["message"] == body["error"] and body["code"]):
                self.faults.append(f"{what} has not message, error and code: {response.text:.200}")
        except (ValueError, KeyError, TypeError):
            self.faults.append(f"{what} is not JSON with message, error and code: {response.text:.200}")
        if response.status_code == 401 and not response.headers.get("WWW-Authenticate", "").startswith("Bearer"):
            self.faults.append(f"{what} has no WWW-Authenticate")
        if any(secret in response.text for secret in self.secrets):
            self.faults.append(f"{what} tells a password or a token")

    def remember(self, request, response):
        """Keeps the tokens and passwords that were sent."""
        token = request.headers.get("Authorization", "")[len("Bearer "):]
        sent = [token]
        if "json" in request.headers.get("Content-Type", "") and request.body:
            body = json.loads(request.body)
            sent += [body.get("password"), body.get("refresh_token")]
        # A password such as "reader" is a user's name as well.
        self.secrets.update(s for s in sent if isinstance(s, str) and len(s) > 8)
