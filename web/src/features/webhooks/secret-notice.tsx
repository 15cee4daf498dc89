// A secret, shown this once.
import { useState } from "react";
import { Button } from "../../ui/button";
import { Notice } from "../../ui/notice";
import css from "../account/account.module.css";

interface SecretNoticeProps {
  url: string;
  secret: string;
  close: () => void;
}

export function SecretNotice({ url, secret, close }: SecretNoticeProps) {
  const [copied, setCopied] = useState(false);
  const copy = () =>
    // Without the right to the clipboard it is there to be marked by hand.
    navigator.clipboard?.writeText(secret).then(
      () => setCopied(true),
      () => {},
    );
  return (
    <Notice
      tone="good"
      action={
        <div className={css.buttons}>
          <Button onClick={copy}>{copied ? "Copied" : "Copy"}</Button>
          <Button look="quiet" onClick={close}>
            I have it
          </Button>
        </div>
      }
    >
      <p>The secret of {url}. Keep it now: it is shown only this once.</p>
      <p className={css.key} data-testid="secret">
        {secret}
      </p>
    </Notice>
  );
}
