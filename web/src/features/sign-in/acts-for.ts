// For which organisation a tab acts, kept for as long as the tab lives, and only for the person who chose it.
const KEY = "kiln.acts-for";

/** The organisation's account id, or null for the person's own account. */
export function recallActsFor(personId: string): string | null {
  try {
    const [person, org] = (sessionStorage.getItem(KEY) ?? "").split(" ");
    return person === personId && org ? org : null;
  } catch {
    // Storage is switched off: the tab begins with the person's own account.
    return null;
  }
}

export function rememberActsFor(personId: string, orgId: string | null): void {
  try {
    if (orgId) sessionStorage.setItem(KEY, `${personId} ${orgId}`);
    else sessionStorage.removeItem(KEY);
  } catch {
    // As above: the choice lasts until the page is loaded anew.
  }
}
