// A modal question on the platform's own <dialog>: focus is kept inside, Escape closes, focus returns.
import { type ReactNode, useEffect, useId, useRef } from "react";
import css from "./dialog.module.css";

interface DialogProps {
  title: string;
  onClose: () => void;
  actions: ReactNode;
  children: ReactNode;
}

/** Render it to open it. */
export function Dialog({ title, onClose, actions, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();

  useEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);

  return (
    <dialog
      ref={ref}
      className={css.dialog}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <h2 id={id}>{title}</h2>
      <div className={css.content}>{children}</div>
      <div className={css.actions}>{actions}</div>
    </dialog>
  );
}
