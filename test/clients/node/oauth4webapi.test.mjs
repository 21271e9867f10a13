// A strict OAuth client against the running gate.
import { given } from './setup.mjs'
import assert from 'node:assert/strict'
import test from 'node:test'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'

const insecure = { [oauth.allowInsecureRequests]: true } // the gate is on loopback, without TLS
const client = { client_id: given.client_id }
const methods = {
  client_secret_basic: oauth.ClientSecretBasic(given.client_secret),
  client_secret_post: oauth.ClientSecretPost(given.client_secret),
}

async function discover() {
  const issuer = new URL(given.issuer)
  const response = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
  // It holds the metadata's issuer against the one that was asked.
  return oauth.processDiscoveryResponse(issuer, response)
}

const as = await discover()

async function grant(method = 'client_secret_basic', parameters = {}) {
  const response = await oauth.clientCredentialsGrantRequest(as, client, methods[method], parameters, insecure)
  return oauth.processClientCredentialsResponse(as, client, response)
}

const call = (token) => oauth.protectedResourceRequest(token, 'GET', new URL(given.resource), undefined, null, insecure)

async function introspect(token, method = 'client_secret_basic') {
  const response = await oauth.introspectionRequest(as, client, methods[method], token, insecure)
  return oauth.processIntrospectionResponse(as, client, response)
}

async function revoke(token, method = 'client_secret_basic') {
  const response = await oauth.revocationRequest(as, client, methods[method], token, insecure)
  await oauth.processRevocationResponse(response)
}

/** verifies a token as an upstream does, by RFC 9068 and the published keys. */
function validate(token, audience) {
  const request = new Request(given.resource, { headers: { authorization: `Bearer ${token}` } })
  return oauth.validateJwtAccessToken(as, request, audience, insecure)
}

test('the metadata names what is served, and these methods', () => {
  for (const method of Object.keys(methods)) {
    assert.ok(as.token_endpoint_auth_methods_supported.includes(method))
    assert.ok(as.introspection_endpoint_auth_methods_supported.includes(method))
    assert.ok(as.revocation_endpoint_auth_methods_supported.includes(method))
  }
  assert.deepEqual(as.grant_types_supported, ['client_credentials'])
})

for (const method of Object.keys(methods)) {
  test(`a token by ${method} is good until it is revoked`, async () => {
    const answer = await grant(method)
    assert.equal(answer.token_type, 'bearer')
    assert.equal(answer.expires_in, 3600)
    const claims = await validate(answer.access_token, given.default_audience)
    assert.equal(claims.sub, given.client_id)
    assert.equal(claims.client_id, given.client_id)
    assert.equal((await call(answer.access_token)).status, 200)

    const told = await introspect(answer.access_token, method)
    assert.equal(told.active, true)
    assert.equal(told.client_id, given.client_id)
    assert.equal(told.jti, claims.jti)
    assert.equal(told.exp, claims.exp)

    await revoke(answer.access_token, method)
    assert.deepEqual(await introspect(answer.access_token, method), { active: false })
    await assert.rejects(call(answer.access_token), (err) => {
      assert.ok(err instanceof oauth.WWWAuthenticateChallengeError)
      assert.equal(err.response.status, 401)
      assert.equal(err.cause[0].scheme, 'bearer')
      assert.equal(err.cause[0].parameters.error, 'invalid_token')
      return true
    })
    await revoke(answer.access_token, method) // the purpose is met already
  })
}

test('an allowed audience is in the token, another is invalid_target', async () => {
  const answer = await grant('client_secret_basic', { audience: given.audience })
  await validate(answer.access_token, given.audience)
  await assert.rejects(validate(answer.access_token, given.default_audience), { code: oauth.JWT_CLAIM_COMPARISON })
  await assert.rejects(grant('client_secret_basic', { audience: 'https://elsewhere.example' }), (err) => {
    assert.ok(err instanceof oauth.ResponseBodyError)
    assert.equal(err.status, 400)
    assert.equal(err.error, 'invalid_target')
    return true
  })
})

test('errors are those of RFC 6749 section 5.2', async () => {
  const generic = async (type, parameters) => {
    const response = await oauth.genericTokenEndpointRequest(as, client, methods.client_secret_post, type, parameters, insecure)
    return oauth.processGenericTokenEndpointResponse(as, client, response)
  }
  for (const [type, parameters, error] of [
    ['password', { username: 'a', password: 'b' }, 'unsupported_grant_type'],
    ['refresh_token', { refresh_token: 'x' }, 'unsupported_grant_type'],
    ['client_credentials', { scope: 'read' }, 'invalid_scope'],
    ['client_credentials', [['audience', given.audience], ['audience', given.audience]], 'invalid_request'],
  ]) {
    await assert.rejects(generic(type, new URLSearchParams(parameters)), (err) => {
      assert.ok(err instanceof oauth.ResponseBodyError, String(err))
      assert.equal(err.status, 400)
      assert.equal(err.error, error)
      assert.ok(err.error_description)
      return true
    })
  }
})

test('an unknown client is challenged, with invalid_client in the body', async () => {
  const unknown = { client_id: 'nobody' }
  for (const auth of [oauth.ClientSecretBasic('x'), oauth.ClientSecretPost('x')]) {
    const response = await oauth.clientCredentialsGrantRequest(as, unknown, auth, {}, insecure)
    assert.equal((await response.clone().json()).error, 'invalid_client')
    await assert.rejects(oauth.processClientCredentialsResponse(as, unknown, response), (err) => {
      assert.ok(err instanceof oauth.WWWAuthenticateChallengeError)
      assert.equal(err.status, 401)
      assert.equal(err.cause[0].scheme, 'basic')
      return true
    })
  }
})

test('the assertion that the upstream gets verifies by the same published keys', async () => {
  const { access_token } = await grant()
  const seen = await (await call(access_token)).json()
  const [assertion] = seen.headers['Keyreeve-Assertion']
  const keys = jose.createRemoteJWKSet(new URL(as.jwks_uri))
  const { payload } = await jose.jwtVerify(assertion, keys, {
    issuer: given.issuer,
    audience: given.default_audience,
    subject: given.client_id,
    typ: 'keyreeve-assertion+jwt',
    requiredClaims: ['jti', 'htm', 'htp', 'key_id', 'role', 'customer'],
    maxTokenAge: 60,
  })
  assert.equal(payload.exp - payload.iat, 60)
  assert.equal(payload.htm, 'GET')
  assert.equal(payload.htp, new URL(given.resource).pathname)
  await assert.rejects(validate(assertion, given.default_audience), 'it is no access token')
})
