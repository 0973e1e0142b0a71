import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "../../schema.graphql",
  documents: "src/*.ts",
  generates: {
    "src/generated/": {
      preset: "client",
      config: {
        // Documents are strings at run time, so the package graphql is not needed then.
        documentMode: "string",
        strictScalars: true,
        useTypeImports: true,
        scalars: {
          Cents: "number",
          Date: "string",
          DateTime: "string",
          JSONObject: "Record<string, unknown>",
        },
      },
    },
  },
  // Node requires file extensions in imports.
  importExtension: ".js",
};

export default config;
