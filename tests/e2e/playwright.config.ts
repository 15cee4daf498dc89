// The page in a real browser, against the running system that KILN_URL names. Starts nothing itself, tries
// nothing twice: a test that fails has found something.
import { defineConfig } from "@playwright/test";

const url = process.env.KILN_URL;
if (!url) throw new Error("KILN_URL is not set: the address of a running Kiln, such as http://localhost:8080");

export default defineConfig({
  testDir: ".",
  outputDir: "test-results",
  reporter: [["list"]],
  retries: 0,
  // One machine does the jobs of all tests: side by side they would only wait for each other.
  workers: 1,
  forbidOnly: Boolean(process.env.CI),
  timeout: 180_000,
  expect: { timeout: 15_000 },
  use: {
    baseURL: url,
    locale: "en-GB",
    timezoneId: "UTC",
    viewport: { width: 1280, height: 860 },
    trace: "retain-on-failure",
    permissions: ["clipboard-read", "clipboard-write"],
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      // As root, which a CI container often is, Chromium's own sandbox can't start.
      args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
    },
  },
});
