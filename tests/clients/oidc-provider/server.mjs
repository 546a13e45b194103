// The real binary, as it is started in production: a configuration file, a journal directory, a policy directory.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { launch, within } from '../processes.mjs';

const ROOT = join(import.meta.dirname, '../../..');
const BINARY = process.env.COUNTERSIGN_BIN ?? join(ROOT, 'target/debug/countersign');

// As docs/identity.md shows it; only the issuer's port differs from run to run.
const CONFIG = readFileSync(join(import.meta.dirname, 'countersign.toml'), 'utf8');
const ISSUER = 'http://127.0.0.1:3000';

export class Server {
  /** A server that trusts `issuer`, with an empty journal. */
  static async start(issuer) {
    const server = new Server();
    server.directory = mkdtempSync(join(tmpdir(), 'countersign-clients-'));
    process.on('exit', () => rmSync(server.directory, { recursive: true, force: true }));
    server.config = join(server.directory, 'countersign.toml');
    // The server keeps a key of its own for its journal.
    writeFileSync(server.config, `${CONFIG.replace(ISSUER, issuer.url)}\n[journal]\nsealing = "kept"\n`);
    copyPolicies(join(server.directory, 'policies'));
    await server.begin();
    return server;
  }

  async begin() {
    const args = ['serve', '--config', this.config, '--listen', '127.0.0.1:0'];
    args.push('--journal-dir', join(this.directory, 'journal'), '--policy-dir', join(this.directory, 'policies'));
    this.child = launch(BINARY, args);
    this.said = '';
    const listens = new Promise((resolve, reject) => {
      this.child.stderr.on('data', (text) => {
        this.said += text;
        const address = /listens on (http:\S+)/.exec(this.said)?.[1];
        if (address) resolve(address);
      });
      const ended = () => reject(new Error(`${BINARY} did not start: ${this.said}`));
      this.child.ended.then(ended, ended);
    });
    this.url = await within(20_000, 'the start of the server', listens);
  }

  /** How often it has said this. */
  heard(text) {
    return this.said.split(text).length - 1;
  }

  /** Waits until it has said this more often than `before`. */
  async says(text, before) {
    const until = Date.now() + 20_000;
    while (this.heard(text) <= before) {
      if (Date.now() > until) throw new Error(`it does not say "${text}": ${this.said}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends it as an orchestrator does, and starts it anew on the same journal. */
  async restart() {
    await this.end();
    await this.begin();
  }

  /** Asks it to end, which it must do well. */
  async end() {
    this.child.kill('SIGTERM');
    const [code] = await within(20_000, 'the end of the server', this.child.ended);
    if (code !== 0) throw new Error(`the server ended with ${code}: ${this.said}`);
  }
}

// The shipped ones, and the one thing that no token says: to which group an agent belongs that acts for a person.
function copyPolicies(directory) {
  cpSync(join(ROOT, 'policies'), directory, { recursive: true });
  const file = join(directory, 'entities.json');
  const entities = JSON.parse(readFileSync(file, 'utf8'));
  const assistant = { type: 'Agent', id: 'assistant' };
  entities.push({ uid: assistant, attrs: {}, parents: [{ type: 'Group', id: 'agents' }] });
  writeFileSync(file, JSON.stringify(entities));
}
