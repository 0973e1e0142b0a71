import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "../../schema.graphql",
  documents: "src/*.ts",
  generates: {
    "src/generated/": {
      preset: "client",
      config: {
        // Documents are plain text at run time, so nothing of GraphQL is needed then.
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
  // As Node resolves modules.
  importExtension: ".js",
};

export default config;
