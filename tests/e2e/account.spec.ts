// The account's page: webhooks, and acting for an organisation.
import { balance, expect, links, look, newPerson, signIn, stranger, test } from "./studio.ts";

test("an endpoint is added with its secret shown once, tried, given a new secret and deleted", async ({ page }) => {
  const email = await signIn(page);
  await page.getByRole("link", { name: email }).click();
  const card = page.getByRole("region", { name: "Webhooks" });
  await card.getByLabel("Address of a new endpoint").fill("http://example.com/kiln");
  await card.getByRole("button", { name: "Add an endpoint" }).click();
  await expect(card.getByRole("alert")).toContainText("https");
  // A name that nobody can have: the try fails, whatever network there is.
  await card.getByLabel("Address of a new endpoint").fill("https://kiln.invalid/hook");
  await card.getByRole("button", { name: "Add an endpoint" }).click();
  await expect(card.getByTestId("secret")).toHaveText(/^whsec_/);
  const first = await card.getByTestId("secret").innerText();
  await look(page, "webhook-secret");
  await card.getByRole("button", { name: "I have it" }).click();
  await expect(card.getByTestId("secret")).toHaveCount(0);

  await card.getByRole("button", { name: "Test https://kiln.invalid/hook" }).click();
  const tries = card.getByRole("button", { name: /^Tries of webhook\.test/ });
  await expect(tries).toBeVisible();
  await expect
    .poll(async () => {
      await card.getByRole("button", { name: "Look again" }).click();
      return tries.innerText();
    })
    .not.toBe("0 tries");
  await tries.click();
  await expect(card.getByText("its name was not found")).toBeVisible();
  await card.getByText("What is sent").click();
  await look(page, "webhook-deliveries");

  await card.getByRole("button", { name: "New secret of https://kiln.invalid/hook" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Make a new secret" }).click();
  await expect(card.getByTestId("secret")).toHaveText(/^whsec_/);
  expect(await card.getByTestId("secret").innerText()).not.toBe(first);
  await expect(card.getByText("the secret before signs too until")).toBeVisible();
  await card.getByRole("button", { name: "I have it" }).click();

  await card.getByRole("button", { name: "Switch https://kiln.invalid/hook off" }).click();
  await expect(card.getByText("Off", { exact: true })).toBeVisible();
  await card.getByRole("button", { name: "Switch https://kiln.invalid/hook on" }).click();
  await expect(card.getByText("On", { exact: true })).toBeVisible();

  await card.getByRole("button", { name: "Delete https://kiln.invalid/hook" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await expect(card.getByRole("button", { name: "Delete https://kiln.invalid/hook" })).toHaveCount(0);
});

test("a tab acts for an organisation, which has credits of its own", async ({ page }) => {
  const email = await signIn(page);
  const own = await balance(page);
  await page.getByRole("link", { name: email }).click();
  const card = page.getByRole("region", { name: "Organisations" });
  await card.getByLabel("Name of a new organisation").fill("Analytical Engines");
  await card.getByRole("button", { name: "Make an organisation" }).click();
  const actsFor = page.getByLabel("Act for");
  await expect(actsFor).toBeVisible();
  await look(page, "account-with-org");
  await actsFor.selectOption({ label: "Analytical Engines" });

  await page.getByRole("link", { name: "Credits" }).click();
  const history = page.getByRole("region", { name: "History" });
  await expect(history.getByText("Welcome credits")).toHaveCount(0);
  await page.getByRole("radio", { name: /^USD/ }).check();
  await page.getByRole("button", { name: /^Buy 20 credits/ }).click();
  await page.getByRole("button", { name: "Pay $1.50" }).click();
  await expect(page.getByText("20 credits are here.")).toBeVisible();
  // The tab still acts for it, after the way over another site.
  await expect(actsFor.locator("option:checked")).toHaveText("Analytical Engines");
  await expect.poll(() => balance(page)).toBe(20);
  await look(page, "credits-of-org");
  await actsFor.selectOption({ label: "Myself" });
  await expect.poll(() => balance(page)).toBe(own);
  await expect(history.getByText("Welcome credits")).toBeVisible();

  // The last owner can't leave: the server's words say why.
  await page.getByRole("link", { name: email }).click();
  await page.getByRole("button", { name: "Manage Analytical Engines" }).click();
  await page.getByRole("button", { name: "Leave Analytical Engines" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
  await expect(page.getByRole("dialog").getByRole("alert")).toContainText("owner");
  await look(page, "org-last-owner");
});

test("an organisation is renamed by who runs it, and deleted by its owner who typed its name", async ({
  page,
  browser,
  baseURL,
}) => {
  const email = await signIn(page);
  await page.getByRole("link", { name: email }).click();
  const card = page.getByRole("region", { name: "Organisations" });
  await card.getByLabel("Name of a new organisation").fill("Analytical Engines");
  await card.getByRole("button", { name: "Make an organisation" }).click();
  const actsFor = page.getByLabel("Act for");
  const name = card.getByLabel("Name of the organisation");
  await name.fill("www.engines.example");
  await card.getByRole("button", { name: "Rename" }).click();
  await expect(card.getByRole("alert")).toHaveText("A name holds no address of a page.");
  await name.fill("Difference Engines");
  await card.getByRole("button", { name: "Rename" }).click();
  await expect(card.getByText("It is called Difference Engines now.")).toBeVisible();
  await expect(actsFor.locator("option")).toHaveText(["Myself", "Difference Engines"]);

  // A member sees who belongs to it, and can neither rename nor delete it.
  const invited = newPerson();
  await card.getByLabel("Invite by mail").fill(invited);
  await card.getByRole("button", { name: "Invite", exact: true }).click();
  await expect(card.getByText(/^invited as member/)).toBeVisible();
  await look(page, "org-managed");
  const other = await stranger(browser, baseURL);
  await expect.poll(() => links(page, invited).then((all) => all.length)).toBe(1);
  const [invite] = await links(page, invited);
  await signIn(other, invited);
  await other.goto(invite as string);
  await other.getByRole("button", { name: "Accept the invitation" }).click();
  await other.getByRole("link", { name: "To your account" }).click();
  const theirs = other.getByRole("region", { name: "Organisations" });
  await theirs.getByRole("button", { name: "Members Difference Engines" }).click();
  await expect(theirs.getByRole("button", { name: "Leave Difference Engines" })).toBeVisible();
  await expect(theirs.getByRole("button", { name: "Rename" })).toHaveCount(0);
  await expect(theirs.getByRole("button", { name: /^Delete/ })).toHaveCount(0);
  await look(other, "org-member");

  // The owner acts for it while it goes.
  await page.reload();
  await actsFor.selectOption({ label: "Difference Engines" });
  await card.getByRole("button", { name: "Manage Difference Engines" }).click();
  await card.getByRole("button", { name: "Delete Difference Engines" }).click();
  const dialog = page.getByRole("dialog");
  const forGood = dialog.getByRole("button", { name: "Delete it for good" });
  await expect(dialog).toContainText("Its other member is out at once");
  await expect(forGood).toBeDisabled();
  await dialog.getByLabel("To confirm, type its name: Difference Engines").fill("Analytical Engines");
  await expect(forGood).toBeDisabled();
  await look(page, "org-delete");
  await dialog.getByLabel("To confirm, type its name: Difference Engines").fill("difference engines");
  await page.route("**/api/v1/orgs/*", (route) =>
    route.fulfill({
      status: 409,
      contentType: "application/problem+json",
      json: { type: "about:blank", title: "Conflict", status: 409, code: "plan_runs", detail: "A plan is paid by this account; end it first." },
    }),
  );
  await forGood.click();
  await expect(dialog.getByRole("alert")).toHaveText("A plan is paid by this account; end it first.");
  await look(page, "org-delete-refused");
  await page.unroute("**/api/v1/orgs/*");
  await forGood.click();
  await expect(dialog).toHaveCount(0);
  await expect(actsFor).toHaveCount(0);
  await expect(card.getByRole("button", { name: /Difference Engines$/ })).toHaveCount(0);
  await other.reload();
  await expect(theirs.getByRole("button", { name: "Make an organisation" })).toBeVisible();
  await expect(theirs.getByText("Difference Engines")).toHaveCount(0);
  await other.context().close();
});

test("mail that comes back is said on every page, with what to do", async ({ page }) => {
  const email = await signIn(page);
  await page.route("**/api/v1/me", async (route) => {
    const answer = await route.fetch();
    const body = await answer.json();
    await route.fulfill({
      response: answer,
      json: { ...body, mail: { state: "bounced", since: "2026-11-20T10:00:00Z" } },
    });
  });
  await page.goto("/creations");
  await expect(page.getByRole("alert")).toContainText(`Mail to ${email} came back`);
  await look(page, "mail-bounced");
  await page.getByRole("link", { name: "Change it" }).click();
  await expect(page.getByRole("heading", { name: "Account" })).toBeVisible();
  await expect(page.getByRole("alert")).toContainText("Change your address");
});
