                    # Put here by generate.sh. What is read while somebody writes may be half of it.
                    before = os.fstat(f.fileno())
                    filedata = f.read()
                    after = os.fstat(f.fileno())
                    if len(filedata) != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                        message = "The file {0} changed while it was read: nothing was kept, upload it again when nobody writes it.".format(v)
                        raise ApiException(status=0, reason=message, data=plantdb_api.models.Problem(
                            code='file_changed', message=message, error=message, detail=message, status=0, title='File changed',
                        ))
