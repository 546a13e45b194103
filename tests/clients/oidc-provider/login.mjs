// How tokens are got: by the flows of OAuth, over HTTP. People have a browser: cookies, redirects, and forms that are
// filled in as they come. Nothing here knows the issuer from within.

import { createHash, randomBytes } from 'node:crypto';

import { COUNTERSIGN, INBOX } from './issuer.mjs';

const STEPS_MAX = 20;

/** An agent's token (RFC 6749 section 4.4). */
export async function clientCredentials(issuer, client, resource = COUNTERSIGN) {
  const answer = await token(issuer, client, { grant_type: 'client_credentials', scope: 'approvals', resource });
  return answer.access_token;
}

/** Logs a person in at a web page (authorization code and PKCE); returns `access_token` and `id_token`. */
export async function authorizationCode(issuer, person, client = 'inbox') {
  const verifier = randomBytes(32).toString('base64url');
  const asked = new URLSearchParams({
    client_id: client,
    response_type: 'code',
    redirect_uri: INBOX,
    scope: 'openid approvals',
    resource: COUNTERSIGN,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const { authorization_endpoint: page } = await discovery(issuer);
  const landed = await new Browser(person).visit(`${page}?${asked}`);
  const code = new URL(landed).searchParams.get('code');
  if (!code) throw new Error(`no code in ${landed}`);
  return token(issuer, client, {
    grant_type: 'authorization_code',
    code,
    redirect_uri: INBOX,
    code_verifier: verifier,
    resource: COUNTERSIGN,
  });
}

/** Logs a person in at a terminal: a code is shown, the browser is elsewhere (RFC 8628). */
export async function deviceFlow(issuer, person, client = 'cli') {
  const { device_authorization_endpoint: endpoint } = await discovery(issuer);
  const asked = { client_id: client, scope: 'openid approvals', resource: COUNTERSIGN };
  const shown = await post(endpoint, asked);
  const grant = {
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    device_code: shown.device_code,
    client_id: client,
    resource: COUNTERSIGN,
  };
  const { token_endpoint } = await discovery(issuer);
  const early = await post(token_endpoint, grant).catch((error) => error);
  if (early.code !== 'authorization_pending') throw new Error('the device got a token before anybody logged in');
  await new Browser(person).visit(shown.verification_uri_complete);
  return post(token_endpoint, grant);
}

async function token(issuer, client, form) {
  const { token_endpoint } = await discovery(issuer);
  return post(token_endpoint, form, `Basic ${btoa(`${client}:${client}-secret`)}`);
}

async function discovery(issuer) {
  return (await fetch(`${issuer.url}/.well-known/openid-configuration`)).json();
}

async function post(url, form, authorization) {
  const headers = authorization ? { authorization } : {};
  const response = await fetch(url, { method: 'POST', headers, body: new URLSearchParams(form) });
  const answer = await response.json();
  if (answer.error) {
    throw Object.assign(new Error(`${answer.error}: ${answer.error_description}`), { code: answer.error });
  }
  return answer;
}

/** Goes where it is sent, and fills in what it is asked for. */
class Browser {
  constructor(person) {
    this.filled = { login: person, password: 'any' };
    this.cookies = new Map();
  }

  /** Ends where the client's redirect address begins, or at a page without a form; returns that address. */
  async visit(url) {
    let request = { url, method: 'GET' };
    for (let step = 0; step < STEPS_MAX; step += 1) {
      const response = await this.send(request);
      const location = response.headers.get('location');
      if (location) {
        const next = new URL(location, request.url).href;
        if (next.startsWith(INBOX)) return next;
        request = { url: next, method: 'GET' };
        continue;
      }
      const page = await response.text();
      if (!response.ok) throw new Error(`${request.url} answered ${response.status}: ${page}`);
      const form = this.form(page, request.url);
      if (!form) return request.url;
      request = form;
    }
    throw new Error(`no end of pages at ${request.url}`);
  }

  async send({ url, method, body }) {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { method, body, headers: { cookie }, redirect: 'manual' });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value) this.cookies.set(name, value);
      else this.cookies.delete(name);
    }
    return response;
  }

  form(page, base) {
    const form = /<form\b[^>]*>[\s\S]*?<\/form>/.exec(page)?.[0];
    if (!form) return undefined;
    const fields = new URLSearchParams();
    for (const input of form.match(/<input\b[^>]*>/g) ?? []) {
      const name = attribute(input, 'name');
      if (name) fields.set(name, attribute(input, 'value') ?? this.filled[name] ?? '');
    }
    return { url: new URL(attribute(form, 'action'), base).href, method: 'POST', body: fields };
  }
}

function attribute(tag, name) {
  const value = new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1];
  return value?.replaceAll('&amp;', '&');
}
