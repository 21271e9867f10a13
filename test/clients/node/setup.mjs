// What the tests are given, and what Node.js 18 lacks of a web platform.
import { webcrypto } from 'node:crypto'

globalThis.crypto ??= webcrypto

/**
 * issuer: of the gate's tokens; client_id and client_secret: a client that may
 * call resource; audience: a second allowed one; default_audience: the first.
 */
export const given = JSON.parse(process.env.KEYREEVE_GIVEN)
