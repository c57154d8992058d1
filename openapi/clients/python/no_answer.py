# Put here by generate.sh. Nobody answers, or the line breaks before all has come.
def no_answer(error):
    from plantdb_api.models.problem import Problem
    message = "The server does not answer ({0}): look at the address, and whether it runs.".format(error)
    return ApiException(status=0, reason=message, data=Problem(
        code='no_answer', message=message, error=message, detail=message, status=0, title='No answer',
    ))


