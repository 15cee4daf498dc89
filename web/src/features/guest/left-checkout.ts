// The checkout that a guest went to, kept by the tab: whoever comes back without paying can go on where they were.
const KEY = "kiln.guest-checkout";

export interface LeftCheckout {
  url: string;
  expires_at: string;
  amount: number;
  currency: string;
  photo: string;
}

export function rememberCheckout(checkout: LeftCheckout): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(checkout));
  } catch {
    // Storage is switched off: then the guest begins again.
  }
}

/** What was left, if it can still be paid; told once. */
export function takeCheckout(now: number): LeftCheckout | null {
  try {
    const kept = sessionStorage.getItem(KEY);
    sessionStorage.removeItem(KEY);
    const checkout = JSON.parse(kept ?? "null") as LeftCheckout | null;
    return checkout && Date.parse(checkout.expires_at) > now ? checkout : null;
  } catch {
    return null;
  }
}
