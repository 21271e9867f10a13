// The usual client library of Node.js against the running gate.
import { given } from './setup.mjs'
import assert from 'node:assert/strict'
import test from 'node:test'
import * as jose from 'jose'
import * as client from 'openid-client'

const discover = (id, secret, method) =>
  client.discovery(new URL(given.issuer), id, undefined, method(secret), {
    algorithm: 'oauth2',
    execute: [client.allowInsecureRequests], // the gate is on loopback, without TLS
  })

for (const method of [client.ClientSecretBasic, client.ClientSecretPost]) {
  test(`${method.name}: discovery, token, call, introspection, revocation`, async () => {
    const config = await discover(given.client_id, given.client_secret, method)
    const tokens = await client.clientCredentialsGrant(config, { audience: given.audience })
    assert.equal(tokens.token_type, 'bearer')
    assert.equal(tokens.expires_in, 3600)

    const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri))
    const { payload, protectedHeader } = await jose.jwtVerify(tokens.access_token, keys, {
      issuer: given.issuer,
      audience: given.audience,
      typ: 'at+jwt',
    })
    assert.equal(protectedHeader.alg, given.algorithm)
    assert.equal(payload.client_id, given.client_id)

    const call = () => client.fetchProtectedResource(config, tokens.access_token, new URL(given.resource), 'GET')
    const answer = await call()
    assert.equal(answer.status, 200)
    const seen = await answer.json()
    assert.deepEqual(seen.headers['Keyreeve-Client-Id'], [given.client_id])
    assert.equal(seen.headers.Authorization, undefined)

    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, true)
    await client.tokenRevocation(config, tokens.access_token)
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false)
    await assert.rejects(call(), { code: 'OAUTH_WWW_AUTHENTICATE_CHALLENGE', status: 401 })
  })
}

test('errors reach the caller as the standard names them', async () => {
  const config = await discover(given.client_id, given.client_secret, client.ClientSecretBasic)
  await assert.rejects(client.clientCredentialsGrant(config, { audience: 'https://elsewhere.example' }), {
    code: 'OAUTH_RESPONSE_BODY_ERROR',
    error: 'invalid_target',
    status: 400,
  })
  const unknown = await discover('nobody', 'x', client.ClientSecretBasic)
  await assert.rejects(client.clientCredentialsGrant(unknown), { code: 'OAUTH_WWW_AUTHENTICATE_CHALLENGE', status: 401 })
})
