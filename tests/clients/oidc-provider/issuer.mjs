// An issuer that is not ours: npm `oidc-provider`, with keys of its own, three clients and some people. It knows nothing of
// Countersign but the name by which tokens are meant for it. What is configured here is what any issuer lets one configure:
// clients, accounts, a claim for groups, an audience, JWT access tokens. Login and consent are its own pages.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { createPrivateKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';

import { Provider } from 'oidc-provider';

// What a client names to get a token for Countersign (RFC 8707), and another service of the same company.
export const COUNTERSIGN = 'urn:company:countersign';
export const PAYROLL = 'urn:company:payroll';

// Where the inbox would listen; nothing does. The code is taken from the redirect.
export const INBOX = 'http://127.0.0.1:8080/callback';

const PEOPLE = {
  alice: ['privacy'],
  carol: ['privacy'],
  bob: ['dpo'],
  frank: [],
  erin: ['auditors'],
};
const AGENTS = { 'report-bot': ['agents'], 'other-bot': ['agents'], assistant: [] };

// The clients whose tokens for a person say that an agent acts for that person (RFC 8693 section 4.1).
const ACTORS = ['assistant'];

// Each client's tokens are signed by another algorithm.
const ALGORITHMS = { 'report-bot': 'RS256', 'other-bot': 'RS256', inbox: 'ES256', cli: 'EdDSA', assistant: 'RS256' };

/** A fresh signing key (private JWK) for one algorithm. */
export function newKey(algorithm) {
  const pair = {
    RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: () => generateKeyPairSync('ed25519'),
  }[algorithm]();
  return { ...pair.privateKey.export({ format: 'jwk' }), alg: algorithm, use: 'sig', kid: randomUUID() };
}

/** A JWT of any content and header, signed by a key as the issuer would; with no key it is unsigned (`alg: none`). */
export function forge(key, claims, header = {}) {
  const encode = (json) => Buffer.from(JSON.stringify(json)).toString('base64url');
  const alg = key?.alg ?? 'none';
  const signed = `${encode({ alg, kid: key?.kid, typ: 'at+jwt', ...header })}.${encode(claims)}`;
  if (!key) return `${signed}.`;
  const hash = alg === 'EdDSA' ? null : 'sha256';
  const signature = sign(hash, Buffer.from(signed), {
    key: createPrivateKey({ key, format: 'jwk' }),
    dsaEncoding: 'ieee-p1363',
  });
  return `${signed}.${signature.toString('base64url')}`;
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** Issuers in trouble: one that never ends an answer, one that sends more than anybody should read, and a proxy before one. */
export const TROUBLES = {
  slow: (_, response) => response.writeHead(200, JSON_TYPE).write('{'),
  huge: (_, response) => response.writeHead(200, JSON_TYPE).end(`{"keys":[${' '.repeat(4 << 20)}]}`),
  broken: (_, response) => response.writeHead(502, { 'content-type': 'text/html' }).end('<html>Bad Gateway'),
  elsewhere: (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:9/jwks' }).end(),
};

export class Issuer {
  /** Starts on any free loopback port. */
  static async start() {
    const issuer = new Issuer();
    await issuer.listen(0);
    issuer.url = `http://127.0.0.1:${issuer.port}`;
    issuer.publish(['RS256', 'ES256', 'EdDSA'].map(newKey));
    return issuer;
  }

  /** Comes back at the same address after `stop`. */
  async resume() {
    await this.listen(this.port);
  }

  async listen(port) {
    this.server = createServer((request, response) => {
      // A connection kept alive may be closed by one end while the other sends on it.
      response.shouldKeepAlive = false;
      (TROUBLES[this.trouble] ?? this.handle)(request, response);
    });
    this.server.listen(port, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
  }

  /** Signs with these keys from now on and publishes only them, as after a restart with a new configuration. */
  publish(keys) {
    this.keys = keys;
    this.handle = new Provider(this.url, configuration(keys)).callback();
  }

  /** Answers everything in one of the ways of `TROUBLES` from now on; without a name, as it should again. */
  behave(trouble) {
    this.trouble = trouble;
  }

  key(algorithm) {
    return this.keys.find((key) => key.alg === algorithm);
  }

  /** Replaces the key of one algorithm; the old one is published no more. */
  rotate(algorithm) {
    this.publish([newKey(algorithm), ...this.keys.filter((key) => key.alg !== algorithm)]);
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

function configuration(keys) {
  return {
    jwks: { keys },
    cookies: { keys: [randomUUID()] },
    clients: [
      agent('report-bot'),
      agent('other-bot'),
      agent('assistant'),
      { client_id: 'inbox', client_secret: 'inbox-secret', redirect_uris: [INBOX], application_type: 'native' },
      {
        client_id: 'cli',
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        redirect_uris: [],
        response_types: [],
        grant_types: ['urn:ietf:params:oauth:grant-type:device_code'],
      },
    ],
    scopes: ['openid', 'approvals'],
    findAccount: (_, id) => id in PEOPLE && { accountId: id, claims: () => ({ sub: id }) },
    extraTokenClaims: (_, { accountId, clientId }) => ({
      groups: PEOPLE[accountId] ?? AGENTS[clientId],
      ...(accountId && ACTORS.includes(clientId) && { act: { sub: clientId } }),
    }),
    ttl: { AccessToken: 3600, ClientCredentials: 3600, Grant: 3600, IdToken: 3600, Interaction: 600, Session: 3600 },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource, client) => ({
          scope: 'approvals',
          audience: { [COUNTERSIGN]: 'countersign', [PAYROLL]: 'payroll' }[resource],
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: ALGORITHMS[client.clientId] } },
        }),
      },
    },
  };
}

// Agents act for themselves, and some of them also let people log in: that does not make them people.
function agent(name) {
  return {
    client_id: name,
    client_secret: `${name}-secret`,
    grant_types: ['client_credentials', 'authorization_code'],
    redirect_uris: [INBOX],
    application_type: 'native',
  };
}
