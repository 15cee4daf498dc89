// A message that belongs to what the person just did. Bad news interrupts a screen reader; good news waits.
import type { ReactNode } from "react";
import css from "./notice.module.css";

interface NoticeProps {
  tone?: "info" | "good" | "bad";
  /** A way forward: a button or a link. */
  action?: ReactNode;
  children: ReactNode;
}

export function Notice({ tone = "info", action, children }: NoticeProps) {
  return (
    <div className={`${css.notice} ${css[tone]}`} role={tone === "bad" ? "alert" : "status"}>
      <div className={css.text}>{children}</div>
      {action}
    </div>
  );
}
