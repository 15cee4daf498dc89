// The names that the studio uses for the API's shapes: those of schema.d.ts, which is made from docs/openapi.json
// by `npm run types`. Only what the document leaves open is said here: a kind's own parameters.
import type { components } from "./schema";

type Schemas = components["schemas"];

/** RFC 9457, with our stable `code` and, for a bad field, its name. */
export type Problem = Pick<Schemas["Problem"], "type" | "title" | "status" | "code"> &
  Partial<Pick<Schemas["Problem"], "detail" | "field">>;

export type Account = Schemas["AccountView"];
export type AccountChange = Schemas["MeChange"];
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
export type Job = Omit<Schemas["JobView"], "params"> & { params: Partial<UpscaleParams> };
export type Creation = Omit<Schemas["CreationView"], "params"> & { params: Partial<UpscaleParams> };

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}
