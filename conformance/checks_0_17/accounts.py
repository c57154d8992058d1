"""PlantDBClient: accounts and tokens."""
import io
import threading
from concurrent.futures import ThreadPoolExecutor

from plantdb.client.plantdb_client import PlantDBClient
from plantdb.client.rest_api import requests as helpers
from plantdb.commons.auth.models import Permission

from table import DEMO_SCANS, check, holds, refused, same

from .harness import expire, noise


@check("PlantDBClient.login")
def login(site):
    client = site.client("guest")
    same("user", client._username, "guest")
    same("scans", set(client.list_scans()) >= DEMO_SCANS, True)
    stranger = PlantDBClient(site.base, prefix="")
    same("login with a wrong password", stranger.login("reader", "wrong-password"), False)
    same("token", stranger._access_token, None)
    same("login of nobody", stranger.login("nobody", "wrong-password"), False)
    same("login without a password", stranger.login("reader", ""), False)


@check("PlantDBClient.logout")
def logout(site):
    client = site.client("reader", "reader-pass")
    access, refresh = client._access_token, client._refresh_token
    same("logout", client.logout(), True)
    same("second logout", client.logout(), False)
    refused("401 Token validation failed", helpers.request_token_validation, site.host, session_token=access, **site.at)
    refused("401 Invalid or expired refresh token", helpers.request_token_refresh, site.host, refresh_token=refresh, **site.at)


@check("PlantDBClient.create_user")
def create_user(site):
    same("create_user", site.admin.create_user("Alice", "alice-pass", "Alice Martin"), True)
    same("create_user again", site.admin.create_user("alice", "alice-pass", "Another Alice"), False)
    same("create_user by a reader", site.reader.create_user("bob", "bob-pass-1", "Bob"), False)
    same("create_user by nobody", site.guest.create_user("bob", "bob-pass-1", "Bob"), False)
    same("user", site.client("alice", "alice-pass")._username, "alice")


@check("PlantDBClient.validate_token")
def validate_token(site):
    same("own token", site.admin.validate_token(site.admin._access_token), True)
    same("no token", PlantDBClient(site.base, prefix="").validate_token("garbage"), False)
    stranger = PlantDBClient(site.base, prefix="")
    same("another's token", stranger.validate_token(site.reader._access_token), True)
    same("user", stranger._username, "reader")


@check("PlantDBClient.refresh_token")
def refresh_token(site):
    client = site.client("reader", "reader-pass")
    before = client._access_token, client._refresh_token
    same("refresh_token", client.refresh_token(), True)
    holds("both tokens are new", client._access_token != before[0] and client._refresh_token != before[1])
    same("own token", client.validate_token(client._access_token), True)
    refused("401", helpers.request_token_validation, site.host, session_token=before[0], **site.at)
    same("without a token", PlantDBClient(site.base, prefix="").refresh_token(), False)
    client._refresh_token = "garbage"
    same("with garbage", client.refresh_token(), False)
    same("user", client._username, None)


@check("PlantDBClient.create_api_token")
def create_api_token(site):
    allowed = (Permission.READ, Permission.WRITE, Permission.CREATE)
    token = site.admin.create_api_token(3600, {"field_*": allowed})
    site.admin._api_token = None  # making one does not mean using it
    robot = PlantDBClient(site.base, prefix="", api_token=token)
    same("id", robot.create_scan("field_1")["id"], "field_1")
    refused("Token from User admin does not have required permissions", robot.create_scan, "house_1")
    same("life of no seconds", site.admin.create_api_token(0, {"field_*": allowed}), None)
    same("token made with a token", robot.create_api_token(60, {"field_*": allowed}), None)
    try:
        PlantDBClient(site.base, prefix="", api_token="garbage")
    except ValueError:
        return
    raise AssertionError("a client takes a garbage API token")


@check("PlantDBClient._request")
def refresh_unnoticed(site):
    """An access token runs out and nobody notices."""
    client = site.short_client()
    access, refresh = client._access_token, client._refresh_token
    expire(access)
    refused("401", helpers.request_token_validation, site.host, session_token=access, **site.short_at)
    same("id", client.create_scan("short_1")["id"], "short_1")
    holds("the client refreshed", client._access_token != access and client._refresh_token != refresh)
    same("user", client._username, "admin")
    client.create_fileset("images", "short_1")
    # The client has read the file by then and repeats the call without it.
    expire(client._access_token)
    refused("The file is empty", client.create_file, io.BytesIO(noise(1)), "a", "jpg", "short_1", "images")
    same("files", client.list_fileset_files("short_1", "images")["files"], [])
    client.create_file(io.BytesIO(noise(1)), "a", "jpg", "short_1", "images")
    same("bytes", site.bytes("short_1", "images", "a.jpg"), noise(1))


@check("PlantDBClient._request")
def refresh_together(site):
    """Four threads share a client whose token runs out, again and again.

    It refreshes without a lock: a thread may trade in the pair that another
    has just got, whose repeated call must pass all the same.
    """
    client, threads, rounds = site.short_client(), 4, 3
    client.create_scan("short_2")
    start = threading.Barrier(threads)

    def work(thread):
        try:
            for turn in range(rounds):
                if start.wait() == 0:
                    expire(client._access_token)
                start.wait()
                got = client.update_scan_metadata("short_2", {f"thread_{thread}": turn})
                same("metadata", got["metadata"][f"thread_{thread}"], turn)
        except threading.BrokenBarrierError:
            pass  # another thread failed, and says why
        except BaseException:
            start.abort()
            raise

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    same("user", client._username, "admin")
    same("logout", client.logout(), True)
