// The whole life of an approval, with an issuer (oidc-provider) and a client (buf curl) that others wrote. The order within
// `the life of an approval` is the story; the other tests stand alone.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { call, collect, list, RpcError, Stream } from './buf.mjs';
import { forge, Issuer, newKey, PAYROLL, TROUBLES } from './issuer.mjs';
import { authorizationCode, clientCredentials, deviceFlow } from './login.mjs';
import { Server } from './server.mjs';

let issuer;
let server;
let tokens;

before(async () => {
  issuer = await Issuer.start();
  server = await Server.start(issuer);
  tokens = {
    agent: await clientCredentials(issuer, 'report-bot'),
    otherAgent: await clientCredentials(issuer, 'other-bot'),
    alice: (await authorizationCode(issuer, 'alice')).access_token,
    bob: (await deviceFlow(issuer, 'bob')).access_token,
    frank: (await deviceFlow(issuer, 'frank')).access_token,
    erin: (await authorizationCode(issuer, 'erin')).access_token,
  };
});

after(async () => {
  issuer?.stop();
  await server?.end();
});

const READ = { action: uid('Action', 'read'), resource: uid('Dataset', 'customers'), supportedObligations: ['mask'] };
const DROP = { action: uid('Action', 'drop'), resource: uid('Database', 'warehouse') };

test('health is told without a token, of the whole and of each dependency', async () => {
  for (const service of ['', 'countersign.v1.DecisionPoint', 'journal', 'issuer.company']) {
    const health = new Stream(server, 'grpc.health.v1.Health/Watch', undefined, { service });
    await health.until(`${service} serves`, (answers) => answers.at(-1)?.status === 'SERVING');
    await health.stop();
  }
});

test('reflection tells the same services in both of its versions', async () => {
  for (const version of ['v1', 'v1alpha']) {
    const services = await list(server, 'services', `grpc-${version}`);
    assert.ok(services.includes('countersign.v1.DecisionPoint'), services);
    assert.ok(services.includes('grpc.health.v1.Health'), services);
    const methods = await list(server, 'methods', `grpc-${version}`);
    assert.equal(methods.filter((method) => method.startsWith('countersign.v1.DecisionPoint/')).length, 16);
  }
});

test('an agent is allowed what a permit says, with its obligations', async () => {
  const answer = await call(server, 'Authorize', tokens.agent, READ);
  assert.equal(answer.outcome, 'OUTCOME_ALLOW');
  assert.equal(answer.reason, 'permitted');
  assert.deepEqual(answer.obligations, [{ policy: 'agents-read-masked', mask: 'EMAIL_ADDRESS, US_SSN' }]);
});

test('an agent is denied what a forbid says, for good', async () => {
  const answer = await call(server, 'Authorize', tokens.agent, DROP);
  assert.equal(answer.outcome, 'OUTCOME_DENY');
  assert.equal(answer.reason, 'forbidden');
  assert.deepEqual(answer.determiningPolicies, ['agents-never-drop']);
});

test('a batch is answered in order, and what is wrong in it fails alone', async () => {
  const { results } = await call(server, 'AuthorizeBatch', tokens.agent, {
    queries: [READ, { action: READ.action }, DROP],
  });
  assert.equal(results[0].response.outcome, 'OUTCOME_ALLOW');
  assert.deepEqual([results[1].error.reason, results[1].error.field], ['invalid_argument', 'resource']);
  assert.equal(results[2].response.outcome, 'OUTCOME_DENY');
});

test('an export without a reason is not even asked of people', async () => {
  const { justification, ...query } = exportTo('s3://no-reason');
  const answer = await call(server, 'Authorize', tokens.agent, query);
  assert.equal(answer.outcome, 'OUTCOME_DENY');
  assert.equal(answer.reason, 'justification_required');
});

test('the life of an approval', async (t) => {
  const query = exportTo('s3://quarterly');
  const changed = exportTo('s3://elsewhere');
  let approval;
  let allowed;
  const events = [];
  let following = new Stream(server, 'Subscribe', tokens.erin, { fromBeginning: true });

  await t.test('the agent asks and is told to wait for two people', async () => {
    const answer = await call(server, 'Authorize', tokens.agent, query);
    assert.equal(answer.outcome, 'OUTCOME_PENDING');
    assert.equal(answer.reason, 'approval_required');
    ({ approval } = answer);
    assert.equal(approval.binding, answer.binding);
    assert.deepEqual(approval.principal.uid, uid('Agent', 'report-bot'));
    assert.equal(approval.principal.issuer, issuer.url);
    assert.equal(approval.gates[0].gate.quorum, 2);
  });

  const redeem = (message = query) => ({ ...message, approvalId: approval.id });
  const decisions = (events) => events.filter(({ record }) => record?.decided?.approvalId === approval.id).length;
  const vote = (verdict = 'VERDICT_APPROVE') => ({ approvalId: approval.id, verdict, binding: approval.binding });

  await t.test('asked again it is the same approval', async () => {
    const again = await call(server, 'Authorize', tokens.agent, query);
    assert.equal(again.approval.id, approval.id);
  });

  await t.test('reviewers find it and see what is asked; others do not', async () => {
    const found = await call(server, 'ListApprovals', tokens.alice, { reviewable: true });
    assert.deepEqual(
      found.approvals.map((one) => one.id),
      [approval.id],
    );
    const seen = await call(server, 'GetApproval', tokens.bob, { approvalId: approval.id });
    assert.equal(seen.context.destination.string, 's3://quarterly');
    assert.equal(seen.justification, query.justification);
    assert.equal(JSON.parse(seen.canonicalQuery).principal.id, 'report-bot');
    const none = await call(server, 'ListApprovals', tokens.frank, {});
    assert.deepEqual(none, {});
    await refuses('not_found', 'not_found', call(server, 'GetApproval', tokens.frank, { approvalId: approval.id }));
  });

  await t.test('who is no reviewer cannot countersign, nor can the agent itself', async () => {
    await refuses('not_found', 'not_found', call(server, 'Decide', tokens.frank, vote()));
    await refuses('permission_denied', 'not_reviewer', call(server, 'Decide', tokens.erin, vote()));
    await refuses('permission_denied', 'not_human', call(server, 'Decide', tokens.agent, vote()));
  });

  await t.test('a vote on another binding is refused', async () => {
    const other = { ...vote(), binding: '00'.repeat(32) };
    await refuses('aborted', 'binding_mismatch', call(server, 'Decide', tokens.alice, other));
  });

  await t.test('the first countersignature is not enough', async () => {
    const reviewed = await call(server, 'Decide', tokens.alice, { ...vote(), comment: 'looks right' });
    assert.equal(reviewed.state, 'APPROVAL_STATE_PENDING');
    assert.equal(reviewed.gates[0].approvals, 1);
    const twice = await call(server, 'Decide', tokens.alice, vote());
    assert.equal(twice.gates[0].approvals, 1);
  });

  await t.test('the server restarts while the agent waits, and nothing is lost', async () => {
    const held = call(server, 'Authorize', tokens.agent, { ...redeem(), wait: '50s' });
    const restarted = following.until('the call is held', (all) => decisions(all) === 3).then(() => server.restart());
    await Promise.all([refuses('unavailable', 'shutting_down', held), restarted]);
    events.push(...following.messages);
    following = new Stream(server, 'Subscribe', tokens.erin, { cursor: events.at(-1).cursor });
    const still = await call(server, 'GetApproval', tokens.alice, { approvalId: approval.id });
    assert.equal(still.state, 'APPROVAL_STATE_PENDING');
    assert.equal(still.gates[0].approvals, 1);
  });

  await t.test('the second countersignature lets the waiting agent go on', async () => {
    const held = call(server, 'Authorize', tokens.agent, { ...redeem(), wait: '50s' });
    const voted = following
      .until('the call is held', (all) => decisions(all) === 1)
      .then(async () => {
        const reviewed = await call(server, 'Decide', tokens.bob, vote());
        assert.notEqual(reviewed.state, 'APPROVAL_STATE_PENDING');
      });
    [allowed] = await Promise.all([held, voted]);
    assert.equal(allowed.outcome, 'OUTCOME_ALLOW');
    assert.equal(allowed.reason, 'granted');
  });

  await t.test('once is once', async () => {
    const again = await call(server, 'Authorize', tokens.agent, redeem());
    assert.equal(again.outcome, 'OUTCOME_DENY');
    assert.equal(again.reason, 'grant_consumed');
  });

  await t.test('a late vote gets the true outcome', async () => {
    const late = await refuses(
      'failed_precondition',
      'already_settled',
      call(server, 'Decide', tokens.bob, vote('VERDICT_REJECT')),
    );
    assert.equal(late.metadata.state, 'CONSUMED');
  });

  await t.test('the agent reports what became of it; nobody else can', async () => {
    const report = { approvalId: approval.id, decisionId: allowed.decisionId, report: 'REPORT_SUCCEEDED' };
    await assert.rejects(call(server, 'ReportOutcome', tokens.otherAgent, report), RpcError);
    const reported = await call(server, 'ReportOutcome', tokens.agent, report);
    assert.equal(reported.state, 'APPROVAL_STATE_CONSUMED');
    assert.equal(reported.report, 'REPORT_SUCCEEDED');
  });

  await t.test('a changed payload is not what was approved', async () => {
    const answer = await call(server, 'Authorize', tokens.agent, redeem(changed));
    assert.equal(answer.outcome, 'OUTCOME_DENY');
    assert.equal(answer.reason, 'binding_mismatch');
  });

  await t.test('the auditor sees every step, and only the auditor', async () => {
    const filter = { approvalId: approval.id };
    const records = await collect(server, 'Audit', tokens.erin, { filter });
    assert.deepEqual(
      records.map(({ record }) => step(record)),
      [
        'OUTCOME_PENDING approval_required',
        'OUTCOME_PENDING approval_required',
        'GetApproval not_found',
        'Decide not_found',
        'Decide not_reviewer',
        'Decide not_human',
        'Decide binding_mismatch',
        'reviewed by alice',
        'OUTCOME_PENDING approval_required',
        'Authorize shutting_down',
        'OUTCOME_PENDING approval_required',
        'approved by bob',
        'OUTCOME_ALLOW granted',
        'OUTCOME_DENY grant_consumed',
        'Decide already_settled',
        'ReportOutcome not_found',
        'reported',
        'OUTCOME_DENY binding_mismatch',
      ],
    );
    await refuses('permission_denied', 'not_permitted', collect(server, 'Audit', tokens.frank, { filter }));
  });

  await t.test('a subscriber saw the same across the restart, each record once', async () => {
    await following.until('the report', (all) => all.some((event) => event.record?.moved?.transition.reported));
    events.push(...following.messages);
    await following.stop();
    const sequences = events.flatMap((event) => (event.record ? [Number(event.record.sequence)] : []));
    assert.deepEqual(
      sequences,
      sequences.map((_, index) => index + 1),
    );
  });
});

test('the requester cancels; then nobody can countersign', async () => {
  const { approval } = await call(server, 'Authorize', tokens.agent, exportTo('s3://cancelled'));
  const named = { approvalId: approval.id };
  await assert.rejects(call(server, 'CancelApproval', tokens.otherAgent, named), { code: 'not_found' });
  const cancelled = await call(server, 'CancelApproval', tokens.agent, { ...named, comment: 'no longer needed' });
  assert.equal(cancelled.state, 'APPROVAL_STATE_CANCELLED');
  const late = call(server, 'Decide', tokens.alice, {
    ...named,
    verdict: 'VERDICT_APPROVE',
    binding: approval.binding,
  });
  await refuses('failed_precondition', 'already_settled', late);
  const asked = await call(server, 'Authorize', tokens.agent, { ...exportTo('s3://cancelled'), ...named });
  assert.equal(asked.reason, 'approval_cancelled');
});

test('a reviewer revokes what is approved and not used', async () => {
  const query = exportTo('s3://revoked');
  const { approval } = await call(server, 'Authorize', tokens.agent, query);
  const named = { approvalId: approval.id };
  const vote = { ...named, verdict: 'VERDICT_APPROVE', binding: approval.binding };
  await call(server, 'Decide', tokens.alice, vote);
  const approved = await call(server, 'Decide', tokens.bob, vote);
  assert.equal(approved.state, 'APPROVAL_STATE_APPROVED');
  const stolen = await call(server, 'Authorize', tokens.otherAgent, { ...query, ...named });
  assert.deepEqual([stolen.outcome, stolen.reason], ['OUTCOME_DENY', 'binding_mismatch']);
  const revoked = await call(server, 'RevokeApproval', tokens.bob, named);
  assert.equal(revoked.state, 'APPROVAL_STATE_REVOKED');
  const asked = await call(server, 'Authorize', tokens.agent, { ...query, ...named });
  assert.equal(asked.outcome, 'OUTCOME_DENY');
  assert.equal(asked.reason, 'approval_revoked');
});

test('one rejection is final, and the agent is told why', async () => {
  const query = exportTo('s3://rejected');
  const { approval } = await call(server, 'Authorize', tokens.agent, query);
  const vote = {
    approvalId: approval.id,
    verdict: 'VERDICT_REJECT',
    binding: approval.binding,
    comment: 'not that bucket',
  };
  const rejected = await call(server, 'Decide', tokens.alice, vote);
  assert.equal(rejected.state, 'APPROVAL_STATE_REJECTED');
  const asked = await call(server, 'Authorize', tokens.agent, { ...query, approvalId: approval.id });
  assert.equal(asked.reason, 'approval_rejected');
  assert.equal(asked.approval.reviews[0].comment, 'not that bucket');
});

test('an agent acts for a person, who cannot countersign what it asks', async () => {
  const assistant = (await authorizationCode(issuer, 'alice', 'assistant')).access_token;
  const { outcome, approval } = await call(server, 'Authorize', assistant, exportTo('s3://for-alice'));
  assert.equal(outcome, 'OUTCOME_PENDING');
  assert.deepEqual(approval.principal.uid, uid('Agent', 'assistant'));
  assert.deepEqual(approval.principal.onBehalfOf.uid, uid('User', 'alice'));
  const vote = { approvalId: approval.id, verdict: 'VERDICT_APPROVE', binding: approval.binding };
  await refuses('permission_denied', 'own_action', call(server, 'Decide', tokens.alice, vote));
  await refuses('permission_denied', 'not_human', call(server, 'Decide', assistant, vote));
  const carol = (await deviceFlow(issuer, 'carol')).access_token;
  await call(server, 'Decide', carol, vote);
  const approved = await call(server, 'Decide', tokens.bob, vote);
  assert.equal(approved.state, 'APPROVAL_STATE_APPROVED');
});

test('a wrong field is named', async () => {
  const bad = await refuses(
    'invalid_argument',
    'invalid_argument',
    call(server, 'Authorize', tokens.agent, { action: READ.action }),
  );
  assert.deepEqual(bad.fields, ['resource']);
});

test('no token but the right one is believed', async (t) => {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: issuer.url,
    aud: 'countersign',
    sub: 'alice',
    client_id: 'inbox',
    groups: ['privacy'],
    jti: 'forged',
    iat: now,
    exp: now + 600,
  };
  const key = issuer.key('ES256');
  const accepted = await call(server, 'ListApprovals', forge(key, claims), {});
  assert.ok(accepted, 'what the others are made from is accepted');

  const foreign = await Issuer.start();
  t.after(() => foreign.stop());
  const login = await authorizationCode(issuer, 'alice');
  const lent = await authorizationCode(issuer, 'alice', 'report-bot');
  const cases = {
    'no token': ['missing_token', undefined],
    'a token for another service': ['wrong_audience', await clientCredentials(issuer, 'report-bot', PAYROLL)],
    'an expired token': ['expired', forge(key, { ...claims, iat: now - 7200, exp: now - 3600 })],
    'an unsigned token': ['alg_not_allowed', forge(undefined, claims)],
    'a token of another issuer': ['wrong_issuer', await clientCredentials(foreign, 'report-bot')],
    'a token of another issuer that says it is ours': ['untrusted_key', forge(newKey('ES256'), claims)],
    'a token signed by another key under our key id': [
      'bad_signature',
      forge({ ...newKey('ES256'), kid: key.kid }, claims),
    ],
    'a token whose key is for another algorithm': [
      'alg_key_mismatch',
      forge({ ...newKey('RS256'), kid: key.kid }, claims),
    ],
    'an ID token': ['wrong_typ', login.id_token],
    'the login of a person that an agent holds': ['unknown_principal', lent.access_token],
    'no JWT at all': ['malformed', 'secret'],
  };
  for (const [what, [reason, token]] of Object.entries(cases)) {
    await t.test(what, () => refuses('unauthenticated', reason, call(server, 'ListApprovals', token, {})));
  }
});

test('keys rotate at the issuer without a restart', async () => {
  const old = (await authorizationCode(issuer, 'erin')).access_token;
  await call(server, 'ListApprovals', old, {});
  issuer.rotate('ES256');
  const fresh = (await authorizationCode(issuer, 'erin')).access_token;
  await untilKnown(() => call(server, 'ListApprovals', fresh, {}));
  await refuses('unauthenticated', 'untrusted_key', call(server, 'ListApprovals', old, {}));
});

test('an issuer in trouble harms nobody whose key is known, and lets nobody else in', async (t) => {
  const FAILED = "cannot refresh the issuer's keys";
  for (const trouble of Object.keys(TROUBLES)) {
    await t.test(trouble, async () => {
      const before = server.heard(FAILED);
      issuer.behave(trouble);
      issuer.rotate('ES256');
      await server.says(FAILED, before);
      await call(server, 'ListApprovals', tokens.agent, {});
      const now = Math.floor(Date.now() / 1000);
      const claims = { iss: issuer.url, aud: 'countersign', sub: 'erin', client_id: 'inbox', jti: trouble };
      const fresh = forge(issuer.key('ES256'), { ...claims, iat: now, exp: now + 600 });
      await refuses('unauthenticated', 'untrusted_key', call(server, 'ListApprovals', fresh, {}));
      issuer.behave();
      await untilKnown(() => call(server, 'ListApprovals', fresh, {}));
    });
  }
});

test('without its issuer the server goes on with the keys it has, and without keys it waits', async () => {
  await call(server, 'ListApprovals', tokens.agent, {});
  issuer.stop();
  await call(server, 'ListApprovals', tokens.agent, {});
  await server.restart();
  await refuses('unavailable', 'jwks_unavailable', call(server, 'ListApprovals', tokens.agent, {}));
  const health = new Stream(server, 'grpc.health.v1.Health/Watch', undefined, {});
  await health.until('it does not serve', (answers) => answers.at(-1)?.status === 'NOT_SERVING');
  await issuer.resume();
  await health.until('it serves again', (answers) => answers.at(-1)?.status === 'SERVING');
  await health.stop();
  await call(server, 'ListApprovals', tokens.agent, {});
});

/** A query that takes two countersignatures; each destination is another query. */
function exportTo(destination) {
  return {
    action: uid('Action', 'export'),
    resource: uid('Dataset', 'customers'),
    context: { destination: { string: destination }, rows: { long: '9007199254740993' } },
    justification: 'the quarterly report',
  };
}

function uid(type, id) {
  return { type, id };
}

/** Asserts on a gRPC error's code and reason, and returns the error. */
async function refuses(code, reason, answer) {
  const error = await answer.then(
    (answer) => assert.fail(`answered: ${JSON.stringify(answer)}`),
    (error) => error,
  );
  assert.ok(error instanceof RpcError, error);
  assert.deepEqual([error.code, error.reason], [code, reason], error.message);
  assert.equal(error.domain, 'countersign');
  return error;
}

/** What happened, in a word. */
function step(record) {
  if (record.decided) return `${record.decided.outcome} ${record.decided.reason}`;
  if (record.refused) return `${record.refused.method} ${record.refused.reason}`;
  const [[name, what]] = Object.entries(record.moved.transition);
  const reviewer = (what.review ?? what).reviewer?.subject;
  return reviewer ? `${name} by ${reviewer}` : name;
}

// A fetch that an unknown key forces comes at most every 30 s; the regular one comes each second here.
async function untilKnown(ask) {
  const until = Date.now() + 10_000;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.reason !== 'untrusted_key' || Date.now() > until) throw error;
    }
  }
}
