// Where a person wanted to go when the sign-in form came up. The mailed link opens in another tab, so the
// address waits in local storage; only a path of this site is ever followed.
const KEY = "kiln.return-to";

export function rememberReturn(path: string): void {
  try {
    localStorage.setItem(KEY, path);
  } catch {
    // Storage is switched off: after signing in the start page comes up, and nothing is lost.
  }
}

export function takeReturn(): string {
  try {
    const path = localStorage.getItem(KEY);
    localStorage.removeItem(KEY);
    return path && isOwnPath(path) ? path : "/";
  } catch {
    return "/";
  }
}

/** `/jobs/…` yes; `//other.site`, `https://…` and `/\other.site` no. */
export function isOwnPath(path: string): boolean {
  return /^\/(?![/\\])/.test(path) && !path.startsWith("/sign-in");
}
