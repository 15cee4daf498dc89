import { expect, test } from "vitest";
import { mayManage, rolesFor, rolesToGive } from "./roles";

test("an owner gives every role, an admin none above their own, a member none", () => {
  expect(rolesToGive("owner")).toEqual(["member", "admin", "owner"]);
  expect(rolesToGive("admin")).toEqual(["member", "admin"]);
  expect(rolesToGive("member")).toEqual([]);
});

test("an admin can't touch an owner", () => {
  expect(mayManage("admin", "owner")).toBe(false);
  expect(rolesFor("admin", "owner", false)).toEqual([]);
  expect(mayManage("owner", "owner")).toBe(true);
  expect(mayManage("member", "member")).toBe(false);
});

test("anybody may step down, and nobody up", () => {
  expect(rolesFor("owner", "owner", true)).toEqual(["member", "admin", "owner"]);
  expect(rolesFor("admin", "admin", true)).toEqual(["member", "admin"]);
  expect(rolesFor("member", "member", true)).toEqual(["member"]);
});
