// The npm package's word on messages that Kiln really sent: it accepts each, and refuses each that somebody has bent.
// usage: node judge.mjs CASES.json; prints a line for each and exits 1 when the package says otherwise than it should.

import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';

const cases = JSON.parse(readFileSync(process.argv[2], 'utf8'));
let wrong = 0;
for (const { what, secret, headers, body, good } of cases) {
  let accepted = true;
  try {
    new Webhook(secret).verify(body, headers);
  } catch {
    accepted = false;
  }
  if (accepted !== good) wrong += 1;
  console.log(`npm: ${accepted ? 'accepts' : 'refuses'} ${what}${accepted === good ? '' : ', and should not'}`);
}
process.exit(wrong === 0 ? 0 : 1);
