        # Put here by generate.sh. Nothing came, because it is there already.
        if response_data.status == 304:
            message = "You have the current version: it has the ETag of If-None-Match."
            raise ApiException(http_resp=response_data, data=plantdb_api.models.Problem(
                code='not_modified', message=message, error=message, detail=message, status=304, title='Not Modified',
            ))
        # PlantDB refuses in JSON with a code, and sends no page: what
        # is neither comes from another server, or from a proxy on the way.
        content_type = response_data.headers.get('content-type') or ''
        is_json = re.match(r'application/([\w.+-]+\+)?json\b', content_type, re.IGNORECASE)
        wants_json = response_type not in (None, 'bytearray', 'bytes', 'file')
        is_refusal = False
        if is_json and not 200 <= response_data.status <= 299:
            try:
                said = json.loads(response_data.data)
                is_refusal = isinstance(said, dict) and isinstance(said.get('code'), str)
            except (ValueError, RecursionError):
                pass
        if not 200 <= response_data.status <= 299 and not is_refusal or not is_json and (
            content_type.startswith('text/html')
            or (wants_json and content_type)
        ):
            said = "HTTP {0} with {1}".format(response_data.status, content_type or "no type")
            message = "This is no answer of PlantDB ({0}): look at the address, and at proxies on the way.".format(said)
            raise ApiException(http_resp=response_data, data=plantdb_api.models.Problem(
                code='no_plantdb', message=message, error=message, detail=message, status=response_data.status, title='No PlantDB',
            ))

