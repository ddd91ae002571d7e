import { expect, test } from "vitest";
import type { Table } from "../../api";
import { partners } from "./compositions";

const table = {
  axes: [{ name: "from", labels: ["L0H0", "L0H1", "L1H0"] }, { name: "to", labels: ["L0H0", "L0H1", "L1H0"] }],
  values: [null, null, 0.2, null, null, 0.5, null, null, null],
} as unknown as Table;

test("a later head reads from earlier ones, the strongest first", () => {
  expect(partners(table, "L1H0", "from", 5)).toEqual([{ name: "L0H1", value: 0.5 }, { name: "L0H0", value: 0.2 }]);
  expect(partners(table, "L1H0", "from", 1)).toEqual([{ name: "L0H1", value: 0.5 }]);
});

test("an earlier head is read by later ones", () => {
  expect(partners(table, "L0H0", "to", 5)).toEqual([{ name: "L1H0", value: 0.2 }]);
  expect(partners(table, "L0H0", "from", 5)).toEqual([]);
  expect(partners(table, "L7H0", "from", 5)).toEqual([]);
});
