// The life of an approval by each client of HTTP that others wrote, and what pages in a real browser can do and cannot.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import * as forNode from '@connectrpc/connect-node';
import * as forBrowsers from '@connectrpc/connect-web';
import { chromium } from 'playwright-core';

import { launch, within } from '../processes.mjs';
import { ROOT, Server } from './server.mjs';

const ANSWER_MS = 30_000;
const AUTHORIZE = '/countersign.v1.DecisionPoint/Authorize';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const READ = { action: uid('Action', 'read'), resource: uid('Dataset', 'weather') };

let server, browser, service, tokens, listed, stranger;

before(async () => {
  [listed, stranger] = [await page(), await page()];
  server = await Server.start([listed.origin]);
  service = described();
  tokens = {
    agent: await server.agent('report-bot'),
    alice: await server.person('alice'),
    bob: await server.person('bob'),
    erin: await server.person('erin'),
  };
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
});

after(async () => {
  await browser?.close();
  [listed, stranger].forEach((site) => site?.close());
  await server?.end();
});

// Every way in which these libraries speak to a server, but gRPC.
const WAYS = {
  'Connect in JSON over HTTP/1.1': () => forNode.createConnectTransport({ baseUrl: server.url, httpVersion: '1.1' }),
  'Connect in JSON over HTTP/2': () => forNode.createConnectTransport({ baseUrl: server.url, httpVersion: '2' }),
  'Connect in protobuf': () =>
    forNode.createConnectTransport({ baseUrl: server.url, httpVersion: '1.1', useBinaryFormat: true }),
  'gRPC-Web by node': () => forNode.createGrpcWebTransport({ baseUrl: server.url, httpVersion: '1.1' }),
  "the browser's Connect": () => forBrowsers.createConnectTransport({ baseUrl: server.url }),
  "the browser's gRPC-Web": () => forBrowsers.createGrpcWebTransport({ baseUrl: server.url }),
};

for (const [name, transport] of Object.entries(WAYS)) {
  test(`the life of an approval: ${name}`, async () => {
    const client = createClient(service, transport());
    const as = (who) => ({ headers: { authorization: `Bearer ${tokens[who]}` }, timeoutMs: ANSWER_MS });
    const query = exportTo(`s3://${encodeURIComponent(name)}`);
    const asked = await client.authorize(query, as('agent'));
    assert.equal(asked.outcome, 3, 'pending');
    const { id, binding } = asked.approval;
    const waiting = client.authorize({ ...query, approvalId: id, wait: { seconds: 20n } }, as('agent'));
    for (const who of ['alice', 'bob']) await client.decide({ approvalId: id, binding, verdict: 1 }, as(who));
    const granted = await waiting;
    assert.deepEqual([granted.outcome, granted.reason], [1, 'granted']);
    const again = await client.authorize({ ...query, approvalId: id }, as('agent'));
    assert.deepEqual([again.outcome, again.reason], [2, 'grant_consumed']);

    const records = [];
    for await (const { record } of client.audit({ filter: { approvalId: id } }, as('erin'))) records.push(record);
    assert.ok(records.length >= 4, `${records.length} records`);

    const refused = await client.authorize(query).catch((error) => error);
    assert.ok(refused instanceof ConnectError, refused);
    assert.equal(refused.code, Code.Unauthenticated);
    assert.ok(refused.details.some((detail) => detail.type === 'google.rpc.ErrorInfo'));
    await assert.rejects(async () => {
      for await (const _ of client.audit({}, as('agent')));
    }, (error) => error.code === Code.PermissionDenied);
  });
}

for (const protocol of ['connect', 'grpcweb']) {
  test(`buf curl speaks ${protocol}`, async () => {
    const args = ['curl', '--protocol', protocol, '--schema', join(ROOT, 'proto')];
    const call = async (token, message) => {
      const bearer = ['--header', `authorization: Bearer ${token}`, '--data', JSON.stringify(message)];
      const child = launch(buf(), [...args, ...bearer, `${server.url}${AUTHORIZE}`]);
      const [out, errors] = await within(ANSWER_MS, protocol, Promise.all([text(child.stdout), text(child.stderr)]));
      return { out: out && JSON.parse(out), errors: errors && JSON.parse(errors) };
    };
    assert.equal((await call(tokens.agent, READ)).out.outcome, 'OUTCOME_ALLOW');
    assert.equal((await call('nobody', READ)).errors.code, 'unauthenticated');
  });
}

test('curl over the Unix socket', async () => {
  const headers = ['content-type: application/json', `authorization: Bearer ${tokens.agent}`];
  const flags = headers.flatMap((header) => ['-H', header]);
  const args = ['-sS', '--unix-socket', server.socket, ...flags, '-d', JSON.stringify(READ), `http://localhost${AUTHORIZE}`];
  const child = launch('curl', args);
  const answer = await within(ANSWER_MS, 'curl', text(child.stdout));
  assert.equal(JSON.parse(answer).outcome, 'OUTCOME_ALLOW');
});

test('a page of a listed origin reads answers and errors', async () => {
  const { outcome, code, refused } = await from(listed, async ([url, token, query]) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` };
    const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(query) });
    const bad = await fetch(url, { method: 'POST', headers, body: '{"colour":1}' });
    return { outcome: (await answer.json()).outcome, refused: bad.status, code: (await bad.json()).code };
  });
  assert.deepEqual([outcome, refused, code], ['OUTCOME_ALLOW', 400, 'invalid_argument']);
});

test('a page of any other origin gets nothing done, however it asks', async () => {
  const before = await decided();
  const outcomes = await from(stranger, async ([url, token, query]) => {
    const body = JSON.stringify(query);
    const authorization = `Bearer ${token}`;
    const ways = [
      { headers: { 'content-type': 'application/json', authorization } },
      { headers: { 'content-type': 'application/json' } },
      { headers: { 'content-type': 'application/grpc-web+proto', authorization } },
      // What needs no asking first: it is sent, and the page cannot read what comes back.
      { headers: { 'content-type': 'text/plain' }, mode: 'no-cors', credentials: 'include' },
      { mode: 'no-cors', credentials: 'include' },
    ];
    const tried = ways.map((way) =>
      fetch(url, { method: 'POST', body, ...way }).then(
        (answer) => `${answer.type} ${answer.status}`,
        () => 'refused by the browser',
      ),
    );
    return Promise.all(tried);
  });
  const unread = ['refused by the browser', 'opaque 0'];
  assert.ok(outcomes.every((outcome) => unread.includes(outcome)), outcomes.join(', '));
  assert.equal(await decided(), before);
});

/** How many decisions are on record. */
async function decided() {
  const client = createClient(service, WAYS['Connect in protobuf']());
  let count = 0;
  const headers = { authorization: `Bearer ${tokens.erin}` };
  for await (const { record } of client.audit({}, { headers })) count += record.fact.case === 'decided' ? 1 : 0;
  return count;
}

/** What a function returns that a page runs. */
async function from(site, run) {
  const context = await browser.newContext();
  try {
    const tab = await context.newPage();
    await tab.goto(site.origin);
    return await tab.evaluate(run, [`${server.url}${AUTHORIZE}`, tokens.agent, READ]);
  } finally {
    await context.close();
  }
}

/** A web site of its own origin, with nothing on it. */
async function page() {
  const site = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html>'));
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  return { origin: `http://127.0.0.1:${site.address().port}`, close: () => site.close() };
}

/** The service as buf compiles it: nothing is generated. */
function described() {
  const set = execFileSync(buf(), ['build', join(ROOT, 'proto'), '-o', '-#format=binpb'], { maxBuffer: 16 << 20 });
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, set)).getService('countersign.v1.DecisionPoint');
}

/** A query that takes two countersignatures; each destination is another query. */
function exportTo(destination) {
  const kind = (name, value) => ({ kind: { case: name, value } });
  return {
    action: uid('Action', 'export'),
    resource: uid('Dataset', 'customers'),
    context: { destination: kind('string', destination), rows: kind('long', 9007199254740993n) },
    justification: 'the quarterly report',
  };
}

function uid(type, id) {
  return { type, id };
}

async function text(stream) {
  let all = '';
  for await (const part of stream) all += part;
  return all;
}

// The program itself, not npm's script around it, so that what is started can be ended by its id.
function buf() {
  const chip = platform() === 'linux' && arch() === 'arm64' ? 'aarch64' : arch();
  return createRequire(import.meta.url).resolve(`@bufbuild/buf-${platform()}-${chip}/bin/buf`);
}
