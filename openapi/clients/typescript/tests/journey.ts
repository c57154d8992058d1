// Does with the generated client what programs do, against the server at the
// given address:
//
//     journey.js URL SCAN ELSEWHERE FULL CODE EXPIRED
//
// The server runs with --test. SCAN is a name that nothing has yet, ELSEWHERE the
// address of a server that is no PlantDB, with a line that breaks below /cut,
// FULL that of one that has no room and says so by CODE, and EXPIRED an access
// token whose time is over.
import assert from 'node:assert/strict';
import {openAsBlob} from 'node:fs';
import {appendFile, mkdtemp, rm, truncate, utimes, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout} from 'node:timers/promises';
import {
	createFile, createFileset, createScan, deleteFile, getFile, getFileMetadata, getImage, getProfile, getScan, getScanMetadata,
	listFiles, listScans, login, logout, patchScanMetadata, refreshToken, streamEvents, type Event, type GetFileData, type Problem,
} from 'plantdb-api';
import {createClient, createConfig} from 'plantdb-api/client';

const [url, scan, elsewhere, full, code, expired] = process.argv.slice(2);
if (!url || !scan || !code || !expired) throw new Error('journey.js URL SCAN ELSEWHERE FULL CODE EXPIRED');

// as is a client that sends a token.
const as = (token?: string) => createClient(createConfig({baseUrl: url, auth: token}));

// advice is what a refusal says of what to do, by its code.
const advice: Record<string, RegExp> = {
	token_revoked: /log in again/, no_space: /Free space on the disk/, quota_exceeded: /Empty the trash/, no_plantdb: /look at the address/,
};

// refused checks a call that has to fail so.
async function refused(status: number, code: string, call: Promise<{error?: Problem; response?: Response}>) {
	const {error, response} = await call;
	assert.ok(error, `no refusal, want ${code}`);
	assert.equal(error.code, code);
	assert.equal(response?.status, status);
	assert.equal(error.status, status);
	assert.ok(error.message, 'a refusal has a text for people');
	assert.ok(error.detail.startsWith(error.message), error.detail);
	if (advice[code]) assert.match(error.detail, advice[code]);
	return error;
}

// follow is the first event of a kind after a position, once it is there.
async function follow(scan: string, after: string, kind: string): Promise<Event> {
	for (const deadline = Date.now() + 60_000; Date.now() < deadline;) {
		const {data: page} = await streamEvents({client, query: {scan, after}, throwOnError: true});
		const event = page.events.find((e) => e.kind === kind);
		if (event) return event;
		after = page.next;
		if (!page.more) await setTimeout(100);
	}
	throw new Error(`no event ${kind}`);
}

const bytes = async (blob: Blob) => Buffer.from(await blob.arrayBuffer());
const isJPEG = (b: Buffer) => b.subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff]));

const guest = as();
const {data: pair} = await login({client: guest, body: {username: 'admin', password: 'admin'}, throwOnError: true});
assert.equal(pair.user.username, 'admin');
let client = as(pair.access_token);

// What is there: a filter, and pages.
const {data: all} = await listScans({client, throwOnError: true});
assert.ok(all.length > 2);
const found: string[] = [];
let pages = 0;
for (let after: string | undefined, more = true; more; pages++) {
	const page = await listScans({client, query: {limit: 2, after}, throwOnError: true});
	found.push(...page.data);
	const next: string | undefined = page.response.headers.get('Link')?.match(/<([^>]*)>; rel="next"/)?.[1];
	after = next && new URL(next, url).searchParams.get('after') || undefined;
	more = after !== undefined;
}
assert.deepEqual(found.toSorted(), all.toSorted());
assert.ok(pages > 1);
assert.deepEqual((await listScans({client, query: {where: 'id = "real_plant"'}, throwOnError: true})).data, ['real_plant']);
const {data: info} = await getScan({client, path: {scan_id: 'real_plant'}, throwOnError: true});
assert.ok(info.images.length > 0);

// A scan, a fileset and a file, and all of it back.
const {data: now} = await streamEvents({client, query: {after: 'now'}, throwOnError: true});
const metadata = {study: {title: 'Journey'}, count: 42, list: [1, 2.5, null]};
const created = await createScan({client, path: {scan_id: scan}, body: {metadata}, throwOnError: true});
assert.equal(created.data.id, scan);
await createFileset({client, path: {scan_id: scan, fileset_id: 'images'}, throwOnError: true});
const sample = {scan_id: 'real_plant', fileset_id: 'images', file_id: '00000_rgb'};
const {data: photo} = await getImage({client, path: sample, query: {size: 'orig'}, throwOnError: true});
assert.ok(isJPEG(await bytes(photo)));
const path = {scan_id: scan, fileset_id: 'images', file_id: '00000_rgb'};
await createFile({
	client, path, body: {file: new File([photo], 'plant.jpg'), ext: 'jpg', metadata: JSON.stringify({channel: 'rgb'})}, throwOnError: true,
});
const {data: kept} = await getScanMetadata({client, path: {scan_id: scan}, throwOnError: true});
assert.deepEqual({...kept.metadata, ...metadata}, kept.metadata);
assert.equal(kept.metadata?.owner, 'admin');
const {data: ofFile} = await getFileMetadata({client, path, throwOnError: true});
assert.equal(ofFile.metadata?.channel, 'rgb');
const {data: patched} = await patchScanMetadata({client, path: {scan_id: scan}, body: {count: null, note: 'Grüße'}, throwOnError: true});
assert.equal(patched.metadata?.note, 'Grüße');
assert.ok(!('count' in (patched.metadata ?? {})));
const {data: listed} = await listFiles({client, path: {scan_id: scan, fileset_id: 'images'}, throwOnError: true});
assert.deepEqual(listed.files, ['00000_rgb']);
const {data: thumbnail} = await getImage({client, path, query: {size: 'thumb'}, throwOnError: true});
assert.ok(isJPEG(await bytes(thumbnail)) && thumbnail.size < photo.size);
const {data: back} = await getFile({client, path, parseAs: 'blob', throwOnError: true});
assert.ok((await bytes(back)).equals(await bytes(photo)));

// A download in two parts, of a file that changes between them.
const parts = {scan_id: scan, fileset_id: 'images', file_id: 'parts'};
const [old, changed] = [`[${'1, '.repeat(1000)}1]`, '[2]'];
const upload = (text: string) => createFile({client, path: parts, body: {file: new File([text], 'parts.json'), ext: 'json'}, throwOnError: true});
const part = (headers: GetFileData['headers']) => getFile({client, path: parts, headers, parseAs: 'blob'});
await upload(old);
const first = await part({Range: 'bytes=0-999'});
assert.equal(first.response?.status, 206);
assert.equal(await first.data?.text(), old.slice(0, 1000));
const tag = first.response?.headers.get('ETag') ?? '';
assert.equal(await (await part({Range: 'bytes=1000-', 'If-Match': tag})).data?.text(), old.slice(1000));
await refused(304, 'not_modified', part({'If-None-Match': tag}));
await refused(416, 'range_not_satisfiable', part({Range: 'bytes=1000000-'}));
await deleteFile({client, path: parts, throwOnError: true});
await upload(changed);
const mixed = part({Range: 'bytes=1000-', 'If-Match': tag});
await refused(412, 'precondition_failed', mixed);
assert.match((await mixed).error?.message ?? '', /changed.*begin again/);
assert.equal(await (await part({})).data?.text(), changed);

// Of a file that changes after it was chosen nothing is kept.
const directory = await mkdtemp(join(tmpdir(), 'changes-'));
const name = join(directory, 'changes.txt');
const changes = [() => truncate(name, 1 << 20), () => appendFile(name, 'more'), () => utimes(name, 0, 0), () => rm(name)];
for (const change of changes) {
	await writeFile(name, '');
	await truncate(name, 4 << 20);
	const file = await openAsBlob(name);
	const body = {file: new File([file], 'changes.txt'), ext: 'txt'};
	const under = {scan_id: scan, fileset_id: 'images', file_id: 'changes'};
	await change();
	const {error: why} = await createFile({client, path: under, body});
	assert.equal(why?.code, 'file_changed');
	assert.match(why.detail, /nothing was kept.*upload it again/);
	await refused(404, 'unknown_file', getFile({client, path: under, parseAs: 'blob'}));
}
await rm(directory, {recursive: true});

const event = await follow(scan, now.next, 'file.created');
assert.deepEqual([event.fileset, event.file, event.user], ['images', '00000_rgb', 'admin']);

// The next pair of tokens; the old one is void.
const {data: next} = await refreshToken({client: guest, body: {refresh_token: pair.refresh_token!}, throwOnError: true});
await refused(401, 'token_revoked', getProfile({client}));
const late = await refused(401, 'token_expired', getProfile({client: as(expired)}));
assert.equal(late.message, 'Signature has expired');
assert.match(late.detail, /log in again/);
client = as(next.access_token);
assert.equal((await getProfile({client, throwOnError: true})).data.username, 'admin');

// Refusals.
const another = {scan_id: scan + '_2'};
await refused(401, 'token_missing', createScan({client: guest, path: another}));
const {data: reader} = await login({client: guest, body: {username: 'guest', password: 'guest'}, throwOnError: true});
await refused(403, 'forbidden', createScan({client: as(reader.access_token), path: another}));
await refused(404, 'unknown_scan', getScanMetadata({client, path: {scan_id: 'no_such_scan'}}));
await refused(409, 'scan_exists', createScan({client, path: {scan_id: scan}}));
await refused(400, 'bad_where', listScans({client, query: {where: 'id ='}}));
await refused(412, 'precondition_failed', patchScanMetadata({client, path: {scan_id: scan}, headers: {'If-Match': '"stale"'}, body: {a: 1}}));
await assert.rejects(
	getScanMetadata({client, path: {scan_id: 'no_such_scan'}, throwOnError: true}),
	(e: Problem) => e.code === 'unknown_scan' && e.message !== '',
);

// What is no PlantDB, and nobody.
const other = createClient({baseUrl: elsewhere});
await refused(200, 'no_plantdb', listScans({client: other}));
await refused(200, 'no_plantdb', createScan({client: other, path: {scan_id: scan}}));
await refused(200, 'no_plantdb', getFile({client: other, path, parseAs: 'blob'}));
await refused(404, 'no_plantdb', listScans({client: createClient({baseUrl: elsewhere + '/missing'})}));
await refused(404, 'no_plantdb', listScans({client: createClient({baseUrl: elsewhere + '/json'})}));
await refused(404, 'no_plantdb', listScans({client: createClient({baseUrl: elsewhere + '/json/number'})}));
const {error: nobody} = await listScans({client: createClient({baseUrl: 'http://127.0.0.1:1'})});
assert.equal(nobody?.code, 'no_answer');
assert.match(nobody.detail, /127\.0\.0\.1:1.*look at the address/);

// Half a file is never taken for whole.
const cut = createClient({baseUrl: elsewhere + '/cut'});
const {data: half, error: broken} = await getFile({client: cut, path: sample, parseAs: 'blob'});
assert.equal(half, undefined);
assert.equal(broken?.code, 'no_answer');
assert.match(broken.message, /broke off/);
await assert.rejects(listScans({client: cut, throwOnError: true}), (e: Problem) => e.code === 'no_answer');

// No room.
const there = createClient({baseUrl: full});
const {data: login2} = await login({client: there, body: {username: 'admin', password: 'admin'}, throwOnError: true});
await refused({no_space: 507, quota_exceeded: 413}[code] ?? 0, code, createFile({
	client: createClient({baseUrl: full, auth: login2.access_token}),
	path: {scan_id: 'full', fileset_id: 'images', file_id: 'large'}, body: {file: new File([new Uint8Array(1 << 20)], 'large.jpg'), ext: 'jpg'},
}));

await logout({client, throwOnError: true});
await refused(401, 'session_ended', getProfile({client}));
