// The one place that speaks to the API: same-origin JSON over fetch, problem+json turned into ApiError.
// It never retries by itself; a caller that repeats a creating POST passes the same idempotency key.
import type { Problem } from "./types";

const BASE = "/api/v1";

/** What the API (or the way to it) answered instead of what was asked for. */
export class ApiError extends Error {
  readonly problem: Problem;
  /** From `Retry-After`, in seconds, where the server sent one. */
  readonly retryAfterS: number | null;

  constructor(problem: Problem, retryAfterS: number | null = null) {
    super(problem.detail || problem.title);
    this.name = "ApiError";
    this.problem = problem;
    this.retryAfterS = retryAfterS;
  }

  get status(): number {
    return this.problem.status;
  }

  get code(): string {
    return this.problem.code;
  }
}

export interface CallOptions {
  body?: unknown;
  /** For a POST that makes something: one key per intention, the same again for a repeat. */
  idempotencyKey?: string;
  signal?: AbortSignal;
}

let signedOutListener: (() => void) | null = null;

/** Calls `listener` whenever the API says that the session is over. Returns the way to stop. */
export function onSignedOut(listener: () => void): () => void {
  signedOutListener = listener;
  return () => {
    if (signedOutListener === listener) signedOutListener = null;
  };
}

let actsFor: string | null = null;

/** From now on this tab's calls are for the organisation `accountId`, or for the person's own account with null. */
export function actFor(accountId: string | null): void {
  actsFor = accountId;
}

/** 128 random bits as hex. Not randomUUID: that one is missing where the page is served without TLS. */
export function newIdempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** `path` is below /api/v1 and begins with a slash. Throws ApiError, or AbortError when `signal` fires. */
export async function call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json, application/problem+json" };
  if (options.body !== undefined) headers["content-type"] = "application/json";
  if (options.idempotencyKey) headers["idempotency-key"] = options.idempotencyKey;
  // What is a person's own (me, sessions, orgs) ignores it.
  if (actsFor) headers["kiln-account"] = actsFor;

  let response: Response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers,
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
      credentials: "same-origin",
      signal: options.signal,
    });
  } catch (cause) {
    if (options.signal?.aborted) throw cause;
    throw new ApiError({
      type: "about:blank",
      title: "Kiln can't be reached",
      status: 0,
      detail: "Kiln can't be reached. Check your connection and try again.",
      code: "network",
    });
  }

  if (!response.ok) {
    const error = await toError(response);
    if (error.status === 401) signedOutListener?.();
    throw error;
  }
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/** `{limit: 12, cursor: undefined}` → `?limit=12`. */
export function query(values: Record<string, string | number | null | undefined>): string {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== null && value !== "") parts.set(name, String(value));
  }
  const text = parts.toString();
  return text === "" ? "" : `?${text}`;
}

async function toError(response: Response): Promise<ApiError> {
  const retryAfter = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  const wait = Number.isFinite(retryAfter) ? retryAfter : null;
  const type = response.headers.get("content-type") ?? "";
  if (type.includes("json")) {
    try {
      const problem = (await response.json()) as Partial<Problem>;
      return new ApiError(
        {
          type: problem.type ?? "about:blank",
          title: problem.title ?? `The request failed (${response.status})`,
          status: response.status,
          detail: problem.detail ?? undefined,
          code: problem.code ?? `http_${response.status}`,
          field: problem.field ?? undefined,
        },
        wait,
      );
    } catch {
      // A body that isn't what its type says: the status below is all there is to tell.
    }
  }
  // Not ours: a gateway or a proxy answered in the API's place.
  const title = response.status >= 500 ? "Kiln is having trouble" : "The request was refused";
  return new ApiError(
    {
      type: "about:blank",
      title,
      status: response.status,
      detail: `${title} (${response.status}). Try again in a moment.`,
      code: `http_${response.status}`,
    },
    wait,
  );
}

/** One sentence for a person, whatever was thrown. */
export function errorText(error: unknown): string {
  if (error instanceof ApiError) {
    const text = told(error);
    return error.retryAfterS ? `${text} Try again in ${error.retryAfterS} s.` : text;
  }
  return "Something went wrong in this page. Reload it and try again.";
}

/** The API names the field before the message, for programs' logs; a person sees the message at the field. */
function told(error: ApiError): string {
  const { field } = error.problem;
  const prefix = `${field}: `;
  return sentence(
    field && error.message.startsWith(prefix) ? error.message.slice(prefix.length) : error.message,
  );
}

/** "the file is empty" → "The file is empty." */
export function sentence(text: string): string {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(upper) ? upper : `${upper}.`;
}

/** The message if the API blames `field`, else null. Accepts `params.sharpen` for `sharpen`. */
export function fieldError(error: unknown, field: string): string | null {
  if (!(error instanceof ApiError) || !error.problem.field) return null;
  const blamed = error.problem.field;
  return blamed === field || blamed.endsWith(`.${field}`) ? told(error) : null;
}
