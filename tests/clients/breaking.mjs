// Breaking changes to the schema since the last release must be declared in CHANGELOG.md. There, a release has the
// heading `## X.Y.Z (YYYY-MM-DD)`. The schema of a release is in released/X.Y.Z.graphql. A breaking change is declared
// by its path in backticks, such as `Query.foo`, below the heading `### Breaking` of the unreleased version.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { CriticalityLevel, diff } from "@graphql-inspector/core";
import { buildSchema } from "graphql";
import { check, finish } from "./check.mjs";

/** The last release, and the paths of breaking changes that are declared since. */
function readChangelog(text) {
  const sections = text.split(/^(?=## )/m).slice(1);
  const versions = sections.map((section) => /^## (\d+\.\d+\.\d+) \(\d{4}-\d{2}-\d{2}\)$/m.exec(section)?.[1]);
  const unreleased = versions[0] === undefined ? (sections[0] ?? "") : "";
  const [, breaking = ""] = unreleased.split(/^### Breaking$/m);
  const [list] = breaking.split(/^### /m);
  return {
    version: versions.find((version) => version !== undefined),
    declared: [...list.matchAll(/`([^`]+)`/g)].map(([, path]) => path),
  };
}

/** Breaking changes that are not declared, and declarations that match no breaking change. */
async function compare(before, after, declared) {
  const changes = await diff(buildSchema(before), buildSchema(after));
  const breaking = changes.filter(({ criticality }) => criticality.level === CriticalityLevel.Breaking);
  const paths = new Set(breaking.map(({ path }) => path));
  return [
    ...breaking.filter(({ path }) => !declared.includes(path)).map(({ path, message }) => `${path}: ${message}`),
    ...declared.filter((path) => !paths.has(path)).map((path) => `${path}: declared, but not a breaking change`),
  ];
}

console.log("Tests of the check itself");
const planted = "type Query { kept(id: ID): Int gone: String } enum Color { RED BLUE }";
const without = planted.replace("gone: String", "");
const changelog = (declaration) => `# Changelog\n\n## 0.2.0 (unreleased)\n\n${declaration}### Added\n\n- \`Query.kept\`\n\n## 0.1.0 (2026-01-31)\n\n### Breaking\n\n- \`Query.old\`\n`;
await check("a removed field fails", async () =>
  assert.match((await compare(planted, without, [])).join(), /^Query\.gone: /),
);
await check("a declared removal passes", async () => {
  const { version, declared } = readChangelog(changelog("### Breaking\n\n- `Query.gone` is gone.\n\n"));
  assert.deepEqual([version, declared], ["0.1.0", ["Query.gone"]]);
  assert.deepEqual(await compare(planted, without, declared), []);
});
await check("other sections and older versions are ignored", () =>
  assert.deepEqual(readChangelog(changelog("")), { version: "0.1.0", declared: [] }),
);
for (const [name, from, to, path] of [
  ["a changed type", "gone: String", "gone: Int", "Query.gone"],
  ["a removed enum value", " BLUE", "", "Color.BLUE"],
  ["an argument that became required", "id: ID)", "id: ID!)", "Query.kept.id"],
]) {
  await check(`${name} fails`, async () =>
    assert.match((await compare(planted, planted.replace(from, to), [])).join(), new RegExp(`^${path}: `)),
  );
}
await check("a new field passes", async () => assert.deepEqual(await compare(without, planted, []), []));
await check("a declaration without a breaking change fails", async () =>
  assert.equal((await compare(planted, planted, ["Query.kept"])).length, 1),
);
await check("declarations of a release do not apply to the next version", () =>
  assert.deepEqual(readChangelog("# Changelog\n\n## 0.1.0 (2026-01-31)\n\n### Breaking\n\n- `Query.old`\n"), {
    version: "0.1.0",
    declared: [],
  }),
);
await check("without a release there is no version", () =>
  assert.equal(readChangelog("# Changelog\n\n## 0.1.0 (unreleased)\n").version, undefined),
);

console.log("The schema against the last release");
const { version, declared } = readChangelog(readFileSync("../../CHANGELOG.md", "utf8"));
if (version === undefined) {
  await check("there is no release yet, so nothing can break", () => {});
} else {
  await check(`CHANGELOG.md declares all breaking changes since ${version}`, async () => {
    const released = `released/${version}.graphql`;
    assert.ok(existsSync(released), `${released} is missing`);
    const undeclared = await compare(
      readFileSync(released, "utf8"),
      readFileSync("../../schema.graphql", "utf8"),
      declared,
    );
    assert.deepEqual(undeclared, []);
  });
}
finish();
