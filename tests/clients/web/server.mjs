// The real binary with its development issuer, speaking HTTP/JSON and gRPC-Web, to one page beside programs.

import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { launch, within } from '../processes.mjs';

export const ROOT = join(import.meta.dirname, '../../..');
const BINARY = process.env.COUNTERSIGN_BIN;

export class Server {
  /** A server whose API pages of these origins may call. */
  static async start(origins) {
    const server = new Server();
    server.directory = mkdtempSync(join(tmpdir(), 'countersign-web-'));
    process.on('exit', () => rmSync(server.directory, { recursive: true, force: true }));
    const [journal, policies] = ['journal', 'policies'].map((name) => join(server.directory, name));
    server.socket = join(server.directory, 'run/grpc.sock');
    cpSync(join(ROOT, 'policies'), policies, { recursive: true });
    const args = ['serve', '--dev', '--listen', '127.0.0.1:0', '--web-listen', '127.0.0.1:0'];
    const env = {
      ...process.env,
      COUNTERSIGN__DEV__ISSUER_LISTEN: '127.0.0.1:0',
      COUNTERSIGN__LIMITS__QUEUEING_TARGET: '60s',
      COUNTERSIGN__GRPC__WEB: 'true',
      COUNTERSIGN__GRPC__WEB_ORIGINS: JSON.stringify(origins),
      COUNTERSIGN__GRPC__UNIX: server.socket,
    };
    server.child = launch(BINARY, [...args, '--journal-dir', journal, '--policy-dir', policies], { env });
    server.said = '';
    const started = new Promise((resolve, reject) => {
      server.child.stderr.on('data', (text) => {
        server.said += text;
        if (server.find(/issuer on (http:\/\/[^\s:]+:\d+)/)) resolve();
      });
      const ended = () => reject(new Error(`${BINARY} did not start: ${server.said}`));
      server.child.ended.then(ended, ended);
    });
    await within(20_000, 'the start of the server', started);
    server.url = server.find(/listens on (http:\S+)/);
    server.issuer = server.find(/issuer on (http:\/\/[^\s:]+:\d+)/);
    return server;
  }

  find(pattern) {
    return pattern.exec(this.said)?.[1];
  }

  /** A token of an agent, by its client credentials. */
  agent(name) {
    return this.token({ grant_type: 'client_credentials', client_id: name, client_secret: `${name}-dev-secret` });
  }

  /** A token of a person, by the development issuer's login. */
  person(name) {
    return this.token({ grant_type: 'urn:countersign:dev', username: name });
  }

  async token(form) {
    const answer = await fetch(`${this.issuer}/token`, { method: 'POST', body: new URLSearchParams(form) });
    return (await answer.json()).access_token;
  }

  async end() {
    this.child.kill('SIGTERM');
    const [code] = await within(20_000, 'the end of the server', this.child.ended);
    if (code !== 0) throw new Error(`the server ended with ${code}: ${this.said}`);
  }
}
