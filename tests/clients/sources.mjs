// Converts the sample operations to source files for gql.tada and relay-compiler, in generated/.
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

const folders = { tada: "generated/tada", relay: "generated/relay" };
for (const folder of Object.values(folders)) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
}
mkdirSync(`${folders.relay}/artifacts`);
cpSync("relay/SubAccountList.ts", `${folders.relay}/SubAccountList.ts`);

const tada = ['import { graphql } from "../../tada/graphql.js";'];
for (const file of readdirSync("operations")) {
  const name = basename(file, ".graphql");
  const text = readFileSync(`operations/${file}`, "utf8");
  tada.push(`export const ${name} = graphql(\`\n${text}\`);`);
  // Relay requires that an operation's name begins with the module's name and ends with the operation type.
  const named = text.replace(
    /^(query|mutation|subscription) (\w+)/,
    (_, kind, own) => `${kind} ${own}${kind[0].toUpperCase()}${kind.slice(1)}`,
  );
  writeFileSync(
    `${folders.relay}/${name}.ts`,
    `import { graphql } from "relay-runtime";\nexport const ${name} = graphql\`\n${named}\`;\n`,
  );
}
writeFileSync(`${folders.tada}/operations.ts`, `${tada.join("\n\n")}\n`);
