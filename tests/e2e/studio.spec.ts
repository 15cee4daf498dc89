// From a photo to a picture that a stranger can see, by the page alone: what a person does, and what the page
// must say when something is refused.
import { readFile } from "node:fs/promises";
import { photo } from "./photo.ts";
import { askForLink, balance, expect, look, newPerson, signIn, stranger, test } from "./studio.ts";

/** How long a job may take here: a cold start, and a small photo on two cores. */
const JOB_MS = 120_000;

test("a person goes from a photo to a picture that a stranger can see", async ({ page, browser, baseURL }) => {
  const email = newPerson();
  await page.goto("/");
  await look(page, "sign-in");

  const link = await askForLink(page, email);
  await look(page, "check-your-mail");
  await page.goto(link);
  await expect(page).toHaveURL("/sign-in");
  await look(page, "finish");
  await page.getByRole("button", { name: "Finish signing in" }).click();
  await expect(page.getByText(email)).toBeVisible();
  await expect(page.getByTestId("balance")).not.toBeEmpty();
  await look(page, "empty");
  const before = await balance(page);

  // The price stands there before the button can be pressed, and follows the options.
  await page.getByLabel("Choose a photo").setInputFiles(await photo(page, 480, 320));
  const go = page.getByRole("button", { name: /^Enlarge for/ });
  await expect(go).toBeEnabled();
  await look(page, "options");
  const price = async () => Number((await page.getByTestId("price").innerText()).split(" ")[0]);
  const standard = await price();
  expect(standard).toBeGreaterThan(0);
  await page.getByLabel("Rush").check();
  await expect.poll(price, "the price of a rush").toBe(2 * standard);
  await page.getByLabel("Rush").uncheck();
  await expect.poll(price).toBe(standard);
  await page.getByRole("radio", { name: "4×" }).check();
  await expect(page.getByText("1920 × 1280")).toBeVisible();
  await page.getByRole("radio", { name: "2×" }).check();
  await page.getByLabel("Correct the exposure").check();
  await expect(go).toBeEnabled();
  const charged = await price();
  await go.click();

  await expect(page).toHaveURL(/\/jobs\/job_/);
  await expect(page.getByRole("progressbar", { name: "Progress of the job" })).toBeVisible();
  await look(page, "under-way");
  // A refresh in the middle finds the job again, and the original with it.
  await page.reload();
  await expect(page.getByRole("heading", { name: "Your picture is ready" })).toBeVisible({ timeout: JOB_MS });
  const result = page.getByRole("img", { name: "The result" });
  await expect
    .poll(() => result.evaluate((img: HTMLImageElement) => [img.naturalWidth, img.naturalHeight]))
    .toEqual([960, 640]);
  expect(await balance(page)).toBeCloseTo(before - charged, 3);

  const divide = page.getByRole("slider", { name: "How much of the original to show" });
  await expect(divide).toHaveAttribute("aria-valuenow", "50");
  await divide.press("ArrowRight");
  await expect(divide).toHaveAttribute("aria-valuenow", "52");
  await divide.press("Home");
  await expect(divide).toHaveAttribute("aria-valuenow", "0");
  const box = await result.boundingBox();
  if (!box) throw new Error("the result is not on show");
  await page.mouse.click(box.x + box.width * 0.25, box.y + box.height / 3);
  await expect(divide).toHaveAttribute("aria-valuenow", "25");
  await page.mouse.click(box.x + box.width * 0.5, box.y + box.height / 3);
  await look(page, "ready");
  await page.getByRole("radio", { name: "Full size" }).check();
  await look(page, "ready-full-size");
  await page.getByRole("radio", { name: "Whole picture" }).check();

  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download" }).click();
  const saved = await saving;
  expect(saved.suggestedFilename()).toBe("lake-x2.png");
  expect((await readFile(await saved.path())).length).toBeGreaterThan(10_000);

  await page.getByRole("button", { name: "Share" }).click();
  const shared = await page.getByLabel("Link to the picture").inputValue();
  expect(shared).toMatch(/\/share\//);
  await page.getByRole("button", { name: "Copy" }).click();
  await expect(page.getByRole("button", { name: "Copied" })).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(shared);
  await look(page, "shared");

  const other = await stranger(browser, baseURL);
  await other.goto(shared);
  const seen = other.getByRole("img", { name: "The shared one" });
  await expect.poll(() => seen.evaluate((img: HTMLImageElement) => img.naturalWidth)).toBe(960);
  await expect(other.getByRole("button", { name: "Sign out" })).toHaveCount(0);
  await look(other, "share-page");
  // Whoever comes back later still sees that the picture is shared, and can end it.
  await page.reload();
  await expect(page.getByText(/^A link made on .* works\.$/)).toBeVisible();
  await expect(page.getByRole("button", { name: "Another link" })).toBeVisible();
  await look(page, "shared-before");
  await page.getByRole("button", { name: "Stop sharing" }).click();
  await expect(page.getByRole("button", { name: "Share", exact: true })).toBeVisible();
  await other.reload();
  await expect(other.getByRole("heading", { name: "This link no longer works" })).toBeVisible();
  await look(other, "share-gone");
  await other.context().close();

  await page.getByRole("link", { name: "Credits" }).click();
  await expect(page.getByText("Paid for a finished job")).toBeVisible();
  await look(page, "credits");

  await page.getByRole("link", { name: "New picture" }).click();
  await expect(page.getByRole("heading", { name: "Earlier creations" })).toBeVisible();
  await look(page, "start-with-creations");
  await page.getByRole("link", { name: "See all" }).click();
  await expect(page.getByRole("listitem")).toHaveCount(1);
  await look(page, "creations");
  await page.getByRole("button", { name: /^Delete/ }).click();
  await look(page, "delete");
  await page.getByRole("button", { name: "Keep it" }).click();
  await expect(page.getByRole("listitem")).toHaveCount(1);
  await page.getByRole("button", { name: /^Delete/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await expect(page.getByText("Nothing here yet.")).toBeVisible();
  await page.reload();
  await expect(page.getByText("Nothing here yet.")).toBeVisible();

  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await page.reload();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
});

test("opening the mailed link uses nothing up, and pressing the button uses it once", async ({
  page,
  browser,
  baseURL,
}) => {
  const link = await askForLink(page, newPerson());
  const scanner = await stranger(browser, baseURL);
  await scanner.goto(link);
  await expect(scanner.getByRole("button", { name: "Finish signing in" })).toBeVisible();

  await page.goto(link);
  await page.getByRole("button", { name: "Finish signing in" }).click();
  await expect(page.getByRole("heading", { name: "Make a photo larger" })).toBeVisible();

  await scanner.getByRole("button", { name: "Finish signing in" }).click();
  await expect(scanner.getByRole("alert")).toBeVisible();
  await expect(scanner.getByRole("link", { name: "Ask for a new link" })).toBeVisible();
  await look(scanner, "link-used");
  await scanner.context().close();
});

test("a file that is no photo is refused before it is sent", async ({ page }) => {
  await signIn(page);
  let asked = 0;
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/uploads")) asked += 1;
  });
  await page.getByLabel("Choose a photo").setInputFiles({
    name: "holiday.jpg",
    mimeType: "image/jpeg",
    buffer: Buffer.from("GIF89a, and not a JPEG whatever its name says"),
  });
  await expect(page.getByRole("alert")).toContainText("This is a GIF");
  await look(page, "refused-here");
  expect(asked).toBe(0);
});

test("a photo that is dropped beside the box is taken all the same", async ({ page }) => {
  await signIn(page);
  const { buffer, name, mimeType } = await photo(page, 480, 320);
  const dropped = await page.evaluateHandle(
    ({ base64, name, mimeType }) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name, { type: mimeType }));
      return transfer;
    },
    { base64: buffer.toString("base64"), name, mimeType },
  );
  await page.getByRole("banner").dispatchEvent("drop", { dataTransfer: dropped });
  await expect(page.getByRole("button", { name: /^Enlarge for/ })).toBeEnabled();
});

test("a damaged photo is refused in the server's own words, and can't be bought", async ({ page }) => {
  await signIn(page);
  const whole = await photo(page, 480, 320, "truncated.jpg");
  await page.getByLabel("Choose a photo").setInputFiles({
    ...whole,
    buffer: whole.buffer.subarray(0, whole.buffer.length / 2),
  });
  await expect(page.getByRole("alert")).toContainText(/cut off/);
  await expect(page.getByRole("button", { name: /^Enlarge/ })).toHaveCount(0);
  await look(page, "refused-there");
  await page.getByRole("button", { name: "Another photo" }).click();
  await expect(page.getByLabel("Choose a photo")).toBeVisible();
});

test("a cancelled job gives its credits back", async ({ page }) => {
  await signIn(page);
  await expect(page.getByTestId("balance")).not.toBeEmpty();
  const before = await balance(page);
  await page.getByLabel("Choose a photo").setInputFiles(await photo(page, 1200, 800));
  await page.getByRole("button", { name: /^Enlarge for/ }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("heading", { name: "Cancelled" })).toBeVisible();
  await expect.poll(() => balance(page)).toBeCloseTo(before, 3);
  await look(page, "cancelled");
});

test("a job's address asks a stranger to sign in, and a wrong one says that nothing is there", async ({ page }) => {
  await page.goto("/jobs/job_01J00000000000000000000000");
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await signIn(page);
  await page.goto("/jobs/job_01J00000000000000000000000");
  await expect(page.getByRole("heading", { name: "No such picture" })).toBeVisible();
  await page.goto("/nowhere");
  await expect(page.getByRole("heading", { name: "Nothing here" })).toBeVisible();
});
