// @vitest-environment jsdom
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { MemoryRouter } from "react-router";
import { afterEach, expect, test, vi } from "vitest";
import type { Job } from "../../api/types";
import * as download from "./download";
import { ResultCard } from "./result-card";

const png = { name: "result.png", content_type: "image/png", bytes: 9000 };
const job: Job = {
  id: "job_01J8ZQ4M7W3N5R6T8V9X0Y1Z2A",
  kind: "upscale",
  state: "succeeded",
  attempt: 1,
  progress: 1,
  stage: null,
  queue_position: null,
  quote_millicredits: 1000,
  charged_millicredits: 1000,
  params: { scale: 2 },
  inputs: [],
  priority: "standard",
  seq: 3,
  artifacts: [{ ...png, sha256: "", url: "https://files.test/old" }],
  created_at: "2026-01-01T00:00:00Z",
};

afterEach(cleanup);

function show(more: Partial<Parameters<typeof ResultCard>[0]> = {}) {
  const refresh = vi.fn();
  const ask = vi.fn(
    async (): Promise<Job | null> => ({ ...job, artifacts: [{ ...png, sha256: "", url: "fresh" }] }),
  );
  render(
    <MemoryRouter>
      <ResultCard
        job={job}
        url="https://files.test/old"
        bytes={9000}
        refresh={refresh}
        ask={ask}
        another="/"
        facts={["1 credit charged"]}
        {...more}
      />
    </MemoryRouter>,
  );
  return { refresh, ask };
}
const picture = () => screen.getByRole("img", { name: "The result" });

test("a URL that has run out is renewed once by itself, and after that by a press", async () => {
  const { refresh } = show();
  fireEvent.error(picture());
  expect(refresh).toHaveBeenCalledTimes(1);
  fireEvent.error(picture());
  expect(screen.getByRole("alert").textContent).toContain("The picture did not load.");
  expect(refresh).toHaveBeenCalledTimes(1);
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(refresh).toHaveBeenCalledTimes(2);
  expect(picture()).toBeTruthy();
});

test("a download asks for the file anew, and is called after the photo where its name is known", async () => {
  const save = vi.spyOn(download, "saveFrom").mockResolvedValue();
  show({ photoName: async () => "lake.jpg" });
  await userEvent.click(screen.getByRole("button", { name: "Download" }));
  expect(save).toHaveBeenCalledExactlyOnceWith("fresh", "lake-x2.png");
  cleanup();
  show();
  await userEvent.click(screen.getByRole("button", { name: "Download" }));
  expect(save).toHaveBeenLastCalledWith("fresh", "kiln-0y1z2a.png");
});

test("what there is to know of it stands in one line", () => {
  show();
  expect(screen.getByText("2× larger · 9 kB · 1 credit charged")).toBeTruthy();
});
