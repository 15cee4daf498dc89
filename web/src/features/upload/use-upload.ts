// Runs one upload: look at the file, ask for a ticket, send the bytes, have them verified.
import { useCallback, useEffect, useReducer, useRef } from "react";
import { ApiError, errorText, newIdempotencyKey } from "../../api/client";
import { uploads } from "../../api/endpoints";
import { checkPhoto, type PhotoFacts } from "./check-photo";
import { uploadName } from "./file-name";
import { putFile, SendError } from "./put-file";
import { EMPTY, next, type UploadState } from "./upload-machine";

export interface UploadControl {
  state: UploadState;
  choose: (file: File) => void;
  retry: () => void;
  clear: () => void;
}

/** `before` is done before each upload begins: a guest's session is begun there. */
export function useUpload(before?: () => Promise<void>): UploadControl {
  const [state, tell] = useReducer(next, EMPTY);
  const prepare = useRef(before);
  prepare.current = before;
  const run = useRef(0);
  const abort = useRef<AbortController | null>(null);

  const begin = useCallback(() => {
    abort.current?.abort();
    abort.current = new AbortController();
    run.current += 1;
    return { run: run.current, signal: abort.current.signal };
  }, []);

  useEffect(() => () => abort.current?.abort(), []);

  const send = useCallback(async (mine: number, file: File, facts: PhotoFacts, signal: AbortSignal) => {
    try {
      await prepare.current?.();
      if (signal.aborted) return;
      const ticket = await uploads.create(
        { filename: uploadName(file.name), content_type: facts.contentType, bytes: file.size },
        newIdempotencyKey(),
        signal,
      );
      const part = ticket.parts[0];
      if (!part) throw new SendError("Kiln gave no place to send the photo to.", null);
      await putFile(part, file, (bytes) => tell({ run: mine, event: "sent", bytes }), signal);
      tell({ run: mine, event: "arrived" });
      const upload = await uploads.complete(ticket.id, signal);
      tell({ run: mine, event: "verified", upload });
    } catch (error) {
      if (signal.aborted) return;
      // What the API says about this very file (400, 413, 415, 422) won't change by sending it again.
      const final = error instanceof ApiError && [400, 413, 415, 422].includes(error.status);
      const reason = error instanceof SendError ? error.message : errorText(error);
      tell({ run: mine, event: "failed", reason, retry: !final });
    }
  }, []);

  const choose = useCallback(
    async (file: File) => {
      const { run: mine, signal } = begin();
      tell({ run: mine, event: "chosen", file });
      const checked = await checkPhoto(file);
      if (signal.aborted) return;
      if (!checked.ok) {
        tell({ run: mine, event: "refused", reason: checked.reason });
        return;
      }
      tell({ run: mine, event: "checked", facts: checked.facts });
      await send(mine, file, checked.facts, signal);
    },
    [begin, send],
  );

  const retry = useCallback(() => {
    if (state.step !== "failed") return;
    const { run: mine, signal } = begin();
    tell({ run: mine, event: "retried" });
    void send(mine, state.file, state.facts, signal);
  }, [begin, send, state]);

  const clear = useCallback(() => tell({ run: begin().run, event: "cleared" }), [begin]);

  return { state, choose: useCallback((file) => void choose(file), [choose]), retry, clear };
}
