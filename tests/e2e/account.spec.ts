// The account's page: webhooks, and acting for an organisation.
import { balance, expect, look, signIn, test } from "./studio.ts";

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
  await page.getByRole("button", { name: "Members" }).click();
  await page.getByRole("button", { name: "Leave Analytical Engines" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
  await expect(page.getByRole("dialog").getByRole("alert")).toContainText("owner");
  await look(page, "org-last-owner");
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
