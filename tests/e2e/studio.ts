// What every test of the page needs: a person with a mailbox, the way in, and a watch on the browser's console.
import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { type Browser, expect, type Page, test as base } from "@playwright/test";

const SCREENS = path.join(import.meta.dirname, "test-results", "screens");

/** The standard test, with a page that fails it if a script breaks or the content security policy is hurt. */
export const test = base.extend<{ watched: undefined }>({
  watched: [
    async ({ page }, use) => {
      const trouble: string[] = [];
      watch(page, trouble);
      await use(undefined);
      expect(trouble, "errors in the browser").toEqual([]);
    },
    { auto: true },
  ],
});

function watch(page: Page, trouble: string[]): void {
  page.on("pageerror", (error) => trouble.push(String(error)));
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    // Chromium logs every 4xx as an error; the refusals are what some tests ask for.
    if (message.text().startsWith("Failed to load resource")) return;
    trouble.push(message.text());
  });
}

export { expect };

/** Somebody who never was here before. */
export function newPerson(): string {
  return `ada.${randomUUID().slice(0, 8)}@example.com`;
}

/** The links mailed to `email`, oldest first: those to sign in, and invites. */
export async function links(page: Page, email: string): Promise<string[]> {
  const response = await page.request.get(`/local/mail?to=${encodeURIComponent(email)}`);
  expect(response.ok(), "GET /local/mail").toBe(true);
  const { items } = (await response.json()) as { items: { text: string }[] };
  return items.flatMap((mail) => /https?:\/\/\S+[?&]token=[^\s"<>&]+/.exec(mail.text)?.[0] ?? []);
}

/** Asks for a link by the form and returns it from the mailbox. */
export async function askForLink(page: Page, email: string): Promise<string> {
  await page.goto("/");
  await page.getByLabel("Mail address").fill(email);
  await page.getByRole("button", { name: "Send me a link" }).click();
  await expect(page.getByRole("heading", { name: "Check your mail" })).toBeVisible();
  await expect.poll(() => links(page, email).then((all) => all.length), "a mail with a link").toBeGreaterThan(0);
  return (await links(page, email)).at(-1) as string;
}

export async function signIn(page: Page, email = newPerson()): Promise<string> {
  await page.goto(await askForLink(page, email));
  await page.getByRole("button", { name: "Finish signing in" }).click();
  await expect(page.getByRole("heading", { name: "Make a photo larger" })).toBeVisible();
  return email;
}

/** The credits in the bar, as a number. */
export async function balance(page: Page): Promise<number> {
  return Number((await page.getByTestId("balance").innerText()).replaceAll(",", ""));
}

/** A page of somebody who is not signed in. */
export async function stranger(browser: Browser, baseURL: string | undefined): Promise<Page> {
  const context = await browser.newContext({ baseURL });
  return context.newPage();
}

/** Keeps the page as a person sees it: light, dark, and on a phone. */
export async function look(page: Page, name: string): Promise<void> {
  await mkdir(SCREENS, { recursive: true });
  const size = page.viewportSize();
  const shot = (kind: string) =>
    page.screenshot({ path: path.join(SCREENS, `${name}-${kind}.png`), fullPage: true });
  // Without transitions, and away from what the mouse last pressed: the picture is of the page at rest.
  await page.mouse.move(0, 0);
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  await shot("light");
  await page.emulateMedia({ colorScheme: "dark" });
  await shot("dark");
  await page.setViewportSize({ width: 390, height: 844 });
  await page.emulateMedia({ colorScheme: "light" });
  await shot("phone");
  // A page that scrolls sideways on a phone is broken there, whatever it looks like.
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  expect(wide, `${name} is wider than a phone`).toBeLessThanOrEqual(0);
  if (size) await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
}
