// Whose link brought a person here. The mailed sign-in link opens in another tab, so the code waits in local storage until somebody
// signs in; whether it counts is the server's to say.
const KEY = "kiln.referral";

/** A code names an account by the letters of its id. Anything else must not stand in the way of signing in. */
function isCode(text: string): boolean {
  return /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(text);
}

export function rememberReferral(code: string): void {
  if (!isCode(code)) return;
  try {
    localStorage.setItem(KEY, code);
  } catch {
    // Storage is switched off: the person can sign in, and nobody is thanked for it.
  }
}

export function recallReferral(): string | undefined {
  try {
    const code = localStorage.getItem(KEY);
    return code && isCode(code) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** Somebody has signed in: the next one on this browser is not brought by the same link. */
export function forgetReferral(): void {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // As above.
  }
}
