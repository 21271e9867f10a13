// The client that most Node.js services have, against the running gate. It sends ID and
// secret encoded as a form is (RFC 6749 section 2.3.1), or as they are where told to.
import { given } from './setup.mjs'
import assert from 'node:assert/strict'
import test from 'node:test'
import { ClientCredentials } from 'simple-oauth2'

const client = (options = {}, secret = given.client_secret) =>
  new ClientCredentials({
    client: { id: given.client_id, secret },
    auth: { tokenHost: given.issuer, tokenPath: '/oauth2/v1/token', revokePath: '/oauth2/v1/revoke' },
    options,
  })

const call = (token) => fetch(given.resource, { headers: { authorization: `Bearer ${token}` } })

for (const options of [
  { authorizationMethod: 'header' },
  { authorizationMethod: 'header', credentialsEncodingMode: 'loose' },
  { authorizationMethod: 'body' },
  { authorizationMethod: 'body', bodyFormat: 'form' },
]) {
  test(`a token by ${JSON.stringify(options)} is good until it is revoked`, async () => {
    const token = await client(options).getToken({ audience: given.audience })
    assert.equal(token.token.token_type, 'Bearer')
    assert.equal(token.token.expires_in, 3600)
    assert.ok(!token.expired())
    assert.ok(token.expired(3601))
    const response = await call(token.token.access_token)
    assert.equal(response.status, 200)
    assert.equal((await response.json()).headers['Keyreeve-Client-Id'][0], given.client_id)

    await token.revoke('access_token')
    const denied = await call(token.token.access_token)
    assert.equal(denied.status, 401)
    assert.match(denied.headers.get('www-authenticate'), /^Bearer .*error="invalid_token"/)
  })
}

test('what is refused is an error of the client, with the words of the standard', async () => {
  const refused = (error) => error.output.statusCode === 400 && error.data.payload.error === 'invalid_target'
  await assert.rejects(client().getToken({ audience: 'https://elsewhere.example' }), refused)
})
