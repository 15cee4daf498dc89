// One function for each endpoint that the studio calls. Names and shapes are the API's own.
import { call, query } from "./client";
import type {
  Account,
  AccountChange,
  ApiKey,
  Checkout,
  Creation,
  Credits,
  Delivery,
  Endpoint,
  EndpointWithSecret,
  ExportPart,
  GuestCheckout,
  GuestJobRequest,
  GuestOrder,
  GuestQuote,
  Invite,
  Invoice,
  Job,
  JobRequest,
  LedgerEntry,
  Mail,
  Member,
  NewApiKey,
  OpenShare,
  Org,
  Pack,
  Page,
  Payment,
  Plan,
  Quote,
  Referrals,
  Role,
  Scope,
  Session,
  Share,
  SharedCreation,
  Subscription,
  Upload,
  UploadTicket,
  Usage,
} from "./types";

type Signal = AbortSignal | undefined;
const id = encodeURIComponent;

export const auth = {
  requestLink: (email: string) => call<void>("POST", "/auth/request-link", { body: { email } }),
  verifyLink: (token: string, referral?: string) =>
    call<{ account: Account; session_expires_at: string }>("POST", "/auth/verify-link", {
      body: { token, referral },
    }),
  logout: () => call<void>("POST", "/auth/logout"),
  me: (signal?: Signal) => call<{ account: Account; mail: Mail }>("GET", "/me", { signal }),
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
  rename: (orgId: string, name: string) => call<Org>("PATCH", `/orgs/${id(orgId)}`, { body: { name } }),
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
  usage: (signal?: Signal) => call<Usage>("GET", "/usage", { signal }),
  referrals: (signal?: Signal) => call<Referrals>("GET", "/referrals", { signal }),
};

export const billing = {
  packs: (signal?: Signal) => call<{ items: Pack[] }>("GET", "/credits/packs", { signal }),
  plans: (signal?: Signal) => call<{ items: Plan[] }>("GET", "/credits/plans", { signal }),
  checkout: (body: { pack: string; currency: string }, idempotencyKey: string) =>
    call<Checkout>("POST", "/credits/checkout", { body, idempotencyKey }),
  subscribe: (body: { plan: string; currency: string }, idempotencyKey: string) =>
    call<Checkout>("POST", "/credits/subscribe", { body, idempotencyKey }),
  plan: (signal?: Signal) =>
    call<{ subscription?: Subscription | null }>("GET", "/credits/subscription", { signal }),
  changePlan: (body: { plan: string } | { cancel: boolean }) =>
    call<Subscription>("PATCH", "/credits/subscription", { body }),
  portal: () => call<{ url: string }>("POST", "/credits/portal"),
  payments: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<Payment>>("GET", `/credits/payments${query(page)}`, { signal }),
  invoices: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<Invoice>>("GET", `/invoices${query(page)}`, { signal }),
};

export const guest = {
  begin: () => call<{ expires_at: string }>("POST", "/studio/session"),
  quote: (body: GuestJobRequest, signal?: Signal) =>
    call<GuestQuote>("POST", "/studio/quote", { body, signal }),
  checkout: (body: GuestJobRequest & { email: string }, idempotencyKey: string) =>
    call<GuestCheckout>("POST", "/studio/checkout", { body, idempotencyKey }),
  order: (token: string, signal?: Signal) =>
    call<GuestOrder>("GET", `/studio/orders/${id(token)}`, { signal }),
};

export const webhooks = {
  list: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<Endpoint>>("GET", `/webhook-endpoints${query(page)}`, { signal }),
  create: (body: { url: string; events: string[] }, idempotencyKey: string) =>
    call<EndpointWithSecret>("POST", "/webhook-endpoints", { body, idempotencyKey }),
  change: (endpointId: string, body: { enabled?: boolean; url?: string; events?: string[] }) =>
    call<Endpoint>("PATCH", `/webhook-endpoints/${id(endpointId)}`, { body }),
  remove: (endpointId: string) => call<void>("DELETE", `/webhook-endpoints/${id(endpointId)}`),
  rotate: (endpointId: string, idempotencyKey: string) =>
    call<EndpointWithSecret>("POST", `/webhook-endpoints/${id(endpointId)}/rotate-secret`, {
      idempotencyKey,
    }),
  test: (endpointId: string, idempotencyKey: string) =>
    call<Delivery>("POST", `/webhook-endpoints/${id(endpointId)}/test`, { idempotencyKey }),
  deliveries: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<Delivery>>("GET", `/deliveries${query(page)}`, { signal }),
  delivery: (deliveryId: string, signal?: Signal) =>
    call<Delivery>("GET", `/deliveries/${id(deliveryId)}`, { signal }),
  replay: (deliveryId: string, idempotencyKey: string) =>
    call<Delivery>("POST", `/deliveries/${id(deliveryId)}/replay`, { idempotencyKey }),
};

export const shares = {
  create: (jobId: string, idempotencyKey: string) =>
    call<Share>("POST", "/shares", { body: { job_id: jobId }, idempotencyKey }),
  list: (page: { limit: number; cursor?: string | null }, signal?: Signal) =>
    call<Page<OpenShare>>("GET", `/shares${query(page)}`, { signal }),
  remove: (shareId: string) => call<void>("DELETE", `/shares/${id(shareId)}`),
  open: (token: string, signal?: Signal) => call<SharedCreation>("GET", `/share/${id(token)}`, { signal }),
};
