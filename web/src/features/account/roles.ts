// Who may do what to whom in an organisation, as the API has it; the server decides, this only hides what it would refuse.
import type { Role } from "../../api/types";

const ORDER: readonly Role[] = ["member", "admin", "owner"];

export const ROLE_NAMES: Record<Role, string> = { member: "Member", admin: "Admin", owner: "Owner" };

/** The roles that one may give to others: an admin makes members and admins, an owner also owners. */
export function rolesToGive(mine: Role): readonly Role[] {
  return mine === "owner" ? ORDER : mine === "admin" ? ["member", "admin"] : [];
}

/** Whether one may change or take out a member of that role. */
export function mayManage(mine: Role, theirs: Role): boolean {
  return mine === "owner" || (mine === "admin" && theirs !== "owner");
}

/** The roles that a member may get from one, theirs included. Anybody may step down. */
export function rolesFor(mine: Role, theirs: Role, isMe: boolean): readonly Role[] {
  if (isMe) return ORDER.slice(0, ORDER.indexOf(mine) + 1);
  return mayManage(mine, theirs) ? rolesToGive(mine) : [];
}
