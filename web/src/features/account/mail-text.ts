// What it means that mail doesn't reach a person, and what to do.
import type { Mail } from "../../api/types";
import { onDay } from "../../ui/format";

export function mailText(mail: Mail, email: string): string {
  const when = mail.since ? ` on ${onDay(mail.since)}` : "";
  if (mail.state === "bounced") {
    return `Mail to ${email} came back${when}, so none goes there any more: no sign-in links and no receipts. Change your address before you sign out, or you can't get back in.`;
  }
  if (mail.state === "complained") {
    return `Mail to ${email} was reported as spam${when}, so none goes there any more: no sign-in links and no receipts. Change your address, or ask us from that address to send mail again, before you sign out.`;
  }
  return "";
}
