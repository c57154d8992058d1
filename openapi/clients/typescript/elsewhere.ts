
// Put here by generate.sh. PlantDB refuses in JSON and sends no page: what is
// neither comes from another server, or from a proxy on the way.

const isPage = (response: Response): boolean => (response.headers.get('Content-Type') ?? '').startsWith('text/html');

const isProblem = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && typeof (value as {code?: unknown}).code === 'string';

const problem = (status: number, code: string, title: string, message: string, cause: unknown) => ({
  cause,
  code,
  detail: message,
  error: message,
  message,
  status,
  title,
});

const elsewhere = (response: Response, body: string) => {
  if (response.status === 304) {
    return problem(304, 'not_modified', 'Not Modified', 'You have the current version: it has the ETag of If-None-Match.', body);
  }
  const type = response.headers.get('Content-Type') ?? 'no type';
  const message = `${response.url} gives no answer of PlantDB (HTTP ${response.status} with ${type}): look at the address, and at proxies on the way.`;
  return problem(response.status, 'no_plantdb', 'No PlantDB', message, body);
};

// What was written since it was chosen can be read no more, and fetch does not say that this is why it failed.
const isRead = async (body: unknown): Promise<boolean> => {
  const parts: unknown[] = typeof body === 'object' && body !== null ? [body, ...Object.values(body)] : [];
  const read = parts.filter((part) => part instanceof Blob).map((blob) => blob.slice(0, 1).arrayBuffer());
  return Promise.all(read).then(() => true, () => false);
};

const noAnswer = async (request: Request, body: unknown, error: unknown): Promise<unknown> => {
  if (request.signal.aborted) {
    return error;
  }
  if (!(await isRead(body))) {
    return problem(0, 'file_changed', 'File changed', 'The file changed while it was uploaded, or cannot be read: nothing was kept, choose and upload it again when nobody writes it.', error);
  }
  const cause = (error as {cause?: {message?: string}}).cause?.message ?? String(error);
  return problem(0, 'no_answer', 'No answer', `${request.url} does not answer (${cause}): look at the address, and whether the server runs.`, error);
};

const brokeOff = (response: Response, error: unknown) => {
  const cause = (error as {cause?: {message?: string}}).cause?.message ?? String(error);
  return problem(0, 'no_answer', 'No answer', `The answer of ${response.url} broke off (${cause}): try again.`, error);
};
