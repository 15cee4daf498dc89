// One function for each endpoint that the studio calls. Names and shapes are the API's own.
import { call, query } from "./client";
import type {
  Account,
  AccountChange,
  ApiKey,
  Creation,
  Credits,
  ExportPart,
  Invite,
  Job,
  JobRequest,
  LedgerEntry,
  Member,
  NewApiKey,
  OpenShare,
  Org,
  Page,
  Quote,
  Role,
  Scope,
  Session,
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

export const account = {
  change: (body: AccountChange) =>
    call<{ account: Account; email_pending: boolean }>("PATCH", "/me", { body }),
  confirmEmail: (token: string) =>
    call<{ account: Account }>("POST", "/me/confirm-email", { body: { token } }),
  remove: (confirm: string) => call<{ deleted_at: string }>("DELETE", "/me", { body: { confirm } }),
  export: (cursor: string | null) => call<ExportPart>("GET", `/me/export${query({ cursor })}`),
  sessions: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<Session>>("GET", `/sessions${query(page)}`, { signal }),
  endSession: (sessionId: string) => call<void>("DELETE", `/sessions/${id(sessionId)}`),
};

export const apiKeys = {
  list: (signal?: Signal) => call<Page<ApiKey>>("GET", "/api-keys", { signal }),
  create: (body: { name: string; scopes: Scope[] }, idempotencyKey: string) =>
    call<NewApiKey>("POST", "/api-keys", { body, idempotencyKey }),
  revoke: (keyId: string) => call<void>("DELETE", `/api-keys/${id(keyId)}`),
};

export const orgs = {
  list: (signal?: Signal) => call<Page<Org>>("GET", `/orgs${query({ limit: 50 })}`, { signal }),
  create: (name: string, idempotencyKey: string) =>
    call<Org>("POST", "/orgs", { body: { name }, idempotencyKey }),
  remove: (orgId: string, confirm: string) =>
    call<{ deleted_at: string }>("DELETE", `/orgs/${id(orgId)}`, { body: { confirm } }),
  members: (orgId: string, signal?: Signal) =>
    call<Page<Member>>("GET", `/orgs/${id(orgId)}/members${query({ limit: 50 })}`, { signal }),
  changeRole: (orgId: string, memberId: string, role: Role) =>
    call<Member>("PATCH", `/orgs/${id(orgId)}/members/${id(memberId)}`, { body: { role } }),
  removeMember: (orgId: string, memberId: string) =>
    call<void>("DELETE", `/orgs/${id(orgId)}/members/${id(memberId)}`),
  invites: (orgId: string, signal?: Signal) =>
    call<Page<Invite>>("GET", `/orgs/${id(orgId)}/invites`, { signal }),
  invite: (orgId: string, body: { email: string; role: Role }, idempotencyKey: string) =>
    call<Invite>("POST", `/orgs/${id(orgId)}/invites`, { body, idempotencyKey }),
  revokeInvite: (orgId: string, inviteId: string) =>
    call<void>("DELETE", `/orgs/${id(orgId)}/invites/${id(inviteId)}`),
  accept: (token: string) => call<Org>("POST", "/invites/accept", { body: { token } }),
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
