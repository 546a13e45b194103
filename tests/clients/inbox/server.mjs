// The real binary with an inbox, as docs/inbox.md says to run it, and an agent that asks it things: the gRPC client of the command
// line's neighbour, `buf curl`, would be one more thing to install, so it speaks gRPC by hand over node's own HTTP/2.

import { connect } from 'node:http2';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { launch, within } from '../processes.mjs';

const ROOT = join(import.meta.dirname, '../../..');
const BINARY = process.env.COUNTERSIGN_BIN ?? join(ROOT, 'target/debug/countersign');

/** A port that is free now: the issuer must know the inbox's address before the inbox knows the issuer's. */
export async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

export class Server {
  static async start(issuer, port) {
    const server = new Server();
    server.directory = mkdtempSync(join(tmpdir(), 'countersign-inbox-'));
    process.on('exit', () => rmSync(server.directory, { recursive: true, force: true }));
    server.inbox = `http://127.0.0.1:${port}`;
    const [config, secret] = ['countersign.toml', 'secret'].map((name) => join(server.directory, name));
    writeFileSync(secret, 'inbox-secret\n');
    writeFileSync(config, configuration(issuer.url, port, secret));
    cpSync(join(ROOT, 'policies'), join(server.directory, 'policies'), { recursive: true });
    const args = ['serve', '--config', config, '--listen', '127.0.0.1:0'];
    args.push('--journal-dir', join(server.directory, 'journal'), '--policy-dir', join(server.directory, 'policies'));
    server.child = launch(BINARY, args);
    server.said = '';
    const listens = new Promise((resolve, reject) => {
      server.child.stderr.on('data', (text) => {
        server.said += text;
        const address = /listens on (http:\S+)/.exec(server.said)?.[1];
        if (address) resolve(address);
      });
      const ended = () => reject(new Error(`${BINARY} did not start: ${server.said}`));
      server.child.ended.then(ended, ended);
    });
    server.url = await within(20_000, 'the start of the server', listens);
    return server;
  }

  /** Asks for a decision as the bearer of a token; returns the id of the approval that it waits for. */
  async ask(token, action, resource, context = {}, justification = '') {
    const message = [
      field(3, uid('Action', action)),
      field(4, uid(...resource)),
      ...Object.entries(context).map(([name, text]) => field(5, [field(1, name), field(2, [field(3, text)])])),
      ...(justification ? [field(8, justification)] : []),
    ];
    const answer = await this.call('countersign.v1.DecisionPoint/Authorize', token, bytes(message));
    const id = /apr_[0-9a-f]{32}/.exec(answer.toString('latin1'))?.[0];
    if (!id) throw new Error(`it is not pending: ${answer.toString('latin1')}`);
    return id;
  }

  async call(method, token, message) {
    const session = connect(this.url);
    const stream = session.request({
      ':method': 'POST',
      ':path': `/${method}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      authorization: `Bearer ${token}`,
    });
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    stream.end(Buffer.concat([head, message]));
    let status;
    const note = (headers) => (status = headers['grpc-status'] ? headers : status);
    stream.on('response', note).on('trailers', note);
    const parts = [];
    stream.on('data', (part) => parts.push(part));
    await within(20_000, method, once(stream, 'close'));
    session.close();
    if (status?.['grpc-status'] !== '0') throw new Error(`${method}: ${status?.['grpc-message']}`);
    return Buffer.concat(parts).subarray(5);
  }

  async end() {
    this.child.kill('SIGTERM');
    const [code] = await within(20_000, 'the end of the server', this.child.ended);
    if (code !== 0) throw new Error(`the server ended with ${code}: ${this.said}`);
  }
}

function configuration(issuer, port, secret) {
  return `
[web]
listen = "127.0.0.1:${port}"
client_id = "inbox"
client_secret_file = "${secret}"

[journal]
sealing = "kept"

[[identity.issuers]]
name = "company"
issuer = "${issuer}"
audiences = ["countersign"]
user_clients = ["inbox"]
allow_insecure_http_loopback = true
`;
}

// Protobuf, as far as it is needed: every field is a text or a message.
const uid = (type, id) => [field(1, type), field(2, id)];

function field(number, value) {
  const content = typeof value === 'string' ? Buffer.from(value) : bytes(value);
  return Buffer.concat([Buffer.from([(number << 3) | 2]), varint(content.length), content]);
}

const bytes = (fields) => Buffer.concat(fields);

function varint(number) {
  const all = [];
  for (; number > 127; number >>>= 7) all.push((number & 127) | 128);
  return Buffer.from([...all, number]);
}
