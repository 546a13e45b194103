// A gRPC client that is not ours: `buf curl`, which knows nothing of the service but what reflection tells it.

import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';

import { launch, within } from '../processes.mjs';

const ANSWER_MS = 30_000;

/** A gRPC error, with what its `google.rpc.ErrorInfo` and `google.rpc.BadRequest` say. */
export class RpcError extends Error {
  constructor(answer) {
    super(`${answer.code}: ${answer.message}`);
    this.code = answer.code;
    const detail = (type) => {
      const found = answer.details?.find((detail) => detail.type === `google.rpc.${type}`);
      return parts(Buffer.from(found?.value ?? '', 'base64'));
    };
    const [reason, domain, ...metadata] = detail('ErrorInfo').map(([, value]) => value);
    Object.assign(this, { reason: reason?.toString(), domain: domain?.toString() });
    this.metadata = Object.fromEntries(metadata.map((entry) => parts(entry).map(([, value]) => value.toString())));
    this.fields = detail('BadRequest').map(([, violation]) => parts(violation)[0][1].toString());
  }
}

/** Calls a method and returns its one answer; `token` undefined sends none. */
export async function call(server, method, token, message = {}, flags = []) {
  const child = curl(server, method, token, message, flags);
  const [out, errors] = await within(ANSWER_MS, method, Promise.all([text(child.stdout), text(child.stderr)]));
  const [code] = await child.ended;
  if (code !== 0) throw refusal(errors);
  return JSON.parse(out);
}

/** All messages of a stream that ends by itself. */
export async function collect(server, method, token, message) {
  const stream = new Stream(server, method, token, message);
  await within(ANSWER_MS, method, stream.ended());
  return stream.messages;
}

/** What `buf curl` lists: services or methods, by one version of reflection. */
export async function list(server, what, reflection) {
  const child = launch(buf(), [...COMMON, '--reflect-protocol', reflection, `--list-${what}`, server.url]);
  const [out, errors] = await within(ANSWER_MS, what, Promise.all([text(child.stdout), text(child.stderr)]));
  if (errors) throw new Error(errors);
  return out.trim().split('\n');
}

/** A stream that is still open. */
export class Stream {
  constructor(server, method, token, message) {
    this.child = curl(server, method, token, message, []);
    this.messages = [];
    this.errors = '';
    this.waiting = [];
    this.unread = '';
    this.child.stdout.on('data', (text) => this.read(text));
    this.child.stderr.on('data', (text) => (this.errors += text));
  }

  /** Resolves once the messages so far satisfy `condition`. */
  until(what, condition) {
    const seen = new Promise((resolve) => {
      const look = () => condition(this.messages) && resolve();
      this.waiting.push(look);
      look();
    });
    const ended = this.child.ended.then(() => {
      throw new Error(`the stream ended before ${what}: ${this.errors}`);
    });
    return within(ANSWER_MS, what, Promise.race([seen, ended]));
  }

  async stop() {
    this.child.kill('SIGTERM');
    await this.child.ended;
  }

  async ended() {
    const [code] = await this.child.ended;
    if (code !== 0) throw refusal(this.errors);
  }

  // One message after the other, indented: each ends with a brace in the first column.
  read(text) {
    this.unread += text;
    for (let end; (end = this.unread.indexOf('\n}\n')) >= 0; this.unread = this.unread.slice(end + 3)) {
      this.messages.push(JSON.parse(this.unread.slice(0, end + 3)));
    }
    this.waiting.forEach((look) => look());
  }
}

const COMMON = ['curl', '--http2-prior-knowledge', '--protocol', 'grpc'];

function curl(server, method, token, message, flags) {
  const path = method.includes('/') ? method : `countersign.v1.DecisionPoint/${method}`;
  const authorization = token === undefined ? [] : ['--header', `authorization: Bearer ${token}`];
  const args = [...COMMON, ...authorization, '--data', JSON.stringify(message), ...flags, `${server.url}/${path}`];
  return launch(buf(), args);
}

async function text(stream) {
  let all = '';
  for await (const part of stream) all += part;
  return all;
}

function refusal(errors) {
  try {
    return new RpcError(JSON.parse(errors));
  } catch {
    return new Error(`buf curl failed: ${errors}`);
  }
}

// The fields of a protobuf message whose fields are all texts or messages, in order: buf shows error details as bytes.
function parts(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length;) {
    const [tag, size] = [bytes[at], bytes[at + 1]];
    found.push([tag >> 3, bytes.subarray(at + 2, at + 2 + size)]);
    at += 2 + size;
  }
  return found;
}

// The program itself, not npm's script around it, so that what is started can be ended by its id.
function buf() {
  const chip = platform() === 'linux' && arch() === 'arm64' ? 'aarch64' : arch();
  return createRequire(import.meta.url).resolve(`@bufbuild/buf-${platform()}-${chip}/bin/buf`);
}
