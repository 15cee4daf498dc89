// Whether payments are play money: so when the payment page is served by this very machine, where only a stand-in
// for the payment service can be. What the last checkout told is remembered.
import { recall, remember } from "../../ui/stored";

const KEY = "kiln.play-money";

/** Whether an address is of the machine that the browser runs on. */
export function isLocal(url: string): boolean {
  try {
    const { hostname } = new URL(url);
    return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d+){3}$/.test(hostname);
  } catch {
    return false;
  }
}

export type PlayMoney = "yes" | "no" | "likely";

/** Before the first checkout nobody has told; a Kiln on this machine most likely has the stand-in. */
export function playMoney(pageUrl = window.location.href): PlayMoney {
  const told = recall(KEY);
  if (told === "yes" || told === "no") return told;
  return isLocal(pageUrl) ? "likely" : "no";
}

/** Goes to the payment service's page. An address that is none of the web's is refused: the API never sends one. */
export function leaveFor(url: string): void {
  if (!/^https?:\/\//.test(url)) throw new Error("not an address of a page");
  remember(KEY, isLocal(url) ? "yes" : "no");
  window.location.assign(url);
}
