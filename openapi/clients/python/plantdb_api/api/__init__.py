# flake8: noqa

# import apis into api package
from plantdb_api.api.assets_api import AssetsApi
from plantdb_api.api.auth_api import AuthApi
from plantdb_api.api.events_api import EventsApi
from plantdb_api.api.files_api import FilesApi
from plantdb_api.api.filesets_api import FilesetsApi
from plantdb_api.api.groups_api import GroupsApi
from plantdb_api.api.quotas_api import QuotasApi
from plantdb_api.api.scans_api import ScansApi
from plantdb_api.api.server_api import ServerApi
from plantdb_api.api.timelapses_api import TimelapsesApi
from plantdb_api.api.trash_api import TrashApi
from plantdb_api.api.uploads_api import UploadsApi
from plantdb_api.api.users_api import UsersApi
from plantdb_api.api.webhooks_api import WebhooksApi

