"""What Schemathesis has to know of this server.

The document says what a request looks like; here is what else belongs to a
request that is to succeed, how bodies that are no JSON are written, and where a
check is wrong about this API, each with its reason.
"""

import atexit
import collections
import io
import itertools
import json
import os
import re
import urllib.request
import zipfile

import schemathesis
from hypothesis import strategies
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import JsonSchemaError
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import RejectedPositiveData
from schemathesis.specs.openapi.stateful.dependencies import schemas as dependencies


def interesting(schema, judge=dependencies._is_interesting_schema):
    """The version that is pinned fails on a list of types below anyOf, where it
    looks for what stateful tests may use: number or null is a number to it."""
    if isinstance(schema.get("type"), list):
        schema = {**schema, "type": schema["type"][0]}
    return judge(schema)


dependencies._is_interesting_schema = interesting

SERVER = os.environ["FUZZ_SERVER"]
# A JSON object: a token, or the names and passwords of two accounts of a role.
ACTOR = json.loads(os.environ["FUZZ_ACTOR"])

# Operations that look at sessions or end them. The second account calls them,
# so that the first, which calls all others, stays logged in.
OF_SESSIONS = {"list-sessions", "end-session", "end-sessions", "login", "logout", "delete-login", "logout-delete", "change-password"}


class Account:
    """A user whose access token is good whenever it is asked for."""

    def __init__(self, username, password):
        self.username, self.password, self.token = username, password, None

    def bearer(self):
        if self.token is None:
            self.token = post("/auth/login", {"username": self.username, "password": self.password})["access_token"]
        return "Bearer " + self.token


def post(path, body):
    request = urllib.request.Request(
        SERVER + "/api/v1" + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


ACCOUNTS = [Account(**account) for account in ACTOR.get("accounts", [])]


def bearer(operation):
    if "token" in ACTOR:
        return "Bearer " + ACTOR["token"]
    return ACCOUNTS[operation in OF_SESSIONS].bearer()


if ACTOR:

    @schemathesis.auth()
    class Bearer:
        def get(self, case, context):
            return bearer

        def set(self, case, data, context):
            case.headers["Authorization"] = bearer(name_of(case))


def id_of(case):
    return case.operation.definition.raw["operationId"]


def name_of(case):
    """The name of the operation, for which rules are the same under older paths."""
    return re.sub(r"-01[45]$", "", id_of(case))


# Requests that are well-formed by the document and refused with 400 all the
# same, by the code of the answer, and why the document cannot say so.
BEYOND_SCHEMA = {
    "invalid_name": "released as texts; names that are there may have any form, others may not",
    "user_name": "released as a text; the rule is in the description",
    "group_name": "the same",
    "missing_username": "released as a parameter that may be left out",
    "bad_sort": "released as a text, for old clients sort by what there never was",
    "api_token": "released as an object and a list of texts; what they have to hold is in the description",
    "invalid_digest": "a header in the form of RFC 9530",
    "upload_length": "a number in a header, as tus has it",
    "upload_offset": "the same",
    "upload_checksum": "a header in the form that tus gives it",
    "bad_cursor": "a cursor is what a page before has handed out",
    "bad_event_id": "a position is what the stream has handed out",
    "bad_where": "an expression in a language of its own",
    "bad_filter": "JSON or a regular expression, in a text",
    "bad_tags": "a bound of bytes, where the schema counts characters, and no control characters",
    "bad_sharing": "names of groups that are there",
    "unknown_owner": "the name of a user who is there",
    "guest_user": "one user is not like the others",
    "digest_mismatch": "a digest of the bytes that are sent",
    "invalid_if_match": "a header in the form of RFC 9110",
    "no_extension": "released as a text; an empty one counts as missing, as upstream has it",
    "bad_extension": "released as a text; which ones are taken is a setting",
    "empty_file": "released as any bytes",
    "invalid_metadata": "JSON, in a text of a form",
    "bad_biology": "sections of MIAPPE in metadata that may hold anything else",
    "name_reserved": "names that mean something else",
    "password_rule": "a setting, and a list of passwords that anybody would try",
    "archive_invalid": "bytes that have to be a zip",
    "archive_name": "the name of the file in a form",
    "archive_type": "the type of the file in a form",
    "bad_size": "released as a text, for upstream takes words and numbers",
    "invalid_token_exp": "released as a number without a bound",
    "bad_webhook_description": "a bound of bytes, where the schema counts characters",
    "unknown_scan": "the 400 of upstream for outputs of a scan that is not there",
    "empty_file_path": "a path of nothing but blanks",
    "invalid_chunk_size": "a number in a header, as upstream has it",
    "pieces": "the number of the header and the length of the body",
    "archive_structure": "what has to be in a zip",
    "scan_exists": "the 400 of upstream for what is a conflict",
    "missing_fields": "released as texts of any length; empty ones count as missing, as upstream has it",
    "missing_token": "released as a text of any length; an empty one counts as missing",
    "missing_refresh_token": "the same",
    "user_fullname": "released as a text of any length",
    "bad_webhook_url": "what a URL is, and to where one may lead",
    "webhook_address": "to where a URL leads",
    "name_invalid": "released as a text; the rule of names is in its description",
    "bad_webhook_kinds": "what names of kinds look like, in texts that may grow",
    "upload_metadata": "a header in the form that tus gives it",
}

# Operations that take bodies which the document does not name, and why.
ANY_BODY = {
    "logout": "old clients log out with any body, and shall be logged out",
    "delete-login": "the same operation",
    "logout-delete": "the same under an older path",
}

# Operations to which a body that is no JSON is none, and why.
NO_JSON = {
    "create-scan": "as upstream has it",
    "create-fileset": "the same",
}

# Operations whose answers are not held against their schema, and why.
NO_SCHEMA = {
    "get-asset": "a file that is JSON is bytes like any other, and the schema is that of bytes",
    "get-file": "the same",
    "stream-events": "OpenAPI 3.1 describes a stream as the one text that it is, not its events",
}


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("files.json", json.dumps({"filesets": [{"id": "images", "files": []}]}))
        z.writestr("metadata/metadata.json", "{}")
    return file.getvalue()


schemathesis.openapi.media_type("application/zip", strategies.just(archive()))


@schemathesis.serializer("application/x-ndjson")
def as_lines(context, value):
    return {"data": json.dumps(value).encode() + b"\n"}


@schemathesis.serializer("application/offset+octet-stream")
def as_bytes(context, value):
    return {"data": value if isinstance(value, bytes) else str(value).encode()}


@schemathesis.deserializer("application/x-ndjson")
def first_line(context, response):
    return json.loads(response.content.split(b"\n")[0])


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """False drops a failure."""
    if isinstance(failure, RejectedPositiveData):
        code = code_of(response)
        return response.status_code != 400 or not (code in BEYOND_SCHEMA or code == "broken_upload" and no_header(response))
    if isinstance(failure, AcceptedNegativeData):
        return not (name_of(case) in ANY_BODY or only_unknown_keys(case) or empty_value(case) or null_for_none(case) or no_json(case, response))
    if isinstance(failure, JsonSchemaError):
        return name_of(case) not in NO_SCHEMA
    return True


def no_header(response):
    """A part of a form has a name with control characters, which no header may hold (RFC 9110, 5.5)."""
    body = response.request.body
    return isinstance(body, bytes) and re.search(rb'form-data; name="[^"\r\n]*[\x00-\x08\x0b-\x1f\x7f]', body) is not None


def code_of(response):
    try:
        return response.json().get("code")
    except (ValueError, AttributeError):
        return None


def no_json(case, response):
    if name_of(case) not in NO_JSON:
        return False
    try:
        json.loads(response.request.body or b"")
    except ValueError:
        return True
    return False


def only_unknown_keys(case):
    """Upstream ignores keys of a query that it does not know, its clients send
    some (query=, fuzzy= on lists that have neither), and so this server ignores
    them, too. The check knows that, but not beside a number in the query."""
    data = case.meta.phase.data
    return getattr(data, "description", None) == "Object with unexpected properties" and data.parameter_location == ParameterLocation.QUERY


def empty_value(case):
    """A key of a query without a value counts as left out, as forms send it."""
    data = case.meta.phase.data
    name = getattr(data, "parameter", None)
    return data.parameter_location == ParameterLocation.QUERY and (case.query or {}).get(name) == ""


def null_for_none(case):
    """A body that may be left out may be null: generated clients send that for none."""
    return case.body is None and not case.operation.definition.raw.get("requestBody", {}).get("required", False)


# What operations make, by the parameter that names it.
MADE = {"create-scan": "scan_id", "create-scan-from-archive": "scan_id", "create-fileset": "fileset_id", "create-file": "file_id"}
NUMBERS = itertools.count()

SEEN = collections.defaultdict(collections.Counter)


@schemathesis.hook
def before_call(context, case, kwargs):
    # The accounts that this run acts by must stay what they are, the guest's too.
    parameters = case.path_parameters or {}
    username = str(parameters.get("username"))
    if case.method != "GET" and (username.startswith("fuzz-") or username in ("admin", "guest")):
        parameters["username"] = "carol"
    # One user stays, and one group: of none, all answers are alike.
    if name_of(case) == "delete-user" and parameters.get("username") == "carol":
        parameters["username"] = "dora"
    if name_of(case) == "delete-group" and parameters.get("group") == "phenotyping":
        parameters["group"] = "greenhouse"
    # Half of what is made has a name that is free and one that may be given.
    made = MADE.get(name_of(case))
    if made in parameters and not negative_at(case, ParameterLocation.PATH) and next(NUMBERS) % 2:
        parameters[made] = f"new_{next(NUMBERS)}"
    # A version that nobody has would be all that is ever answered. Any is one,
    # too; that others are refused the tests of the API see to.
    if case.headers and "If-Match" in case.headers and not negative_at(case, ParameterLocation.HEADER):
        case.headers["If-Match"] = "*"
    # Any text is well-formed, and nearly none a range.
    if case.headers and "Range" in case.headers and not negative_at(case, ParameterLocation.HEADER):
        case.headers["Range"] = "bytes=0-9"


def negative_at(case, location):
    component = case.meta and case.meta.components.get(location)
    return component is not None and component.mode.is_negative


@schemathesis.hook
def after_call(context, case, response):
    # Not what is asked by another method, which OPTIONS answers with 204.
    if case.method.upper() == case.operation.method.upper():
        SEEN[id_of(case)][str(response.status_code)] += 1
    if name_of(case) in OF_SESSIONS and ACCOUNTS and response.status_code in (200, 204, 401):
        ACCOUNTS[1].token = None


@atexit.register
def tell():
    with open(os.environ["FUZZ_SEEN"], "w") as file:
        json.dump(SEEN, file)
