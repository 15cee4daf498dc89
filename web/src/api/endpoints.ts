// One function for each endpoint that the studio calls. Names and shapes are the API's own.
import { call, query } from "./client";
import type {
  Account,
  Creation,
  Credits,
  Job,
  JobRequest,
  LedgerEntry,
  OpenShare,
  Page,
  Quote,
  Share,
  SharedCreation,
  Upload,
  UploadTicket,
} from "./types";

type Signal = AbortSignal | undefined;
const id = encodeURIComponent;

export const auth = {
  requestLink: (email: string) => call<void>("POST", "/auth/request-link", { body: { email } }),
  verifyLink: (token: string) =>
    call<{ account: Account; session_expires_at: string }>("POST", "/auth/verify-link", { body: { token } }),
  logout: () => call<void>("POST", "/auth/logout"),
  me: (signal?: Signal) => call<{ account: Account }>("GET", "/me", { signal }),
};

export const uploads = {
  create: (
    body: { filename: string; content_type: string; bytes: number },
    idempotencyKey: string,
    signal?: Signal,
  ) => call<UploadTicket>("POST", "/uploads", { body, idempotencyKey, signal }),
  get: (uploadId: string, signal?: Signal) => call<Upload>("GET", `/uploads/${id(uploadId)}`, { signal }),
  complete: (uploadId: string, signal?: Signal) =>
    call<Upload>("POST", `/uploads/${id(uploadId)}/complete`, { signal }),
};

export const jobs = {
  quote: (body: JobRequest, signal?: Signal) => call<Quote>("POST", "/jobs/quote", { body, signal }),
  create: (body: JobRequest, idempotencyKey: string) => call<Job>("POST", "/jobs", { body, idempotencyKey }),
  get: (jobId: string, signal?: Signal) => call<Job>("GET", `/jobs/${id(jobId)}`, { signal }),
  list: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<Job>>("GET", `/jobs${query(page)}`, { signal }),
  cancel: (jobId: string) => call<Job>("POST", `/jobs/${id(jobId)}/cancel`),
};

export const creations = {
  list: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<Creation>>("GET", `/creations${query(page)}`, { signal }),
  remove: (creationId: string) => call<void>("DELETE", `/creations/${id(creationId)}`),
};

export const credits = {
  balance: (signal?: Signal) => call<Credits>("GET", "/credits", { signal }),
  ledger: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<LedgerEntry>>("GET", `/credits/ledger${query(page)}`, { signal }),
};

export const shares = {
  create: (jobId: string, idempotencyKey: string) =>
    call<Share>("POST", "/shares", { body: { job_id: jobId }, idempotencyKey }),
  list: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<OpenShare>>("GET", `/shares${query(page)}`, { signal }),
  remove: (shareId: string) => call<void>("DELETE", `/shares/${id(shareId)}`),
  open: (token: string, signal?: Signal) => call<SharedCreation>("GET", `/share/${id(token)}`, { signal }),
};
