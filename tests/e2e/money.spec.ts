// Buying with play money, through the payment page of the stand-in that a laptop has in the payment service's place.
import { readFile } from "node:fs/promises";
import { photo } from "./photo.ts";
import { balance, expect, look, newPerson, signIn, stranger, test } from "./studio.ts";

/** How long a job may take here: a cold start, and a small photo on two cores. */
const JOB_MS = 120_000;

test("a pack is bought with play money, and its credits are there", async ({ page }) => {
  await signIn(page);
  const before = await balance(page);
  await page.getByRole("link", { name: "Credits" }).click();
  await expect(page.getByText("Play money.")).toBeVisible();
  await expect(page.getByText("You have bought nothing yet.")).toBeVisible();
  await page.getByRole("radio", { name: /^INR/ }).check();
  await expect(page.getByRole("button", { name: "Buy 100 credits for ₹500" })).toBeVisible();
  await page.getByRole("radio", { name: /^USD/ }).check();
  await look(page, "credits-new");
  // The choice is kept.
  await page.reload();
  await expect(page.getByRole("radio", { name: /^USD/ })).toBeChecked();

  await page.getByRole("button", { name: "Buy 100 credits for $6.50" }).click();
  await expect(page.getByRole("heading", { name: "Pay with a toy card" })).toBeVisible();
  await expect(page.getByText("Play money", { exact: true })).toBeVisible();
  await page.getByRole("button", { name: "Pay $6.50" }).click();

  await expect(page.getByText("100 credits are here.")).toBeVisible();
  await expect(page).toHaveURL("/credits");
  await expect.poll(() => balance(page)).toBe(before + 100);
  const history = page.getByRole("region", { name: "History" });
  await expect(history.getByText("Credits bought")).toBeVisible();
  await expect(history.getByText("+100")).toBeVisible();
  await expect(page.getByRole("region", { name: "Payments" }).getByText("Paid", { exact: true })).toBeVisible();
  await look(page, "credits-bought");
  // A reload does not thank again.
  await page.reload();
  await expect(history.getByText("+100")).toBeVisible();
  await expect(page.getByText("100 credits are here.")).toHaveCount(0);

  await page.getByRole("button", { name: "Cards and billing address" }).click();
  await expect(page).toHaveURL(/\/portal\//);
});

test("leaving the checkout charges nothing", async ({ page }) => {
  await signIn(page);
  const before = await balance(page);
  await page.getByRole("link", { name: "Credits" }).click();
  await page.getByRole("button", { name: /^Buy 20 credits/ }).click();
  await page.getByRole("link", { name: "Cancel and go back" }).click();
  await expect(page.getByText("You left the checkout. Nothing was charged.")).toBeVisible();
  await expect(page.getByRole("region", { name: "Payments" }).getByText("Not paid")).toBeVisible();
  await look(page, "credits-left");
  expect(await balance(page)).toBe(before);
});

test("a card that is declined and a debit that settles later are told as they are", async ({ page }) => {
  await signIn(page);
  const before = await balance(page);
  await page.getByRole("link", { name: "Credits" }).click();
  await page.getByRole("radio", { name: /^EUR/ }).check();
  await page.getByRole("button", { name: /^Buy 20 credits/ }).click();
  await page.getByRole("button", { name: "Pay with a card that is declined" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await page.getByRole("button", { name: "Pay by bank debit, settled later" }).click();
  await expect(page.getByText("Payment received")).toBeVisible();
  await look(page, "credits-waiting");
  await expect(page.getByText("We are still waiting to hear")).toBeVisible({ timeout: 40_000 });
  expect(await balance(page)).toBe(before);
});

test("a plan is begun, changed, ended and kept after all", async ({ page }) => {
  await signIn(page);
  const before = await balance(page);
  await page.getByRole("link", { name: "Credits" }).click();
  await page.getByRole("radio", { name: /^USD/ }).check();
  await page.getByRole("button", { name: "Subscribe to Maker" }).click();
  await page.getByRole("button", { name: "Subscribe for $6.50" }).click();
  await expect(page.getByText("Your plan has begun.")).toBeVisible();
  await expect(page.getByText("You have the plan Maker.")).toBeVisible();
  await expect.poll(() => balance(page)).toBe(before + 120);
  await look(page, "plan-begun");

  await page.getByRole("button", { name: "Change to Team" }).click();
  await expect(page.getByRole("dialog")).toContainText("$25.50 at most");
  await look(page, "plan-up");
  await page.getByRole("dialog").getByRole("button", { name: "Change to Team" }).click();
  await expect(page.getByText("You have the plan Team.")).toBeVisible();
  await expect.poll(() => balance(page)).toBeGreaterThan(before + 120 + 600);
  await page.getByRole("button", { name: "Change to Maker" }).click();
  await expect(page.getByRole("dialog")).toContainText("Nothing is charged now");
  await page.getByRole("button", { name: "Not now" }).click();

  await page.getByRole("button", { name: "End the plan" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "End the plan" }).click();
  await expect(page.getByText(/It ends on .*; nothing more is charged\./)).toBeVisible();
  await page.reload();
  await page.getByRole("button", { name: "Keep the plan" }).click();
  await expect(page.getByText(/It is paid until .* and goes on by itself\./)).toBeVisible();
  await expect(page.getByRole("link", { name: /^Open the invoice/ })).toHaveCount(2);
  await look(page, "plan-kept");
});

test("a link that is passed on brings credits when somebody came by it and bought", async ({
  page,
  browser,
  baseURL,
}) => {
  await signIn(page);
  const before = await balance(page);
  await page.getByRole("link", { name: "Credits" }).click();
  const referrals = page.getByRole("region", { name: "Referrals" });
  await expect(referrals.getByText("Nobody who came by your link has bought credits yet.")).toBeVisible();
  await referrals.getByRole("button", { name: "Copy" }).click();
  await expect(referrals.getByRole("button", { name: "Copied" })).toBeVisible();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(link).toMatch(/\/sign-in\?ref=/);
  await look(page, "referrals-none");

  // The mailed link opens in another tab than the one that the referral led to.
  const other = await stranger(browser, baseURL);
  await other.goto(link);
  await expect(other.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await expect(other).toHaveURL("/sign-in");
  await signIn(other);
  await other.getByRole("link", { name: "Credits" }).click();
  await other.getByRole("button", { name: /^Buy 20 credits/ }).click();
  await other.getByRole("button", { name: /^Pay/ }).first().click();
  await expect(other.getByText("20 credits are here.")).toBeVisible();
  await other.context().close();

  await expect(async () => {
    await page.reload();
    await expect(referrals.getByText("Came by your link and bought")).toBeVisible({ timeout: 2_000 });
  }).toPass();
  await expect(referrals.getByText("1", { exact: true })).toBeVisible();
  await expect(referrals.getByText("5", { exact: true })).toBeVisible();
  await expect(page.getByRole("region", { name: "History" }).getByText("Thanks for a referral")).toBeVisible();
  await expect.poll(() => balance(page)).toBe(before + 5);
  await look(page, "referrals-some");

  await page.route("**/api/v1/referrals", (route) => route.fulfill({ status: 503, body: "" }));
  await page.reload();
  await expect(referrals.getByRole("alert")).toContainText("Kiln is having trouble");
  await look(page, "referrals-failed");
  await page.unroute("**/api/v1/referrals");
  await referrals.getByRole("button", { name: "Try again" }).click();
  await expect(referrals.getByText("Came by your link and bought")).toBeVisible();
});

test("a guest buys one picture and downloads it, and the mailed link shows it to nobody else's account", async ({
  page,
  browser,
  baseURL,
}) => {
  await page.goto("/");
  await page.getByRole("link", { name: "Try it without an account" }).click();
  await expect(page.getByRole("heading", { name: "One photo, no account" })).toBeVisible();
  await look(page, "guest");
  await page.getByLabel("Choose a photo").setInputFiles(await photo(page, 480, 320));
  await expect(page.getByTestId("price")).toHaveText("$2.00");
  await look(page, "guest-options");
  const email = newPerson();
  await page.getByLabel("Your mail address").fill(email);
  await page.getByRole("button", { name: "Pay $2.00" }).click();

  // First away from the checkout: nothing is charged, and the way back is there.
  await page.getByRole("link", { name: "Cancel and go back" }).click();
  await expect(page.getByText("You left the checkout. Nothing was charged.")).toBeVisible();
  await look(page, "guest-left");
  await page.getByRole("button", { name: "Back to the checkout" }).click();
  await page.getByRole("button", { name: "Pay $2.00" }).click();

  await expect(page).toHaveURL(/\/guest\/acc_/);
  await look(page, "guest-working");
  await expect(page.getByRole("heading", { name: "Your picture is ready" })).toBeVisible({ timeout: JOB_MS });
  const result = page.getByRole("img", { name: "The result" });
  await expect
    .poll(() => result.evaluate((img: HTMLImageElement) => [img.naturalWidth, img.naturalHeight]))
    .toEqual([960, 640]);
  await expect(page.getByRole("slider", { name: "How much of the original to show" })).toBeVisible();
  await look(page, "guest-ready");
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download" }).click();
  expect((await readFile(await (await saving).path())).length).toBeGreaterThan(10_000);

  // The link alone is enough, in another browser too; a wrong one shows nothing.
  const other = await stranger(browser, baseURL);
  await other.goto(page.url());
  await expect(other.getByRole("img", { name: "The result" })).toBeVisible();
  await other.goto(`${page.url().slice(0, -4)}abcd`);
  await expect(other.getByRole("heading", { name: "No such order" })).toBeVisible();
  await other.context().close();

  // A guest is not signed in.
  await page.goto("/creations");
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
});

test("whoever is signed in stays so on a guest's page", async ({ page }) => {
  const email = await signIn(page);
  await page.goto("/guest");
  await expect(page.getByRole("heading", { name: "You have an account" })).toBeVisible();
  await expect(page.getByText(email).first()).toBeVisible();
  await page.getByRole("link", { name: "To the studio" }).click();
  await expect(page.getByRole("heading", { name: "Make a photo larger" })).toBeVisible();
});

// What a test can't bring about by itself: the answers are made here, the pages are the real ones.
test("a guest reads what became of an order that did not work out", async ({ page }) => {
  const job = {
    id: "job_01J00000000000000000000000",
    state: "failed",
    attempt: 1,
    seq: 4,
    progress: 0,
    params: { scale: 2 },
    inputs: [],
    artifacts: [],
    error: { code: "bad_input", message: "The photo could not be read.", retryable: false },
  };
  const order = { order_id: "ord_01J00000000000000000000000", amount: 200, currency: "usd" };
  const cases = [
    ["refunded", { ...order, state: "paid", settled: "refunded", job }, "on its way back"],
    ["expired", { ...order, state: "expired", settled: null, job: null }, "Nothing was charged"],
    ["mismatch", { ...order, state: "mismatch", settled: null, job: null }, "is not what is asked"],
    ["paying", { ...order, state: "open", settled: null, job: null }, "as soon as it is confirmed"],
  ] as const;
  for (const [name, answer, words] of cases) {
    await page.route("**/api/v1/studio/orders/*", (route) => route.fulfill({ json: answer }));
    await page.goto("/guest/some-token");
    await expect(page.getByText(words)).toBeVisible();
    await look(page, `guest-${name}`);
    await page.unroute("**/api/v1/studio/orders/*");
  }
});

test("a debt is explained", async ({ page }) => {
  await signIn(page);
  await page.route("**/api/v1/credits", (route) =>
    route.fulfill({ json: { available_millicredits: 0, held_millicredits: 1500, debt_millicredits: 12_500 } }),
  );
  await page.goto("/credits");
  await expect(page.getByText(/The next 12.5 credits that come pay for them first/)).toBeVisible();
  await look(page, "credits-debt");
});
