// The names that the studio uses for the API's shapes.

/** RFC 9457, with our stable `code` and, for a bad field, its name. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail?: string;
  code: string;
  field?: string;
}

export interface Account {
  id: string;
  email: string;
  name?: string | null;
  created_at: string;
}

export interface UploadPart {
  number: number;
  method: string;
  url: string;
  headers: Record<string, string>;
}

/** Where to send a file's bytes. */
export interface UploadTicket {
  id: string;
  parts: UploadPart[];
  expires_at: string;
}

/** A verified upload. */
export interface Upload {
  id: string;
  state: string;
  content_type: string;
  bytes: number;
  sha256: string;
  width: number | null;
  height: number | null;
  duration_s: number | null;
  /** Where its owner may see it, for a while. */
  url?: string | null;
}

export type Scale = 2 | 3 | 4;
export type Priority = "standard" | "rush";

export interface UpscaleParams {
  scale: Scale;
  auto_exposure: boolean;
  auto_white_balance: boolean;
  sharpen: number;
}

export interface JobRequest {
  kind: "upscale";
  params: UpscaleParams;
  inputs: string[];
  priority: Priority;
}

export interface Quote {
  quote_millicredits: number;
  lines: { what: string; millicredits: number }[];
  expected_s: number;
}

export type JobState = "queued" | "running" | "succeeded" | "failed" | "cancelled";

export interface Artifact {
  name: string;
  content_type: string;
  bytes: number;
  sha256?: string;
  /** Presigned and short-lived; absent in lists. */
  url?: string | null;
}

export interface Job {
  id: string;
  kind: string;
  state: JobState;
  attempt: number;
  progress: number;
  stage: string | null;
  queue_position: number | null;
  quote_millicredits: number;
  /** 0 until it has succeeded. */
  charged_millicredits: number;
  error?: { code: string; message: string; retryable: boolean } | null;
  params: Partial<UpscaleParams>;
  /** Upload ids. */
  inputs: string[];
  priority: Priority;
  /** Rises with every change. */
  seq: number;
  artifacts: Artifact[];
  created_at: string;
  started_at?: string | null;
  finished_at?: string | null;
}

export interface Creation {
  id: string;
  job_id: string;
  kind: string;
  created_at: string;
  params: Partial<UpscaleParams>;
  artifacts: Artifact[];
}

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

export interface Credits {
  available_millicredits: number;
  held_millicredits: number;
  debt_millicredits: number;
}

export interface LedgerEntry {
  id: string;
  at: string;
  kind: string;
  amount_millicredits: number;
  d_available_millicredits: number;
  d_held_millicredits: number;
  cause: string;
  external_id?: string | null;
}

export interface Share {
  id: string;
  /** Both are told once; the answer to a repeated request lacks them. */
  token?: string;
  url?: string;
  expires_at: string | null;
}

export interface SharedCreation {
  kind: string;
  created_at: string;
  artifacts: Artifact[];
}
