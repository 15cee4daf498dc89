// Where a photo is dropped or picked. The whole area is the label of a real file input, so that a mouse, a
// keyboard and a screen reader all find the same control.
import { useEffect, useId, useRef, useState } from "react";
import { PhotoIcon } from "../../ui/icons";
import { PHOTO_TYPES } from "./check-photo";
import css from "./upload.module.css";

export function DropZone({ onFile }: { onFile: (file: File) => void }) {
  const id = useId();
  const [over, setOver] = useState(false);
  // dragenter and dragleave also fire for the children: only as many leaves as enters mean "outside".
  const depth = useRef(0);

  return (
    <label
      htmlFor={id}
      className={css.drop}
      data-over={over || undefined}
      onDragEnter={(event) => {
        event.preventDefault();
        depth.current += 1;
        setOver(true);
      }}
      onDragLeave={() => {
        depth.current -= 1;
        if (depth.current <= 0) setOver(false);
      }}
      onDrop={() => {
        depth.current = 0;
        setOver(false);
      }}
    >
      <input
        id={id}
        className={css.input}
        type="file"
        accept={PHOTO_TYPES.join(",")}
        aria-describedby={`${id}-limits`}
        onChange={(event) => {
          const file = event.target.files?.[0];
          // Emptied, so that choosing the same file again is a change again.
          event.target.value = "";
          if (file) onFile(file);
        }}
      />
      <span className={css.dropIcon}>
        <PhotoIcon size={40} />
      </span>
      <span className={css.dropTitle}>Choose a photo</span>
      <span className={css.dropHint}>or drop it here, or paste it</span>
      <span className={css.dropLimits} id={`${id}-limits`}>
        JPEG, PNG or WebP, up to 10 MB and 4,096 pixels on each side
      </span>
    </label>
  );
}

/** Takes a file that is dropped anywhere on the page, or pasted: a near miss must not open it in the tab. */
export function useDroppedFile(onFile: (file: File) => void): void {
  useEffect(() => {
    const over = (event: DragEvent) => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    };
    const drop = (event: DragEvent) => {
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      event.preventDefault();
      onFile(file);
    };
    const paste = (event: ClipboardEvent) => {
      const file = event.clipboardData?.files[0];
      if (file) onFile(file);
    };
    document.addEventListener("dragover", over);
    document.addEventListener("drop", drop);
    document.addEventListener("paste", paste);
    return () => {
      document.removeEventListener("dragover", over);
      document.removeEventListener("drop", drop);
      document.removeEventListener("paste", paste);
    };
  }, [onFile]);
}
