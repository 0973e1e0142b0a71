import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "../../schema.graphql",
  documents: "operations/*.graphql",
  generates: {
    "generated/codegen/": {
      preset: "client",
      config: {
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
};

export default config;
