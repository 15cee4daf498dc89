import { afterEach, expect, test, vi } from "vitest";
import { shares } from "../../api/endpoints";
import type { OpenShare } from "../../api/types";
import { linksOf } from "./links-of";

const day = (n: number) => new Date(Date.UTC(2026, 10, n)).toISOString();
const share = (id: string, job_id: string, made: number, expires_at: string | null = null): OpenShare => ({
  id,
  job_id,
  created_at: day(made),
  expires_at,
});
const job = { id: "job_a", created_at: day(10) };

afterEach(() => vi.restoreAllMocks());

test("only this picture's links are found, and only those that still work", async () => {
  const items = [share("1", "job_a", 13), share("2", "job_b", 12), share("3", "job_a", 11, day(15))];
  vi.spyOn(shares, "list").mockResolvedValue({ items, next_cursor: null });
  expect((await linksOf(job, undefined, Date.parse(day(14)))).map(({ id }) => id)).toEqual(["1", "3"]);
  expect((await linksOf(job, undefined, Date.parse(day(16)))).map(({ id }) => id)).toEqual(["1"]);
});

test("it looks no further than the day the picture was asked for", async () => {
  const list = vi
    .spyOn(shares, "list")
    .mockResolvedValueOnce({ items: [share("1", "job_b", 13)], next_cursor: "more" })
    .mockResolvedValueOnce({ items: [share("2", "job_a", 11), share("3", "job_b", 9)], next_cursor: "more" });
  expect((await linksOf(job)).map(({ id }) => id)).toEqual(["2"]);
  expect(list).toHaveBeenCalledTimes(2);
});
