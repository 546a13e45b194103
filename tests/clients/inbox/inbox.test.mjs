// People at the inbox: Chromium, an issuer (oidc-provider) and a judge (axe) that others wrote, and the real binary. Each test
// asks for something of its own, so that they stand alone.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';

import { Issuer } from './issuer.mjs';
import { freePort, Server } from './server.mjs';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const PICTURES = process.env.PICTURES && join(import.meta.dirname, '../../../docs/pictures');
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

let browser, issuer, server, bot, pipeline;

before(async () => {
  const port = await freePort();
  issuer = await Issuer.start(`http://127.0.0.1:${port}`);
  server = await Server.start(issuer, port);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
  [bot, pipeline] = [await issuer.token('report-bot'), await issuer.token('ci-pipeline')];
});

after(async () => {
  await browser?.close();
  issuer?.stop();
  await server?.end();
});

const CUSTOMERS = ['Dataset', 'customers'];
const REASON = 'The quarterly report for the partner. Legal has signed it off, so this can be approved right away.';

/** Asks for an export that two people must countersign; each destination is another query. */
const exported = (destination, reason = REASON) => server.ask(bot, 'export', CUSTOMERS, { destination }, reason);

/** Asks for a secret to be replaced, which one engineer must countersign. */
const rotated = (secret) => server.ask(pipeline, 'rotate', ['Secret', secret], { reason: 'monthly rotation' });

/** Fills in the issuer's own pages until it sends the person back. */
async function signIn(page, who) {
  while (!page.url().startsWith(server.inbox)) {
    const login = page.locator('input[name=login]');
    if (await login.count()) {
      await login.fill(who);
      await page.locator('input[name=password]').fill('any');
    }
    await Promise.all([page.waitForEvent('framenavigated'), page.locator('button[type=submit]').click()]);
    await page.waitForLoadState();
  }
}

/** Somebody at a screen of their own, signed in; what the browser complains about fails the test. */
async function person(who, options = {}, path = '/') {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(error.message));
  // The issuer's own pages want fonts of the world outside.
  const isOurs = (message) => message.type() === 'error' && message.location().url.startsWith(server.inbox);
  page.on('console', (message) => isOurs(message) && page.complaints.push(message.text()));
  await page.goto(server.inbox + path);
  await signIn(page, who);
  return page;
}

const open = (page, id) => page.goto(`${server.inbox}/approvals/${id}`);

async function approve(page, object) {
  if (object) await page.fill('#object', object);
  await page.click('#approve-button');
  await page.waitForURL(/done=approved/);
}

async function accessible(page, where) {
  // The page's own policy would keep the judge out: it is let in by the browser, not by the page.
  const client = await page.context().newCDPSession(page);
  await client.send('Runtime.evaluate', { expression: (await import('node:fs')).readFileSync(AXE, 'utf8') });
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }),
  );
  const said = violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(' | ')}`);
  assert.deepEqual(said, [], where);
}

const picture = (page, name, options = {}) =>
  PICTURES && page.screenshot({ path: join(PICTURES, `${name}.png`), ...options });

test('people sign in at their issuer, find what waits for them, and two of them countersign it', async () => {
  const id = await exported('s3://two-people');
  const alice = await person('alice');
  assert.equal(await alice.textContent('h1'), 'Waiting for me');
  await alice.click(`[id="${id}"] .open`);
  assert.match(await alice.textContent('h1'), /report-bot wants to export dataset customers/);
  await approve(alice, 'customers');
  assert.match(await alice.textContent('#news'), /You approved this.*Others have to decide/s);
  const bob = await person('bob', {}, `/approvals/${id}`);
  assert.equal(new URL(bob.url()).pathname, `/approvals/${id}`, 'a link leads where it says, through the login');
  await approve(bob, 'customers');
  assert.match(await bob.textContent('#news'), /Everybody who had to has approved/);
  assert.equal(await bob.getAttribute('article', 'data-state'), 'approved');
  assert.deepEqual([...alice.complaints, ...bob.complaints], []);
});

test('a glass is broken and examined, on pages that everybody can use', async () => {
  const id = await rotated('leaked');
  const nina = await person('nina', {}, `/approvals/${id}`);
  assert.equal(await nina.locator('#approve').count(), 0, 'who is on call countersigns nothing');
  await nina.click('details.glass summary');
  await accessible(nina, 'a glass that can be broken');
  await nina.fill('#glass-reason', 'it is on a public page');
  await nina.fill('#glass-object', 'leaked');
  await nina.click('#glass-button');
  await nina.waitForURL(/done=broken/);
  assert.match(await nina.textContent('#live-status'), /glass broken.*let pass by nina alone/s);
  await accessible(nina, 'a broken glass, to whoever broke it');
  const dave = await person('dave', {}, '/?show=history&state=unexamined');
  await accessible(dave, 'the list of broken glasses');
  await open(dave, id);
  await accessible(dave, 'a broken glass, to whoever looks at it');
  await dave.fill('#examination-comment', 'it was');
  await dave.click('#examination button[value=approve]');
  await dave.waitForURL(/done=examined/);
  await accessible(dave, 'a broken glass that was looked at');
  assert.deepEqual([...nina.complaints, ...dave.complaints], []);
});

test('a rejection at high severity takes a comment, and is final', async () => {
  const id = await exported('s3://rejected');
  const alice = await person('alice', {}, `/approvals/${id}`);
  await alice.click('#reject-button');
  assert.equal(new URL(alice.url()).search, '', 'the browser asks for the comment first');
  await alice.fill('#reject-comment', 'Not without a contract.');
  await alice.click('#reject-button');
  await alice.waitForURL(/done=rejected/);
  assert.match(await alice.textContent('#live-quorum'), /Not without a contract\./);
  await alice.goto(`${server.inbox}/?show=history`);
  assert.match(await alice.textContent(`[id="${id}"]`), /rejected by alice/);
});

test('the approval waits until all parameters were on screen and the id is typed', async () => {
  const context = Object.fromEntries(Array.from({ length: 3 }, (_, n) => [`destination`, `s3://long/${'x'.repeat(300)}`]));
  const id = await server.ask(bot, 'export', CUSTOMERS, context, REASON);
  const alice = await person('alice', { viewport: { width: 500, height: 300 } }, `/approvals/${id}`);
  const button = alice.locator('#approve-button');
  assert.equal(await button.isDisabled(), true);
  await alice.evaluate(() => document.querySelector('#payload-end').scrollIntoView({ block: 'center' }));
  await alice.waitForFunction(() => document.querySelector('#approve-hint').textContent === '');
  await alice.fill('#object', 'customer');
  assert.equal(await button.isDisabled(), true);
  await alice.fill('#object', 'customers');
  await alice.waitForFunction(() => !document.querySelector('#approve-button').disabled);
  await alice.goto(`${server.inbox}/approvals/${id}?all=1`);
  const whole = await server.ask(bot, 'export', CUSTOMERS, { destination: `s3://${'y'.repeat(900)}` }, REASON);
  await open(alice, whole);
  assert.equal(await alice.locator('#approve-button').count(), 0, 'what is shortened cannot be approved');
  await alice.click('#show-all');
  assert.equal(await alice.locator('#approve-button').count(), 1);
});

test('an old login is stepped up at the issuer, and what was written is still there', async () => {
  const id = await exported('s3://step-up');
  const alice = await person('alice', {}, `/approvals/${id}`);
  await alice.fill('#reject-comment', 'I was about to say');
  const [request] = await Promise.all([
    alice.waitForRequest((request) => request.url().startsWith(`${issuer.url}/auth?`)),
    alice.goto(`${server.inbox}/login?again=1&to=/approvals/${id}`),
  ]);
  const asked = new URL(request.url()).searchParams;
  assert.deepEqual([asked.get('prompt'), asked.get('max_age')], ['login', '900']);
  await signIn(alice, 'alice');
  assert.equal(new URL(alice.url()).pathname, `/approvals/${id}`);
  assert.equal(await alice.inputValue('#reject-comment'), 'I was about to say');
  await approve(alice, 'customers');
});

test('lists and pages follow what changes, and a stale click is told what happened', async () => {
  const alice = await person('alice');
  const id = await exported('s3://live');
  await alice.waitForSelector(`[id="${id}"]`);
  const [carol, bob] = [await person('carol', {}, `/approvals/${id}`), await person('bob', {}, `/approvals/${id}`)];
  // Carol's page does not hear of it: the click comes too late.
  await carol.route('**/events', (route) => route.abort());
  await carol.reload();
  await carol.fill('#object', 'customers');
  await bob.fill('#reject-comment', 'no');
  await bob.click('#reject-button');
  await alice.waitForSelector(`[id="${id}"]`, { state: 'detached' });
  await carol.evaluate(() => document.body.classList.remove('offline'));
  await carol.fill('#object', 'customers');
  await carol.evaluate(() => document.querySelector('#approve').requestSubmit());
  await carol.waitForSelector('#news');
  assert.match(await carol.textContent('#news'), /Too late.*already rejected.*not counted/s);
  const page = await person('alice', {}, `/approvals/${await exported('s3://followed')}`);
  const followed = new URL(page.url()).pathname.split('/').pop();
  await open(bob, followed);
  await bob.fill('#reject-comment', 'no');
  await bob.click('#reject-button');
  await page.waitForFunction(() => document.querySelector('#decide .why-not'));
  assert.match(await page.textContent('#live-status'), /rejected/);
});

test('the keyboard does it all, and can be turned off', async () => {
  const [first, second] = [await rotated('key-one'), await rotated('key-two')];
  const dave = await person('dave', {}, '/?q=key-');
  await dave.keyboard.press('j');
  await dave.keyboard.press('j');
  await dave.keyboard.press('k');
  await dave.keyboard.press('j');
  await dave.keyboard.press('Enter');
  await dave.waitForURL(`**/approvals/${first}`);
  await dave.keyboard.press('r');
  assert.equal(await dave.evaluate(() => document.activeElement.id), 'reject-comment');
  await dave.keyboard.press('Tab');
  await dave.evaluate(() => document.activeElement.blur());
  await dave.keyboard.press('a');
  assert.equal(await dave.evaluate(() => document.activeElement.id), 'approve-comment');
  // Until all was on screen there is no button to get to.
  await dave.waitForFunction(() => !document.querySelector('#approve-button').disabled);
  await dave.keyboard.press('Tab');
  assert.equal(await dave.evaluate(() => document.activeElement.id), 'approve-button');
  await dave.keyboard.press('Enter');
  await dave.waitForURL(/done=approved/);
  await dave.keyboard.press('?');
  assert.equal(await dave.evaluate(() => document.querySelector('#shortcuts').open), true);
  await dave.click('#shortcuts-on');
  await dave.keyboard.press('Escape');
  await open(dave, second);
  await dave.keyboard.press('a');
  assert.notEqual(await dave.evaluate(() => document.activeElement.id), 'approve-comment');
});

test('without a script everything can be seen and decided', async () => {
  const id = await exported('s3://no-script');
  const alice = await person('alice', { javaScriptEnabled: false });
  await alice.click(`[id="${id}"] .open`);
  assert.match(await alice.textContent('article'), /s3:\/\/no-script/);
  await approve(alice, 'customers');
  assert.match(await alice.textContent('#news'), /You approved this/);
});

test('offline is said, and nothing is decided meanwhile', async () => {
  const id = await exported('s3://offline');
  const alice = await person('alice', {}, `/approvals/${id}`);
  await alice.fill('#object', 'customers');
  await alice.waitForFunction(() => !document.querySelector('#approve-button').disabled);
  await alice.context().setOffline(true);
  await alice.waitForSelector('#connection:not([hidden])');
  assert.equal(await alice.locator('#approve-button').isDisabled(), true);
  await alice.context().setOffline(false);
  await alice.waitForSelector('#connection', { state: 'hidden' });
  await alice.waitForFunction(() => !document.querySelector('#approve-button').disabled);
});

test('axe finds nothing, in both schemes and on a phone', async () => {
  const id = await exported('s3://p\u0430rtner\u202etxt.exe', 'Do it <b>now</b>.\nIgnore the warning.');
  const phone = { viewport: { width: 320, height: 640 }, deviceScaleFactor: 2, hasTouch: true };
  for (const options of [{}, { colorScheme: 'dark' }, phone]) {
    const alice = await person('alice', options);
    for (const path of ['/', '/?show=pending', '/?show=history', `/approvals/${id}`, '/nothing', '/?q=nothing-like-it', '/figures', '/away', '/sessions']) {
      await alice.goto(server.inbox + path);
      await accessible(alice, `${path} ${JSON.stringify(options)}`);
      const wide = await alice.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `${path} is ${wide} pixels too wide`);
    }
    await alice.keyboard.press('?');
    await accessible(alice, 'the keys');
    await alice.goto(`${server.inbox}/signed-out`);
    await accessible(alice, 'signed out');
  }
});

test('whoever is away has a colleague stand in, who is told for whom he decides', async () => {
  const id = await exported('s3://while-alice-is-away');
  const alice = await person('alice', {}, '/away');
  await alice.fill('#to', 'dave');
  await alice.fill('#until', new Date(Date.now() + 7 * 86_400_000).toISOString().slice(0, 10));
  await alice.click('text=Let them stand in');
  await alice.waitForSelector('text=I am back');
  await accessible(alice, 'out of office');
  const dave = await person('dave', {}, `/approvals/${id}`);
  assert.match(await dave.textContent('main'), /You decide in the place of alice, who is away/);
  await accessible(dave, 'in the place of somebody');
  await approve(dave, 'customers');
  assert.match(await dave.textContent('main'), /dave, in the place of alice/);
  await alice.click('text=I am back');
  await alice.waitForSelector('#to');
  assert.equal((await dave.goto(`${server.inbox}/approvals/${id}`)).status(), 404, 'his no more');
  assert.deepEqual(alice.complaints, []);
});

test('pictures for the documentation', { skip: !PICTURES }, async () => {
  await rotated('payments-api-key');
  const id = await server.ask(bot, 'export', CUSTOMERS, { destination: 's3://partner-reports/2026/q4' }, REASON);
  for (const scheme of ['light', 'dark']) {
    const alice = await person('alice', { colorScheme: scheme, viewport: { width: 1000, height: 640 } });
    await picture(alice, `list-${scheme}`);
    await open(alice, id);
    await picture(alice, `approval-${scheme}`, { fullPage: true });
  }
  const bob = await person('bob', { viewport: { width: 320, height: 640 }, deviceScaleFactor: 2 }, `/approvals/${id}`);
  await picture(bob, 'approval-phone');
});
