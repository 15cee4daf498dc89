// A button, and a link that looks like one. `busy` keeps the focus where it is, unlike `disabled`.
import type { ButtonHTMLAttributes, ComponentProps } from "react";
import { Link } from "react-router";
import css from "./button.module.css";

type Look = "primary" | "plain" | "quiet" | "danger";

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: Look;
  busy?: boolean;
}

export function Button({ look = "plain", busy = false, className, onClick, children, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      className={`${css.button} ${css[look]} ${className ?? ""}`}
      aria-busy={busy || undefined}
      aria-disabled={busy || undefined}
      onClick={(event) => {
        // A busy submit button must not submit its form a second time.
        if (busy) event.preventDefault();
        else onClick?.(event);
      }}
    >
      {busy ? <span className={css.spinner} aria-hidden="true" /> : null}
      {children}
    </button>
  );
}

export function ButtonLink({ look = "plain", ...rest }: ComponentProps<typeof Link> & { look?: Look }) {
  return <Link {...rest} className={`${css.button} ${css[look]}`} />;
}
