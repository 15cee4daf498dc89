// News for a screen reader alone: said when it changes, politely, and not seen.
import css from "./spoken.module.css";

export function Spoken({ children }: { children: string }) {
  return (
    <p className={css.spoken} role="status">
      {children}
    </p>
  );
}
