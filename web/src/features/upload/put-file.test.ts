import { expect, test, vi } from "vitest";
import { putFile, SendError } from "./put-file";

/** Stands in for XMLHttpRequest: keeps what it was told, and answers when the test says so. */
class FakeRequest {
  static last: FakeRequest;
  upload: { onprogress?: (event: { loaded: number }) => void } = {};
  onload?: () => void;
  onerror?: () => void;
  onabort?: () => void;
  status = 0;
  opened: string[] = [];
  headers: Record<string, string> = {};
  body: Blob | null = null;
  constructor() {
    FakeRequest.last = this;
  }
  open(method: string, url: string) {
    this.opened = [method, url];
  }
  setRequestHeader(name: string, value: string) {
    this.headers[name] = value;
  }
  send(body: Blob) {
    this.body = body;
  }
  abort() {
    this.onabort?.();
  }
}

const part = {
  number: 1,
  method: "PUT",
  url: "http://files.test/u/1?X-Amz-Signature=abc",
  headers: { "content-type": "image/jpeg", "content-length": "3", "if-none-match": "*", Host: "files.test" },
};

function start(signal = new AbortController().signal) {
  vi.stubGlobal("XMLHttpRequest", FakeRequest);
  const progress = vi.fn();
  const done = putFile(part, new File(["abc"], "a.heic", { type: "image/heic" }), progress, signal);
  return { done, progress, request: FakeRequest.last };
}

test("uses the method, the URL and the headers as given, less those that only a browser may write", async () => {
  const { done, request } = start();
  expect(request.opened).toEqual(["PUT", part.url]);
  expect(request.headers).toEqual({ "content-type": "image/jpeg", "if-none-match": "*" });
  expect(request.body?.type).toBe("");
  request.status = 200;
  request.onload?.();
  await done;
});

test("tells how much has gone out", () => {
  const { progress, request } = start();
  request.upload.onprogress?.({ loaded: 2 });
  expect(progress).toHaveBeenCalledWith(2);
});

test("bytes that an earlier try has already put there count as sent", async () => {
  const { done, request } = start();
  request.status = 412;
  request.onload?.();
  await done;
});

test.each([
  [403, /ran out/],
  [500, /500/],
])("an answer of %i is an error in words", async (status, words) => {
  const { done, request } = start();
  request.status = status;
  request.onload?.();
  await expect(done).rejects.toThrow(words);
});

test("a broken connection is told from a refusal", async () => {
  const { done, request } = start();
  request.onerror?.();
  const error = await done.catch((cause) => cause);
  expect(error).toBeInstanceOf(SendError);
  expect(error.status).toBeNull();
});

test("stopping stops the request", async () => {
  const abort = new AbortController();
  const { done } = start(abort.signal);
  abort.abort();
  await expect(done).rejects.toMatchObject({ name: "AbortError" });
});
