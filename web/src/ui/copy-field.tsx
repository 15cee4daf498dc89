// A text that is there to be taken along, such as a link: shown whole, and copied by a press.
import { useRef, useState } from "react";
import { Button } from "./button";
import css from "./copy-field.module.css";
import { TextField } from "./field";
import { Spoken } from "./spoken";

interface CopyFieldProps {
  label: string;
  value: string;
  hint?: string;
}

/** Another value wants another key: what was copied is then not it. */
export function CopyField({ label, value, hint }: CopyFieldProps) {
  const [copied, setCopied] = useState(false);
  const input = useRef<HTMLInputElement>(null);

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(value);
      setCopied(true);
    } catch {
      // No right to the clipboard (or no TLS): the text is selected, for the person to copy.
      input.current?.select();
    }
  };

  return (
    <div className={css.line}>
      <TextField
        ref={input}
        label={label}
        value={value}
        readOnly
        hint={hint}
        onFocus={(event) => event.target.select()}
      />
      <Button look="primary" onClick={copy}>
        {copied ? "Copied" : "Copy"}
      </Button>
      <Spoken>{copied ? "It is copied" : ""}</Spoken>
    </div>
  );
}
