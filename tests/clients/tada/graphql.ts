import { initGraphQLTada } from "gql.tada";
import type { introspection } from "../generated/tada-env.js";

export const graphql = initGraphQLTada<{
  introspection: introspection;
  scalars: {
    Cents: number;
    Date: string;
    DateTime: string;
    JSONObject: Record<string, unknown>;
  };
}>();
