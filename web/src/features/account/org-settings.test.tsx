// @vitest-environment jsdom
import { cleanup, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiError } from "../../api/client";
import { orgs } from "../../api/endpoints";
import type { Org } from "../../api/types";
import { DeleteOrg, RenameOrg } from "./org-settings";

const ORG: Org = {
  id: "acc_1",
  name: "Analytical Engines",
  role: "owner",
  members: 3,
  owners: 1,
  created_at: "2026-01-01T00:00:00Z",
};
const refusal = (status: number, code: string, detail: string, field?: string) =>
  new ApiError({ type: "about:blank", title: "no", status, code, detail, field });

beforeEach(() => {
  // jsdom has no modal dialogs.
  HTMLDialogElement.prototype.showModal = function () {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function () {
    this.open = false;
  };
});
afterEach(cleanup);

const button = (name: string) => screen.getByRole<HTMLButtonElement>("button", { name });
const forGood = () => button("Delete it for good");

async function ask(deleted = () => {}) {
  render(<DeleteOrg org={ORG} deleted={deleted} />);
  await userEvent.click(button("Delete Analytical Engines"));
}

test("a deletion says what goes, and wants the name typed", async () => {
  const remove = vi.spyOn(orgs, "remove").mockResolvedValue({ deleted_at: "" });
  const deleted = vi.fn();
  await ask(deleted);
  const said = screen.getByRole("dialog").textContent;
  expect(said).toContain("Its 2 other members are out at once");
  expect(said).toContain("removed within minutes");
  expect(said).toContain("credits that it has are gone");
  expect(said).toContain("while one runs");
  expect(forGood().disabled).toBe(true);
  const field = screen.getByLabelText("To confirm, type its name: Analytical Engines");
  await userEvent.type(field, "Analytical");
  expect(forGood().disabled).toBe(true);
  await userEvent.type(field, " engines");
  await userEvent.click(forGood());
  expect(remove).toHaveBeenCalledExactlyOnceWith("acc_1", "Analytical Engines");
  expect(deleted).toHaveBeenCalledOnce();
});

test.each([
  ["plan_runs", "A plan is paid by this account; end it first, and wait for the end of its period."],
  ["jobs_unfinished", "There are jobs that have not ended; cancel them first, or wait for them."],
])("a deletion that is refused (%s) says why, and nothing is deleted", async (code, detail) => {
  vi.spyOn(orgs, "remove").mockRejectedValue(refusal(409, code, detail));
  const deleted = vi.fn();
  await ask(deleted);
  await userEvent.type(screen.getByLabelText(/^To confirm/), ORG.name);
  await userEvent.click(forGood());
  expect((await screen.findByRole("alert")).textContent).toBe(detail);
  expect(deleted).not.toHaveBeenCalled();
});

test("whoever thinks better of it finds the field empty the next time", async () => {
  await ask();
  await userEvent.type(screen.getByLabelText(/^To confirm/), ORG.name);
  await userEvent.click(button("Keep it"));
  expect(screen.queryByRole("dialog")).toBeNull();
  await userEvent.click(button("Delete Analytical Engines"));
  expect(forGood().disabled).toBe(true);
});

test("an organisation is called as the server has it", async () => {
  const rename = vi.spyOn(orgs, "rename").mockResolvedValue({ ...ORG, name: "Difference Engines" });
  const renamed = vi.fn();
  render(<RenameOrg org={ORG} renamed={renamed} />);
  const field = screen.getByLabelText<HTMLInputElement>("Name of the organisation");
  await userEvent.clear(field);
  await userEvent.type(field, "Difference Engines ");
  await userEvent.click(button("Rename"));
  expect(rename).toHaveBeenCalledExactlyOnceWith("acc_1", "Difference Engines");
  expect(screen.getByText("It is called Difference Engines now.")).toBeTruthy();
  expect(field.value).toBe("Difference Engines");
  expect(renamed).toHaveBeenCalledOnce();
});

test("a name that is refused is said at its field", async () => {
  const why = "name: a name holds no address of a page";
  vi.spyOn(orgs, "rename").mockRejectedValue(refusal(422, "invalid", why, "name"));
  render(<RenameOrg org={ORG} renamed={() => {}} />);
  await userEvent.click(button("Rename"));
  expect((await screen.findByRole("alert")).textContent).toBe("A name holds no address of a page.");
  expect(screen.getByLabelText("Name of the organisation").getAttribute("aria-invalid")).toBe("true");
});
