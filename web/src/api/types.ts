// The names that the studio uses for the API's shapes: those of schema.d.ts, which is made from docs/openapi.json
// by `npm run types`. Only what the document leaves open is said here: a kind's own parameters.
import type { components } from "./schema";

type Schemas = components["schemas"];

/** RFC 9457, with our stable `code` and, for a bad field, its name. */
export type Problem = Pick<Schemas["Problem"], "type" | "title" | "status" | "code"> &
  Partial<Pick<Schemas["Problem"], "detail" | "field">>;

export type Account = Schemas["AccountView"];
export type AccountChange = Schemas["MeChange"];
export type Mail = Schemas["MailView"];
export type Session = Schemas["SessionView"];
export type ApiKey = Schemas["ApiKeyView"];
export type NewApiKey = Schemas["NewApiKeyView"];
export type Scope = Schemas["Scope"];
export type Role = Schemas["Role"];
export type Org = Schemas["OrgView"];
export type Member = Schemas["MemberView"];
export type Invite = Schemas["InviteView"];
/** One part of an export: lists under their names. */
export type ExportPart = { next_cursor?: string | null } & Record<string, unknown>;
export type UploadPart = Schemas["UploadPart"];
export type UploadTicket = Schemas["UploadTicket"];
export type Upload = Schemas["UploadView"];
export type Quote = Schemas["Quote"];
export type Artifact = Omit<Schemas["ArtifactView"], "sha256">;
export type Credits = Schemas["Balance"];
export type LedgerEntry = Schemas["EntryView"];
export type EntryKind = Schemas["EntryKind"];
export type Usage = Schemas["Usage"];
export type Used = Schemas["Used"];
export type Referrals = Schemas["Referrals"];
export type Pack = Schemas["PackView"];
export type Checkout = Schemas["CheckoutView"];
export type Payment = Schemas["PaymentView"];
export type OrderState = Schemas["OrderState"];
export type Invoice = Schemas["InvoiceView"];
/** A plan that is sold. */
export interface Plan {
  id: string;
  title: string;
  millicredits: number;
  interval: Schemas["Interval"];
  prices: Record<string, number>;
}
export type Subscription = Schemas["SubscriptionView"];
export type GuestQuote = Schemas["GuestQuote"];
export type GuestCheckout = Schemas["GuestCheckout"];
export type GuestOrder = Omit<Schemas["GuestOrder"], "job"> & { job?: Job | null };
export type Endpoint = Schemas["EndpointView"];
export type EndpointWithSecret = Endpoint & { secret?: string | null };
export type DeliveryTry = Schemas["TryView"];
/** `type` is an event's name, such as `job.succeeded`. */
export type Delivery = Omit<Schemas["DeliveryView"], "type"> & { type: string };
export type Share = Schemas["NewShare"];
export type OpenShare = Schemas["ShareView"];
export type SharedCreation = Schemas["Shared"];
export type Priority = Schemas["Priority"];

export type Scale = 2 | 3 | 4;

/** `upscale`'s, as `GET jobs/kinds` describes them. */
export interface UpscaleParams {
  scale: Scale;
  auto_exposure: boolean;
  auto_white_balance: boolean;
  sharpen: number;
}

export type JobRequest = Omit<Schemas["JobRequest"], "kind" | "params"> & {
  kind: "upscale";
  params: UpscaleParams;
};
export type GuestJobRequest = Omit<JobRequest, "priority">;
export type Job = Omit<Schemas["JobView"], "params"> & { params: Partial<UpscaleParams> };
export type Creation = Omit<Schemas["CreationView"], "params"> & { params: Partial<UpscaleParams> };

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}
