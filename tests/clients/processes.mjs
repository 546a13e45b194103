// Every process that a test starts ends with it, whatever happens to the test.

import { spawn } from 'node:child_process';
import { once } from 'node:events';

const running = new Set();

process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

// How long calls wait for a processor that many tests share says nothing.
const PATIENT = { COUNTERSIGN__LIMITS__QUEUEING_TARGET: '60s', ...process.env };

/** Starts a program; its output is piped. */
export function launch(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: PATIENT, ...options });
  running.add(child);
  child.ended = once(child, 'close').finally(() => running.delete(child));
  child.stdout.setEncoding('utf8');
  child.stderr.setEncoding('utf8');
  return child;
}

/** What a promise brings, or an error that says what took too long. */
export async function within(milliseconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
