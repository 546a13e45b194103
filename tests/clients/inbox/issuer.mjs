// An issuer that is not ours: npm `oidc-provider`, with the inbox and one agent as clients, and some people. Login and consent
// are its own pages. It puts groups into ID tokens, as the documentation of the inbox asks.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { generateKeyPairSync, randomUUID } from 'node:crypto';

import { Provider } from 'oidc-provider';

const COUNTERSIGN = 'urn:company:countersign';
const PEOPLE = { alice: ['privacy'], carol: ['privacy'], bob: ['dpo'], dave: ['sre'], nina: ['oncall'], erin: ['auditors'], frank: [] };
const AGENTS = { 'report-bot': ['agents'], 'ci-pipeline': ['agents', 'pipelines'] };

export class Issuer {
  /** Starts on any free loopback port; the inbox will be at `inbox`. */
  static async start(inbox) {
    const issuer = new Issuer();
    issuer.server = createServer((request, response) => issuer.handle(request, response));
    issuer.server.listen(0, '127.0.0.1');
    await once(issuer.server, 'listening');
    issuer.url = `http://127.0.0.1:${issuer.server.address().port}`;
    issuer.handle = new Provider(issuer.url, configuration(`${inbox}/login/callback`)).callback();
    return issuer;
  }

  /** A token of an agent that acts for itself. */
  async token(client) {
    const form = { grant_type: 'client_credentials', scope: 'approvals', resource: COUNTERSIGN };
    const response = await fetch(`${this.url}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${client}:${client}-secret`)}` },
      body: new URLSearchParams(form),
    });
    const answer = await response.json();
    if (!answer.access_token) throw new Error(JSON.stringify(answer));
    return answer.access_token;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

function configuration(callback) {
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  return {
    jwks: { keys: [{ ...key, alg: 'RS256', use: 'sig', kid: randomUUID() }] },
    cookies: { keys: [randomUUID()] },
    clients: [
      {
        client_id: 'inbox',
        client_secret: 'inbox-secret',
        redirect_uris: [callback],
        application_type: 'native',
        require_auth_time: true,
      },
      ...Object.keys(AGENTS).map((name) => ({
        client_id: name,
        client_secret: `${name}-secret`,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      })),
    ],
    scopes: ['openid', 'profile', 'approvals'],
    claims: { profile: ['name', 'groups'], openid: ['sub', 'groups'] },
    conformIdTokenClaims: false,
    findAccount: (_, id) =>
      id in PEOPLE && {
        accountId: id,
        claims: () => ({ sub: id, name: id[0].toUpperCase() + id.slice(1), groups: PEOPLE[id] }),
      },
    extraTokenClaims: (_, { clientId }) => ({ groups: AGENTS[clientId] }),
    ttl: { AccessToken: 3600, ClientCredentials: 3600, Grant: 3600, IdToken: 300, Interaction: 600, Session: 3600 },
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'approvals',
          audience: 'countersign',
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  };
}
