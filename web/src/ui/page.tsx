// The frame of one page: its title in the tab and as the heading, which takes the focus when the page changes.
import { type ReactNode, useEffect, useRef } from "react";
import css from "./page.module.css";

interface PageProps {
  title: string;
  /** Beside the heading: buttons that belong to the whole page. */
  actions?: ReactNode;
  intro?: ReactNode;
  width?: "narrow" | "wide";
  children: ReactNode;
}

// The first page of a visit leaves the focus alone: the browser has just put it where the reader expects it.
let visited = false;

export function Page({ title, actions, intro, width = "wide", children }: PageProps) {
  const heading = useRef<HTMLHeadingElement>(null);

  useEffect(() => {
    document.title = title === "Kiln" ? title : `${title} · Kiln`;
  }, [title]);

  useEffect(() => {
    if (visited) heading.current?.focus({ preventScroll: true });
    visited = true;
  }, []);

  return (
    <main className={`${css.page} ${css[width]}`} id="main">
      <div className={css.head}>
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {actions ? <div className={css.actions}>{actions}</div> : null}
        {intro ? <p className={css.intro}>{intro}</p> : null}
      </div>
      {children}
    </main>
  );
}

/** One raised area of a page. */
export function Card({ children, label }: { children: ReactNode; label?: string }) {
  return (
    <section className={css.card} aria-label={label}>
      {children}
    </section>
  );
}
